//! Measured memory peaks of proofs in files, so that a server knows the memory of a circuit before its first proof.
//!
//! One small JSON file per circuit, beside the verification keys, named by its program and the backend's identity. If it
//! is missing or damaged, the first proofs use an estimate.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::cache_folder::{CacheFolder, Stored};
use edgeprove_protocol::ProofSystem;
use edgeprove_prover::{BackendIdentity, MemoryPeaks};

/// No proof of a circuit that fits here comes near this size: a larger number is damage.
const PLAUSIBLE_BYTES: u64 = 1 << 44;

/// The folder of the memory peaks.
#[derive(Debug, Clone)]
pub struct PeakCache {
    /// The same folder, with the names of each backend, in the order of [`ProofSystem::ALL`].
    folders: [CacheFolder; ProofSystem::ALL.len()],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    backend: String,
    program_sha256: String,
    /// Bytes by the number of threads.
    peak_bytes: BTreeMap<usize, u64>,
}

impl PeakCache {
    /// A cache for the memory of the backend of each proof system, in a folder that is created with the first peak.
    #[must_use]
    pub fn new(dir: &Path, backend: impl Fn(ProofSystem) -> BackendIdentity) -> Self {
        Self { folders: ProofSystem::ALL.map(|system| CacheFolder::new(dir, backend(system).memory())) }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folders[0].dir()
    }

    fn folder(&self, system: ProofSystem) -> &CacheFolder {
        &self.folders[system as usize]
    }

    fn file(&self, system: ProofSystem, program_sha256: &[u8; 32]) -> PathBuf {
        self.folder(system).file(program_sha256, "memory")
    }

    /// Returns the stored peaks of a circuit; peaks without a measurement if there are none.
    #[must_use]
    pub fn get(&self, system: ProofSystem, program_sha256: &[u8; 32]) -> MemoryPeaks {
        let file = self.file(system, program_sha256);
        let is_right = |entry: &Entry| {
            let is_plausible = |(&threads, &bytes): (&usize, &u64)| threads > 0 && bytes < PLAUSIBLE_BYTES;
            entry.backend == self.folder(system).backend()
                && entry.program_sha256 == hex::encode(program_sha256)
                && entry.peak_bytes.iter().all(is_plausible)
        };
        match CacheFolder::read::<Entry>(&file) {
            Stored::Absent => MemoryPeaks::default(),
            Stored::Whole(entry) if is_right(&entry) => MemoryPeaks::stored(entry.peak_bytes),
            Stored::Whole(_) | Stored::Damaged => {
                tracing::warn!(file = %file.display(), "cached memory peaks are damaged and are measured again");
                MemoryPeaks::default()
            }
        }
    }

    /// Stores the measured peaks if they changed since they were last stored.
    pub fn put(&self, system: ProofSystem, program_sha256: &[u8; 32], peaks: &MemoryPeaks) -> io::Result<()> {
        let Some(peak_bytes) = peaks.take_changed() else { return Ok(()) };
        let program = hex::encode(program_sha256);
        let folder = self.folder(system);
        let backend = folder.backend().to_owned();
        let entry = Entry { backend, program_sha256: program, peak_bytes };
        folder.write(&self.file(system, program_sha256), &entry)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use edgeprove_prover::memory_peaks::Observation;

    #[test]
    fn stored_peaks_are_found_and_damaged_ones_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let cache = PeakCache::new(&dir.path().join("keys"), |system| BackendIdentity {
            program: system.as_str(),
            version: "5.0.0",
            variant: "warm",
        });
        let (system, other) = (ProofSystem::UltraHonk, ProofSystem::Groth16);
        let hash = [7; 32];
        assert!(!cache.get(system, &hash).is_measured());
        let peaks = MemoryPeaks::default();
        cache.put(system, &hash, &peaks).unwrap();
        assert!(!cache.dir().exists(), "there was nothing to store");
        peaks.observe(2, Observation { before_bytes: 0, peak_bytes: 20 << 20, is_alone: true });
        cache.put(system, &hash, &peaks).unwrap();
        assert_eq!(cache.get(system, &hash).expected(2), 20 << 20);
        assert!(!cache.get(system, &[8; 32]).is_measured());
        assert!(!cache.get(other, &hash).is_measured(), "another backend takes other memory");

        let file = cache.file(system, &hash);
        let text = fs::read_to_string(&file).unwrap();
        for damaged in ["{".to_owned(), text.replace("20971520", "20971521"), text.replace("0707", "0807")] {
            assert_ne!(damaged, text);
            fs::write(&file, damaged).unwrap();
            assert!(!cache.get(system, &hash).is_measured());
        }
        assert_eq!(fs::read_dir(cache.dir()).unwrap().count(), 1, "no draft is left");
    }
}
