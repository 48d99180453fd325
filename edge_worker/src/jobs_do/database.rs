//! The database of the object, as the queue needs it. Each call is synchronous: nothing else happens in the object meanwhile.

use std::borrow::Cow;

/// A value that a statement binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A text.
    Text(Cow<'a, str>),
}

/// The database refused a statement, with its message. The message names columns and never has values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the database refused a statement: {0}")]
pub struct SqlError(pub String);

/// The work of a transaction failed, so that it must be rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollBack;

/// A SQLite database.
pub trait Database {
    /// Executes one statement with parameters as `?1`. Returns its rows as a JSON array of objects.
    fn rows(&self, statement: &str, values: &[Value<'_>]) -> Result<String, SqlError>;

    /// Executes several statements without parameters.
    fn script(&self, statements: &str) -> Result<(), SqlError>;

    /// Runs `work` in a transaction, which is rolled back if it fails.
    fn transaction(&self, work: &mut dyn FnMut() -> Result<(), RollBack>) -> Result<(), SqlError>;

    /// The size of the database, in bytes.
    fn size_bytes(&self) -> u64;
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<edgeprove_job_rules::time::UnixMillis> for Value<'_> {
    fn from(at: edgeprove_job_rules::time::UnixMillis) -> Self {
        Self::Integer(at.0)
    }
}

/// The values that a statement binds, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::jobs_do::database::Value::from($value)),*] };
}
pub(super) use values;
