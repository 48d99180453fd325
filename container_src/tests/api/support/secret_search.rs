//! Searches the files of a server for what no file may have.

use std::{fs, path::Path};

/// No file of a folder has one of these texts.
#[track_caller]
pub(crate) fn assert_absent(folder: &Path, texts: &[&str]) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            assert_absent(&entry, texts);
            continue;
        }
        let content = fs::read(&entry).unwrap();
        for text in texts {
            let is_there = content.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!is_there, "{} has a secret", entry.display());
        }
    }
}
