//! The private folder of a build.

use std::{
    any::Any,
    fmt,
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use edgeprove_files::regular_file;
use edgeprove_spool::{Spool, SpoolDir, SpoolError};

/// A folder with mode 0700 for the files of one build. Dropping it removes everything in it, on a thread of the spool.
///
/// It is removed, not overwritten: sources and results are no secrets.
pub struct Workspace {
    folder: SpoolDir,
    _held: Option<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Workspace {
    /// Creates a folder in the spool, whose next start removes what a killed server left. Something is held until the
    /// folder is dropped.
    pub fn create(spool: &Spool, held: Option<Arc<dyn Any + Send + Sync>>) -> Result<Self, SpoolError> {
        Ok(Self { folder: spool.create_plain_dir()?, _held: held })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, whose folders are created. Blocking.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.inside(name)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)
    }

    /// Creates a folder. Blocking.
    pub fn create_folder(&self, name: &str) -> io::Result<()> {
        fs::create_dir_all(self.inside(name)?)
    }

    /// Reads a file that a tool wrote, when the tool has ended. Blocking.
    ///
    /// A link to something outside the folder is an error, as is anything that is not a regular file.
    pub fn read(&self, name: &str, max_bytes: u64) -> io::Result<Vec<u8>> {
        let foreign = || io::Error::new(io::ErrorKind::InvalidData, "it is a link, not a file of its own");
        let path = self.inside(name)?;
        if path.canonicalize()? != self.path().canonicalize()?.join(name) {
            return Err(foreign());
        }
        let file = regular_file::open_no_link(OpenOptions::new().read(true), &path)?;
        let found = file.metadata()?;
        if found.nlink() > 1 {
            return Err(foreign());
        }
        if found.len() > max_bytes {
            let reason = format!("it has more than {max_bytes} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or_default());
        file.take(max_bytes).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn inside(&self, name: &str) -> io::Result<PathBuf> {
        let path = Path::new(name);
        let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        if is_inside && !name.is_empty() {
            Ok(self.path().join(path))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "the name leads out of the folder"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_own_files_are_read_and_written() {
        let home = tempfile::tempdir().unwrap();
        let outside = home.path().join("secret");
        fs::write(&outside, "secret").unwrap();
        let spool = Spool::open(&home.path().join("spool")).unwrap();
        let workspace = Workspace::create(&spool, None).unwrap();
        workspace.write("out/file", b"result").unwrap();
        assert_eq!(workspace.read("out/file", 6).unwrap(), b"result");
        assert_eq!(workspace.read("out/file", 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);

        symlink(&outside, workspace.path().join("soft")).unwrap();
        fs::hard_link(&outside, workspace.path().join("hard")).unwrap();
        symlink(home.path(), workspace.path().join("folder")).unwrap();
        for link in ["soft", "hard", "folder/secret"] {
            let error = workspace.read(link, 100).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{link}");
        }
        for name in ["", "../secret", "/etc/passwd", "out/../../secret"] {
            assert_eq!(workspace.read(name, 100).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
            assert_eq!(workspace.write(name, b"").unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        assert_eq!(workspace.read("out", 100).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(workspace.read("nothing", 100).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
