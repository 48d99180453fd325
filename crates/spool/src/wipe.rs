//! Overwriting and removing: what happens to a spooled file in the end.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use rustix::fs::OFlags;
use tokio::sync::watch;

use super::Body;
use crate::overwrite::overwrite;

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
