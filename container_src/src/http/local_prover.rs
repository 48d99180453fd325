//! The folder of `--page-local`: what a browser needs to compute witnesses, prove and verify by itself.
//!
//! Its files are listed at the start, and no other name is ever opened. A file may be replaced by one of the same name meanwhile.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

/// The script that the page starts as a worker.
pub const WORKER: &str = "worker.js";
/// The points of the CRS, as bb stores them.
pub const POINTS: &str = "g1.dat";
/// What a name is followed by in the name of its compressed copy.
pub const COMPRESSED: &str = ".gz";

/// Most files of the folder.
const FILES_MAX: usize = 256;

/// The folder.
#[derive(Debug, Clone)]
pub struct LocalProver {
    folder: PathBuf,
    names: BTreeSet<String>,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalProverError {
    /// It cannot be listed.
    #[error("{} cannot be read", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file is missing.
    #[error("{} has no file {}: `npm --prefix web/page run local DIR CRS_DIR` writes such a folder", .0.display(), .1)]
    Missing(PathBuf, &'static str),
    /// It is another folder.
    #[error("{} has more than {FILES_MAX} files: is it another folder?", .0.display())]
    TooMany(PathBuf),
}

impl LocalProver {
    /// Lists the folder.
    pub fn open(folder: &Path) -> Result<Self, LocalProverError> {
        let failed = |error| LocalProverError::Read(folder.to_owned(), error);
        let mut names = BTreeSet::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(name) = entry.file_name().to_str().filter(|name| is_name(name)).map(str::to_owned)
            else {
                continue;
            };
            if entry.path().is_file() {
                names.insert(name);
            }
            if names.len() > FILES_MAX {
                return Err(LocalProverError::TooMany(folder.to_owned()));
            }
        }
        match [WORKER, POINTS].into_iter().find(|name| !names.contains(*name)) {
            Some(missing) => Err(LocalProverError::Missing(folder.to_owned(), missing)),
            None => Ok(Self { folder: folder.to_owned(), names }),
        }
    }

    /// The path of a file; `None` where the folder has no file of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        self.names.contains(name).then(|| self.folder.join(name))
    }

    /// The names of the files that are no compressed copies, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| !name.ends_with(COMPRESSED))
    }
}

/// Whether a name is one of a file that is served: no hidden one, and no character that means something in a URL.
fn is_name(name: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.starts_with('.') && name.len() <= 100 && name.bytes().all(is_safe)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_files_with_plain_names_are_found() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["worker.js", "worker.js.gz", "g1.dat", ".hidden", "a b.js"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("folder.js")).unwrap();
        let local = LocalProver::open(folder.path()).unwrap();
        assert_eq!(local.names().collect::<Vec<_>>(), ["g1.dat", "worker.js"]);
        assert!(local.find("worker.js.gz").is_some());
        for name in ["", ".", "..", "../worker.js", ".hidden", "a b.js", "folder.js", "/etc/passwd"] {
            assert!(local.find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn another_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("worker.js"), "").unwrap();
        assert!(matches!(LocalProver::open(folder.path()), Err(LocalProverError::Missing(_, POINTS))));
        assert!(matches!(LocalProver::open(&folder.path().join("none")), Err(LocalProverError::Read(..))));
        for number in 0..=FILES_MAX {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        assert!(matches!(LocalProver::open(folder.path()), Err(LocalProverError::TooMany(_))));
    }
}
