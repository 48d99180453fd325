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
pub mod overwrite;
mod root;
mod wipe;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use tokio::sync::watch;
use uuid::Uuid;

pub use error::SpoolError;
use root::Root;
use wipe::Job;

/// A directory for witnesses. Clones share it; the last one to go waits for the last wipe.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: Arc<Folder>,
}

/// This server's own folder in the spool.
#[derive(Debug)]
struct Folder {
    /// The directory that servers share.
    dir: PathBuf,
    path: PathBuf,
    swept: usize,
    /// Files and folders that exist, those being wiped included.
    present: Arc<watch::Sender<usize>>,
    /// `None` only while the folder is being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    wiper: Option<JoinHandle<()>>,
    /// Tells every other server that this folder is in use; let go by the kernel when the process ends.
    lock: Mutex<File>,
}

impl Spool {
    /// Opens a spool: makes the directory if need be, wipes what dead servers left in it and sees that it can be
    /// written to.
    ///
    /// Fails if the directory is a symbolic link, if it is open to others and holds anything but spool folders,
    /// since it may then not be meant for this, and if it is full or read-only.
    pub fn open(dir: &Path) -> Result<Self, SpoolError> {
        let root = Root::open(dir)?;
        let swept = root.sweep()?;
        let path = root.name_for_a_folder();
        let lock = root.claim(&path)?.into();

        let present = Arc::new(watch::Sender::new(0));
        let (jobs, queue) = mpsc::channel();
        let count = Arc::clone(&present);
        let wiper = thread::Builder::new()
            .name("spool-wiper".to_owned())
            .spawn(move || wipe::run(&queue, &count))
            .map_err(|error| SpoolError::of("start the wiper of", &path, error))?;
        let (dir, wiper) = (dir.to_owned(), Some(wiper));
        let folder = Folder { dir, path, swept, present, jobs: Some(jobs), wiper, lock };
        Ok(Self { folder: Arc::new(folder) })
    }

    /// A new, empty file for one upload.
    pub fn create(&self) -> Result<SpoolFile, SpoolError> {
        let path = self.folder.path.join(format!("{}.witness.gz", Uuid::new_v4()));
        // Exclusive creation follows no symbolic link either.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = self.folder.make(&path, |path| options.open(path))?;
        self.folder.one_more();
        let body = Arc::new(Body { path, file, wiped: Mutex::new(false) });
        Ok(SpoolFile { body, len: 0, folder: Arc::clone(&self.folder) })
    }

    /// A new, empty folder for what bb writes. Whatever is in it when it is dropped is wiped with it.
    pub fn create_dir(&self) -> Result<SpoolDir, SpoolError> {
        let path = self.folder.path.join(Uuid::new_v4().to_string());
        let mut options = DirBuilder::new();
        options.mode(0o700);
        self.folder.make(&path, |path| options.create(path))?;
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
    /// Makes something in the folder, and the folder itself if somebody has removed it since the start.
    fn make<T>(&self, path: &Path, create: impl Fn(&Path) -> io::Result<T>) -> Result<T, SpoolError> {
        let created = match create(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_anew()?;
                create(path)
            }
            outcome => outcome,
        };
        created.map_err(|error| SpoolError::of("create", path, error))
    }

    fn make_anew(&self) -> Result<(), SpoolError> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Requests come side by side: another may have been first.
        if !self.path.exists() {
            *lock = Root::open(&self.dir)?.claim(&self.path)?;
            tracing::warn!(spool = %self.path.display(), "the spool folder was removed by somebody; made it anew");
        }
        Ok(())
    }

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
        let overwritten = crate::overwrite::overwrite(&self.file);
        match fs::remove_file(&self.path) {
            // Somebody removed it before us; what it held is gone all the same.
            Err(error) if error.kind() == io::ErrorKind::NotFound => overwritten,
            removed => removed.and(overwritten),
        }
    }
}

#[cfg(test)]
mod tests;
