//! A folder of files that depend on a program and on the proving backend.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use edgeprove_telemetry::regular_file;

/// Largest file that is read: a verification key has some kilobytes.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// A folder with one file per program, purpose and backend.
#[derive(Debug, Clone)]
pub(super) struct CacheFolder {
    dir: PathBuf,
    /// The part of the backend's identity that the files depend on. It is safe in a file name.
    backend: String,
}

impl CacheFolder {
    pub(super) fn new(dir: &Path, backend: String) -> Self {
        Self { dir: dir.to_owned(), backend }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn backend(&self) -> &str {
        &self.backend
    }

    /// The file for one purpose.
    pub(super) fn file(&self, program_sha256: &[u8; 32], purpose: &str) -> PathBuf {
        self.dir.join(format!("{}-{purpose}-{}.json", hex::encode(program_sha256), self.backend))
    }

    /// Reads a file; `None` if it does not exist. Anything but a readable file is logged and counts as none.
    pub(super) fn read(file: &Path) -> Option<Vec<u8>> {
        match regular_file::read(file, FILE_MAX_BYTES) {
            Ok(content) => Some(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "a file of the cache cannot be read");
                None
            }
        }
    }

    /// Writes a file as a whole or not at all, and creates the folder if needed.
    pub(super) fn write(&self, file: &Path, content: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        // Another server may write the same file at the same time: the last rename wins, and both contents are right.
        let draft = file.with_extension(format!("{}.part", uuid::Uuid::new_v4()));
        OpenOptions::new().write(true).create_new(true).open(&draft)?.write_all(content)?;
        fs::rename(&draft, file).inspect_err(|_| {
            // The rename's own error is the one to report.
            let _ = fs::remove_file(&draft);
        })
    }
}
