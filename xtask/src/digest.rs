//! SHA-256 of files and bytes, in lower-case hexadecimal as in `versions.toml`.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use anyhow::Context;
use sha2::{Digest, Sha256};

/// Digest of some bytes.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Digest of a whole file.
pub(crate) fn of_file(path: &Path) -> anyhow::Result<String> {
    of_prefix(path, u64::MAX)
}

/// Digest of a file's first `bytes` bytes, or of the whole file if it is shorter.
pub(crate) fn of_prefix(path: &Path, bytes: u64) -> anyhow::Result<String> {
    let read = || {
        let mut hasher = Sha256::new();
        let mut rest = File::open(path)?.take(bytes);
        let mut piece = vec![0; 1 << 16];
        loop {
            match rest.read(&mut piece)? {
                0 => return Ok::<_, io::Error>(hex::encode(hasher.finalize())),
                length => hasher.update(&piece[..length]),
            }
        }
    };
    read().with_context(|| format!("{} cannot be read", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_prefix_covers_only_the_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"abcdef").unwrap();
        assert_eq!(of_prefix(&path, 3).unwrap(), of_bytes(b"abc"));
        assert_eq!(of_file(&path).unwrap(), of_bytes(b"abcdef"));
        assert_eq!(of_bytes(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
