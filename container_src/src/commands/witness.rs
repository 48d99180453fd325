//! `edgeprove witness`: computes a witness from inputs, as the server does, and proves nothing. It needs neither bb nor a
//! CRS.
//!
//! The exit status is 65 where the circuit or the inputs are invalid or do not fit, 66 where a file cannot be read, and 1
//! where the witness cannot be written.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use clap::Args;
use edgeprove_engine::{
    private_thread::{self, NoResult},
    proof_systems::{
        self, CircuitFileError, ComputationError, ComputationLimits, ComputedWitness, ReadLimits,
        inputs::InputDocument,
    },
};
use edgeprove_prover::barretenberg::redaction::without_values;

use super::{
    exit_status::{self, Failure, other},
    input_file,
};

/// Longest time for the computation.
const TIME_LIMIT: Duration = Duration::from_hours(1);
/// Most memory of one unconstrained function, in bytes.
const FUNCTION_MEMORY_MAX_BYTES: u64 = 4 << 30;

/// Flags of `edgeprove witness`.
#[derive(Debug, Args)]
pub struct WitnessArgs {
    /// Compiled circuit: target/NAME.json of `nargo compile`, or the key NAME.zkey of a circom circuit, with its program
    /// NAME.wasm (or `NAME_js/NAME.wasm`) beside it.
    #[arg(long, value_name = "FILE")]
    circuit: PathBuf,

    /// Inputs as JSON: `{"privateInputs": {…}, "publicInputs": {…}}`, as a server takes them. `-` reads standard input.
    #[arg(long, short, value_name = "FILE")]
    inputs: PathBuf,

    /// File for the gzipped witness (of circom: the gzipped .wtns file), which only its owner may read. `-` writes to standard output.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

/// There is no witness.
#[derive(Debug, thiserror::Error)]
enum NoWitness {
    #[error("the circuit {} cannot be used", path.display())]
    Circuit {
        path: PathBuf,
        #[source]
        source: CircuitFileError,
    },
    #[error("the witness cannot be computed")]
    Computation(#[source] ComputationError),
    #[error("the witness cannot be computed")]
    NoResult(#[source] NoResult),
    #[error("the witness {} cannot be written", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl From<NoWitness> for Failure {
    fn from(error: NoWitness) -> Self {
        match error {
            NoWitness::Circuit { source: CircuitFileError::Unreadable { .. }, .. } => {
                Self::NoInput(Box::new(error))
            }
            NoWitness::Circuit { source: CircuitFileError::Circom(ref source), .. }
                if source.is_unreadable() =>
            {
                Self::NoInput(Box::new(error))
            }
            NoWitness::Circuit { .. } | NoWitness::Computation(_) => Self::Data(Box::new(error)),
            NoWitness::NoResult(_) | NoWitness::Unwritable { .. } => other(error),
        }
    }
}

/// Computes the witness.
#[must_use]
pub fn run(args: WitnessArgs) -> ExitCode {
    exit_status::run(async move {
        edgeprove_telemetry::process::disable_core_dumps();
        edgeprove_telemetry::log_panics(without_values);
        let inputs = input_file::read(&args.inputs)?;
        let circuit = args.circuit.clone();
        let computed = private_thread::run(move || compute(circuit, &inputs)).await;
        let witness = computed.map_err(NoWitness::NoResult)??;
        let path = &args.output;
        write(path, &witness.gzip).map_err(|source| NoWitness::Unwritable { path: path.clone(), source })?;
        Ok(ExitCode::SUCCESS)
    })
}

fn compute(path: PathBuf, inputs: &InputDocument) -> Result<ComputedWitness, NoWitness> {
    // No CRS bounds the size of a circuit here.
    let circuit = proof_systems::read_circuit(&path, ReadLimits::of_a_command());
    let circuit = circuit.map_err(|source| NoWitness::Circuit { path, source })?;
    let limits = ComputationLimits {
        deadline: Instant::now() + TIME_LIMIT,
        memory_max_bytes: FUNCTION_MEMORY_MAX_BYTES,
        is_cancelled: Arc::new(AtomicBool::new(false)),
    };
    circuit.compute_witness(inputs, &limits).map_err(NoWitness::Computation)
}

fn write(path: &Path, gzip: &[u8]) -> io::Result<()> {
    if path == Path::new("-") {
        let mut out = io::stdout().lock();
        return out.write_all(gzip).and_then(|()| out.flush());
    }
    // The name is there only with the whole content.
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.part", uuid::Uuid::new_v4()));
    let draft = PathBuf::from(draft);
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    let written = created.and_then(|mut file| file.write_all(gzip)).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // It may not exist.
        let _ = fs::remove_file(&draft);
    }
    written
}
