//! Verification keys kept between starts.
//!
//! One small JSON file a key, named by what it depends on: the program's hash, the verifier and bb's version. A file
//! that is missing, damaged or of another version is made anew; a folder that cannot be written costs time at the next
//! start and nothing else.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use edgeprove_protocol::Target;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use edgeprove_prover::{CircuitSize, VerificationKey, barretenberg::version::BB_REPORTS};

/// A circuit's key and size, as they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMaterial {
    /// The verification key.
    pub key: VerificationKey,
    /// The circuit's size under the key's verifier.
    pub size: CircuitSize,
}

/// The folder of the cache.
#[derive(Debug, Clone)]
pub struct VkCache {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    bb: String,
    bytecode_sha256: String,
    target: Target,
    gates: u64,
    rows: u64,
    vk: String,
    vk_hash: String,
    /// Over the key's bytes, so that a damaged file is noticed before a proof fails.
    vk_sha256: String,
}

impl VkCache {
    /// A cache in a folder, which is made when the first key is kept.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn file(&self, bytecode_sha256: &[u8; 32], target: Target) -> PathBuf {
        self.dir.join(format!("{}-{target}-{BB_REPORTS}.json", hex::encode(bytecode_sha256)))
    }

    /// A key that was kept, if it is whole.
    #[must_use]
    pub fn get(&self, bytecode_sha256: &[u8; 32], target: Target) -> Option<KeyMaterial> {
        let file = self.file(bytecode_sha256, target);
        let text = fs::read(&file).ok()?;
        let whole = serde_json::from_slice::<Entry>(&text)
            .ok()
            .and_then(|entry| decode(entry, bytecode_sha256, target));
        if whole.is_none() {
            tracing::warn!(file = %file.display(), "a cached verification key is damaged and made anew");
        }
        whole
    }

    /// Keeps a key.
    pub fn put(&self, bytecode_sha256: &[u8; 32], target: Target, key: &KeyMaterial) -> std::io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let entry = Entry {
            bb: BB_REPORTS.to_owned(),
            bytecode_sha256: hex::encode(bytecode_sha256),
            target,
            gates: key.size.gates,
            rows: key.size.rows,
            vk: STANDARD.encode(&key.key.vk),
            vk_hash: hex::encode(key.key.vk_hash),
            vk_sha256: hex::encode(Sha256::digest(&key.key.vk)),
        };
        let file = self.file(bytecode_sha256, target);
        // Another server may keep the same key at the same time: whoever renames last wins, and both are right.
        let draft = file.with_extension(format!("{}.part", uuid::Uuid::new_v4()));
        fs::write(&draft, serde_json::to_vec(&entry)?)?;
        fs::rename(&draft, &file).inspect_err(|_| {
            // The rename's own error is the one to report.
            let _ = fs::remove_file(&draft);
        })
    }
}

fn decode(entry: Entry, bytecode_sha256: &[u8; 32], target: Target) -> Option<KeyMaterial> {
    let vk = STANDARD.decode(entry.vk).ok()?;
    let own = entry.bb == BB_REPORTS
        && entry.target == target
        && entry.bytecode_sha256 == hex::encode(bytecode_sha256)
        && entry.vk_sha256 == hex::encode(Sha256::digest(&vk));
    let vk_hash = hex::decode(entry.vk_hash).ok()?.try_into().ok()?;
    own.then(|| KeyMaterial {
        key: VerificationKey { vk: vk.into(), vk_hash },
        size: CircuitSize { gates: entry.gates, rows: entry.rows },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_key_is_not_handed_out() {
        let dir = tempfile::tempdir().unwrap();
        let cache = VkCache::new(&dir.path().join("vk"));
        let (hash, target) = ([7; 32], Target::Evm);
        let key = KeyMaterial {
            key: VerificationKey { vk: vec![1, 2, 3].into(), vk_hash: [9; 32] },
            size: CircuitSize { gates: 5, rows: 8 },
        };
        assert_eq!(cache.get(&hash, target), None);
        cache.put(&hash, target, &key).unwrap();
        assert_eq!(cache.get(&hash, target), Some(key));
        assert_eq!(cache.get(&hash, Target::NoirRecursive), None);
        assert_eq!(cache.get(&[8; 32], target), None);

        let file = cache.file(&hash, target);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("AQID", "AQIE")).unwrap();
        assert_eq!(cache.get(&hash, target), None);
        fs::write(&file, "{").unwrap();
        assert_eq!(cache.get(&hash, target), None);
        assert_eq!(fs::read_dir(dir.path().join("vk")).unwrap().count(), 1, "no draft is left behind");
    }
}
