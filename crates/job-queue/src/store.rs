//! The database: opening, migrations, connections and errors.
//!
//! It is a SQLite file in the data folder, or PostgreSQL where several servers share the jobs. Only this module and the texts of
//! statements depend on the choice: callers take a [`Session`] and give it a statement in both dialects. The module knows
//! nothing of jobs; it creates the tables of [`edgeprove_job_rules::sql`] because they belong to the version of the database.
//!
//! Imports run down this list only.
//! - [`sqlite`], [`postgres`]: how each database is opened, and its settings.
//! - [`location`]: where the database is.
//! - [`migrate`]: from one version of the tables to the next.
//! - [`session`]: a connection, with the database's clock.
//! - `shared_sync`: one disk sync for all callers that wait for one.
//! - [`error`]: errors of the database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use edgeprove_job_rules::sql::Dialect;
use sqlx::{AnyPool, any::install_default_drivers};
use tokio::sync::{Mutex, Semaphore};

pub use self::{
    error::{OpenError, StoreError},
    location::DatabaseLocation,
    session::{Durability, Session},
};
use self::{
    postgres::{Postgres, PostgresUrl},
    shared_sync::SharedSync,
    sqlite::{DataFolder, OpenFiles, Sqlite},
};

pub mod error;
pub mod location;
pub mod migrate;
pub mod postgres;
pub mod session;
mod shared_sync;
pub mod sqlite;

/// The longest wait for a connection, or for the turn to write.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The longest time for a statement. PostgreSQL itself ends it a little earlier, with a better reason.
pub const ANSWER_MAX: Duration = Duration::from_secs(12);

/// The database. Clones share the same connections.
#[derive(Debug, Clone)]
pub struct Database {
    dialect: Dialect,
    pools: Pools,
    /// The lock of the writer of SQLite. SQLite allows one writer at a time, but a writer that finds it busy tries again after
    /// pauses of up to 0.1 s and in no order. This lock is fair.
    turn: Option<Arc<Mutex<()>>>,
    /// Permits for sessions that read for callers: fewer than the connections.
    readers: Arc<Semaphore>,
    syncs: Arc<SharedSync>,
    /// Whether the last write failed.
    is_failing: Arc<AtomicBool>,
    postgres: Option<Arc<PostgresUrl>>,
    is_durable: bool,
    /// Its files, where it has some.
    files: Option<OpenFiles>,
    /// Locks the data folder against other servers.
    folder: Option<Arc<DataFolder>>,
}

/// Connections by durability. Where the database makes no difference they are the same.
#[derive(Debug, Clone)]
struct Pools {
    read: AnyPool,
    write: AnyPool,
}

impl Database {
    /// Opens the database, creates it if there is none, and migrates its tables to this version.
    pub async fn open(place: &DatabaseLocation) -> Result<Self, OpenError> {
        install_default_drivers();
        match place {
            DatabaseLocation::Memory => Self::of_sqlite(Sqlite::in_memory()?, None).await,
            DatabaseLocation::Folder(path) => Self::in_folder(DataFolder::claim(path)?).await,
            DatabaseLocation::Postgres(url) => Self::of_postgres(url.clone()).await,
        }
    }

    /// As [`Self::open`], in a folder that was claimed before.
    pub async fn in_folder(folder: DataFolder) -> Result<Self, OpenError> {
        install_default_drivers();
        let file = Sqlite::in_file(&folder.database())?;
        let mut database = Self::of_sqlite(file, Some(folder)).await?;
        // The log of the writes exists from the first write on.
        database.session(Durability::Write).await?.rows(migrate::TOUCH, []).await?;
        database.files = database.folder.as_ref().map(|folder| folder.open_files()).transpose()?;
        Ok(database)
    }

    /// Fails where [`Self::open`] would fail, as far as this shows without a connection and without a change on the disk.
    pub fn examine(place: &DatabaseLocation) -> Result<(), OpenError> {
        match place {
            DatabaseLocation::Folder(path) => DataFolder::examine(path),
            DatabaseLocation::Memory | DatabaseLocation::Postgres(_) => Ok(()),
        }
    }

    /// Connects to the database, if another program serves it, and returns the time of its clock. Nothing is changed: neither is
    /// a database created, nor are tables migrated. A folder is examined as by [`Self::examine`], and has no clock.
    pub async fn reach(place: &DatabaseLocation) -> Result<Option<SystemTime>, OpenError> {
        match place {
            DatabaseLocation::Folder(_) | DatabaseLocation::Memory => Self::examine(place).map(|()| None),
            DatabaseLocation::Postgres(url) => {
                install_default_drivers();
                Postgres::new(url).clock().await.map(Some)
            }
        }
    }

    async fn of_sqlite(sqlite: Sqlite, folder: Option<DataFolder>) -> Result<Self, OpenError> {
        let is_durable = folder.is_some();
        let pools = sqlite.open().await?;
        let turn = is_durable.then(Arc::default);
        // A database in memory has one connection.
        let readers = if is_durable { usize::from(sqlite::READERS - 1) } else { 1 };
        Ok(Self {
            dialect: Dialect::Sqlite,
            pools,
            turn,
            readers: Arc::new(Semaphore::new(readers)),
            syncs: Arc::default(),
            is_failing: Arc::default(),
            postgres: None,
            is_durable,
            files: None,
            folder: folder.map(Arc::new),
        })
    }

    async fn of_postgres(url: PostgresUrl) -> Result<Self, OpenError> {
        let pool = Postgres::new(&url).open().await?;
        Ok(Self {
            dialect: Dialect::Postgres,
            pools: Pools { read: pool.clone(), write: pool },
            turn: None,
            readers: Arc::new(Semaphore::new(postgres::READERS)),
            syncs: Arc::default(),
            is_failing: Arc::default(),
            postgres: Some(Arc::new(url)),
            is_durable: true,
            files: None,
            folder: None,
        })
    }

    /// The dialect of the database.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether written data outlives this process.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// Whether other servers may use it at the same time.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.postgres.is_some()
    }

    /// The URL of PostgreSQL, for connections that are no [`Session`].
    #[must_use]
    pub fn postgres(&self) -> Option<&PostgresUrl> {
        self.postgres.as_deref()
    }

    /// Whether the last write failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Takes a connection. Writers of SQLite get theirs one after the other, so drop it soon.
    pub async fn session(&self, durability: Durability) -> Result<Session, StoreError> {
        let turn = match (&self.turn, durability) {
            (None, _) | (_, Durability::Read | Durability::ReadForUpkeep) => None,
            (Some(turn), Durability::Write) => {
                let turn = tokio::time::timeout(CONNECT_MAX, Arc::clone(turn).lock_owned());
                Some(turn.await.map_err(|_| StoreError::TimedOut(CONNECT_MAX))?)
            }
        };
        let permit = match durability {
            Durability::Read => {
                let permit = Arc::clone(&self.readers).acquire_owned();
                let permit = tokio::time::timeout(CONNECT_MAX, permit).await;
                // The semaphore is never closed.
                permit.map_err(|_| sqlx::Error::PoolTimedOut)?.ok()
            }
            Durability::ReadForUpkeep | Durability::Write => None,
        };
        let pool = match durability {
            Durability::Read | Durability::ReadForUpkeep => &self.pools.read,
            Durability::Write => &self.pools.write,
        };
        let writes = durability == Durability::Write;
        let connection = pool.acquire().await.inspect_err(|_| {
            if writes {
                self.is_failing.store(true, Ordering::Relaxed);
            }
        })?;
        let is_failing = writes.then(|| Arc::clone(&self.is_failing));
        Ok(Session::new(connection, self.dialect, is_failing, (turn, permit)))
    }

    /// Fails if the database's file was removed or replaced: what is written from then on is lost when the server ends.
    pub async fn check_files(&self) -> Result<(), StoreError> {
        match &self.files {
            Some(files) => files.check().await,
            None => Ok(()),
        }
    }

    /// Returns once all earlier writes are durable, in the files that have the database's names. Concurrent callers share one
    /// sync.
    pub async fn sync(&self) -> Result<(), StoreError> {
        // PostgreSQL's commits are durable, and a database in memory never is.
        let Some(files) = &self.files else { return Ok(()) };
        self.syncs.after_this(async || files.sync().await).await.inspect_err(|_| {
            self.is_failing.store(true, Ordering::Relaxed);
        })
    }

    /// The number of syncs to the disk since it was opened.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.syncs.started()
    }

    /// Checks that the database answers, and that its files have their names.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.check_files().await?;
        self.session(Durability::Read).await?.now().await.map(drop)
    }

    /// Closes every connection, and gives up on those that are in use for too long. SQLite's log is then part of its file.
    pub async fn close(&self) {
        let Pools { read, write } = &self.pools;
        let closed = async {
            read.close().await;
            write.close().await;
        };
        if tokio::time::timeout(CONNECT_MAX, closed).await.is_err() {
            tracing::warn!("connections to the database were still in use at the end");
        }
    }
}
