//! Rows of the database. They are read by hand: a derived reader for each form of a row would make the Worker a tenth larger.

use edgeprove_job_rules::{job::Job, row::JobRow};
use serde_json::{Map, Value};

use super::error::QueueError;

/// A row, by the names of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Map<String, Value>);

impl Row {
    /// Reads a JSON array of objects.
    pub fn read_all(text: &str) -> Result<Vec<Self>, QueueError> {
        let Value::Array(rows) = serde_json::from_str(text)? else { return Err(QueueError::Column("*")) };
        let mut read = Vec::with_capacity(rows.len());
        for row in rows {
            let Value::Object(columns) = row else { return Err(QueueError::Column("*")) };
            read.push(Self(columns));
        }
        Ok(read)
    }

    /// The whole number in a column, or `None` for NULL.
    pub fn maybe_number(&self, column: &'static str) -> Result<Option<i64>, QueueError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or(QueueError::Column(column)),
            None => Err(QueueError::Column(column)),
        }
    }

    /// The whole number in a column.
    pub fn number(&self, column: &'static str) -> Result<i64, QueueError> {
        self.maybe_number(column)?.ok_or(QueueError::Column(column))
    }

    /// The number in a column that is never negative.
    pub fn count(&self, column: &'static str) -> Result<u64, QueueError> {
        u64::try_from(self.number(column)?).map_err(|_| QueueError::Column(column))
    }

    /// The text in a column, or `None` for NULL.
    pub fn maybe_text(&mut self, column: &'static str) -> Result<Option<String>, QueueError> {
        match self.0.get_mut(column).map(Value::take) {
            Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) | None => Err(QueueError::Column(column)),
        }
    }

    /// The text in a column. It is taken out of the row.
    pub fn text(&mut self, column: &'static str) -> Result<String, QueueError> {
        self.maybe_text(column)?.ok_or(QueueError::Column(column))
    }

    /// The job of a row that has all its columns.
    pub fn job(mut self) -> Result<Job, QueueError> {
        let row = &mut self;
        let columns = JobRow {
            seq: row.number("seq")?,
            id: row.text("id")?,
            kind: row.text("kind")?,
            subject: row.text("subject")?,
            version: row.text("version")?,
            owner: row.text("owner")?,
            account: row.text("account")?,
            priority: row.number("priority")?,
            rank: row.number("rank")?,
            turn: row.number("turn")?,
            status: row.text("status")?,
            run_at: row.number("run_at")?,
            enqueued_at: row.number("enqueued_at")?,
            started_at: row.maybe_number("started_at")?,
            finished_at: row.maybe_number("finished_at")?,
            expires_at: row.maybe_number("expires_at")?,
            attempts: row.number("attempts")?,
            max_attempts: row.number("max_attempts")?,
            lease_token: row.number("lease_token")?,
            lease_holder: row.maybe_text("lease_holder")?,
            lease_until: row.maybe_number("lease_until")?,
            cancel_requested_at: row.maybe_number("cancel_requested_at")?,
            idempotency_key: row.maybe_text("idempotency_key")?,
            body_digest: row.maybe_text("body_digest")?,
            payload: row.text("payload")?,
            input: row.maybe_text("input")?,
            result: row.maybe_text("result")?,
            outcome: row.maybe_text("outcome")?,
            stage: row.maybe_text("stage")?,
            stage_started_at: row.maybe_number("stage_started_at")?,
            stage_estimate: row.maybe_text("stage_estimate")?,
        };
        Ok(columns.try_into()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_another_type_is_named() {
        let mut rows = Row::read_all(r#"[{"a":1,"b":"x","c":null,"d":-1,"e":1.5}]"#).unwrap();
        let row = rows.first_mut().unwrap();
        assert_eq!((row.number("a").unwrap(), row.maybe_number("c").unwrap()), (1, None));
        assert_eq!((row.maybe_text("c").unwrap(), row.text("b").unwrap()), (None, "x".to_owned()));
        for column in ["b", "c", "e", "x"] {
            assert!(matches!(row.number(column), Err(QueueError::Column(named)) if named == column));
        }
        assert!(matches!(row.text("a"), Err(QueueError::Column("a"))));
        assert!(matches!(row.count("d"), Err(QueueError::Column("d"))));
        for bad in ["", "{}", "[1]"] {
            assert!(Row::read_all(bad).is_err(), "{bad}");
        }
    }
}
