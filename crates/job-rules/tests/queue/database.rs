//! Creates databases for tests and executes statements on them.

use std::{
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use edgeprove_job_rules::sql::{self, Dialect, Statement};
use edgeprove_testkit::postgres;
use sqlx::{
    Any, AnyConnection, AssertSqlSafe, Connection as _, Executor as _,
    any::{AnyArguments, AnyRow, install_default_drivers},
    query::Query,
};

/// The location of a database.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    url: String,
    /// The test's own schema in a shared database.
    schema: Option<String>,
}

/// A connection.
pub(crate) struct Database {
    pub(crate) dialect: Dialect,
    pub(crate) connection: AnyConnection,
}

/// A value for a parameter.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Int(i64),
    NoInt,
    Text(String),
    NoText,
}

impl Location {
    /// A database of one connection, in memory.
    pub(crate) fn memory() -> Self {
        Self { url: "sqlite::memory:".to_owned(), schema: None }
    }

    /// A database that several connections may open.
    pub(crate) fn file(path: &Path) -> Self {
        Self { url: format!("sqlite://{}?mode=rwc", path.display()), schema: None }
    }

    /// A new schema of the shared PostgreSQL server. `None`: there is none, and the test is recorded as skipped.
    pub(crate) fn postgres() -> Option<Self> {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let url = postgres::shared_url()?;
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        Some(Self { url, schema: Some(format!("edgeprove_test_{}_{number}", process::id())) })
    }

    /// Connects to a database without tables and creates them.
    pub(crate) async fn create(&self) -> Database {
        install_default_drivers();
        if let Some(schema) = &self.schema {
            let mut connection = AnyConnection::connect(&self.url).await.unwrap();
            connection.execute(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await.unwrap();
        }
        let mut database = self.connect().await;
        for migration in sql::MIGRATIONS.iter().chain(sql::audit::MIGRATIONS) {
            database.connection.execute(migration.script.text(database.dialect)).await.unwrap();
        }
        database
    }

    /// Opens one more connection.
    pub(crate) async fn connect(&self) -> Database {
        install_default_drivers();
        let mut connection = AnyConnection::connect(&self.url).await.unwrap();
        let dialect = if let Some(schema) = &self.schema {
            connection.execute(AssertSqlSafe(format!("SET search_path TO {schema}"))).await.unwrap();
            Dialect::Postgres
        } else {
            connection.execute("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 60000").await.unwrap();
            Dialect::Sqlite
        };
        Database { dialect, connection }
    }

    /// Removes the test's schema from a shared database.
    pub(crate) async fn remove(&self) {
        if let Some(schema) = &self.schema {
            let mut connection = AnyConnection::connect(&self.url).await.unwrap();
            connection.execute(AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"))).await.unwrap();
        }
    }
}

impl Database {
    /// Executes a statement and returns its rows.
    pub(crate) async fn rows(&mut self, statement: Statement, values: &[Value]) -> Vec<AnyRow> {
        bound(statement.text(self.dialect), values).fetch_all(&mut self.connection).await.unwrap()
    }

    /// Executes a statement that returns at most one row.
    pub(crate) async fn row(&mut self, statement: Statement, values: &[Value]) -> Option<AnyRow> {
        let mut rows = self.rows(statement, values).await;
        assert!(rows.len() <= 1, "more than one row");
        rows.pop()
    }
}

/// A statement with its values.
pub(crate) fn bound<'q>(text: &'static str, values: &[Value]) -> Query<'q, Any, AnyArguments> {
    values.iter().cloned().fold(sqlx::query(text), |query, value| match value {
        Value::Int(number) => query.bind(number),
        Value::NoInt => query.bind(None::<i64>),
        Value::Text(text) => query.bind(text),
        Value::NoText => query.bind(None::<String>),
    })
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::NoInt, Self::Int)
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::NoText, Self::Text)
    }
}

/// The values of a statement, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { [$($crate::database::Value::from($value)),*] };
}
pub(crate) use values;
