//! SQLite: one file in a folder that one server uses alone.
//!
//! # Durability
//!
//! The file is in WAL mode, at `synchronous = NORMAL`: a commit writes to the log, and the kernel has the data. It survives the
//! death of this process, but a power failure may undo the last moment. Before a caller gets the answer that its job is accepted
//! or cancelled, the log is synced to the disk, which concurrent callers share: [`super::Database::sync`]. A commit that is no
//! longer in the log is durable too, because SQLite syncs log and database around each checkpoint
//! (<https://sqlite.org/pragma.html#pragma_synchronous>). The writes of workers do not wait for the disk: all workers are on this
//! machine and lose their leases by the same power failure, and the job runs again. Before data is deleted that an earlier commit
//! made superfluous, a sync is required.
//!
//! SQLite itself would sync the log in each commit at `FULL`. Such a commit takes ten times as long as one at `NORMAL`, and no
//! other writer can write meanwhile.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::Duration,
};

use edgeprove_files::{regular_file, trusted_path, writable_folder};
use edgeprove_job_rules::sql::Dialect;
use rustix::{
    fs::{Access, Mode},
    process::geteuid,
};
use sqlx::{
    AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _,
    any::{AnyConnectOptions, AnyPoolOptions},
};

use super::{ANSWER_MAX, CONNECT_MAX, OpenError, Pools, StoreError, migrate::migrate};

/// The number of reading connections, one of which is for upkeep. Each is a thread.
pub(super) const READERS: u8 = 3;

/// The settings of every connection: wait for a writer of another program, such as a backup; checkpoint the log in
/// steps of four megabytes, and shrink it after a burst.
const PRAGMAS: &str =
    "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 16777216; ";

/// The files of the database: its own, the log of its writes, the index of that log, and the log of another mode.
const FILES: [&str; 4] = ["edgeprove.db", LOG_FILE, "edgeprove.db-shm", "edgeprove.db-journal"];
/// The log of the writes.
const LOG_FILE: &str = "edgeprove.db-wal";
/// The file that a running server locks. Its content is the process id.
const LOCK_FILE: &str = "edgeprove.lock";
/// The longest wait for the file system when the files are compared.
const COMPARE_MAX: Duration = Duration::from_secs(5);

/// A folder that this server uses alone, as long as this value lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
    /// The folder's own descriptor, which is locked as well: the file with the lock can be removed.
    _folder_lock: File,
}

impl DataFolder {
    /// Creates the folder if there is none, closes it and the database to other users, and locks it against other servers.
    ///
    /// Fails if another user owns one of them, or could exchange the folder.
    pub fn claim(path: &Path) -> Result<Self, OpenError> {
        check_path(path)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(OpenError::folder("create the data folder", path))?;
        // SQLite gets the absolute path, so that the current folder does not matter.
        let path = path.canonicalize().map_err(OpenError::folder("find the data folder", path))?;
        restrict(&path).map_err(OpenError::folder("look at the data folder", &path))?;
        let found = fs::metadata(&path).map_err(OpenError::folder("look at the data folder", &path))?;
        trusted_path::check_folder(&path, &found)?;
        for name in FILES.into_iter().chain([LOCK_FILE]) {
            close_file(&path.join(name))?;
        }
        let lock = lock(&path)?;
        let folder_lock = lock_folder(&path)?;
        Ok(Self { path, _lock: lock, _folder_lock: folder_lock })
    }

    /// Fails where [`Self::claim`] and the database in the folder would fail, as far as this shows without a change on the
    /// disk. That another server uses the folder is no failure.
    pub fn examine(path: &Path) -> Result<(), OpenError> {
        check_path(path)?;
        writable_folder::check(path).map_err(OpenError::folder("use the data folder", path))?;
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(OpenError::folder("look at the data folder", path)(error)),
        };
        // The server closes the folder itself where it can.
        if !must_be_closed(path, &found).map_err(OpenError::folder("look at the data folder", path))? {
            trusted_path::check_folder(path, &found)?;
        }
        FILES.into_iter().chain([LOCK_FILE]).try_for_each(|name| examine_file(&path.join(name)))
    }

    /// The database's file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join(FILES[0])
    }

    /// The files of the open database, whose names are durable when this returns. Blocking.
    pub(super) fn open_files(&self) -> Result<OpenFiles, OpenError> {
        let log = self.path.join(LOG_FILE);
        let log = regular_file::open(&log).map_err(OpenError::folder("open", log))?;
        let synced = File::open(&self.path).and_then(|folder| folder.sync_all());
        synced.map_err(OpenError::folder("sync", &self.path))?;
        let mut files = Vec::new();
        for name in FILES {
            let path = self.path.join(name);
            match fs::metadata(&path) {
                Ok(found) => files.push((path, id(&found))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(OpenError::folder("look at", path)(error)),
            }
        }
        Ok(OpenFiles { names: files.into(), log: Arc::new(log) })
    }
}

/// The files that the connections of a database have open, by device and inode. Without their names, they are lost when
/// the server ends.
#[derive(Debug, Clone)]
pub(super) struct OpenFiles {
    names: Arc<[(PathBuf, (u64, u64))]>,
    /// The log of the writes. SQLite keeps it as long as a connection is open, and locks no part of it.
    log: Arc<File>,
}

impl OpenFiles {
    /// Fails if one of the names belongs to no file or to another one by now.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let files = self.clone();
        blocking(COMPARE_MAX, move || files.compare()).await
    }

    /// Syncs the log to the disk. Fails as [`Self::check`] does, too.
    pub(super) async fn sync(&self) -> Result<(), StoreError> {
        let files = self.clone();
        let sync = move || {
            files.log.sync_data().map_err(StoreError::from)?;
            files.compare()
        };
        blocking(ANSWER_MAX, sync).await
    }

    fn compare(&self) -> Result<(), StoreError> {
        let is_same = |(path, wanted): &(PathBuf, (u64, u64))| {
            // The file may be there although the file system fails. The database itself reports that.
            fs::metadata(path)
                .map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |found| id(&found) == *wanted)
        };
        match self.names.iter().find(|file| !is_same(file)) {
            Some((path, _)) => Err(StoreError::Replaced { path: path.clone() }),
            None => Ok(()),
        }
    }
}

/// Runs work that waits for the file system, and waits for it no longer than this.
async fn blocking(
    max: Duration,
    work: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    match tokio::time::timeout(max, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(outcome)) => outcome,
        // The runtime is shutting down.
        Ok(Err(_)) => Err(sqlx::Error::WorkerCrashed.into()),
        Err(_) => Err(StoreError::TimedOut(max)),
    }
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Closes a file to other users, if it exists. Only before the database is open: SQLite loses its locks on a file when
/// another descriptor of that file is closed.
fn close_file(path: &Path) -> Result<(), OpenError> {
    match regular_file::open(path) {
        Ok(file) => Ok(trusted_path::close_file(path, &file)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::folder("open", path)(error)),
    }
}

/// Fails where [`close_file`], or the first write to the file, would fail.
fn examine_file(path: &Path) -> Result<(), OpenError> {
    regular_file::check_path(path).map_err(OpenError::folder("open", path))?;
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::folder("open", path)(error)),
    };
    trusted_path::check_file(path, &found)?;
    rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK)
        .map_err(|error| OpenError::folder("write to", path)(error.into()))
}

/// Fails if another user could exchange the folder, or if SQLite could not get the path of the database.
fn check_path(folder: &Path) -> Result<(), OpenError> {
    trusted_path::check_parents(folder)?;
    let found = behind_links(folder).map_err(OpenError::folder("find the data folder", folder))?;
    url_of(&found.join(FILES[0])).map(drop)
}

/// The path behind all symbolic links, whether it exists or not.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    for existing in path.ancestors() {
        if let (Ok(found), Ok(rest)) = (existing.canonicalize(), path.strip_prefix(existing)) {
            return Ok(found.join(rest));
        }
    }
    Ok(path)
}

/// Locks the folder itself.
fn lock_folder(path: &Path) -> Result<File, OpenError> {
    let folder = File::open(path).map_err(OpenError::folder("open", path))?;
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned(), holder: None }),
        // Network file systems may lock no folders. The lock of the file must do there.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(folder),
    }
}

/// Closes the folder to other users if this user owns it and it has no files of other programs. The database's own files are
/// closed to them in any case.
fn restrict(path: &Path) -> io::Result<()> {
    let found = fs::metadata(path)?;
    if must_be_closed(path, &found)? {
        return fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    }
    if is_own_and_open(&found) {
        tracing::warn!(folder = %path.display(), "other users can enter the data folder: run chmod 700 on it");
    }
    Ok(())
}

/// Whether the folder is open to other users, and this server may close it.
fn must_be_closed(path: &Path, found: &Metadata) -> io::Result<bool> {
    Ok(is_own_and_open(found) && (path.join(LOCK_FILE).exists() || fs::read_dir(path)?.next().is_none()))
}

fn is_own_and_open(found: &Metadata) -> bool {
    const OTHERS: Mode = Mode::RWXG.union(Mode::RWXO);
    found.uid() == geteuid().as_raw() && Mode::from_raw_mode(found.mode()).intersects(OTHERS)
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = regular_file::open_with(&mut options, &path).map_err(OpenError::folder("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(OpenError::InUse { path: folder.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(OpenError::folder("lock", path)(source)),
    }
    // The process id is for the error message of another server. The lock itself decides.
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", process::id()));
    written.map_err(OpenError::folder("write to", path))?;
    Ok(file)
}

/// How a SQLite database is opened.
pub(super) struct Sqlite {
    options: AnyConnectOptions,
    in_file: bool,
}

/// The use of a connection.
#[derive(Clone, Copy)]
enum Role {
    Reader,
    Writer,
    /// The tables of a new version are durable before the first use.
    Migrator,
}

impl Role {
    fn pragmas(self) -> String {
        let own = match self {
            Self::Reader => "PRAGMA query_only = ON",
            Self::Writer => "PRAGMA synchronous = NORMAL",
            Self::Migrator => "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
        };
        format!("{PRAGMAS}{own}")
    }
}

impl Sqlite {
    /// A database in memory, which ends with the process.
    pub(super) fn in_memory() -> Result<Self, OpenError> {
        Ok(Self { options: options("sqlite::memory:")?, in_file: false })
    }

    /// A database in a file, which is made if there is none, for its owner alone. SQLite gives the files beside it the
    /// same mode.
    pub(super) fn in_file(path: &Path) -> Result<Self, OpenError> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match made {
            // The file's name must be durable too.
            Ok(_) => path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => regular_file::check_path(path),
            Err(error) => Err(error),
        }
        .map_err(OpenError::folder("create", path))?;
        Ok(Self { options: options(&url_of(path)?)?, in_file: true })
    }

    /// Opens it and brings it up to date.
    pub(super) async fn open(&self) -> Result<Pools, OpenError> {
        if !self.in_file {
            // The database lives as long as its one connection, which is therefore never closed.
            let pool = pool(1, Role::Writer).min_connections(1).connect_with(self.options.clone()).await?;
            migrate(&mut *pool.acquire().await?, Dialect::Sqlite).await?;
            return Ok(Pools { read: pool.clone(), write: pool });
        }
        // A separate connection, because a pool would retry for ever on a file that is no database.
        let mut first = AnyConnection::connect_with(&self.options).await?;
        first.execute(sqlx::AssertSqlSafe(Role::Migrator.pragmas())).await?;
        migrate(&mut first, Dialect::Sqlite).await?;
        first.close().await?;
        let open = |role, connections| self.pool_of(role, connections);
        Ok(Pools { write: open(Role::Writer, 1).await?, read: open(Role::Reader, READERS.into()).await? })
    }

    async fn pool_of(&self, role: Role, connections: u32) -> Result<AnyPool, OpenError> {
        Ok(pool(connections, role).connect_with(self.options.clone()).await?)
    }
}

/// Connections that stay open: opening one costs more than keeping it.
fn pool(connections: u32, role: Role) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_MAX)
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                connection.execute(sqlx::AssertSqlSafe(role.pragmas())).await?;
                Ok(())
            })
        })
}

/// The file's URL, in which a path's own percent signs, question marks and hashes are none of the URL's.
fn url_of(path: &Path) -> Result<String, OpenError> {
    let not_text = || io::Error::new(io::ErrorKind::InvalidInput, "its path is not UTF-8");
    let text = path.to_str().ok_or_else(not_text).map_err(OpenError::folder("open", path))?;
    let text = text.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    Ok(format!("sqlite://{text}?mode=rw"))
}

fn options(url: &str) -> Result<AnyConnectOptions, OpenError> {
    Ok(url.parse::<AnyConnectOptions>()?.disable_statement_logging())
}
