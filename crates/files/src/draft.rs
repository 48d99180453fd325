//! Files that get their name when they are whole.
//!
//! A draft has a hidden name in the folder of its target. Whoever opens the target finds the old content or all of the new
//! one, and nothing is left of a draft that could not be written.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::folder_of;

/// Extension of a draft's name.
pub const EXTENSION: &str = "part";

/// A file that does not have its name yet. It is removed on drop.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    target: PathBuf,
    file: File,
}

impl Draft {
    /// Creates an empty file with this mode, less the process's umask, in the folder of its target. Blocking, as every other
    /// function here.
    pub fn create(target: &Path, mode: u32) -> io::Result<Self> {
        let Some(target_name) = target.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a name"));
        };
        let mut name = OsString::from(".");
        name.push(target_name);
        name.push(format!(".{}.{EXTENSION}", Uuid::new_v4()));
        let path = folder_of(target).join(name);
        // Exclusive creation follows no symbolic link.
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&path)?;
        Ok(Self { path, target: target.to_owned(), file })
    }

    /// The open file, for reading and writing.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name, in the place of a file that has it. A symbolic link of that name is replaced, and its target
    /// stays as it is.
    pub fn rename(self) -> io::Result<()> {
        fs::rename(&self.path, &self.target)
    }

    /// As [`Self::rename`]. Content and name are on the disk when this returns.
    pub fn rename_durably(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        sync_folder(&self.target)
    }

    /// Gives the file its name, and fails if anything has that name already. Content and name are on the disk when this
    /// returns.
    pub fn link_durably(self) -> io::Result<()> {
        self.file.sync_all()?;
        // Unlike a rename, a link never replaces a file.
        fs::hard_link(&self.path, &self.target)?;
        let target = self.target.clone();
        drop(self);
        sync_folder(&target)
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After the rename there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}

/// Flushes the folder of a path, so that a power cut does not undo a change of names.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    fn draft(target: &Path, content: &[u8]) -> Draft {
        let mut draft = Draft::create(target, 0o600).unwrap();
        draft.write_all(content).unwrap();
        draft
    }

    #[test]
    fn a_draft_replaces_its_target_or_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (target, other) = (home.path().join("target"), home.path().join("other"));
        fs::write(&other, "other").unwrap();
        symlink(&other, &target).unwrap();
        drop(draft(&target, b"dropped"));
        assert_eq!(fs::read(&target).unwrap(), b"other");
        draft(&target, b"first").rename().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"first");
        draft(&target, b"second").rename_durably().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"second");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&other).unwrap(), b"other");
        assert_eq!(names(home.path()), ["other", "target"]);
    }

    #[test]
    fn a_draft_that_cannot_get_its_name_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        fs::create_dir(&target).unwrap();
        draft(&target, b"x").rename().unwrap_err();
        draft(&target, b"x").rename_durably().unwrap_err();
        let exists = draft(&target, b"x").link_durably().unwrap_err();
        assert_eq!(exists.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(home.path()), ["target"]);
        draft(&home.path().join("new"), b"x").link_durably().unwrap();
        assert_eq!(names(home.path()), ["new", "target"]);
        assert!(Draft::create(Path::new("/"), 0o600).is_err());
        assert!(Draft::create(&home.path().join("missing/target"), 0o600).is_err());
    }
}
