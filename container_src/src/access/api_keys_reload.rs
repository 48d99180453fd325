//! The file of keys: it is read again while the server runs.
//!
//! The file is read at SIGHUP, and when it has changed and then stayed the same for a second, because an editor may
//! write it in pieces. An invalid version is logged and rejected; the previous keys stay valid until a valid version is
//! found.

use std::{io, os::unix::fs::MetadataExt as _, path::PathBuf, time::Duration};

use edgeprove_files::{regular_file, trusted_path};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    Access,
    api_keys::{FILE_MAX_BYTES, KeyRing, KeysError},
};

/// Time between two checks of the file.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The file of keys, with the keys of the environment.
#[derive(Debug, Clone)]
pub struct KeysFile {
    /// The file.
    pub path: PathBuf,
    /// The keys of the environment, to which the file adds.
    pub base: KeyRing,
}

/// The result of reading a changed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysChange {
    /// Its keys replaced the previous ones.
    Replaced,
    /// It is invalid, and the previous keys stay valid.
    Rejected,
}

/// Identifies a version of the file: modification time, length and inode.
type Version = (i64, i64, u64, u64);

impl KeysFile {
    /// Reads the keys of the file and of the environment. Fails if another user could change the file.
    pub fn read(&self) -> Result<KeyRing, KeysError> {
        let path = || self.path.clone();
        trusted_path::check_input(&self.path).map_err(|fault| KeysError::Untrusted { fault })?;
        let text = regular_file::read_to_string(&self.path, FILE_MAX_BYTES)
            .map_err(|source| KeysError::Unreadable { path: path(), source })?;
        self.base.clone().with_file(&text).map_err(|errors| KeysError::Invalid { path: path(), errors })
    }

    fn version(&self) -> Option<Version> {
        let file = std::fs::metadata(&self.path).ok()?;
        Some((file.mtime(), file.mtime_nsec(), file.size(), file.ino()))
    }
}

/// Catches SIGHUP, from this call on.
pub fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Reads the file again when it changes or SIGHUP arrives, until `stop` is cancelled. Calls `on_change` with each
/// result.
pub async fn watch(
    access: Access,
    file: KeysFile,
    mut hangups: Signal,
    stop: CancellationToken,
    on_change: impl Fn(KeysChange),
) {
    // The file may have changed since the start, so the first version is read again.
    let (mut read, mut seen) = (None, None);
    loop {
        let is_requested = tokio::select! {
            () = stop.cancelled() => return,
            _ = hangups.recv() => true,
            () = tokio::time::sleep(CHECK_EVERY) => false,
        };
        let now = file.version();
        let (settled, changed) = (now == seen, now != read);
        seen = now;
        if is_requested || (changed && settled) {
            read = now;
            let version = file.clone();
            // A panic has been logged already; the previous keys stay valid.
            let Ok(outcome) = tokio::task::spawn_blocking(move || version.read()).await else { continue };
            if let Some(change) = access.apply(outcome) {
                on_change(change);
            }
        }
    }
}

impl Access {
    /// Replaces the keys by those that were read, if they are valid. `None` if they are the same.
    fn apply(&self, read: Result<KeyRing, KeysError>) -> Option<KeysChange> {
        match read {
            Ok(keys) => {
                *self.0.fault.lock() = None;
                if *self.keys() == keys {
                    return None;
                }
                tracing::info!(names = keys.len(), "the keys were replaced");
                self.replace(keys);
                Some(KeysChange::Replaced)
            }
            Err(error) => {
                let fault = edgeprove_telemetry::chain(&error);
                tracing::error!(fault, "the keys file was rejected; the previous keys stay valid");
                *self.0.fault.lock() = Some(fault);
                Some(KeysChange::Rejected)
            }
        }
    }
}
