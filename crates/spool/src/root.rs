//! The directory that servers share: opened, looked through, and a folder in it claimed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{fs::OFlags, io::Errno, process::geteuid};
use uuid::Uuid;

use super::{SpoolError, wipe};

/// What the name of every server's own folder begins with.
const FOLDER_PREFIX: &str = "server-";
/// How long another server may take to look through the spool while this one starts.
const LOOKING_THROUGH_MAX: Duration = Duration::from_secs(10);
/// What is written and removed once at start.
const PROBE: [u8; 4096] = [0; 4096];

/// The directory, kept from other servers until this is dropped, so that none mistakes a folder which is made but
/// not yet locked for an orphan.
pub(super) struct Root {
    dir: PathBuf,
    _lock: File,
}

impl Root {
    /// Opens the directory, making it if need be, and waits until no other server looks through it.
    pub(super) fn open(dir: &Path) -> Result<Self, SpoolError> {
        // Without its trailing slash, behind which a symbolic link would be followed after all.
        let dir: PathBuf = dir.components().collect();
        let root = open_root(&dir)?;
        lock_root(&root, &dir)?;
        Ok(Self { dir, _lock: root })
    }

    /// A name for a folder that no other server has.
    pub(super) fn name_for_a_folder(&self) -> PathBuf {
        self.dir.join(format!("{FOLDER_PREFIX}{}", Uuid::new_v4()))
    }

    /// Makes a folder, sees that it takes files and lets the others in again. The folder is this server's for as long
    /// as the answer is kept.
    pub(super) fn claim(self, path: &Path) -> Result<File, SpoolError> {
        DirBuilder::new().mode(0o700).create(path).map_err(|error| SpoolError::of("create", path, error))?;
        let lock = open_dir(path).map_err(|error| SpoolError::of("open", path, error))?;
        lock.try_lock().map_err(|error| SpoolError::of("lock", path, error.into()))?;
        probe(path).inspect_err(|_| drop(fs::remove_dir(path)))?;
        drop(self);
        Ok(lock)
    }

    /// Wipes the folders that no living server holds, and returns how many files that were.
    pub(super) fn sweep(&self) -> Result<usize, SpoolError> {
        let dir = &self.dir;
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

/// Keeps other servers from looking through the directory until the descriptor is closed.
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

fn open_dir(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}
