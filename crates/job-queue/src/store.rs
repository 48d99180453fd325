//! The database: opened, kept at one version, and asked.
//!
//! It is a SQLite file in the data folder, or PostgreSQL where several servers share the work. Which one is seen here and
//! in the texts of statements, nowhere else: whoever asks takes a [`Session`] and gives it a statement in both dialects.
//! The room knows nothing of jobs; it makes the tables that `edgeprove_job_rules::sql` describes because they are a part
//! of the database's version.
//!
//! - [`place`]: where the database is. [`sqlite`] and [`postgres`]: how each is opened, and what it is told to keep to.
//! - [`session`]: a connection for a while, with the database's clock.
//! - `shared_sync`: one trip to the disk for all who wait for one.
//! - [`migrate`]: from one version of the tables to the next.
//! - [`error`]: what can go wrong.

use std::{sync::Arc, time::Duration};

use edgeprove_job_rules::sql::Dialect;
use sqlx::{AnyPool, any::install_default_drivers};
use tokio::sync::Mutex;

pub use self::{
    error::{OpenError, StoreError},
    location::DatabaseLocation,
    session::{Durability, Session},
};
use self::{
    postgres::{Postgres, PostgresUrl},
    shared_sync::SharedSync,
    sqlite::{DataFolder, Sqlite},
};

pub mod error;
pub mod location;
pub mod migrate;
pub mod postgres;
pub mod session;
mod shared_sync;
pub mod sqlite;

/// Longest wait for a connection, or for one's turn to write.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest time for a statement. PostgreSQL itself ends it a little earlier, which gives the better reason.
pub const ANSWER_MAX: Duration = Duration::from_secs(12);

/// The database. Clones share the same connections.
#[derive(Debug, Clone)]
pub struct Database {
    dialect: Dialect,
    pools: Pools,
    /// Whoever writes to SQLite has it. It lets one writer in at a time anyway, but those that find it busy try again
    /// after pauses of up to a tenth of a second and in no order; here they stand in line.
    turn: Option<Arc<Mutex<()>>>,
    syncs: Arc<SharedSync>,
    postgres: Option<Arc<PostgresUrl>>,
    is_kept: bool,
    /// Keeps other servers out of the data folder.
    _folder: Option<Arc<DataFolder>>,
}

/// Connections by what they promise. Where the database needs no difference they are the same ones.
#[derive(Debug, Clone)]
struct Pools {
    read: AnyPool,
    write: AnyPool,
    write_durably: AnyPool,
}

impl Database {
    /// Opens the database, making it if there is none, and brings its tables to this server's version.
    pub async fn open(place: &DatabaseLocation) -> Result<Self, OpenError> {
        install_default_drivers();
        match place {
            DatabaseLocation::Memory => Self::of_sqlite(Sqlite::in_memory()?, None).await,
            DatabaseLocation::Folder(path) => {
                let folder = DataFolder::claim(path)?;
                let file = Sqlite::in_file(&folder.database())?;
                Self::of_sqlite(file, Some(folder)).await
            }
            DatabaseLocation::Postgres(url) => Self::of_postgres(url.clone()).await,
        }
    }

    async fn of_sqlite(sqlite: Sqlite, folder: Option<DataFolder>) -> Result<Self, OpenError> {
        let is_kept = folder.is_some();
        let pools = sqlite.open().await?;
        let turn = is_kept.then(Arc::default);
        Ok(Self {
            dialect: Dialect::Sqlite,
            pools,
            turn,
            syncs: Arc::default(),
            postgres: None,
            is_kept,
            _folder: folder.map(Arc::new),
        })
    }

    async fn of_postgres(url: PostgresUrl) -> Result<Self, OpenError> {
        let pool = Postgres::new(&url).open().await?;
        Ok(Self {
            dialect: Dialect::Postgres,
            pools: Pools { read: pool.clone(), write: pool.clone(), write_durably: pool },
            turn: None,
            syncs: Arc::default(),
            postgres: Some(Arc::new(url)),
            is_kept: true,
            _folder: None,
        })
    }

    /// Which of the two it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether what is written outlives this process.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Whether other servers may use it at the same time.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.postgres.is_some()
    }

    /// Where PostgreSQL is, for whoever needs a connection of a kind that a [`Session`] is not.
    #[must_use]
    pub fn postgres(&self) -> Option<&PostgresUrl> {
        self.postgres.as_deref()
    }

    /// A connection for a while. Writers of SQLite get theirs one after the other: let go of it soon.
    pub async fn session(&self, promise: Durability) -> Result<Session, StoreError> {
        let turn = match (&self.turn, promise) {
            (None, _) | (_, Durability::Read) => None,
            (Some(turn), Durability::Write | Durability::WriteDurably) => {
                let turn = tokio::time::timeout(CONNECT_MAX, Arc::clone(turn).lock_owned());
                Some(turn.await.map_err(|_| StoreError::TimedOut(CONNECT_MAX))?)
            }
        };
        let pool = match promise {
            Durability::Read => &self.pools.read,
            Durability::Write => &self.pools.write,
            Durability::WriteDurably => &self.pools.write_durably,
        };
        Ok(Session::new(pool.acquire().await?, self.dialect, turn))
    }

    /// Returns once everything that was written before is on the disk. Those who ask at the same time share the trip.
    pub async fn sync(&self) -> Result<(), StoreError> {
        match (self.dialect, self.is_kept) {
            // A commit was on the disk before it was answered; and what is not kept is on none.
            (Dialect::Postgres, _) | (Dialect::Sqlite, false) => Ok(()),
            // A durable commit takes along what is before it in the same log.
            (Dialect::Sqlite, true) => {
                let touch = async || {
                    let mut session = self.session(Durability::WriteDurably).await?;
                    session.rows(migrate::TOUCH, []).await.map(drop)
                };
                self.syncs.after_this(touch).await
            }
        }
    }

    /// Whether it answers.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.session(Durability::Read).await?.now().await.map(drop)
    }

    /// Closes every connection. SQLite's log is then part of its file.
    pub async fn close(&self) {
        let Pools { read, write, write_durably } = &self.pools;
        for pool in [read, write, write_durably] {
            pool.close().await;
        }
    }
}
