//! The tables of the object, and their versions.

use edgeprove_job_rules::sql::{self, Migration};

use super::{Queue, QueueError};
use crate::jobs_do::database::values;

/// SQLite's own number for that is closed to objects.
const VERSIONS: &str =
    "CREATE TABLE IF NOT EXISTS schema_versions (tables TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT";
const FIND: &str = "SELECT version FROM schema_versions WHERE tables = ?1";
const STORE: &str = "INSERT INTO schema_versions VALUES (?1, ?2) \
                     ON CONFLICT (tables) DO UPDATE SET version = excluded.version";

/// The object's own tables, a script for each version. Released steps never change.
const OWN: &[&str] = &["
-- The totals that operators watch, by the name of the series.
CREATE TABLE totals (series TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
-- Who cancelled the jobs whose attempts have yet to stop.
CREATE TABLE cancels (job TEXT PRIMARY KEY, actor TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- When something was done last.
CREATE TABLE marks (name TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"];

impl Queue {
    /// Brings the tables to this version. Each step is a transaction.
    pub(super) fn migrate(&self) -> Result<(), QueueError> {
        self.database.script(VERSIONS)?;
        let scripts = |steps: &[Migration]| steps.iter().map(|step| step.script.sqlite).collect::<Vec<_>>();
        self.migrate_tables("jobs", &scripts(sql::MIGRATIONS))?;
        self.migrate_tables("audit", &scripts(sql::audit::MIGRATIONS))?;
        self.migrate_tables("object", OWN)
    }

    fn migrate_tables(&self, tables: &'static str, scripts: &[&str]) -> Result<(), QueueError> {
        let found = match self.rows_of(FIND, values![tables])?.pop() {
            Some(row) => row.number("version")?,
            None => 0,
        };
        let known = i64::try_from(scripts.len()).unwrap_or(i64::MAX);
        if found > known {
            return Err(QueueError::LaterTables { tables, found, known });
        }
        for (version, script) in (1..).zip(scripts).filter(|(version, _)| *version > found) {
            self.atomically(|| {
                self.database.script(script)?;
                self.rows_of(STORE, values![tables, version])?;
                Ok::<_, QueueError>(())
            })?;
        }
        Ok(())
    }
}
