//! PostgreSQL: shared by servers, and temporarily unavailable at times.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use edgeprove_job_rules::sql::Dialect;
use sqlx::{
    AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _,
    any::{AnyConnectOptions, AnyPoolOptions},
    postgres::PgConnectOptions,
};

use super::{CONNECT_MAX, OpenError, StoreError, migrate::migrate};

/// The maximum number of connections of one server, besides the one for notifications. Workers, endpoints and upkeep share
/// them, and none uses one for more than a few round trips.
const CONNECTIONS: u32 = 8;
/// How many of them may read for callers at the same time. The others are for workers and upkeep.
pub(super) const READERS: usize = 5;
/// The longest wait of a starting server for a database that starts at the same time.
const START_WAIT_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);
/// A start that waits longer logs it.
const WAIT_BEFORE_NOTICE: Duration = Duration::from_secs(1);

/// The settings of every connection. No statement here takes a tenth of these times, so a slower one is stuck. Commits must be
/// durable, whatever the database's own default is.
const SETTINGS: &str = "SET application_name = 'edgeprove'; SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
    SET idle_in_transaction_session_timeout = '10s'; SET client_min_messages = warning; \
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// The URL of a PostgreSQL, as `postgres://USER:PASSWORD@HOST/DATABASE`. It has a password and is therefore never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

/// A text that is no URL of a PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a URL such as postgres://USER:PASSWORD@HOST/DATABASE")]
pub struct InvalidPostgresUrl;

impl FromStr for PostgresUrl {
    type Err = InvalidPostgresUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_postgres = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        if is_postgres && text.parse::<PgConnectOptions>().is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPostgresUrl)
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresUrl(…)")
    }
}

impl PostgresUrl {
    /// Host and port, or the folder of the socket. It has neither user nor password.
    #[must_use]
    pub fn host(&self) -> String {
        let Ok(options) = self.0.parse::<PgConnectOptions>() else { return String::new() };
        match options.get_socket() {
            Some(folder) => folder.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        }
    }

    /// The URL, password and all.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// How a PostgreSQL is opened.
pub(super) struct Postgres<'u> {
    url: &'u PostgresUrl,
}

impl<'u> Postgres<'u> {
    /// Connects once, and returns the time of the server's clock.
    pub(super) async fn clock(&self) -> Result<SystemTime, OpenError> {
        let options = self.url.0.parse::<AnyConnectOptions>()?.disable_statement_logging();
        let asking = async {
            let mut connection = AnyConnection::connect_with(&options).await?;
            let unix_ms: i64 = sqlx::query_scalar(CLOCK).fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok::<_, sqlx::Error>(SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms.unsigned_abs()))
        };
        match tokio::time::timeout(CONNECT_MAX, asking).await {
            Ok(clock) => Ok(clock.map_err(StoreError::from)?),
            Err(_) => Err(StoreError::TimedOut(CONNECT_MAX).into()),
        }
    }

    pub(super) fn new(url: &'u PostgresUrl) -> Self {
        Self { url }
    }

    /// Brings it up to date and opens it.
    pub(super) async fn open(&self) -> Result<AnyPool, OpenError> {
        let options = self.url.0.parse::<AnyConnectOptions>()?.disable_statement_logging();
        let mut first = connect(&options, &self.url.host()).await?;
        first.execute(SETTINGS).await?;
        migrate(&mut first, Dialect::Postgres).await?;
        first.close().await?;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECT_MAX)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SETTINGS).await.map(drop) })
            })
            .connect_with(options);
        Ok(pool.await?)
    }
}

/// The time of the server's clock, in milliseconds since 1970.
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Opens the first connection, and waits for a database that starts at the same time. Once that takes a second, it logs that it
/// waits.
async fn connect(options: &AnyConnectOptions, host: &str) -> Result<AnyConnection, OpenError> {
    let connecting = connect_in_time(options, host);
    tokio::pin!(connecting);
    if let Ok(connected) = tokio::time::timeout(WAIT_BEFORE_NOTICE, &mut connecting).await {
        return connected;
    }
    let wait_max_s = START_WAIT_MAX.as_secs();
    tracing::warn!(host, wait_max_s, "waiting for PostgreSQL");
    connecting.await
}

async fn connect_in_time(options: &AnyConnectOptions, host: &str) -> Result<AnyConnection, OpenError> {
    let started = tokio::time::Instant::now();
    loop {
        let connecting = tokio::time::timeout(CONNECT_MAX, AnyConnection::connect_with(options));
        let error = match connecting.await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => StoreError::from(error),
            Err(_) => StoreError::TimedOut(CONNECT_MAX),
        };
        let waited = started.elapsed();
        if !error.is_transient() {
            return Err(error.into());
        }
        if waited > START_WAIT_MAX {
            return Err(OpenError::Unreachable { host: host.to_owned(), waited, source: error });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
