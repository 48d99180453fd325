//! What proofs of a circuit took of memory, kept between starts beside the verification keys, so that a server knows
//! what it can promise before its first proof.
//!
//! One small JSON file a circuit, named by its program and bb's version. One that is missing or damaged means that the
//! first proofs go by an estimate.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use edgeprove_prover::{MemoryPeaks, barretenberg::version::BB_REPORTS};

/// No proof of a circuit that is taken here comes near it: what a file says beyond is damage.
const PLAUSIBLE_BYTES: u64 = 1 << 44;

/// The folder of the cache.
#[derive(Debug, Clone)]
pub struct PeakCache {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    bb: String,
    bytecode_sha256: String,
    /// Bytes by the number of threads.
    peak_bytes: BTreeMap<usize, u64>,
}

impl PeakCache {
    /// A cache in a folder, which is made when the first peak is kept.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn file(&self, bytecode_sha256: &[u8; 32]) -> PathBuf {
        self.dir.join(format!("{}-memory-{BB_REPORTS}.json", hex::encode(bytecode_sha256)))
    }

    /// What was kept of a circuit; peaks without any measurement if nothing was.
    #[must_use]
    pub fn get(&self, bytecode_sha256: &[u8; 32]) -> MemoryPeaks {
        let file = self.file(bytecode_sha256);
        let Ok(text) = fs::read(&file) else { return MemoryPeaks::default() };
        let is_right = |entry: &Entry| {
            let plausible = |(&threads, &bytes): (&usize, &u64)| threads > 0 && bytes < PLAUSIBLE_BYTES;
            entry.bb == BB_REPORTS
                && entry.bytecode_sha256 == hex::encode(bytecode_sha256)
                && entry.peak_bytes.iter().all(plausible)
        };
        let entry = serde_json::from_slice::<Entry>(&text).ok().filter(is_right);
        if entry.is_none() {
            tracing::warn!(file = %file.display(), "what proofs took is damaged and measured anew");
        }
        entry.map(|entry| MemoryPeaks::kept(entry.peak_bytes)).unwrap_or_default()
    }

    /// Keeps what was measured, unless that is what is kept already.
    pub fn keep(&self, bytecode_sha256: &[u8; 32], peaks: &MemoryPeaks) -> io::Result<()> {
        let Some(peak_bytes) = peaks.take_changed() else { return Ok(()) };
        fs::create_dir_all(&self.dir)?;
        let bytecode = hex::encode(bytecode_sha256);
        let entry = Entry { bb: BB_REPORTS.to_owned(), bytecode_sha256: bytecode, peak_bytes };
        let file = self.file(bytecode_sha256);
        // Another server may keep its own at the same time: whoever renames last wins, and both are right.
        let draft = file.with_extension(format!("{}.part", uuid::Uuid::new_v4()));
        fs::write(&draft, serde_json::to_vec(&entry)?)?;
        fs::rename(&draft, &file).inspect_err(|_| {
            // The rename's own error is the one to report.
            let _ = fs::remove_file(&draft);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeprove_prover::memory::Observation;

    #[test]
    fn what_was_measured_is_found_again_and_what_is_damaged_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = PeakCache::new(&dir.path().join("keys"));
        let hash = [7; 32];
        assert!(!cache.get(&hash).is_measured());
        let peaks = MemoryPeaks::default();
        cache.keep(&hash, &peaks).unwrap();
        assert!(!cache.dir.exists(), "there was nothing to keep");
        peaks.observe(2, Observation { before_bytes: 0, peak_bytes: 20 << 20, alone: true });
        cache.keep(&hash, &peaks).unwrap();
        assert_eq!(cache.get(&hash).expected(2), 20 << 20);
        assert!(!cache.get(&[8; 32]).is_measured());

        let file = cache.file(&hash);
        let text = fs::read_to_string(&file).unwrap();
        for damaged in
            ["{".to_owned(), text.replace("20971520", "99999999999999999"), text.replace("0707", "0807")]
        {
            assert_ne!(damaged, text);
            fs::write(&file, damaged).unwrap();
            assert!(!cache.get(&hash).is_measured());
        }
        assert_eq!(fs::read_dir(&cache.dir).unwrap().count(), 1, "no draft is left behind");
    }
}
