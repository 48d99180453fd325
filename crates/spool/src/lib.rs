//! Private files for witnesses: a dropped file is overwritten and removed.
//!
//! A spool is one directory that several servers may share. Each server has a folder of its own in it, which only its
//! user may enter, and which is locked while the server's process runs. A server that starts wipes the folders that no
//! process has locked: their servers have died.
//!
//! One thread does the wiping, so that dropping a large upload never delays the async runtime. On a `tmpfs` the zeros
//! overwrite the pages themselves. Elsewhere they are flushed to the disk before the file is removed; a file system
//! that does not write in place may still hold the old blocks.
//!
//! Reading order: [`Spool`] is all that other crates use.
//!
//! Imports run down this list only.
//!
//! - [`shared_directory`]: the directory that servers share, and the folders in it.
//! - [`wiper_thread`]: the thread that wipes dropped files.
//! - [`plain_tree`]: removes a folder without overwriting its files.
//! - [`gunzip`]: decompresses gzip, and wipes its own memory.
//! - [`zero_fill`]: overwrites one file.
//! - [`error`]: errors by the action that an operator has to take.
//! - [`budget`]: bounds the bytes of all files, and divides them among owners.

mod budget;
mod error;
pub mod gunzip;
mod plain_tree;
mod shared_directory;
mod wiper_thread;
pub mod zero_fill;

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use tokio::sync::watch;
use uuid::Uuid;

pub use budget::{Bound, Budget, Share};
pub use error::SpoolError;
use gunzip::Gunzip;
use shared_directory::SharedDirectory;
use wiper_thread::WipeJob;

/// Prefix of the name of a folder whose files hold no secrets.
pub(crate) const PLAIN_PREFIX: &str = "plain-";

/// A directory for witnesses. Clones share it. Dropping the last clone waits for the last wipe.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let home = tempfile::tempdir()?;
/// let spool = edgeprove_spool::Spool::open(&home.path().join("spool"))?;
/// let mut file = spool.create()?;
/// file.append("a witness".into()).await?;
/// assert_eq!((file.len(), spool.len()), (9, 1));
///
/// let path = file.path().to_owned();
/// drop(file);
/// spool.drained().await;
/// assert!(!path.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Spool {
    folder: Arc<Folder>,
    /// Whose share of the budget new files count against.
    owner: Option<Arc<str>>,
}

/// This server's own folder in the spool.
#[derive(Debug)]
struct Folder {
    /// The directory that servers share.
    dir: PathBuf,
    path: PathBuf,
    swept: usize,
    budget: Arc<Budget>,
    /// The number of files and folders that exist, including those that wait to be wiped.
    present: Arc<watch::Sender<usize>>,
    /// `None` only while the folder is being dropped.
    jobs: Option<mpsc::Sender<WipeJob>>,
    wiper: Option<JoinHandle<()>>,
    /// The folder's descriptor. Its lock marks the folder as in use for other servers; the kernel unlocks it when the
    /// process ends. Files are created relative to it, so that nobody can exchange the folder on the way.
    lock: Mutex<File>,
}

impl Spool {
    /// Opens a spool whose files may have any number of bytes. See [`Self::open_bounded`].
    pub fn open(dir: &Path) -> Result<Self, SpoolError> {
        Self::open_bounded(dir, u64::MAX)
    }

    /// Opens a spool whose files together may have `max_bytes`: creates the directory if it does not exist, wipes the
    /// folders of servers that have died, and checks that files can be written. Blocking.
    ///
    /// Fails if the directory is a symbolic link or a file, full or read-only, or if a user other than this one and root
    /// owns it or could exchange it. Also fails if it is open to other users and has entries that no spool created: it may then serve another
    /// purpose.
    pub fn open_bounded(dir: &Path, max_bytes: u64) -> Result<Self, SpoolError> {
        let shared = SharedDirectory::open(dir)?;
        let swept = shared.sweep()?;
        let path = shared.new_folder_path();
        let lock = shared.claim(&path)?.into();

        let present = Arc::new(watch::Sender::new(0));
        let (jobs, queue) = mpsc::channel();
        let count = Arc::clone(&present);
        let wiper = thread::Builder::new()
            .name("spool-wiper".to_owned())
            .spawn(move || wiper_thread::run(&queue, &count))
            .map_err(|error| SpoolError::of("start the wiper thread for", &path, error))?;
        let (dir, wiper) = (dir.to_owned(), Some(wiper));
        let budget = Arc::new(Budget::new(max_bytes));
        let folder = Folder { dir, path, swept, budget, present, jobs: Some(jobs), wiper, lock };
        Ok(Self { folder: Arc::new(folder), owner: None })
    }

    /// Fails where [`Self::open`] would fail, as far as this shows without a change on the disk: the directory is not one,
    /// is not writable, belongs to another user or serves another purpose.
    pub fn examine(dir: &Path) -> Result<(), SpoolError> {
        shared_directory::examine(dir)
    }

    /// The same spool, for files of this owner. An owner may take as many bytes as would still be free after it, so that
    /// nobody fills the spool alone.
    #[must_use]
    pub fn of_owner(&self, owner: &str) -> Self {
        Self { folder: Arc::clone(&self.folder), owner: Some(Arc::from(owner)) }
    }

    /// Creates an empty file for one upload, with mode 0600.
    pub fn create(&self) -> Result<SpoolFile, SpoolError> {
        let name = format!("{}.witness.gz", Uuid::new_v4());
        // Exclusive creation follows no symbolic link.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = self.folder.path.join(&name);
        let file = self.folder.create(&path, |folder| {
            rustix::fs::openat(folder, name.as_str(), flags, Mode::RUSR | Mode::WUSR)
        })?;
        self.folder.count_one();
        let share = Share::new(Arc::clone(&self.folder.budget), self.owner.clone());
        let (wiped, outcome) = (Mutex::new(false), watch::Sender::new(None));
        let content = Arc::new(Content { path, file: file.into(), share, wiped, outcome });
        Ok(SpoolFile { content, len: 0, folder: Arc::clone(&self.folder) })
    }

    /// Creates an empty folder for the files of a prover process, with mode 0700. Dropping it wipes everything in it.
    pub fn create_dir(&self) -> Result<SpoolDir, SpoolError> {
        self.create_dir_named(&Uuid::new_v4().to_string(), WipeJob::Dir)
    }

    /// Creates an empty folder for files without secrets, with mode 0700. Dropping it removes everything in it, as does
    /// the next start after this server was killed. Its files are not overwritten.
    pub fn create_plain_dir(&self) -> Result<SpoolDir, SpoolError> {
        self.create_dir_named(&format!("{PLAIN_PREFIX}{}", Uuid::new_v4()), WipeJob::PlainDir)
    }

    fn create_dir_named(&self, name: &str, wipe: fn(PathBuf) -> WipeJob) -> Result<SpoolDir, SpoolError> {
        let path = self.folder.path.join(name);
        self.folder.create(&path, |folder| rustix::fs::mkdirat(folder, name, Mode::RWXU))?;
        self.folder.count_one();
        Ok(SpoolDir { path, folder: Arc::clone(&self.folder), wipe })
    }

    /// The number of files and folders that exist, including those that wait to be wiped.
    #[must_use]
    pub fn len(&self) -> usize {
        *self.folder.present.borrow()
    }

    /// Whether no file or folder exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of all files, including those that wait to be wiped.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.folder.budget.used_bytes()
    }

    /// The number of files that [`Self::open`] wiped because their servers had died.
    #[must_use]
    pub fn swept(&self) -> usize {
        self.folder.swept
    }

    /// This server's own folder, for log messages and tests.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder.path
    }

    /// Waits until every file and folder is dropped and wiped. Without a timeout it may wait for ever.
    pub async fn drained(&self) {
        let mut present = self.folder.present.subscribe();
        // The sender lives in the folder, which lives as long as `self`.
        let _ = present.wait_for(|count| *count == 0).await;
    }
}

impl Folder {
    /// Creates a file or folder, and before it the server's folder if someone has removed that since the start.
    fn create<T>(
        &self,
        path: &Path,
        create: impl Fn(&File) -> rustix::io::Result<T>,
    ) -> Result<T, SpoolError> {
        let first = create(&self.lock.lock());
        let created = match first {
            Err(rustix::io::Errno::NOENT) => {
                self.recreate()?;
                create(&self.lock.lock())
            }
            outcome => outcome,
        };
        created.map_err(|error| SpoolError::of("create", path, error.into()))
    }

    fn recreate(&self) -> Result<(), SpoolError> {
        let mut lock = self.lock.lock();
        // A concurrent request may have created it already.
        if !self.path.exists() {
            *lock = SharedDirectory::open(&self.dir)?.claim(&self.path)?;
            tracing::warn!(spool = %self.path.display(), "the spool folder had been removed; created it again");
        }
        Ok(())
    }

    fn count_one(&self) {
        self.present.send_modify(|count| *count += 1);
    }

    fn wipe(&self, job: WipeJob) {
        if let Some(jobs) = &self.jobs
            && let Err(mpsc::SendError(job)) = jobs.send(job)
        {
            wiper_thread::wipe(&job, &self.present);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(wiper) = self.wiper.take()
            && wiper.join().is_err()
        {
            tracing::error!(spool = %self.path.display(), "the wiper thread of the spool panicked");
        }
        if let Err(error) = fs::remove_dir(&self.path) {
            tracing::warn!(spool = %self.path.display(), %error, "the spool folder could not be removed; the next start tries again");
        }
    }
}

/// The file of one upload. Dropping it overwrites and removes it.
#[derive(Debug)]
pub struct SpoolFile {
    content: Arc<Content>,
    len: u64,
    folder: Arc<Folder>,
}

impl SpoolFile {
    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.content.path
    }

    /// The number of bytes written.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes at the end, on a thread that may block.
    pub async fn append(&mut self, bytes: Bytes) -> Result<(), SpoolError> {
        let (at, count) = (self.len, bytes.len() as u64);
        self.content
            .share
            .take(count)
            .map_err(|bound| SpoolError::OverBudget { bound, max_bytes: self.folder.budget.max_bytes() })?;
        let content = Arc::clone(&self.content);
        let written = tokio::task::spawn_blocking(move || content.write(&bytes, at)).await;
        written.map_err(|error| SpoolError::of("write to", self.path(), error.into()))??;
        self.len += count;
        Ok(())
    }

    /// Opens the file for reading from its beginning, decompressed as gzip. Reading blocks.
    pub fn decompressed(&self) -> Result<Gunzip<File>, SpoolError> {
        self.source().decompressed()
    }

    /// Observes what becomes of the file after it is dropped.
    #[must_use]
    pub fn wipe_observer(&self) -> WipeObserver {
        WipeObserver(self.content.outcome.subscribe())
    }

    /// What opens the file again.
    #[must_use]
    pub fn source(&self) -> SpoolSource {
        SpoolSource(Arc::clone(&self.content))
    }
}

/// Observes what becomes of a file after it is dropped.
#[derive(Debug, Clone)]
pub struct WipeObserver(watch::Receiver<Option<bool>>);

impl WipeObserver {
    /// Waits until the file was dropped and its wipe has ended. Returns whether its content was overwritten and it has no
    /// name any more, neither its own nor another one. Without a timeout it waits as long as the file lives.
    pub async fn is_wiped(mut self) -> bool {
        self.0.wait_for(Option::is_some).await.is_ok_and(|outcome| *outcome == Some(true))
    }
}

/// Opens a spooled file again, for as long as its [`SpoolFile`] lives.
#[derive(Debug, Clone)]
pub struct SpoolSource(Arc<Content>);

impl SpoolSource {
    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Opens the file for reading from its beginning. Fails if its path names another file by now.
    pub fn open(&self) -> Result<File, SpoolError> {
        self.0.reopen()
    }

    /// Opens the file for reading from its beginning, decompressed as gzip. Reading blocks.
    pub fn decompressed(&self) -> Result<Gunzip<File>, SpoolError> {
        Ok(Gunzip::new(self.open()?))
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        self.folder.wipe(WipeJob::File(Arc::clone(&self.content)));
    }
}

/// A folder for the files of another process. Dropping it removes everything in it.
#[derive(Debug)]
pub struct SpoolDir {
    path: PathBuf,
    folder: Arc<Folder>,
    /// What the wiper does with it.
    wipe: fn(PathBuf) -> WipeJob,
}

impl SpoolDir {
    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpoolDir {
    fn drop(&mut self) {
        self.folder.wipe((self.wipe)(std::mem::take(&mut self.path)));
    }
}

/// A file with the descriptor that wipes it. An open descriptor works even when no further file can be opened.
#[derive(Debug)]
struct Content {
    path: PathBuf,
    file: File,
    share: Share,
    /// Set before the file is overwritten: a write that is still running then must not follow the zeros.
    wiped: Mutex<bool>,
    /// `None` until the wipe has ended; then whether nothing is left.
    outcome: watch::Sender<Option<bool>>,
}

impl Content {
    fn write(&self, bytes: &[u8], at: u64) -> Result<(), SpoolError> {
        let wiped = self.wiped.lock();
        if *wiped {
            return Err(SpoolError::Wiped { path: self.path.clone() });
        }
        self.file.write_all_at(bytes, at).map_err(|error| SpoolError::of("write to", &self.path, error))
    }

    /// Opens the file for reading, and checks that it is the file that was written.
    fn reopen(&self) -> Result<File, SpoolError> {
        let failed = |error| SpoolError::of("open", &self.path, error);
        // An entry that someone put in its place may be a FIFO, which would block.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&self.path).map_err(failed)?;
        let identity = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
        if identity(&file).map_err(failed)? == identity(&self.file).map_err(failed)? {
            Ok(file)
        } else {
            Err(SpoolError::Replaced { path: self.path.clone() })
        }
    }

    /// Overwrites and removes the file, and lets observers know whether anything is left of it.
    fn wipe(&self) -> io::Result<()> {
        let wiped = self.overwrite_and_remove();
        let is_gone = || {
            let has_no_name = self.file.metadata().is_ok_and(|found| found.nlink() == 0);
            let is_missing =
                fs::symlink_metadata(&self.path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            has_no_name && is_missing
        };
        self.outcome.send_replace(Some(wiped.is_ok() && is_gone()));
        wiped
    }

    fn overwrite_and_remove(&self) -> io::Result<()> {
        let mut wiped = self.wiped.lock();
        *wiped = true;
        let overwritten = zero_fill::overwrite(&self.file);
        self.share.give_back();
        match fs::remove_file(&self.path) {
            // Someone removed the name before. The content is overwritten all the same.
            Err(error) if error.kind() == io::ErrorKind::NotFound => overwritten,
            removed => removed.and(overwritten),
        }
    }
}

#[cfg(test)]
mod tests;
