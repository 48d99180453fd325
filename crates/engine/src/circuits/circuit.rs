//! One loaded circuit and its keys.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use acir::{FieldElement, circuit::Program};
use edgeprove_protocol::{CircuitId, Target};
use tokio::sync::OnceCell;

use super::{
    artifact::{Artifact, ArtifactError},
    peak_cache::PeakCache,
    shape,
    vk_cache::{KeyMaterial, VkCache},
};
use crate::{scheduler::beyond, witness::stack::WitnessShape};
use edgeprove_prover::{
    CircuitKey, CircuitSize, GeneratedKey, MemoryPeaks, ProverError, ProverPermit, barretenberg::crs::Crs,
};
use edgeprove_telemetry::metrics;

/// How long bb may take to make one key.
const KEY_TIMEOUT: Duration = Duration::from_mins(10);

/// Why a circuit cannot be proved.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its file is not right.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// bb did not take it.
    #[error("bb could not make its verification key")]
    Key(#[source] ProverError),
    /// It is larger than the CRS.
    #[error(
        "it has {rows} rows and needs {needed} CRS points, but there are {points}: \
         run `cargo xtask setup --crs-points {needed}` where there is internet, or point CRS_PATH to a larger CRS"
    )]
    CrsTooSmall {
        /// Rows of the circuit.
        rows: u64,
        /// Points it needs.
        needed: u64,
        /// Points there are.
        points: u64,
    },
    /// A proof of it takes more memory than there is.
    #[error("a proof of it {} {}", if *measured { "takes" } else { "would take about" }, beyond(*needed_bytes, *max_bytes))]
    BeyondMemory {
        /// What it takes at least, in bytes.
        needed_bytes: u64,
        /// What proofs may take, in bytes.
        max_bytes: u64,
        /// Whether proofs showed it; else it was estimated.
        measured: bool,
    },
}

impl LoadError {
    /// What callers may know of it: neither the server's folders nor how it is set up.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        match self {
            Self::BeyondMemory { .. } => Some(self.to_string()),
            Self::Artifact(_) | Self::Key(_) | Self::CrsTooSmall { .. } => None,
        }
    }
}

/// A circuit that can be proved.
#[derive(Debug)]
pub struct Circuit {
    /// Its name.
    pub id: CircuitId,
    /// The target of its proofs where a request names none.
    pub target: Target,
    /// What a witness of it looks like.
    pub shape: WitnessShape,
    artifact: Artifact,
    memory: Arc<MemoryPeaks>,
    keys: [OnceCell<Arc<Key>>; Target::ALL.len()],
}

/// A circuit's key for one verifier.
#[derive(Debug)]
pub struct Key {
    /// What bb is given with each proof.
    pub circuit: CircuitKey,
    /// bb's hash of the verification key.
    pub vk_hash: [u8; 32],
    /// The circuit's size under this key's verifier.
    pub size: CircuitSize,
}

/// What is needed to make a circuit's keys, besides a seat at a prover.
#[derive(Debug, Clone)]
pub struct KeyGenerator {
    /// Keys of earlier starts.
    pub cache: VkCache,
    /// The CRS the circuit must fit.
    pub crs: Crs,
    /// What proofs took since earlier starts.
    pub peaks: PeakCache,
    /// What a proof may take.
    pub room: MemoryBudget,
}

/// What one proof may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Memory, in bytes.
    pub memory_max_bytes: u64,
    /// The least threads that a proof may be made with.
    pub narrowest: usize,
}

impl Circuit {
    /// Takes in a circuit's file. Its keys are made by [`Self::key`].
    pub fn read(
        id: CircuitId,
        target: Target,
        mut artifact: Artifact,
        peaks: &PeakCache,
    ) -> Result<Self, LoadError> {
        let mut program = artifact.program()?;
        if shape::name_unused_parameters(&mut program.functions[0]) > 0 {
            artifact.replace_program(&program)?;
        }
        let shape = WitnessShape { max_index: shape::max_witness_index(&program.functions[0]) };
        let memory = Arc::new(peaks.get(&artifact.bytecode_sha256));
        Ok(Self { id, target, shape, artifact, memory, keys: Default::default() })
    }

    /// The key for a verifier: made at the first call, from the cache if it is there.
    pub async fn key(
        &self,
        target: Target,
        maker: &KeyGenerator,
        seat: &dyn ProverPermit,
    ) -> Result<Arc<Key>, LoadError> {
        let make = || async {
            let started = Instant::now();
            let found = maker.cache.get(&self.artifact.bytecode_sha256, target);
            metrics::key_looked_up(found.is_some());
            let (material, source) = match found {
                Some(material) => {
                    self.fits(material.size, maker)?;
                    (material, "cache")
                }
                None => (self.make_key(target, maker, seat).await?, "bb"),
            };
            tracing::info!(
                circuit = %self.id,
                verifier = %target,
                gates = material.size.gates,
                rows = material.size.rows,
                memory_bytes = self.memory.expected(maker.room.narrowest),
                vk_hash = hex::encode(material.key.vk_hash),
                vk_from = source,
                took_ms = edgeprove_telemetry::millis(started.elapsed()),
                noir = self.artifact.noir_version,
                "circuit has its verification key"
            );
            Ok(Arc::new(self.with(material, target)))
        };
        self.cell(target).get_or_try_init(make).await.cloned()
    }

    async fn make_key(
        &self,
        target: Target,
        maker: &KeyGenerator,
        seat: &dyn ProverPermit,
    ) -> Result<KeyMaterial, LoadError> {
        let deadline = Instant::now() + KEY_TIMEOUT;
        let bytecode = &self.artifact.bytecode;
        let size = seat.measure(bytecode.clone(), target, deadline).await.map_err(LoadError::Key)?;
        // Asked for the key of a circuit it has no points for, bb would go to the network.
        self.fits(size, maker)?;
        let made = seat.make_key(bytecode.clone(), target, deadline).await.map_err(LoadError::Key)?;
        let GeneratedKey { key, peak_bytes } = made;
        if let Some(peak_bytes) = peak_bytes {
            self.memory.estimate_by_key(peak_bytes);
            self.has_room(maker)?;
        }
        let material = KeyMaterial { key, size };
        if let Err(error) = maker.cache.put(&self.artifact.bytecode_sha256, target, &material) {
            tracing::warn!(circuit = %self.id, %error, "the verification key is not kept for the next start");
        }
        Ok(material)
    }

    /// The key for a verifier if it was made already.
    #[must_use]
    pub fn ready_key(&self, target: Target) -> Option<Arc<Key>> {
        self.cell(target).get().cloned()
    }

    /// What tells it from other circuits of its name: the SHA-256 of its bytecode, 64 hexadecimal digits.
    #[must_use]
    pub fn version(&self) -> String {
        hex::encode(self.artifact.bytecode_sha256)
    }

    /// What proofs of it take.
    #[must_use]
    pub fn memory(&self) -> &Arc<MemoryPeaks> {
        &self.memory
    }

    /// Keeps what proofs of it took for the next start.
    pub fn keep_memory(&self, peaks: &PeakCache) {
        if let Err(error) = peaks.keep(&self.artifact.bytecode_sha256, &self.memory) {
            tracing::warn!(circuit = %self.id, %error, "what proofs took is not kept for the next start");
        }
    }

    /// Whether there are points and memory enough for it.
    fn fits(&self, size: CircuitSize, maker: &KeyGenerator) -> Result<(), LoadError> {
        if !maker.crs.reaches(size.rows) {
            let (rows, points) = (size.rows, maker.crs.points);
            return Err(LoadError::CrsTooSmall { rows, needed: rows + 1, points });
        }
        self.memory.estimate_by_rows(size.rows);
        self.has_room(maker)
    }

    fn has_room(&self, maker: &KeyGenerator) -> Result<(), LoadError> {
        let MemoryBudget { memory_max_bytes: max_bytes, narrowest } = maker.room;
        let needed_bytes = self.memory.expected(narrowest);
        if needed_bytes > max_bytes {
            let measured = self.memory.is_measured();
            return Err(LoadError::BeyondMemory { needed_bytes, max_bytes, measured });
        }
        Ok(())
    }

    /// The circuit's constraints, decoded anew.
    pub fn program(&self) -> Result<Program<FieldElement>, ArtifactError> {
        self.artifact.program()
    }

    fn cell(&self, target: Target) -> &OnceCell<Arc<Key>> {
        match target {
            Target::NoirRecursive => &self.keys[0],
            Target::Evm => &self.keys[1],
        }
    }

    fn with(&self, material: KeyMaterial, target: Target) -> Key {
        let KeyMaterial { key, size } = material;
        let circuit = CircuitKey {
            bytecode: self.artifact.bytecode.clone(),
            vk: key.vk,
            target,
            memory: Arc::clone(&self.memory),
        };
        Key { circuit, vk_hash: key.vk_hash, size }
    }
}
