//! What happened to jobs, told to everybody who waits for it, in this process and in the others.
//!
//! Within the process that is a broadcast. Between processes on one PostgreSQL it is `NOTIFY`, sent by the same statement
//! that makes the change, so that nobody hears of what did not happen and everything that did is told. Notices are lost
//! while the connection is: after that comes [`Change::Unknown`]. Whoever waits for work looks by itself now and then as
//! well, since a process may die between a change and its telling.

use std::time::Duration;

use edgeprove_protocol::JobId;
use sqlx::postgres::PgListener;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::queue::Change;
use crate::store::{Database, Durability, StoreError, postgres::PostgresUrl};
use edgeprove_telemetry::supervisor::Supervisor;

/// How many changes a listener may be behind. One that is further behind is told so by the channel, and takes it as
/// [`Change::Unknown`].
const BACKLOG: usize = 1024;
/// How often a quiet connection is asked whether it lives, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(15);
const PONG_MAX: Duration = Duration::from_secs(5);
/// The pause after a connection was lost, and what it grows to.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Tells what happens. Clones tell the same listeners.
#[derive(Debug, Clone)]
pub struct Wake {
    changes: broadcast::Sender<Change>,
    channel: Option<Channel>,
}

/// Where other processes are told.
#[derive(Debug, Clone)]
struct Channel {
    url: PostgresUrl,
    /// One for each schema: a database may hold several queues.
    name: String,
    /// This process, which has no need of its own notices.
    origin: String,
}

/// Which of its notices mean that there is work to begin.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// None.
    Never,
    /// All.
    Always,
    /// Those of jobs whose `status` is now `queued`.
    IfQueued,
}

impl Wake {
    /// For the jobs in this database.
    pub async fn new(database: &Database) -> Result<Self, StoreError> {
        let (changes, _) = broadcast::channel(BACKLOG);
        let Some(url) = database.postgres() else {
            return Ok(Self { changes, channel: None });
        };
        let mut session = database.session(Durability::Read).await?;
        // Quotes would end the text in which the name is sent; no schema of a sane mind has one.
        let name = "SELECT 'edgeprove_jobs_' || CAST(hashtext(current_schema()) AS TEXT) AS name";
        let row = session.row(name, []).await?.ok_or(sqlx::Error::RowNotFound)?;
        let name = sqlx::Row::try_get(&row, "name")?;
        let origin = Uuid::new_v4().simple().to_string();
        Ok(Self { changes, channel: Some(Channel { url: url.clone(), name, origin }) })
    }

    /// Tells this process.
    pub fn tell(&self, change: Change) {
        // Nobody listens: nobody has to be told.
        let _ = self.changes.send(change);
    }

    /// What happens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// The statement that also tells other processes. `id` is SQL for the job's id: a parameter of the statement, or a
    /// column that it returns.
    pub(super) fn telling(&self, statement: &'static str, id: &str, work: Work) -> sqlx::SqlStr {
        let Some(Channel { name, origin, .. }) = &self.channel else {
            return sqlx::SqlSafeStr::into_sql_str(statement);
        };
        let work = match work {
            Work::Never => "",
            Work::Always => " || ' work'",
            Work::IfQueued => " || CASE changed.status WHEN 'queued' THEN ' work' ELSE '' END",
        };
        let text = format!(
            "WITH changed AS ({statement}) SELECT changed.*, \
             CAST(pg_notify('{name}', '{origin} ' || {id}{work}) AS TEXT) AS told FROM changed"
        );
        sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(text))
    }

    /// Begins to tell this process what the others do, until the supervisor stops. Nothing to do where there are none.
    pub fn listen_to_others(&self, supervisor: &Supervisor) {
        let Some(channel) = self.channel.clone() else { return };
        let (wake, stop) = (self.clone(), supervisor.stop_token().clone());
        supervisor.spawn("listen to other servers", async move {
            stop.run_until_cancelled(wake.follow(&channel)).await;
        });
    }

    /// Never ends.
    async fn follow(&self, channel: &Channel) {
        let mut pause = PAUSE;
        loop {
            match self.connect(channel).await {
                Ok(mut listener) => {
                    // What happened before is known to nobody here.
                    self.tell(Change::Unknown);
                    pause = PAUSE;
                    let error = self.pass_on(channel, &mut listener).await;
                    tracing::warn!(error = %edgeprove_telemetry::chain(&error), "other servers are not heard for the moment");
                    // Closing it politely could take as long as finding out did.
                    drop(listener);
                }
                Err(error) => {
                    let error = edgeprove_telemetry::chain(&error);
                    tracing::debug!(%error, "other servers are not heard yet");
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

    /// Passes notices on until the connection is lost.
    async fn pass_on(&self, channel: &Channel, listener: &mut PgListener) -> StoreError {
        loop {
            match tokio::time::timeout(PING_EVERY, listener.try_recv()).await {
                Ok(Ok(Some(notice))) => self.pass(channel, notice.payload()),
                Ok(Ok(None)) => return sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into()).into(),
                Ok(Err(error)) => return error.into(),
                // A connection that died on the way looks like one on which nothing is said.
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
        self.tell(change);
        if words.next().is_some() {
            self.tell(Change::Work);
        }
    }
}
