//! The directory that several servers share: opens it, wipes orphans in it, and claims a folder for this server.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use edgeprove_files::{trusted_path, writable_folder};
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
    process::geteuid,
};
use uuid::Uuid;

use crate::{PLAIN_PREFIX, error::SpoolError, plain_tree, wiper_thread::wipe_tree};

/// Prefix of the name of every server's own folder.
const FOLDER_PREFIX: &str = "server-";
/// Longest wait at the start for another server that looks for orphans.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
/// Written and removed once at the start, as a test.
const PROBE: [u8; 4096] = [0; 4096];

/// The directory, locked until this is dropped. The lock prevents other servers from taking a folder that was created
/// but is not locked yet for an orphan.
pub(crate) struct SharedDirectory {
    dir: PathBuf,
    /// The directory's descriptor. Entries are created relative to it, so that nobody can exchange the directory on the
    /// way.
    directory: File,
}

impl SharedDirectory {
    /// Opens the directory, creates it if it does not exist, and waits for its lock.
    pub(crate) fn open(dir: &Path) -> Result<Self, SpoolError> {
        // Removes a trailing slash, because with one a symbolic link would be followed.
        let dir: PathBuf = dir.components().collect();
        let directory = open_directory(&dir)?;
        lock_directory(&directory, &dir)?;
        Ok(Self { dir, directory })
    }

    /// A path for a new folder, with a random name.
    pub(crate) fn new_folder_path(&self) -> PathBuf {
        self.dir.join(format!("{FOLDER_PREFIX}{}", Uuid::new_v4()))
    }

    /// Creates this server's folder, checks that files can be written in it, and unlocks the directory. The folder is
    /// locked for as long as the returned file is open.
    pub(crate) fn claim(self, path: &Path) -> Result<File, SpoolError> {
        let failed = |doing| move |error: Errno| SpoolError::of(doing, path, error.into());
        let name = path.file_name().unwrap_or_default();
        rustix::fs::mkdirat(&self.directory, name, Mode::RWXU).map_err(failed("create"))?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&self.directory, name, flags, Mode::empty()).map_err(failed("open"))?;
        let lock = File::from(lock);
        lock.try_lock().map_err(|error| SpoolError::of("lock", path, error.into()))?;
        probe(path, &lock).inspect_err(|_| drop(fs::remove_dir(path)))?;
        drop(self);
        Ok(lock)
    }

    /// Wipes the folders that no running server has locked. Returns the number of files.
    pub(crate) fn sweep(&self) -> Result<usize, SpoolError> {
        let dir = &self.dir;
        let mut swept = 0;
        let failed = |error| SpoolError::of("list", dir, error);
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            if !is_server_folder(&entry) {
                continue;
            }
            let Ok(folder) = open_dir(&path) else { continue };
            let ours = folder.metadata().is_ok_and(|found| found.uid() == geteuid().as_raw());
            if !ours || folder.try_lock().is_err() {
                continue;
            }
            let plain = remove_plain_folders(&path);
            let (files, result) = wipe_tree(&path);
            swept += files;
            match plain.and(result) {
                Ok(()) => {
                    tracing::warn!(folder = %path.display(), files, "wiped the witnesses of a server that has died");
                }
                Err(error) => {
                    tracing::error!(folder = %path.display(), %error, "the spool folder of a server that has died could not be wiped");
                }
            }
        }
        Ok(swept)
    }
}

/// Fails where [`SharedDirectory::open`] would fail, and changes nothing. That other servers use the directory is no
/// failure.
pub(crate) fn examine(dir: &Path) -> Result<(), SpoolError> {
    let dir: PathBuf = dir.components().collect();
    trusted_path::check_parents(&dir)?;
    if fs::symlink_metadata(&dir).is_ok() {
        open_existing(&dir)?;
    }
    writable_folder::check(&dir).map_err(|error| SpoolError::of("write to", &dir, error))
}

/// Opens the directory, creates it if it does not exist, and closes it to other users if this user owns it.
fn open_directory(dir: &Path) -> Result<File, SpoolError> {
    trusted_path::check_parents(dir)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .or_else(|error| if fs::symlink_metadata(dir).is_ok() { Ok(()) } else { Err(error) })
        .map_err(|error| SpoolError::of("create", dir, error))?;
    let (directory, found) = open_existing(dir)?;
    if found.uid() == geteuid().as_raw() && is_open_to_others(&found) {
        directory
            .set_permissions(fs::Permissions::from_mode(0o700))
            .map_err(|error| SpoolError::of("restrict", dir, error))?;
    }
    // The mode of a directory that root owns, such as a mounted tmpfs, stays: this server's folder in it is closed.
    Ok(directory)
}

/// Opens a directory that exists, and checks that it can be a spool.
fn open_existing(dir: &Path) -> Result<(File, fs::Metadata), SpoolError> {
    let directory = open_dir(dir).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOTDIR | Errno::LOOP) => SpoolError::NotADirectory { path: dir.to_owned() },
        _ => SpoolError::of("open", dir, error),
    })?;
    let failed = |error| SpoolError::of("inspect", dir, error);
    let found = directory.metadata().map_err(failed)?;
    if found.uid() != geteuid().as_raw() {
        trusted_path::check_folder(dir, &found)?;
    } else if is_open_to_others(&found) {
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !is_server_folder(&entry) {
                return Err(SpoolError::ContainsOtherFiles { path: dir.to_owned(), example: entry.path() });
            }
        }
    }
    Ok((directory, found))
}

/// Whether the mode is another one than that of a directory that is closed to other users.
fn is_open_to_others(found: &fs::Metadata) -> bool {
    found.mode() & 0o7777 != 0o700
}

/// Locks the directory until the descriptor is closed.
fn lock_directory(directory: &File, dir: &Path) -> Result<(), SpoolError> {
    let give_up = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(SpoolError::of("lock", dir, error.into())),
        }
    }
}

/// Checks that files can be written here, so that a fault is found at the start and not at the first upload.
fn probe(path: &Path, folder: &File) -> Result<(), SpoolError> {
    const NAME: &str = "probe";
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let created = rustix::fs::openat(folder, NAME, flags, Mode::RUSR | Mode::WUSR);
    let written = created.map_err(io::Error::from).and_then(|file| File::from(file).write_all(&PROBE));
    let removed = rustix::fs::unlinkat(folder, NAME, AtFlags::empty()).map_err(io::Error::from);
    written.and(removed).map_err(|error| SpoolError::of("write to", &path.join(NAME), error))
}

/// Removes the folders without secrets from the folder of a server that has died.
fn remove_plain_folders(server: &Path) -> io::Result<()> {
    let mut result = Ok(());
    for entry in fs::read_dir(server)? {
        let entry = entry?;
        let is_plain = entry.file_name().to_str().is_some_and(|name| name.starts_with(PLAIN_PREFIX));
        if is_plain && entry.file_type()?.is_dir() {
            result = result.and(plain_tree::remove(&entry.path()));
        }
    }
    result
}

fn is_server_folder(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
        && entry.file_name().to_str().is_some_and(|name| name.starts_with(FOLDER_PREFIX))
}

fn open_dir(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}
