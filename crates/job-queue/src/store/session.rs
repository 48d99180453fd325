//! A connection that is in use: statements within a time limit, and the database's clock.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use edgeprove_job_rules::{
    sql::{Dialect, POSTGRES_NOW, Statement},
    time::UnixMillis,
};
use sqlx::{
    Any, AnyConnection, Connection as _, Row as _, SqlSafeStr,
    any::{AnyArguments, AnyRow},
    pool::PoolConnection,
    query::Query,
};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit};

use super::{ANSWER_MAX, StoreError};

/// The durability of a session's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The session only reads, for a caller. Callers never take every connection.
    Read,
    /// The session only reads, for the upkeep of the queue, which must not wait for callers.
    ReadForUpkeep,
    /// Writes survive the end of this process. A power failure may undo the last moment of them, before the next
    /// [`super::Database::sync`].
    Write,
}

/// A value for a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A whole number, or NULL.
    Int(Option<i64>),
    /// A text, or NULL.
    Text(Option<String>),
}

/// A connection that is in use.
pub struct Session {
    connection: PoolConnection<Any>,
    dialect: Dialect,
    /// Whether the last write failed; `None` in a session that only reads.
    is_failing: Option<Arc<AtomicBool>>,
    _turn: Option<OwnedMutexGuard<()>>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A transaction. It is rolled back when it is dropped without [`Self::commit`].
pub struct Transaction<'s> {
    inner: sqlx::Transaction<'s, Any>,
    dialect: Dialect,
    is_failing: Option<Arc<AtomicBool>>,
    /// Whether a statement returned a row. One that found nothing to change returns none.
    has_changed: bool,
}

/// A statement, or its text in one dialect.
pub trait Text {
    /// The text in this dialect.
    fn text(self, dialect: Dialect) -> sqlx::SqlStr;
}

impl Text for Statement {
    fn text(self, dialect: Dialect) -> sqlx::SqlStr {
        Statement::text(self, dialect).into_sql_str()
    }
}

impl Text for &'static str {
    fn text(self, _: Dialect) -> sqlx::SqlStr {
        self.into_sql_str()
    }
}

impl Text for sqlx::SqlStr {
    fn text(self, _: Dialect) -> sqlx::SqlStr {
        self
    }
}

impl Session {
    pub(super) fn new(
        connection: PoolConnection<Any>,
        dialect: Dialect,
        is_failing: Option<Arc<AtomicBool>>,
        (turn, permit): (Option<OwnedMutexGuard<()>>, Option<OwnedSemaphorePermit>),
    ) -> Self {
        Self { connection, dialect, is_failing, _turn: turn, _permit: permit }
    }

    /// The time by the database's clock: its own on PostgreSQL, this machine's on SQLite.
    pub async fn now(&mut self) -> Result<UnixMillis, StoreError> {
        match self.dialect {
            Dialect::Sqlite => Ok(host_now()),
            Dialect::Postgres => {
                let clock = postgres_now(&mut self.connection).await;
                self.give_up_if_silent(&clock);
                // It writes nothing, so that only its failure is remembered.
                if clock.is_err() {
                    note_write(self.is_failing.as_deref(), &clock);
                }
                clock
            }
        }
    }

    /// Executes a statement and returns its rows.
    pub async fn rows(
        &mut self,
        statement: impl Text,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<AnyRow>, StoreError> {
        let rows = rows(&mut self.connection, statement.text(self.dialect), values).await;
        self.give_up_if_silent(&rows);
        note(self.is_failing.as_deref(), &rows);
        rows
    }

    /// Executes a statement that gives one row at most.
    pub async fn row(
        &mut self,
        statement: impl Text,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<AnyRow>, StoreError> {
        Ok(self.rows(statement, values).await?.pop())
    }

    /// The database that it is connected to.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Begins a transaction.
    pub async fn begin(&mut self) -> Result<Transaction<'_>, StoreError> {
        let (dialect, is_failing) = (self.dialect, self.is_failing.clone());
        let inner = match dialect {
            // For writing at once: a transaction that becomes a writer later could fail because another was faster.
            Dialect::Sqlite => within(self.connection.begin_with("BEGIN IMMEDIATE")).await?,
            Dialect::Postgres => within(self.connection.begin()).await?,
        };
        Ok(Transaction { inner, dialect, is_failing, has_changed: false })
    }

    /// Closes a connection that still owes an answer, so that nobody uses it again.
    fn give_up_if_silent<T>(&mut self, outcome: &Result<T, StoreError>) {
        if matches!(outcome, Err(StoreError::TimedOut(_))) {
            self.connection.close_on_drop();
        }
    }
}

impl Transaction<'_> {
    /// Executes a statement and returns its rows.
    pub async fn rows(
        &mut self,
        statement: impl Text,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<AnyRow>, StoreError> {
        let rows = rows(&mut self.inner, statement.text(self.dialect), values).await;
        match &rows {
            Ok(rows) => self.has_changed |= !rows.is_empty(),
            Err(_) => note(self.is_failing.as_deref(), &rows),
        }
        rows
    }

    /// Executes a statement that gives one row at most.
    pub async fn row(
        &mut self,
        statement: impl Text,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<AnyRow>, StoreError> {
        Ok(self.rows(statement, values).await?.pop())
    }

    /// The time by the database's clock, which goes on in a transaction.
    pub async fn now(&mut self) -> Result<UnixMillis, StoreError> {
        match self.dialect {
            Dialect::Sqlite => Ok(host_now()),
            Dialect::Postgres => postgres_now(&mut self.inner).await,
        }
    }

    /// Executes a statement that only takes a lock.
    pub async fn lock(&mut self, statement: impl Text) -> Result<(), StoreError> {
        let locked = rows(&mut self.inner, statement.text(self.dialect), []).await;
        locked.map(drop)
    }

    /// The database that it is connected to.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Commits the transaction.
    pub async fn commit(self) -> Result<(), StoreError> {
        let Self { inner, is_failing, has_changed, .. } = self;
        let outcome = within(inner.commit()).await;
        if has_changed || outcome.is_err() {
            note_write(is_failing.as_deref(), &outcome);
        }
        outcome
    }
}

/// Remembers whether a write succeeded. A statement that found nothing to change writes nothing.
fn note(is_failing: Option<&AtomicBool>, outcome: &Result<Vec<AnyRow>, StoreError>) {
    match outcome {
        Ok(rows) if rows.is_empty() => {}
        outcome => note_write(is_failing, outcome),
    }
}

/// Remembers whether a write succeeded.
fn note_write<T>(is_failing: Option<&AtomicBool>, outcome: &Result<T, StoreError>) {
    let Some(is_failing) = is_failing else { return };
    match outcome {
        Ok(_) => is_failing.store(false, Ordering::Relaxed),
        // A fault of the code is no fault of the disk.
        Err(StoreError::Refused(_)) => {}
        Err(_) => is_failing.store(true, Ordering::Relaxed),
    }
}

async fn rows(
    connection: &mut AnyConnection,
    text: sqlx::SqlStr,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<AnyRow>, StoreError> {
    let bind = |query: Query<'static, Any, AnyArguments>, value| match value {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
    };
    let query = values.into_iter().fold(sqlx::query(text), bind);
    within(query.fetch_all(connection)).await
}

/// The time by PostgreSQL's clock.
async fn postgres_now(connection: &mut AnyConnection) -> Result<UnixMillis, StoreError> {
    let clock = rows(connection, POSTGRES_NOW.into_sql_str(), []).await?;
    let row = clock.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(UnixMillis(row.try_get(0)?))
}

async fn within<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_MAX, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::TimedOut(ANSWER_MAX)),
    }
}

/// The time by this host's clock. A time before 1970 counts as 1970.
#[must_use]
pub fn host_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixMillis(0).after(since)
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(Some(number.into()))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<UnixMillis> for Value {
    fn from(at: UnixMillis) -> Self {
        Self::Int(Some(at.0))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

/// The values of a statement, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { [$($crate::store::session::Value::from($value)),*] };
}
pub(crate) use values;
