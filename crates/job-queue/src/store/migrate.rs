//! Migrates the tables to this version, all steps or none.

use edgeprove_job_rules::sql::{Dialect, MIGRATIONS};
use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _};

use super::{OpenError, StoreError};

/// The table of the steps that were taken.
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS edgeprove_versions \
    (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, touched BIGINT NOT NULL DEFAULT 0)";
const VERSION: &str = "SELECT CAST(COALESCE(max(version), 0) AS BIGINT) AS version FROM edgeprove_versions";

/// Serialises servers that start together on one PostgreSQL. The number identifies this table among the database's advisory
/// locks.
const POSTGRES_LOCK: &str = "SELECT pg_advisory_xact_lock(7306916053)";

/// Writes a row, so that SQLite creates its log. The value has to change, because SQLite does not write an unchanged row.
/// Binds nothing, returns nothing.
pub(super) const TOUCH: &str = "UPDATE edgeprove_versions SET touched = touched + 1 WHERE version = 1";

/// Takes the missing steps.
pub(super) async fn migrate(connection: &mut AnyConnection, dialect: Dialect) -> Result<(), OpenError> {
    let mut step = match dialect {
        Dialect::Sqlite => connection.begin_with("BEGIN IMMEDIATE").await?,
        Dialect::Postgres => {
            let mut step = connection.begin().await?;
            step.execute(POSTGRES_LOCK).await?;
            step
        }
    };
    step.execute(VERSIONS).await?;
    let found: i64 = step.fetch_one(VERSION).await?.try_get("version")?;
    let known = MIGRATIONS.last().map_or(0, |migration| migration.version);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > found) {
        tracing::info!(version = migration.version, name = migration.name, "database migrated");
        step.execute(migration.script.text(dialect)).await?;
        let insert = match dialect {
            Dialect::Sqlite => "INSERT INTO edgeprove_versions (version, name) VALUES (?1, ?2)",
            Dialect::Postgres => "INSERT INTO edgeprove_versions (version, name) VALUES ($1, $2)",
        };
        sqlx::query(insert).bind(migration.version).bind(migration.name).execute(&mut *step).await?;
    }
    step.commit().await.map_err(|error| OpenError::Store(StoreError::from(error)))
}
