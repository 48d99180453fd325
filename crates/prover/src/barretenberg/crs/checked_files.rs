//! Remembers which files of points were checked, by everything that changes with their content: device, inode, length
//! and the times of the last change. A list that is missing or damaged costs time at a start and nothing else.

use std::{
    fs::{self, Metadata},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use edgeprove_files::{Draft, folder_of, regular_file};

use super::{CheckedList, ceremony};

/// The name of the list in the cache folder.
const FILE: &str = "crs-checked";
/// Most files in the list. The oldest is forgotten first.
const FILES_MAX: usize = 16;
/// Most bytes of the list that are read.
const LIST_MAX_BYTES: u64 = 64 << 10;

/// The files that were checked, each as one line: what identifies it, and how many of its points were checked.
#[derive(Debug)]
pub(super) struct CheckedFiles {
    path: Option<PathBuf>,
    use_of_list: CheckedList,
    pins: String,
    lines: Vec<String>,
}

impl CheckedFiles {
    pub(super) fn read(cache_dir: Option<&Path>, use_of_list: CheckedList) -> Self {
        let path = cache_dir.map(|dir| dir.join(FILE));
        let text = path
            .as_ref()
            .and_then(|path| regular_file::read_to_string(path, LIST_MAX_BYTES).ok())
            .unwrap_or_default();
        let lines = text.lines().map(str::to_owned).collect();
        Self { path, use_of_list, pins: ceremony::identity(), lines }
    }

    /// Returns how many points of the file were checked, if it has not changed since.
    pub(super) fn find(&self, file: &Metadata) -> Option<u64> {
        let identity = self.identity(file);
        self.lines.iter().find_map(|line| line.strip_prefix(&identity)?.parse().ok())
    }

    /// Adds a file. If the list cannot be written, the file is checked again at the next start.
    pub(super) fn add(&mut self, file: &Metadata, checked_points: u64) {
        self.lines.push(format!("{}{checked_points}", self.identity(file)));
        let surplus = self.lines.len().saturating_sub(FILES_MAX);
        self.lines.drain(..surplus);
        if self.use_of_list == CheckedList::Read {
            return;
        }
        let Some(path) = &self.path else { return };
        if let Err(error) = write(path, &self.lines.join("\n")) {
            tracing::debug!(%error, "the list of checked CRS files was not written");
        }
    }

    fn identity(&self, file: &Metadata) -> String {
        let Self { pins, .. } = self;
        let (device, inode, bytes) = (file.dev(), file.ino(), file.len());
        let modified = format!("{}.{:09}", file.mtime(), file.mtime_nsec());
        let changed = format!("{}.{:09}", file.ctime(), file.ctime_nsec());
        format!("{pins} {device} {inode} {bytes} {modified} {changed} ")
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder_of(path))?;
    let mut draft = Draft::create(path, 0o666)?;
    draft.write_all(text.as_bytes())?;
    draft.rename()
}

/// Whether two looks at a file show the same content.
pub(super) fn is_same(before: &Metadata, after: &Metadata) -> bool {
    let of = |file: &Metadata| {
        (file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec())
    };
    of(before) == of(after)
}
