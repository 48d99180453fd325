//! Overwrites a file with zeros.

use std::{fs::File, io, os::unix::fs::FileExt as _};

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Overwrites the whole content of a file with zeros and flushes them to the disk. The length stays the same.
pub fn overwrite(file: &File) -> io::Result<()> {
    let len = file.metadata()?.len();
    let mut at = 0;
    while at < len {
        let count = usize::try_from(len - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        file.write_all_at(&ZEROS[..count], at)?;
        at += count as u64;
    }
    if len == 0 { Ok(()) } else { file.sync_data() }
}
