//! What every proving backend can do. Knows no HTTP, no queue and no circuit registry.

use std::{any::Any, path::PathBuf, sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use edgeprove_protocol::Target;

use super::{child::ChildFailure, memory::MemoryPeaks};

/// Something that must live until the process working for it is free again, such as a scheduler's slot.
pub type CapacityPermit = Arc<dyn Any + Send + Sync>;

/// A size of field elements on the wire, in bytes.
pub const FIELD_BYTES: usize = 32;

/// A circuit that can be proved: what bb needs to know of it besides a witness.
#[derive(Debug, Clone)]
pub struct CircuitKey {
    /// The ACIR program, inflated.
    pub bytecode: Bytes,
    /// bb's own encoding of the verification key.
    pub vk: Bytes,
    /// The verifier the key belongs to.
    pub target: Target,
    /// What proofs of it take. Every proof adds to what is known.
    pub memory: Arc<MemoryPeaks>,
}

/// The size of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitSize {
    /// Gates of the circuit.
    pub gates: u64,
    /// Rows of its execution trace, a power of two.
    pub rows: u64,
}

/// A verification key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationKey {
    /// bb's own encoding of it.
    pub vk: Bytes,
    /// bb's hash of it.
    pub vk_hash: [u8; FIELD_BYTES],
}

/// A verification key, and what making it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedKey {
    /// The key.
    pub key: VerificationKey,
    /// The most memory of the bb that made it, in bytes; `None` where it could not be read.
    pub peak_bytes: Option<u64>,
}

/// A gzipped witness in the spool.
#[derive(Debug, Clone)]
pub struct WitnessSource {
    /// The file, still gzipped.
    pub file: PathBuf,
    /// Its exact size once inflated, in bytes.
    pub inflated_bytes: u64,
}

/// A proof and what it proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofParts {
    /// The proof without its public inputs, in fields.
    pub proof: Vec<[u8; FIELD_BYTES]>,
    /// The public inputs in the circuit's order.
    pub public_inputs: Vec<[u8; FIELD_BYTES]>,
}

/// Why a backend could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProverError {
    /// bb answered that it will not.
    #[error("bb refused: {reason}")]
    Refused {
        /// bb's words, without values.
        reason: String,
    },
    /// The deadline passed; the process was killed.
    #[error("stopped at its deadline")]
    Timeout,
    /// The process died, or fell silent in the middle of an answer.
    #[error("bb died")]
    Crashed(#[source] ChildFailure),
    /// No process could be started.
    #[error("bb could not be started")]
    Unavailable(#[source] Arc<ChildFailure>),
    /// The spool, where the witness and bb's own files are, failed.
    #[error("the spool could not be used")]
    Spool(#[source] std::io::Error),
    /// bb's answer was not one to this question.
    #[error("bb's answer was not understood: {what}")]
    UnexpectedResponse {
        /// What was odd about it.
        what: String,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Stopping,
}

/// A place at a prover with a certain number of threads.
#[async_trait]
pub trait ProverPermit: Send + Sync {
    /// Proves. Dropping the future kills the process that was at work.
    async fn prove(
        &self,
        circuit: &CircuitKey,
        witness: &WitnessSource,
        deadline: Instant,
    ) -> Result<ProofParts, ProverError>;

    /// Whether a proof verifies.
    async fn verify(
        &self,
        circuit: &CircuitKey,
        parts: &ProofParts,
        deadline: Instant,
    ) -> Result<bool, ProverError>;

    /// Counts a circuit's gates. `bytecode` is the inflated ACIR program.
    async fn measure(
        &self,
        bytecode: Bytes,
        target: Target,
        deadline: Instant,
    ) -> Result<CircuitSize, ProverError>;

    /// Makes a circuit's verification key. `bytecode` is the inflated ACIR program.
    async fn make_key(
        &self,
        bytecode: Bytes,
        target: Target,
        deadline: Instant,
    ) -> Result<GeneratedKey, ProverError>;

    /// Replaces the process after it handed out a proof that does not verify.
    async fn distrust(&self);
}

/// Memory of provers that have no work, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdleMemory {
    /// What the one holds that would be taken next.
    pub seat_bytes: u64,
    /// What all others hold together.
    pub others_bytes: u64,
    /// How much of that the next one would give back if it were asked for.
    pub seat_reclaimable_bytes: u64,
    /// How much the others would.
    pub others_reclaimable_bytes: u64,
}

/// Provers that have no work, as far as they take memory from those that have.
pub trait IdleProvers: Send + Sync + 'static {
    /// What they hold, if the next place is one of `width` threads.
    fn idle_memory(&self, width: usize) -> IdleMemory;

    /// Has them give back what they can. `hold` is dropped when it is done.
    fn shed(&self, hold: CapacityPermit);
}

/// Why a process was put in the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// It died, did not start, or answered what makes no sense.
    Failed,
    /// Its work was given up: a deadline passed, or nobody waited for it any more.
    Stopped,
    /// It handed out a proof that does not verify.
    Distrusted,
    /// It had made as many proofs as one may.
    Worn,
    /// Its memory had grown by more than it may.
    Grown,
    /// It held memory that another proof needed.
    Shed,
}

impl Restart {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Failed, Self::Stopped, Self::Distrusted, Self::Worn, Self::Grown, Self::Shed];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Distrusted => "distrusted",
            Self::Worn => "worn",
            Self::Grown => "grown",
            Self::Shed => "shed",
        }
    }
}

/// Processes that were started to replace others, counted in the order of [`Restart::ALL`].
pub type Restarts = [u64; Restart::ALL.len()];

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
    /// Returns the identity, which stays the same for as long as the backend lives.
    fn identity(&self) -> BackendIdentity;

    /// Takes a place with `width` threads; `hold` is dropped when the place is free again. The caller sees to it that
    /// no more places are taken than there are.
    fn seat(&self, width: usize, hold: CapacityPermit) -> Box<dyn ProverPermit>;

    /// `warm` or `process`.
    fn mode(&self) -> &'static str;

    /// Whether a proof could start now.
    fn ready(&self) -> bool;

    /// Processes that were started to replace others.
    fn restarts(&self) -> Restarts;

    /// The processes at this moment.
    fn processes(&self) -> Vec<u32>;
}
