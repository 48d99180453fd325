//! Files for witnesses, which overwrite and remove themselves when dropped.
//!
//! A spool is one directory that several servers may share. Each keeps its files in a folder of its own, entered
//! by its owner alone and locked for as long as the process lives, whichever way it ends. A server that starts
//! wipes the folders nobody holds: what a crash left behind.
//!
//! Wiping is the work of one thread, so that dropping a large upload never holds up the async runtime. On a
//! `tmpfs` it overwrites the very pages; elsewhere the zeros are flushed to the disk before the name goes, which is
//! as much as a file system that does not write in place lets anybody do.

mod error;
mod wipe;

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{
        DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use rustix::{fs::OFlags, io::Errno, process::geteuid};
use tokio::sync::watch;
use uuid::Uuid;

pub use error::SpoolError;
use wipe::Job;

/// What the name of every server's own folder begins with.
const FOLDER_PREFIX: &str = "server-";
/// How long another server may take to look through the spool while this one starts.
const LOOKING_THROUGH_MAX: Duration = Duration::from_secs(10);
/// What is written and removed once at start.
const PROBE: [u8; 4096] = [0; 4096];

/// A directory for witnesses. Clones share it; the last one to go waits for the last wipe.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: Arc<Folder>,
}

/// This server's own folder in the spool.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    swept: usize,
    /// Files and folders that exist, those being wiped included.
    present: Arc<watch::Sender<usize>>,
    /// `None` only while the folder is being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    wiper: Option<JoinHandle<()>>,
    /// Tells every other server that this folder is in use; let go by the kernel when the process ends.
    _lock: File,
}

impl Spool {
    /// Opens a spool: makes the directory if need be, wipes what dead servers left in it and sees that it can be
    /// written to.
    ///
    /// Fails if the directory is a symbolic link, if it is open to others and holds anything but spool folders,
    /// since it may then not be meant for this, and if it is full or read-only.
    pub fn open(dir: &Path) -> Result<Self, SpoolError> {
        // Without its trailing slash, behind which a symbolic link would be followed after all.
        let dir: PathBuf = dir.components().collect();
        let root = open_root(&dir)?;
        lock_root(&root, &dir)?;
        let swept = sweep(&dir)?;
        let path = dir.join(format!("{FOLDER_PREFIX}{}", Uuid::new_v4()));
        make_dir(&path)?;
        let lock = open_dir(&path).map_err(|error| SpoolError::of("open", &path, error))?;
        lock.try_lock().map_err(|error| SpoolError::of("lock", &path, error.into()))?;
        drop(root);

        let present = Arc::new(watch::Sender::new(0));
        let (jobs, queue) = mpsc::channel();
        let count = Arc::clone(&present);
        let wiper = thread::Builder::new()
            .name("spool-wiper".to_owned())
            .spawn(move || wipe::run(&queue, &count))
            .map_err(|error| SpoolError::of("start the wiper of", &path, error))?;
        let folder = Folder { path, swept, present, jobs: Some(jobs), wiper: Some(wiper), _lock: lock };
        let spool = Self { folder: Arc::new(folder) };
        probe(spool.path())?;
        Ok(spool)
    }

    /// A new, empty file for one upload.
    pub fn create(&self) -> Result<SpoolFile, SpoolError> {
        let path = self.folder.path.join(format!("{}.witness.gz", Uuid::new_v4()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            // Exclusive creation follows no symbolic link either.
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| SpoolError::of("create", &path, error))?;
        self.folder.one_more();
        let body = Arc::new(Body { path, file, wiped: Mutex::new(false) });
        Ok(SpoolFile { body, len: 0, folder: Arc::clone(&self.folder) })
    }

    /// A new, empty folder for what bb writes. Whatever is in it when it is dropped is wiped with it.
    pub fn create_dir(&self) -> Result<SpoolDir, SpoolError> {
        let path = self.folder.path.join(Uuid::new_v4().to_string());
        make_dir(&path)?;
        self.folder.one_more();
        Ok(SpoolDir { path, folder: Arc::clone(&self.folder) })
    }

    /// How many files and folders exist at the moment, those being wiped included.
    #[must_use]
    pub fn len(&self) -> usize {
        *self.folder.present.borrow()
    }

    /// Whether nothing is spooled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many files of dead servers were wiped when the spool was opened.
    #[must_use]
    pub fn swept(&self) -> usize {
        self.folder.swept
    }

    /// This server's own folder, for messages and tests.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder.path
    }

    /// Waits until every file and folder is dropped and wiped. The caller bounds the wait.
    pub async fn drained(&self) {
        let mut present = self.folder.present.subscribe();
        // The sender lives in the folder, which lives as long as `self`.
        let _ = present.wait_for(|count| *count == 0).await;
    }
}

impl Folder {
    fn one_more(&self) {
        self.present.send_modify(|count| *count += 1);
    }

    fn wipe(&self, job: Job) {
        if let Some(jobs) = &self.jobs
            && let Err(mpsc::SendError(job)) = jobs.send(job)
        {
            wipe::one(&job, &self.present);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(wiper) = self.wiper.take()
            && wiper.join().is_err()
        {
            tracing::error!(spool = %self.path.display(), "the spool's wiper panicked");
        }
        if let Err(error) = fs::remove_dir(&self.path) {
            tracing::warn!(spool = %self.path.display(), %error, "the spool folder stays until the next start");
        }
    }
}

/// One upload's file. Dropping it overwrites and removes it.
#[derive(Debug)]
pub struct SpoolFile {
    body: Arc<Body>,
    len: u64,
    folder: Arc<Folder>,
}

impl SpoolFile {
    /// Where the file is, for bb.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.body.path
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes at the end, on a thread where waiting for the disk hurts nobody.
    pub async fn append(&mut self, bytes: Bytes) -> Result<(), SpoolError> {
        let (at, count) = (self.len, bytes.len() as u64);
        let body = Arc::clone(&self.body);
        let written = tokio::task::spawn_blocking(move || body.write(&bytes, at)).await;
        written.map_err(|error| SpoolError::of("write to", self.path(), error.into()))??;
        self.len += count;
        Ok(())
    }

    /// Reads the file from its beginning, inflated. Blocking.
    pub fn inflated(&self) -> Result<GzDecoder<File>, SpoolError> {
        let file = File::open(self.path()).map_err(|error| SpoolError::of("open", self.path(), error))?;
        Ok(GzDecoder::new(file))
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        self.folder.wipe(Job::File(Arc::clone(&self.body)));
    }
}

/// A folder for what bb writes. Dropping it wipes it with everything in it.
#[derive(Debug)]
pub struct SpoolDir {
    path: PathBuf,
    folder: Arc<Folder>,
}

impl SpoolDir {
    /// Where the folder is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpoolDir {
    fn drop(&mut self) {
        self.folder.wipe(Job::Dir(std::mem::take(&mut self.path)));
    }
}

/// A file and the descriptor it is wiped through, which still works when no further file can be opened.
#[derive(Debug)]
struct Body {
    path: PathBuf,
    file: File,
    /// A write that was under way when its request was dropped must not land after the zeros.
    wiped: Mutex<bool>,
}

impl Body {
    fn write(&self, bytes: &[u8], at: u64) -> Result<(), SpoolError> {
        let wiped = self.wiped.lock().unwrap_or_else(PoisonError::into_inner);
        let written = if *wiped {
            Err(io::Error::other("the file has been wiped"))
        } else {
            self.file.write_all_at(bytes, at)
        };
        written.map_err(|error| SpoolError::of("write to", &self.path, error))
    }

    fn wipe(&self) -> io::Result<()> {
        let mut wiped = self.wiped.lock().unwrap_or_else(PoisonError::into_inner);
        *wiped = true;
        let overwritten = wipe::overwrite(&self.file);
        fs::remove_file(&self.path).and(overwritten)
    }
}

/// Opens the spool's directory, making it if need be and closing it to others if it is ours.
fn open_root(dir: &Path) -> Result<File, SpoolError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .or_else(|error| if fs::symlink_metadata(dir).is_ok() { Ok(()) } else { Err(error) })
        .map_err(|error| SpoolError::of("create", dir, error))?;
    let root = open_dir(dir).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOTDIR | Errno::LOOP) => SpoolError::NotADirectory { path: dir.to_owned() },
        _ => SpoolError::of("open", dir, error),
    })?;
    let failed = |error| SpoolError::of("look at", dir, error);
    let found = root.metadata().map_err(failed)?;
    // A directory of someone else's, such as a mounted tmpfs, is left as it is: the folder inside is closed.
    if found.uid() != geteuid().as_raw() || found.mode() & 0o7777 == 0o700 {
        return Ok(root);
    }
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !is_folder_of_a_server(&entry) {
            return Err(SpoolError::HoldsOtherFiles { path: dir.to_owned(), example: entry.path() });
        }
    }
    root.set_permissions(fs::Permissions::from_mode(0o700))
        .map_err(|error| SpoolError::of("restrict", dir, error))?;
    Ok(root)
}

/// Keeps other servers from looking through the spool until the descriptor is closed, so that none mistakes a
/// folder which is made but not yet locked for an orphan.
fn lock_root(root: &File, dir: &Path) -> Result<(), SpoolError> {
    let give_up = Instant::now() + LOOKING_THROUGH_MAX;
    loop {
        match root.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(SpoolError::of("lock", dir, error.into())),
        }
    }
}

/// Wipes the folders that no living server holds, and returns how many files that were.
fn sweep(dir: &Path) -> Result<usize, SpoolError> {
    let mut swept = 0;
    let failed = |error| SpoolError::of("look through", dir, error);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if !is_folder_of_a_server(&entry) {
            continue;
        }
        let Ok(folder) = open_dir(&path) else { continue };
        let ours = folder.metadata().is_ok_and(|found| found.uid() == geteuid().as_raw());
        if !ours || folder.try_lock().is_err() {
            continue;
        }
        let (files, result) = wipe::tree(&path);
        swept += files;
        match result {
            Ok(()) => {
                tracing::warn!(folder = %path.display(), files, "wiped what a dead server left in the spool");
            }
            Err(error) => {
                tracing::error!(folder = %path.display(), %error, "an orphan in the spool could not be wiped");
            }
        }
    }
    Ok(swept)
}

/// Sees at start rather than at the first upload that files can be made here and take bytes.
fn probe(folder: &Path) -> Result<(), SpoolError> {
    let path = folder.join("probe");
    let written = fs::write(&path, PROBE);
    let removed = fs::remove_file(&path);
    written.and(removed).map_err(|error| SpoolError::of("write to", &path, error))
}

fn is_folder_of_a_server(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
        && entry.file_name().to_str().is_some_and(|name| name.starts_with(FOLDER_PREFIX))
}

fn make_dir(path: &Path) -> Result<(), SpoolError> {
    DirBuilder::new().mode(0o700).create(path).map_err(|error| SpoolError::of("create", path, error))
}

fn open_dir(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

#[cfg(test)]
mod tests;
