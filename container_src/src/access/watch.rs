//! Keys that change while the server runs.
//!
//! The file is read again at SIGHUP, and when it has changed and then stayed the same for a moment: an editor may write it
//! in pieces. A version that cannot be used is told and not taken; the keys from before hold until a better one comes.

use std::{
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    Access,
    keys::{FILE_MAX_BYTES, KeyRing, KeysError},
    locked,
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where keys are written down.
#[derive(Debug, Clone)]
pub struct KeysFile {
    /// The file.
    pub path: PathBuf,
    /// What holds besides: the keys of the environment.
    pub besides: KeyRing,
}

/// What has become of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Others hold now.
    Taken,
    /// The new version has faults.
    Rejected,
}

/// What tells one version of a file from another: when it was written, its length and its place on the disk.
type Version = (i64, i64, u64, u64);

impl KeysFile {
    /// Reads the keys.
    pub fn read(&self) -> Result<KeyRing, KeysError> {
        let path = || self.path.clone();
        let text = read(&self.path).map_err(|source| KeysError::Unreadable { path: path(), source })?;
        self.besides.clone().with_file(&text).map_err(|faults| KeysError::Faulty { path: path(), faults })
    }

    fn version(&self) -> Option<Version> {
        let file = std::fs::metadata(&self.path).ok()?;
        Some((file.mtime(), file.mtime_nsec(), file.size(), file.ino()))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_MAX_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes <= FILE_MAX_BYTES) {
        return Ok(text);
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {FILE_MAX_BYTES} bytes")))
}

/// Whether SIGHUP came. It is caught from this call on.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Reads the keys again whenever there is cause, until it is told to stop. `told` hears what became of it.
pub async fn watch(
    access: Access,
    file: KeysFile,
    mut hangups: Signal,
    stop: CancellationToken,
    told: impl Fn(Change),
) {
    // What was read at the start may have changed before anybody watched: the first version seen is read again.
    let (mut read, mut seen) = (None, None);
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            _ = hangups.recv() => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let now = file.version();
        let (settled, changed) = (now == seen, now != read);
        seen = now;
        if asked || (changed && settled) {
            read = now;
            let version = file.clone();
            // A panic in there would have been logged; the keys from before hold.
            let Ok(outcome) = tokio::task::spawn_blocking(move || version.read()).await else { continue };
            if let Some(change) = access.take(outcome) {
                told(change);
            }
        }
    }
}

impl Access {
    /// A file that was emptied, by mistake or by a disk that is full, must not let everybody in.
    fn refuse_to_open(&self, keys: KeyRing) -> Result<KeyRing, KeysError> {
        if self.keys().are_set() && !keys.are_set() { Err(KeysError::NobodyLeft) } else { Ok(keys) }
    }

    /// Takes what was read, if it can be used. `None` where that changes nothing.
    fn take(&self, read: Result<KeyRing, KeysError>) -> Option<Change> {
        match read.and_then(|keys| self.refuse_to_open(keys)) {
            Ok(keys) => {
                *locked(&self.0.fault) = None;
                if *self.keys() == keys {
                    return None;
                }
                tracing::info!(names = keys.len(), "the keys were read anew");
                self.replace(keys);
                Some(Change::Taken)
            }
            Err(error) => {
                let fault = edgeprove_telemetry::chain(&error);
                tracing::error!(fault, "the keys were changed and cannot be used: those from before hold");
                *locked(&self.0.fault) = Some(fault);
                Some(Change::Rejected)
            }
        }
    }
}
