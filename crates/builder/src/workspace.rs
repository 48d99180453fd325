//! The private folder of a build.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use edgeprove_files::regular_file;
use edgeprove_spool::{Spool, SpoolDir, SpoolError};

/// A folder with mode 0700 for the files of one build. Dropping it removes everything in it.
///
/// It is removed, not overwritten: sources and results are no secrets, and a tool may have made a link to a file that is
/// not its own.
#[derive(Debug)]
pub struct Workspace {
    folder: SpoolDir,
}

impl Workspace {
    /// Creates a folder in the spool, whose next start removes what a killed server left.
    pub fn create(spool: &Spool) -> Result<Self, SpoolError> {
        Ok(Self { folder: spool.create_dir()? })
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

impl Drop for Workspace {
    fn drop(&mut self) {
        // The spool then removes the empty folder.
        if let Err(error) = empty(self.path()) {
            tracing::error!(path = %self.path().display(), %error, "the folder of a build could not be removed");
        }
    }
}

/// Removes everything in a folder in which no process works any more. Links are removed, never followed. Folders are
/// moved up before they are emptied, so that neither a path nor the stack grows with their depth.
fn empty(top: &Path) -> io::Result<()> {
    let mut number = 0_u64;
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        let is_top = folder == top;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
                continue;
            }
            fs::set_permissions(entry.path(), Permissions::from_mode(0o700))?;
            if is_top {
                folders.push(entry.path());
                continue;
            }
            let moved = loop {
                number += 1;
                let name = top.join(format!(".{number}"));
                if fs::symlink_metadata(&name).is_err() {
                    break name;
                }
            };
            fs::rename(entry.path(), &moved)?;
            folders.push(moved);
        }
        if !is_top {
            fs::remove_dir(&folder)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_hostile_folder_is_removed_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let outside = home.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("mine"), "untouched").unwrap();
        let spool = Spool::open(&home.path().join("spool")).unwrap();
        let workspace = Workspace::create(&spool).unwrap();
        let path = workspace.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);

        symlink(&outside, path.join("link")).unwrap();
        fs::hard_link(outside.join("mine"), path.join("hard")).unwrap();
        workspace.write("closed/inner/file", b"x").unwrap();
        fs::set_permissions(path.join("closed/inner"), Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(path.join("closed"), Permissions::from_mode(0o000)).unwrap();
        // Names that the removal would choose, and more folders than a stack or a path could have.
        workspace.write(".1/.2/.3/file", b"x").unwrap();
        let mut deepest = path.join("deep");
        fs::create_dir(&deepest).unwrap();
        for _ in 0..40 {
            let above = path.join("above");
            fs::create_dir(&above).unwrap();
            let long = "d".repeat(200);
            fs::rename(&deepest, above.join(&long)).unwrap();
            fs::rename(&above, path.join("deep")).unwrap();
            deepest = path.join("deep");
        }
        drop(workspace);
        assert!(fs::read_dir(&path).map_or(true, |mut entries| entries.next().is_none()));
        assert_eq!(fs::read_to_string(outside.join("mine")).unwrap(), "untouched");
    }

    #[test]
    fn only_own_files_are_read_and_written() {
        let home = tempfile::tempdir().unwrap();
        let outside = home.path().join("secret");
        fs::write(&outside, "secret").unwrap();
        let spool = Spool::open(&home.path().join("spool")).unwrap();
        let workspace = Workspace::create(&spool).unwrap();
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
