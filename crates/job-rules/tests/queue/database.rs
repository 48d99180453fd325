//! A database for a test, and how a statement is executed on it.

use std::{
    env, fs,
    io::Write as _,
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use edgeprove_job_rules::sql::{self, Dialect, Statement};
use sqlx::{
    Any, AnyConnection, AssertSqlSafe, Connection as _, Executor as _,
    any::{AnyArguments, AnyRow, install_default_drivers},
    query::Query,
};

/// Where a database is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    url: String,
    /// The schema that a test has to itself in a shared database.
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

impl Place {
    /// A database of one connection, in memory.
    pub(crate) fn memory() -> Self {
        Self { url: "sqlite::memory:".to_owned(), schema: None }
    }

    /// A database that several connections may open.
    pub(crate) fn file(path: &Path) -> Self {
        Self { url: format!("sqlite://{}?mode=rwc", path.display()), schema: None }
    }

    /// A schema of the PostgreSQL that is named, or the test is skipped.
    pub(crate) fn postgres() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let Some(url) = env::var("EDGEPROVE_TEST_POSTGRES").ok().filter(|url| !url.is_empty()) else {
            skip("needs a PostgreSQL, which EDGEPROVE_TEST_POSTGRES is to name");
            return None;
        };
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Some(Self { url, schema: Some(format!("edgeprove_test_{}_{number}", process::id())) })
    }

    /// A connection to a database that has no tables yet; they are made.
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

    /// One more connection.
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

    /// Removes what a test made in a shared database.
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

    /// Executes a statement that gives one row at most.
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

/// Says that this test is skipped, also in the file that `cargo xtask test` shows at its end.
fn skip(why: &str) {
    let line = format!("SKIPPED {}: {why}", thread::current().name().unwrap_or("a test"));
    eprintln!("{line}");
    if let Some(log) = env::var_os("EDGEPROVE_SKIP_LOG").filter(|log| !log.is_empty()) {
        let log = fs::OpenOptions::new().append(true).create(true).open(log);
        writeln!(log.expect("the skip log can be opened"), "{line}").expect("the skip log can be written");
    }
}
