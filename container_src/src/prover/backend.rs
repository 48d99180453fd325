//! What every proving backend can do. Knows no HTTP, no queue and no circuit registry.

use std::{any::Any, path::PathBuf, sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use edgeprove_protocol::VerifierTarget;

use super::child::ChildFailure;

/// Something that must live until the process working for it is free again, such as a scheduler's slot.
pub type Hold = Arc<dyn Any + Send + Sync>;

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
    pub target: VerifierTarget,
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
    Garbled {
        /// What was odd about it.
        what: String,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Stopping,
}

/// A place at a prover with a certain number of threads.
#[async_trait]
pub trait Seat: Send + Sync {
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
        target: VerifierTarget,
        deadline: Instant,
    ) -> Result<CircuitSize, ProverError>;

    /// Makes a circuit's verification key. `bytecode` is the inflated ACIR program.
    async fn make_key(
        &self,
        bytecode: Bytes,
        target: VerifierTarget,
        deadline: Instant,
    ) -> Result<VerificationKey, ProverError>;

    /// Replaces the process after it handed out a proof that does not verify.
    async fn distrust(&self);
}

/// A way to prove.
pub trait Backend: Send + Sync + 'static {
    /// Takes a place with `width` threads; `hold` is dropped when the place is free again. The caller sees to it that
    /// no more places are taken than there are.
    fn seat(&self, width: usize, hold: Hold) -> Box<dyn Seat>;

    /// `warm` or `process`.
    fn mode(&self) -> &'static str;

    /// Whether a proof could start now.
    fn ready(&self) -> bool;

    /// Processes that were started to replace others.
    fn restarts(&self) -> u64;
}
