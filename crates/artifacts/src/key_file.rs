//! The key of a data folder, in a file of its own beside the artifacts.
//!
//! It protects the artifacts where others can read them but not the key file: in a backup without it, or on a disk of
//! their own. Against a reader of the whole data folder only a key from the settings helps.

use std::{
    fs::{DirBuilder, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use edgeprove_files::{Draft, folder_of, regular_file, trusted_path};
use zeroize::Zeroizing;

use crate::{encryption_keys::ArtifactKey, error::OpenError};

/// Most bytes of a key file that are read: 64 digits and white space around them.
const FILE_MAX_BYTES: u64 = 256;

/// Reads the key in a file, and closes the file to other users. `None` if it does not exist. A key that another user wrote or
/// could exchange is refused: that user may know it.
pub(super) fn read(path: &Path) -> Result<Option<ArtifactKey>, OpenError> {
    trusted_path::check_parents(path)?;
    let Some(file) = open(path)? else { return Ok(None) };
    trusted_path::close_file(path, &file)?;
    key_in(file, path).map(Some)
}

/// Reads the key in a file, and changes nothing. `None` if the file does not exist. Fails where [`read`] would fail.
pub(super) fn examine(path: &Path) -> Result<Option<ArtifactKey>, OpenError> {
    trusted_path::check_parents(path)?;
    let Some(file) = open(path)? else { return Ok(None) };
    let found = file.metadata().map_err(|source| OpenError::KeyFile { path: path.to_owned(), source })?;
    trusted_path::check_file(path, &found)?;
    key_in(file, path).map(Some)
}

fn open(path: &Path) -> Result<Option<File>, OpenError> {
    match regular_file::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenError::KeyFile { path: path.to_owned(), source }),
    }
}

fn key_in(file: File, path: &Path) -> Result<ArtifactKey, OpenError> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    match file.take(FILE_MAX_BYTES).read_to_string(&mut text) {
        Err(error) if error.kind() != io::ErrorKind::InvalidData => {
            return Err(OpenError::KeyFile { path: path.to_owned(), source: error });
        }
        _ => {}
    }
    ArtifactKey::read(&text).ok_or_else(|| OpenError::NotAKey { path: path.to_owned() })
}

/// Reads the key in a file, and creates the file with a random key if it does not exist. Servers that start at the same
/// time all get the same key.
pub(super) fn read_or_create(path: &Path) -> Result<ArtifactKey, OpenError> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    let failed = |source| OpenError::KeyFile { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder_of(path)).map_err(failed)?;
    let key = ArtifactKey::random().map_err(OpenError::NoRandomness)?;
    let mut draft = Draft::create(path, 0o600).map_err(failed)?;
    let text = Zeroizing::new(format!("{}\n", key.to_hex().as_str()));
    draft.write_all(text.as_bytes()).map_err(failed)?;
    match draft.link_durably() {
        Ok(()) => {
            tracing::info!(path = %path.display(), key = %key.id(), "created the artifacts' key");
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests;
