//! Checks whether a folder can be used for new files, without creating anything.

use std::{fs, io, path::Path};

use rustix::fs::Access;

/// Fails if no file can be created in this folder: something else is at its path, or this user may not write there. Of a
/// folder that does not exist, its nearest ancestor must be such a folder.
pub fn check(folder: &Path) -> io::Result<()> {
    for folder in folder.ancestors() {
        // The last ancestor of a relative path is empty.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        match fs::metadata(folder) {
            Ok(found) if found.is_dir() => {
                let checked = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK);
                return checked.map_err(|error| with_path(folder, &error.into()));
            }
            Ok(_) => return Err(with_path(folder, &io::ErrorKind::NotADirectory.into())),
            // A link without a target cannot become a folder.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(folder).is_err() => {}
            Err(error) => return Err(with_path(folder, &error)),
        }
    }
    Ok(())
}

/// The error with the path, which may be that of an ancestor.
fn with_path(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_a_folder_can_take_new_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        symlink(dir.path(), at("link")).unwrap();
        for good in
            [dir.path().to_owned(), at("new"), at("new/deep"), at("link"), at("link/new"), "new".into()]
        {
            assert!(check(&good).is_ok(), "{}", good.display());
        }
        for (bad, named) in [
            (at("file"), "file"),
            (at("file/new"), "file"),
            (at("dangling"), "dangling"),
            (at("dangling/new"), "dangling"),
        ] {
            let error = check(&bad).unwrap_err().to_string();
            assert!(error.contains(&at(named).display().to_string()), "{error}");
        }
        assert!(!at("new").exists());
    }
}
