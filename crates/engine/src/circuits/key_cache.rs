//! Verification keys in files, for the next start.
//!
//! One small JSON file per key, named by everything that the key depends on: the program's hash, the target and the
//! backend's identity. A file that is missing, damaged or of another backend means that the key is generated again. A
//! folder that cannot be written costs time at the next start and nothing else. The checksum of a file shows damage, and
//! not that someone put another circuit's key there on purpose: the first proof with the key shows that
//! ([`Circuit::other_key`](super::Circuit::other_key)).

use std::{
    io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use edgeprove_protocol::Target;
use serde::{Deserialize, Serialize};

use super::cache_folder::{CacheFolder, Stored};
use edgeprove_prover::{BackendIdentity, CircuitSize, VerificationKey};

/// A circuit's key and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMaterial {
    /// The verification key.
    pub key: VerificationKey,
    /// The circuit's size for the key's target.
    pub size: CircuitSize,
}

/// The folder of the verification keys.
#[derive(Debug, Clone)]
pub struct KeyCache {
    folder: CacheFolder,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    backend: String,
    program_sha256: String,
    target: Target,
    gates: u64,
    dyadic_size: u64,
    vk: String,
    vk_hash: String,
}

impl KeyCache {
    /// A cache for the keys of this backend, in a folder that is created with the first key.
    #[must_use]
    pub fn new(dir: &Path, backend: &BackendIdentity) -> Self {
        Self { folder: CacheFolder::new(dir, backend.keys()) }
    }

    fn file(&self, program_sha256: &[u8; 32], target: Target) -> PathBuf {
        self.folder.file(program_sha256, target.as_str())
    }

    /// Returns a stored key; `None` if its file is missing or damaged.
    #[must_use]
    pub fn get(&self, program_sha256: &[u8; 32], target: Target) -> Option<KeyMaterial> {
        let file = self.file(program_sha256, target);
        let material = match CacheFolder::read::<Entry>(&file) {
            Stored::Absent => return None,
            Stored::Damaged => None,
            Stored::Whole(entry) => self.decode(entry, program_sha256, target),
        };
        if material.is_none() {
            tracing::warn!(file = %file.display(), "a cached verification key is damaged and is generated again");
        }
        material
    }

    /// Stores a key.
    pub fn put(&self, program_sha256: &[u8; 32], target: Target, key: &KeyMaterial) -> io::Result<()> {
        let entry = Entry {
            backend: self.folder.backend().to_owned(),
            program_sha256: hex::encode(program_sha256),
            target,
            gates: key.size.gates,
            dyadic_size: key.size.dyadic_size,
            vk: STANDARD.encode(&key.key.vk),
            vk_hash: hex::encode(key.key.vk_hash),
        };
        self.folder.write(&self.file(program_sha256, target), &entry)
    }

    fn decode(&self, entry: Entry, program_sha256: &[u8; 32], target: Target) -> Option<KeyMaterial> {
        let vk = STANDARD.decode(entry.vk).ok()?;
        let is_right = entry.backend == self.folder.backend()
            && entry.target == target
            && entry.program_sha256 == hex::encode(program_sha256);
        let vk_hash = hex::decode(entry.vk_hash).ok()?.try_into().ok()?;
        is_right.then(|| KeyMaterial {
            key: VerificationKey { vk: vk.into(), vk_hash },
            size: CircuitSize { gates: entry.gates, dyadic_size: entry.dyadic_size },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const BB: BackendIdentity = BackendIdentity { program: "bb", version: "5.0.0", variant: "warm" };

    #[test]
    fn a_damaged_or_foreign_key_is_not_returned() {
        let dir = tempfile::tempdir().unwrap();
        let cache = KeyCache::new(&dir.path().join("vk"), &BB);
        let (hash, target) = ([7; 32], Target::Evm);
        let key = KeyMaterial {
            key: VerificationKey { vk: vec![1, 2, 3].into(), vk_hash: [9; 32] },
            size: CircuitSize { gates: 5, dyadic_size: 8 },
        };
        assert_eq!(cache.get(&hash, target), None);
        cache.put(&hash, target, &key).unwrap();
        assert_eq!(cache.get(&hash, target), Some(key));
        assert_eq!(cache.get(&hash, Target::NoirRecursive), None);
        assert_eq!(cache.get(&[8; 32], target), None);
        let other = BackendIdentity { version: "5.0.1", ..BB };
        assert_eq!(KeyCache::new(&dir.path().join("vk"), &other).get(&hash, target), None);

        let file = cache.file(&hash, target);
        let text = fs::read_to_string(&file).unwrap();
        for damaged in [
            text.replace("AQID", "AQIE"),
            text.replace(&"09".repeat(32), &"08".repeat(32)),
            text.replace("\"dyadic_size\":8", "\"dyadic_size\":4"),
            "{".to_owned(),
        ] {
            assert_ne!(damaged, text);
            fs::write(&file, damaged).unwrap();
            assert_eq!(cache.get(&hash, target), None);
        }
        assert_eq!(fs::read_dir(dir.path().join("vk")).unwrap().count(), 1, "no draft is left");
    }
}
