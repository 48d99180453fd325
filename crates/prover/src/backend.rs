//! What every proving backend does. Knows no HTTP, no queue and no circuit registry.

use std::{any::Any, sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use edgeprove_groth16::ProvingKey;
use edgeprove_protocol::{ProofSystem, Target};
use edgeprove_spool::SpoolSource;

use crate::{
    error::ProverError,
    memory_peaks::{MemoryEstimate, MemoryPeaks},
    recycling::RestartCounts,
};

/// The caller's claim on cores and memory. It lives until the process that uses them is free again.
pub type CapacityPermit = Arc<dyn Any + Send + Sync>;

/// Size of a field element, in bytes.
pub const FIELD_BYTES: usize = 32;

/// A circuit's program, in the form that the backend of its proof system takes.
#[derive(Debug, Clone)]
pub enum CircuitProgram {
    /// The decompressed ACIR program of a Noir circuit.
    Acir(Bytes),
    /// The proving key of a circom circuit, which was read once and is shared by all proofs.
    Groth16(Arc<ProvingKey>),
}

impl CircuitProgram {
    /// Whether the verification key is a part of the program, so that it needs no cache.
    #[must_use]
    pub const fn contains_key(&self) -> bool {
        matches!(self, Self::Groth16(_))
    }

    /// Returns the proof system with which the program is proved.
    #[must_use]
    pub const fn proof_system(&self) -> ProofSystem {
        match self {
            Self::Acir(_) => ProofSystem::UltraHonk,
            Self::Groth16(_) => ProofSystem::Groth16,
        }
    }

    /// Returns the ACIR program. Another program is refused.
    pub fn acir(&self) -> Result<&Bytes, ProverError> {
        match self {
            Self::Acir(bytecode) => Ok(bytecode),
            Self::Groth16(_) => Err(ProverError::Refused { reason: "it is not a Noir circuit".to_owned() }),
        }
    }

    /// Returns the proving key of Groth16. Another program is refused.
    pub fn groth16(&self) -> Result<&Arc<ProvingKey>, ProverError> {
        match self {
            Self::Groth16(key) => Ok(key),
            Self::Acir(_) => Err(ProverError::Refused { reason: "it is not a circom circuit".to_owned() }),
        }
    }
}

/// A circuit that can be proved: everything a prover needs except the witness.
#[derive(Debug, Clone)]
pub struct CircuitKey {
    /// The program.
    pub program: CircuitProgram,
    /// The verification key in the prover's own encoding.
    pub vk: Bytes,
    /// The verifier that the key belongs to.
    pub target: Target,
    /// The memory that proofs of the circuit take. Every proof adds a measurement.
    pub memory: Arc<MemoryPeaks>,
}

/// The size of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitSize {
    /// Gates of the circuit.
    pub gates: u64,
    /// The gates rounded up by the prover to a power of two: the length of the execution trace.
    pub dyadic_size: u64,
}

/// A verification key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationKey {
    /// The key in the prover's own encoding.
    pub vk: Bytes,
    /// The prover's hash of the key.
    pub vk_hash: [u8; FIELD_BYTES],
}

/// A new verification key, and the memory that a proof is expected to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedKey {
    /// The key.
    pub key: VerificationKey,
    /// The estimate by the memory that making the key took; `None` if that could not be measured.
    pub proof_memory: Option<MemoryEstimate>,
}

/// The time and the memory that a prover may take to load a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadLimits {
    /// When it is stopped.
    pub deadline: Instant,
    /// The resident memory at which it is stopped, in bytes.
    pub memory_max_bytes: u64,
}

/// A gzipped witness in the spool.
#[derive(Debug, Clone)]
pub struct WitnessSource {
    /// The gzipped file.
    pub file: SpoolSource,
    /// The exact size of the decompressed witness, in bytes.
    pub decompressed_bytes: u64,
}

/// A proof and its public inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofParts {
    /// The proof without its public inputs, as field elements.
    pub proof: Vec<[u8; FIELD_BYTES]>,
    /// The public inputs in the circuit's order.
    pub public_inputs: Vec<[u8; FIELD_BYTES]>,
}

/// Permission to use one prover with a certain number of threads.
#[async_trait]
pub trait ProverPermit: Send + Sync {
    /// Returns the number of threads.
    fn width(&self) -> usize;

    /// Proves a witness. Dropping the future kills the process that works on it, or stops the work in this process before
    /// its next step.
    async fn prove(
        &self,
        circuit: &CircuitKey,
        witness: &WitnessSource,
        deadline: Instant,
    ) -> Result<ProofParts, ProverError>;

    /// Checks whether a proof verifies.
    async fn verify(
        &self,
        circuit: &CircuitKey,
        parts: &ProofParts,
        deadline: Instant,
    ) -> Result<bool, ProverError>;

    /// Counts a circuit's gates.
    async fn measure(
        &self,
        program: CircuitProgram,
        target: Target,
        limits: LoadLimits,
    ) -> Result<CircuitSize, ProverError>;

    /// Makes a circuit's verification key.
    async fn make_key(
        &self,
        program: CircuitProgram,
        target: Target,
        limits: LoadLimits,
    ) -> Result<GeneratedKey, ProverError>;

    /// Reads the dyadic size of a circuit from its key for a target; `None` if the key does not contain it.
    fn dyadic_size(&self, key: &VerificationKey, target: Target) -> Option<u64>;

    /// Estimates the memory of a proof for a target from the circuit's size, for as long as no proof was measured.
    fn estimate_memory(&self, size: CircuitSize, target: Target) -> MemoryEstimate;

    /// Reports that the last proof does not verify. The process that made it is replaced.
    async fn report_invalid_proof(&self);
}

/// Memory of provers without work, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdleMemory {
    /// Memory of the prover that the next permit would get.
    pub next_bytes: u64,
    /// Memory of all other idle provers.
    pub others_bytes: u64,
    /// The part of `next_bytes` that [`IdleProvers::reclaim_memory`] would free.
    pub next_reclaimable_bytes: u64,
    /// The part of `others_bytes` that [`IdleProvers::reclaim_memory`] would free.
    pub others_reclaimable_bytes: u64,
}

impl IdleMemory {
    /// Returns the same memory for a proof that takes none of these provers: all of it is there beside the proof.
    #[must_use]
    pub const fn beside_the_proof(self) -> Self {
        Self {
            next_bytes: 0,
            others_bytes: self.next_bytes.saturating_add(self.others_bytes),
            next_reclaimable_bytes: 0,
            others_reclaimable_bytes: self
                .next_reclaimable_bytes
                .saturating_add(self.others_reclaimable_bytes),
        }
    }
}

/// Provers without work, which still take memory.
pub trait IdleProvers: Send + Sync + 'static {
    /// Returns the memory of idle provers, if the next permit is for `width` threads and a proof of this system.
    fn idle_memory(&self, system: ProofSystem, width: usize) -> IdleMemory;

    /// Frees memory of idle provers. `capacity` is dropped when that is done.
    fn reclaim_memory(&self, capacity: CapacityPermit);
}

/// The identity of a proving backend: it keys every cache of what the backend made or measured.
///
/// A verification key depends on the program and its release. A memory peak depends on the variant as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendIdentity {
    /// The name of the proving program, such as `bb`.
    pub program: &'static str,
    /// The release as the program itself prints it.
    pub version: &'static str,
    /// How the program runs and computes, such as `warm-round-parallel`, as far as its memory depends on it.
    pub variant: &'static str,
}

impl BackendIdentity {
    /// Returns the cache key of verification keys, such as `bb-5.0.0`. It is safe in a file name.
    #[must_use]
    pub fn keys(&self) -> String {
        format!("{}-{}", self.program, self.version)
    }

    /// Returns the cache key of memory peaks, such as `bb-5.0.0-warm-round-parallel`. It is safe in a file name.
    #[must_use]
    pub fn memory(&self) -> String {
        format!("{}-{}-{}", self.program, self.version, self.variant)
    }
}

/// A way to prove.
pub trait Backend: IdleProvers {
    /// Returns the identity for proofs of this system, which stays the same for as long as the backend lives.
    fn identity(&self, system: ProofSystem) -> BackendIdentity;

    /// Takes a prover with `width` threads. `capacity` is dropped when the prover is free again. The caller must not
    /// take more permits than there is capacity for.
    fn permit(&self, width: usize, capacity: CapacityPermit) -> Box<dyn ProverPermit>;

    /// Returns how processes are run: `warm` or `process`.
    fn mode(&self) -> &'static str;

    /// Whether a proof could start now.
    fn is_ready(&self) -> bool;

    /// Returns how many processes replaced others, by reason.
    fn restarts(&self) -> RestartCounts;

    /// Returns the ids of the processes that run now.
    fn processes(&self) -> Vec<u32>;
}
