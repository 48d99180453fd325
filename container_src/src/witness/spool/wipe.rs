//! Overwriting and removing: what happens to a spooled file in the end.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use rustix::fs::OFlags;
use tokio::sync::watch;

use super::Body;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// One thing to wipe.
#[derive(Debug)]
pub(super) enum Job {
    File(Arc<Body>),
    Dir(PathBuf),
}

/// Wipes what comes until nothing can come any more.
pub(super) fn run(queue: &mpsc::Receiver<Job>, present: &watch::Sender<usize>) {
    for job in queue {
        one(&job, present);
    }
}

/// Wipes one thing and counts it out. A failure is logged and counted too: the folder stays behind then, and the
/// next start tries again.
pub(super) fn one(job: &Job, present: &watch::Sender<usize>) {
    let (path, wiped) = match job {
        Job::File(body) => (&body.path, body.wipe()),
        Job::Dir(path) => (path, tree(path).1),
    };
    if let Err(error) = wiped {
        tracing::error!(path = %path.display(), %error, "a spooled file could not be wiped");
    }
    present.send_modify(|count| *count = count.saturating_sub(1));
}

/// Fills a file with zeros, down to the disk.
pub(super) fn overwrite(file: &File) -> io::Result<()> {
    let len = file.metadata()?.len();
    let mut at = 0;
    while at < len {
        let count = usize::try_from(len - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        file.write_all_at(&ZEROS[..count], at)?;
        at += count as u64;
    }
    if len == 0 { Ok(()) } else { file.sync_data() }
}

/// Wipes a folder with everything in it, and returns how many files that were. One failure does not keep the rest
/// from being wiped; the first is returned.
pub(super) fn tree(dir: &Path) -> (usize, io::Result<()>) {
    let mut files = 0;
    let mut result = Ok(());
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return (0, Err(error)),
    };
    for entry in entries {
        let wiped = entry.and_then(|entry| {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let (within, wiped) = tree(&entry.path());
                files += within;
                return wiped;
            }
            files += 1;
            let overwritten = if kind.is_file() { overwrite_at(&entry.path()) } else { Ok(()) };
            fs::remove_file(entry.path()).and(overwritten)
        });
        result = result.and(wiped);
    }
    let removed = fs::remove_dir(dir);
    (files, result.and(removed))
}

fn overwrite_at(path: &Path) -> io::Result<()> {
    let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
    overwrite(&OpenOptions::new().write(true).custom_flags(nofollow).open(path)?)
}
