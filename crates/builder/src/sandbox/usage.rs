//! What a tool takes while it runs: memory, processes, files.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use edgeprove_prover::child_process::budget_pause;
use edgeprove_telemetry::process::TreeUse;

use super::{Limits, start::OWN_PROCESSES, termination::Seen};
use crate::error::ToolError;

/// The longest pause between two measurements. A process creates a few thousand files in this time.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// The deepest folder that is measured. Compilers need two.
const DEPTH_MAX: usize = 16;

/// The limit that a tool exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    Memory,
    Processes,
    Files,
    Bytes,
}

impl Excess {
    pub(super) fn into_error(self, tool: &str, limits: &Limits) -> ToolError {
        let tool = tool.to_owned();
        match self {
            Self::Memory => ToolError::OutOfMemory { tool, limit_bytes: limits.memory_bytes },
            Self::Processes => ToolError::TooManyProcesses { tool, limit: limits.processes },
            Self::Files => ToolError::TooManyFiles { tool, limit: limits.files },
            Self::Bytes => ToolError::TooLarge { tool, limit_bytes: limits.folder_bytes },
        }
    }
}

/// Waits until a tool exceeds a limit.
pub(super) async fn beyond_limits(pid: Option<u32>, folder: &Path, limits: &Limits, seen: &Seen) -> Excess {
    let mut pause = budget_pause(0);
    loop {
        tokio::time::sleep(pause).await;
        let tree = match pid {
            Some(pid) => {
                let seen = seen.clone();
                let measure = move || {
                    TreeUse::of(pid).inspect(|tree| {
                        seen.add(&tree.members);
                    })
                };
                blocking(measure).await.flatten().unwrap_or_default()
            }
            None => TreeUse::default(),
        };
        if tree.resident_bytes > limits.memory_bytes {
            return Excess::Memory;
        }
        if tree.members.len() > limits.processes.saturating_add(OWN_PROCESSES) {
            return Excess::Processes;
        }
        if let Some(excess) = folder_excess(folder, limits).await {
            return excess;
        }
        pause = budget_pause(limits.memory_bytes - tree.resident_bytes).min(PAUSE_MAX);
    }
}

/// Measures a folder: the limit that its files exceed.
pub(super) async fn folder_excess(folder: &Path, limits: &Limits) -> Option<Excess> {
    let (folder, limits) = (folder.to_owned(), *limits);
    blocking(move || measure_folder(folder, &limits)).await.flatten()
}

async fn blocking<T: Send + 'static>(measure: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // The runtime that stops runs no more of them.
    tokio::task::spawn_blocking(measure).await.ok()
}

/// Counts until a limit is exceeded. A folder that cannot be read counts as an excess: it could have any number of files.
fn measure_folder(folder: PathBuf, limits: &Limits) -> Option<Excess> {
    const BLOCK_BYTES: u64 = 512;
    // The tool may have removed or replaced an entry meanwhile.
    let has_gone =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let (mut files, mut bytes) = (0, 0_u64);
    let mut folders = vec![(folder, 1)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if has_gone(&error) => continue,
            Err(_) => return Some(Excess::Files),
        };
        for entry in entries {
            let (path, found) = match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
                Ok(found) => found,
                Err(error) if has_gone(&error) => continue,
                Err(_) => return Some(Excess::Files),
            };
            files += 1;
            // A file with holes counts in full: whoever reads it gets all of it.
            bytes = bytes.saturating_add(found.len().max(found.blocks() * BLOCK_BYTES));
            if files > limits.files || depth > DEPTH_MAX {
                return Some(Excess::Files);
            }
            if bytes > limits.folder_bytes {
                return Some(Excess::Bytes);
            }
            if found.is_dir() {
                folders.push((path, depth + 1));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_bytes_of_all_folders_count() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        for name in ["a/b/one", "a/two", "three"] {
            fs::write(dir.path().join(name), [0; 10_000]).unwrap();
        }
        let measure = |files, folder_bytes| {
            let limits = Limits { folder_bytes, files, ..Limits::default() };
            measure_folder(dir.path().to_owned(), &limits)
        };
        assert_eq!(measure(5, 1 << 20), None);
        assert_eq!(measure(4, 1 << 20), Some(Excess::Files));
        assert_eq!(measure(5, 29_999), Some(Excess::Bytes));

        // A file with holes takes no blocks.
        fs::File::create(dir.path().join("hole")).unwrap().set_len(2 << 20).unwrap();
        assert_eq!(measure(6, 1 << 20), Some(Excess::Bytes));

        let deep = vec!["d"; DEPTH_MAX + 1].join("/");
        fs::create_dir_all(dir.path().join(deep)).unwrap();
        assert_eq!(measure(1000, 1 << 30), Some(Excess::Files));
    }

    #[test]
    fn files_below_long_names_are_not_hidden() {
        let dir = tempfile::tempdir().unwrap();
        // The deepest folder has a path that the system refuses.
        let name = "d".repeat(255);
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        for _ in 0..DEPTH_MAX {
            let above = dir.path().join("above");
            fs::create_dir(&above).unwrap();
            fs::rename(&top, above.join(&name)).unwrap();
            fs::rename(&above, &top).unwrap();
        }
        fs::rename(&top, dir.path().join(&name)).unwrap();
        let limits = Limits { files: 1_000, ..Limits::default() };
        assert_eq!(measure_folder(dir.path().to_owned(), &limits), Some(Excess::Files));
    }

    #[test]
    fn a_folder_that_is_gone_has_no_files() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(measure_folder(dir.path().join("gone"), &Limits::default()), None);
    }
}
