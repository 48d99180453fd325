//! Notifications of changes of jobs, within a process and between servers.
//!
//! Within a process they are a broadcast. Between servers on one PostgreSQL they are `NOTIFY`, sent by the statement that makes
//! the change, so that exactly the committed changes are sent. Notifications are lost while the connection is lost; afterwards
//! comes [`Change::Unknown`]. Idle workers also look for work periodically, since a process may die between a change and its
//! notification.

use std::time::Duration;

use edgeprove_protocol::JobId;
use sqlx::postgres::PgListener;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    queue_types::Change,
    store::{Database, Durability, StoreError, postgres::PostgresUrl},
};
use edgeprove_telemetry::supervisor::Supervisor;

/// How many changes a subscriber may be behind. The channel reports a larger backlog, which subscribers treat as
/// [`Change::Unknown`].
const BACKLOG: usize = 1024;
/// The interval of pings on a quiet connection, and the longest time for an answer.
const PING_EVERY: Duration = Duration::from_secs(15);
const PONG_MAX: Duration = Duration::from_secs(5);
/// The first pause after a connection was lost, and the longest one.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Notifies subscribers of changes. Clones share the subscribers.
#[derive(Debug, Clone)]
pub struct Notifier {
    changes: broadcast::Sender<Change>,
    channel: Option<Channel>,
}

/// The channel to other servers.
#[derive(Debug, Clone)]
struct Channel {
    url: PostgresUrl,
    /// Its name, one for each schema: a database may hold several queues.
    name: String,
    /// The mark of this process, which ignores its own notifications.
    origin: String,
}

/// Which notifications of a statement mean that a job is ready for a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ready {
    /// None of them.
    Never,
    /// All of them.
    Always,
    /// Those of jobs whose `status` is now `queued`.
    IfQueued,
}

impl Notifier {
    /// A notifier for the jobs in this database.
    pub async fn new(database: &Database) -> Result<Self, StoreError> {
        let (changes, _) = broadcast::channel(BACKLOG);
        let Some(url) = database.postgres() else {
            return Ok(Self { changes, channel: None });
        };
        let mut session = database.session(Durability::Read).await?;
        // The hash keeps quotes of a schema's name out of the statements below.
        let name = "SELECT 'edgeprove_jobs_' || CAST(hashtext(current_schema()) AS TEXT) AS name";
        let row = session.row(name, []).await?.ok_or(sqlx::Error::RowNotFound)?;
        let name = sqlx::Row::try_get(&row, "name")?;
        let origin = Uuid::new_v4().simple().to_string();
        Ok(Self { changes, channel: Some(Channel { url: url.clone(), name, origin }) })
    }

    /// Notifies the subscribers in this process.
    pub fn notify(&self, change: Change) {
        // It fails only if there are no subscribers.
        let _ = self.changes.send(change);
    }

    /// Subscribes to all changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Makes a statement notify other servers as well. `id` is SQL for the job's id: a parameter of the statement, or a column
    /// that it returns.
    pub(crate) fn notifying(&self, statement: &'static str, id: &str, ready: Ready) -> sqlx::SqlStr {
        let Some(Channel { name, origin, .. }) = &self.channel else {
            return sqlx::SqlSafeStr::into_sql_str(statement);
        };
        let ready = match ready {
            Ready::Never => "",
            Ready::Always => " || ' work'",
            Ready::IfQueued => " || CASE changed.status WHEN 'queued' THEN ' work' ELSE '' END",
        };
        let text = format!(
            "WITH changed AS ({statement}) SELECT changed.*, \
             CAST(pg_notify('{name}', '{origin} ' || {id}{ready}) AS TEXT) AS notified FROM changed"
        );
        sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(text))
    }

    /// Starts to pass on the notifications of other servers, until the supervisor stops. Without other servers it does nothing.
    pub fn follow_other_servers(&self, supervisor: &Supervisor) {
        let Some(channel) = self.channel.clone() else { return };
        let (notifier, stop) = (self.clone(), supervisor.stop_token().clone());
        supervisor.spawn("follow other servers", async move {
            stop.run_until_cancelled(notifier.follow(&channel)).await;
        });
    }

    /// Never ends.
    async fn follow(&self, channel: &Channel) {
        let mut pause = PAUSE;
        loop {
            match self.connect(channel).await {
                Ok(mut listener) => {
                    // Changes before the connection were missed.
                    self.notify(Change::Unknown);
                    pause = PAUSE;
                    let error = self.pass_on(channel, &mut listener).await;
                    tracing::warn!(error = %edgeprove_telemetry::chain(&error), "the connection for notifications was lost");
                    // A regular close could take as long as the detection of the loss.
                    drop(listener);
                }
                Err(error) => {
                    let error = edgeprove_telemetry::chain(&error);
                    tracing::debug!(%error, "the connection for notifications could not be opened");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn connect(&self, channel: &Channel) -> Result<PgListener, StoreError> {
        let connecting = async {
            let mut listener = PgListener::connect(channel.url.expose()).await?;
            listener.eager_reconnect(false);
            listener.listen(&channel.name).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        let timed_out = |_| StoreError::TimedOut(PONG_MAX);
        Ok(tokio::time::timeout(PONG_MAX, connecting).await.map_err(timed_out)??)
    }

    /// Passes notifications on until the connection is lost.
    async fn pass_on(&self, channel: &Channel, listener: &mut PgListener) -> StoreError {
        loop {
            match tokio::time::timeout(PING_EVERY, listener.try_recv()).await {
                Ok(Ok(Some(notification))) => self.pass(channel, notification.payload()),
                Ok(Ok(None)) => return sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into()).into(),
                Ok(Err(error)) => return error.into(),
                // A dead connection looks like a quiet one.
                Err(_) => {
                    match tokio::time::timeout(PONG_MAX, sqlx::query("SELECT 1").execute(&mut *listener))
                        .await
                    {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return error.into(),
                        Err(_) => return StoreError::TimedOut(PONG_MAX),
                    }
                }
            }
        }
    }

    fn pass(&self, channel: &Channel, payload: &str) {
        let mut words = payload.split(' ');
        if words.next() == Some(&channel.origin) {
            return;
        }
        let change =
            words.next().and_then(|id| id.parse::<JobId>().ok()).map_or(Change::Unknown, Change::Job);
        self.notify(change);
        if words.next().is_some() {
            self.notify(Change::Work);
        }
    }
}
