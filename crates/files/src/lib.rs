//! Files and folders that no other user can change, and files that are written whole or not at all.
//!
//! Imports run down this list only.
//!
//! - [`draft`]: files that get their name when they are whole.
//! - [`regular_file`]: opens files that must be regular files, and never blocks on anything else.
//! - [`trusted_path`]: checks that no other user can exchange a folder or a file.
//! - [`pod_volume`]: recognizes volumes that Kubernetes makes for one pod.
//! - [`writable_folder`]: whether a folder can be used, without creating anything.

use std::path::Path;

pub mod draft;
mod pod_volume;
pub mod regular_file;
pub mod trusted_path;
pub mod writable_folder;

pub use draft::Draft;

/// The folder that has this path's entry: `.` for a name alone.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_is_in_the_current_folder() {
        for (path, folder) in
            [("name", "."), ("a/name", "a"), ("/name", "/"), ("./name", "."), ("../x", "..")]
        {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder), "{path}");
        }
    }
}
