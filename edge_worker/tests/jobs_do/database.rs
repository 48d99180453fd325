//! A native SQLite in memory, as a stand-in for that of a Durable Object.

use std::cell::RefCell;

use edgeprove_edge::jobs_do::database::{Database, RollBack, SqlError, Value};
use serde_json::{Map, Value as Json};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Row as _, SqliteConnection, TypeInfo as _,
    ValueRef as _, sqlite::SqliteConnectOptions,
};
use tokio::runtime::{Builder, Runtime};

/// A database in memory.
pub(crate) struct Native {
    connection: RefCell<SqliteConnection>,
    runtime: Runtime,
}

impl Native {
    pub(crate) fn open() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let options: SqliteConnectOptions = "sqlite::memory:".parse().unwrap();
        let connection = RefCell::new(runtime.block_on(options.connect()).unwrap());
        Self { connection, runtime }
    }
}

impl Database for Native {
    fn rows(&self, statement: &str, values: &[Value<'_>]) -> Result<String, SqlError> {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for value in values {
            query = match value {
                Value::Null => query.bind(None::<i64>),
                Value::Integer(number) => query.bind(*number),
                Value::Text(text) => query.bind(text.clone().into_owned()),
            };
        }
        let connection = &mut *self.connection.borrow_mut();
        let rows = self.runtime.block_on(query.fetch_all(connection));
        let rows = rows.map_err(|error| SqlError(error.to_string()))?;
        let json = |row: sqlx::sqlite::SqliteRow| {
            let mut object = Map::new();
            for column in row.columns() {
                let raw = row.try_get_raw(column.ordinal()).unwrap();
                let value = match (raw.is_null(), raw.type_info().name()) {
                    (true, _) => Json::Null,
                    (false, "TEXT") => row.get::<String, _>(column.ordinal()).into(),
                    (false, _) => row.get::<i64, _>(column.ordinal()).into(),
                };
                object.insert(column.name().to_owned(), value);
            }
            Json::Object(object)
        };
        Ok(Json::Array(rows.into_iter().map(json).collect()).to_string())
    }

    fn script(&self, statements: &str) -> Result<(), SqlError> {
        use sqlx::Executor as _;
        let connection = &mut *self.connection.borrow_mut();
        let done = self.runtime.block_on(connection.execute(sqlx::raw_sql(AssertSqlSafe(statements))));
        done.map(drop).map_err(|error| SqlError(error.to_string()))
    }

    fn transaction(&self, work: &mut dyn FnMut() -> Result<(), RollBack>) -> Result<(), SqlError> {
        self.script("BEGIN IMMEDIATE")?;
        match work() {
            Ok(()) => self.script("COMMIT"),
            Err(RollBack) => self.script("ROLLBACK"),
        }
    }

    fn size_bytes(&self) -> u64 {
        4096
    }
}
