//! The thread that wipes: it overwrites and removes dropped files and folders.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use rustix::fs::{CWD, OFlags};
use tokio::sync::watch;

use crate::{Content, plain_tree, zero_fill::overwrite};

/// One file or folder to wipe.
#[derive(Debug)]
pub(crate) enum WipeJob {
    File(Arc<Content>),
    Dir(PathBuf),
    /// Removed, and not overwritten.
    PlainDir(PathBuf),
}

/// Wipes files and folders until every sender is gone.
pub(crate) fn run(jobs: &mpsc::Receiver<WipeJob>, present: &watch::Sender<usize>) {
    for job in jobs {
        wipe(&job, present);
    }
}

/// Wipes one file or folder and decrements the number of those present. A failure is logged and decrements it as well:
/// the server's folder then stays on the disk, and the next start tries again.
pub(crate) fn wipe(job: &WipeJob, present: &watch::Sender<usize>) {
    let (path, wiped) = match job {
        WipeJob::File(content) => (&content.path, content.wipe()),
        WipeJob::Dir(path) => (path, wipe_tree(path).1),
        WipeJob::PlainDir(path) => (path, plain_tree::remove(path)),
    };
    if let Err(error) = wiped {
        tracing::error!(path = %path.display(), %error, "a spooled file could not be wiped");
    }
    present.send_modify(|count| *count = count.saturating_sub(1));
}

/// Wipes a folder and everything in it. Returns the number of files and the first failure; a failure does not stop the
/// rest from being wiped.
pub(crate) fn wipe_tree(dir: &Path) -> (usize, io::Result<()>) {
    let mut files = 0;
    let mut result = Ok(());
    // A program may have closed its folder.
    let opened = plain_tree::open_writable(CWD, dir.as_os_str()).map(drop);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return (0, opened.and(Err(error))),
    };
    for entry in entries {
        let wiped = entry.and_then(|entry| {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let (within, wiped) = wipe_tree(&entry.path());
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
    // An entry that became a FIFO meanwhile must not block.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
    // A program that worked in the folder may have linked a file that is not its own.
    if file.metadata()?.nlink() > 1 { Ok(()) } else { overwrite(&file) }
}
