//! Proof systems: how a circuit's file is read, and how its witnesses are computed, checked and judged.
//!
//! A proof system is a module here that implements [`CompiledCircuit`], and a backend in `edgeprove-prover` that
//! generates its keys, proves and verifies. Everything else in this crate is the same for all of them.
//!
//! - [`noir`]: circuits of Noir (ACIR), proved with `UltraHonk` by `bb`.
//! - [`circom`]: circuits of circom (R1CS), proved with Groth16 in this process.
//! - [`inputs`]: the JSON document with the inputs of a circuit.

pub mod circom;
pub mod inputs;
pub mod noir;

use std::{
    fmt,
    io::{self, Read},
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Instant,
};

use edgeprove_files::regular_file;
use edgeprove_protocol::{HasProblemType, ProblemType, ProofSystem, Target};
use edgeprove_prover::{CircuitProgram, CircuitSize, FIELD_BYTES};
use edgeprove_spool::SpoolError;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use circom::{CircomCircuit, CircomFileError, wtns_format::WtnsError};
use inputs::{InputDocument, InputError};
use noir::{NoirCircuit, artifact::ArtifactError, witness_format::StackError};

/// Largest file of a circuit, in bytes.
pub const CIRCUIT_FILE_MAX_BYTES: u64 = 256 << 20;

/// A compiled circuit, as its proof system knows it.
pub trait CompiledCircuit: fmt::Debug + Send + Sync {
    /// The program as the prover takes it.
    fn program(&self) -> CircuitProgram;

    /// SHA-256 of the program. Circuits of the same id differ in it.
    fn program_sha256(&self) -> &[u8; 32];

    /// The compiler that wrote the file, for the log.
    fn compiler(&self) -> &str;

    /// The targets that proofs of the circuit can have.
    fn targets(&self) -> &'static [Target];

    /// The points of the common reference string that a circuit of this size needs; 0 if its proof system has none.
    fn crs_points(&self, size: CircuitSize) -> u64;

    /// How much there is in the circuit, by its file. The prover reserves memory for it before it counts the gates.
    fn counts(&self) -> CircuitCounts;

    /// The memory of the circuit itself in this process for as long as it is loaded, in bytes; 0 if that is not
    /// worth counting.
    fn memory_bytes(&self) -> u64 {
        0
    }

    /// The largest size of a decompressed witness, in bytes.
    fn witness_max_bytes(&self) -> u64;

    /// The inputs that [`Self::compute_witness`] takes; `None` if it cannot compute witnesses, or if the circuit's files do
    /// not name its inputs.
    fn inputs(&self) -> Option<&[CircuitInput]>;

    /// Checks inputs and computes their witness. What was made of the inputs is wiped from memory afterwards, except for the
    /// result. Blocking.
    fn compute_witness(
        &self,
        inputs: &InputDocument,
        limits: &ComputationLimits,
    ) -> Result<ComputedWitness, ComputationError>;

    /// Reads a decompressed witness to its end and checks its format and its shape. Blocking; memory does not grow with
    /// the witness.
    fn check_witness(&self, decompressed: &mut dyn Read) -> Result<(), WitnessError>;

    /// Reads the public inputs of a proof of a decompressed witness that was checked, in the order of the proof. `None` stands for
    /// a value that the witness leaves to the prover. Blocking.
    fn public_values(&self, decompressed: &mut dyn Read) -> Result<PublicValues, WitnessError>;

    /// Evaluates every constraint over a decompressed witness, independently of the prover. The values that it reads are
    /// wiped from memory afterwards. Blocking.
    fn judge_witness(&self, decompressed: &mut dyn Read) -> Result<Verdict, JudgeError>;
}

/// Public inputs by a witness: big-endian fields.
pub type PublicValues = Vec<Option<[u8; FIELD_BYTES]>>;

/// What the reading of a circuit's files may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// The points of the common reference string, which bound the size of a circuit of Noir.
    pub crs_points: u64,
    /// The most memory, in bytes.
    pub memory_max_bytes: u64,
    /// The most threads.
    pub width: usize,
}

impl ReadLimits {
    /// The limits of a command that reads one circuit: neither memory nor points, and all cores.
    #[must_use]
    pub fn of_a_command() -> Self {
        let width = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { crs_points: u64::MAX, memory_max_bytes: u64::MAX, width }
    }
}

/// How much there is in a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitCounts {
    /// Its witnesses, unused indices below the largest one included.
    pub witnesses: u64,
    /// Its opcodes.
    pub opcodes: u64,
}

/// One input of a circuit, as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CircuitInput {
    /// Its name.
    pub name: String,
    /// Its type, in the proof system's own terms.
    #[serde(rename = "type")]
    pub kind: Value,
    /// `public`, `private` or, for Noir, `databus`, which is private.
    pub visibility: String,
}

/// What the computation of a witness may take.
#[derive(Debug, Clone)]
pub struct ComputationLimits {
    /// When it ends at the latest.
    pub deadline: Instant,
    /// The largest memory of one unconstrained function of Noir, or of a program of circom, in bytes.
    pub memory_max_bytes: u64,
    /// Set when its caller has left.
    pub is_cancelled: Arc<AtomicBool>,
}

/// A computed witness, in the form in which it would be uploaded.
pub struct ComputedWitness {
    /// The witness, compressed with gzip.
    pub gzip: Zeroizing<Vec<u8>>,
    /// Its decompressed size, in bytes.
    pub decompressed_bytes: u64,
}

impl fmt::Debug for ComputedWitness {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ComputedWitness(…)")
    }
}

/// Why there is no witness for these inputs.
#[derive(Debug, thiserror::Error)]
pub enum ComputationError {
    /// The inputs are not those of the circuit.
    #[error(transparent)]
    Inputs(#[from] InputError),
    /// The inputs do not satisfy the circuit.
    #[error(
        "the inputs do not satisfy the circuit{}",
        .first.as_ref().map(|first| format!(": {first}")).unwrap_or_default()
    )]
    Unsatisfied {
        /// The fixed message of the first assertion that fails, or its place in the circuit.
        first: Option<String>,
    },
    /// The circuit is not one whose witnesses can be computed here.
    #[error("this server cannot compute witnesses of the circuit: {reason}")]
    Unsupported {
        /// Why not.
        reason: String,
    },
    /// The computation needs too much memory.
    #[error(
        "computing the witness needs more than {max_bytes} bytes of memory, the most for an unconstrained function \
         of Noir or a program of circom"
    )]
    TooMuchMemory {
        /// The limit, in bytes.
        max_bytes: u64,
    },
    /// The computation took too long.
    #[error("computing the witness took longer than the time limit of a proof")]
    Timeout,
    /// The caller has left.
    #[error("the computation of the witness was cancelled")]
    Cancelled,
    /// The circuit cannot be decoded.
    #[error("the circuit cannot be decoded")]
    Circuit(#[from] CircuitFileError),
}

impl HasProblemType for ComputationError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Inputs(error) => error.kind(),
            Self::Unsatisfied { .. } => ProblemType::WitnessUnsatisfied,
            Self::Unsupported { .. } | Self::TooMuchMemory { .. } => ProblemType::WitnessNotComputable,
            Self::Timeout => ProblemType::ProofTimeout,
            Self::Cancelled => ProblemType::NotReady,
            Self::Circuit(_) => ProblemType::Internal,
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Inputs(error) => error.field(),
            Self::Unsatisfied { .. }
            | Self::Unsupported { .. }
            | Self::TooMuchMemory { .. }
            | Self::Timeout
            | Self::Cancelled
            | Self::Circuit(_) => None,
        }
    }
}

/// The outcome of evaluating a circuit's constraints over a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every constraint holds: the prover is at fault.
    Satisfied,
    /// A constraint does not hold, or lacks a value: the witness is at fault.
    Unsatisfied {
        /// The first such constraint in words, such as `ACIR opcode 7`.
        first: String,
    },
    /// Only the prover can evaluate a part of the circuit.
    Undecided {
        /// Which part, or why.
        reason: String,
    },
}

/// Why a circuit's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CircuitFileError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file is too large.
    #[error("the file is larger than {CIRCUIT_FILE_MAX_BYTES} bytes")]
    TooLarge,
    /// The file is not a Noir circuit that can be proved here.
    #[error(transparent)]
    Noir(#[from] ArtifactError),
    /// The files are not those of a circom circuit that can be proved here.
    #[error(transparent)]
    Circom(#[from] CircomFileError),
    /// The decoder failed on the file.
    #[error("the decoder of circuits failed on the file: compile the circuit again")]
    DecoderFailed,
}

/// Why a decompressed witness was refused.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The witness is not a Noir witness of the circuit.
    #[error(transparent)]
    Noir(#[from] StackError),
    /// The witness is not a circom witness of the circuit.
    #[error(transparent)]
    Circom(#[from] WtnsError),
}

impl HasProblemType for WitnessError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Noir(error) => error.kind(),
            Self::Circom(error) => error.kind(),
        }
    }
}

/// Why a witness could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The spooled witness cannot be read.
    #[error("the spooled witness cannot be read")]
    Read(#[from] SpoolError),
    /// The circuit cannot be decoded.
    #[error("the circuit cannot be decoded")]
    Circuit(#[from] CircuitFileError),
    /// The witness cannot be decoded.
    #[error("the witness cannot be decoded")]
    Witness(#[from] WitnessError),
}

/// Bytes of a program for each point of the CRS, with reserve: an opcode that fills a row has about 130.
const PROGRAM_BYTES_PER_POINT: u64 = 1 << 11;
/// Bytes of a program that are allowed with any CRS, for the unconstrained functions.
const PROGRAM_BYTES_FLOOR: u64 = 64 << 20;
/// Largest program with any CRS, in bytes.
const PROGRAM_MAX_BYTES: u64 = 1 << 30;

/// The proof system of a circuit, by the name of its file. `None` where the file is not the one of a circuit.
#[must_use]
pub fn proof_system(path: &Path) -> Option<ProofSystem> {
    match path.extension()?.to_str()? {
        "json" => Some(ProofSystem::UltraHonk),
        circom::KEY_EXTENSION => Some(ProofSystem::Groth16),
        _ => None,
    }
}

/// All files of the circuit with this file, the file itself first. Some may not exist.
#[must_use]
pub fn files(path: &Path) -> Vec<PathBuf> {
    match proof_system(path) {
        Some(ProofSystem::Groth16) => circom::files(path),
        Some(ProofSystem::UltraHonk) | None => vec![path.to_owned()],
    }
}

/// Reads a circuit's file within limits. A file with an unknown name is read as one of Noir. Blocking.
pub fn read_circuit(path: &Path, limits: ReadLimits) -> Result<Box<dyn CompiledCircuit>, CircuitFileError> {
    if proof_system(path) == Some(ProofSystem::Groth16) {
        return Ok(Box::new(CircomCircuit::read(path, limits)?));
    }
    let unreadable = |source| CircuitFileError::Unreadable { path: path.to_owned(), source };
    let file = regular_file::read(path, CIRCUIT_FILE_MAX_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => CircuitFileError::TooLarge,
        _ => unreadable(error),
    })?;
    let max_bytes = limits.crs_points.saturating_mul(PROGRAM_BYTES_PER_POINT);
    let max_bytes = max_bytes.clamp(PROGRAM_BYTES_FLOOR, PROGRAM_MAX_BYTES);
    // The decoder's crate asserts properties of what it reads.
    let decode = || NoirCircuit::decode(&file, max_bytes);
    let decoded = catch_unwind(AssertUnwindSafe(decode)).map_err(|_| CircuitFileError::DecoderFailed)?;
    Ok(Box::new(decoded?))
}
