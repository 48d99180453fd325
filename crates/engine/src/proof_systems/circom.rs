//! Circuits of circom: constraints with a key of snarkjs, proved with Groth16.
//!
//! - [`files`](mod@files): the files of a circuit, how they are read, and whether they fit each other.
//! - [`signals`]: the inputs of a circuit, and what can be wrong with them.
//! - [`wtns_format`]: the format of a witness, checked as a stream.

pub mod files;
pub mod signals;
pub mod wtns_format;

use std::{
    io::{self, Read, Write as _},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use edgeprove_circom_witness::{
    Circuit as WitnessProgram, CircuitException, ExceptionKind, Limits, WitnessError as ProgramError,
};
use edgeprove_groth16::{R1cs, WitnessValues, ZkeyInfo};
use edgeprove_protocol::{ProofSystem, Target};
use edgeprove_prover::{CircuitProgram, CircuitSize, private_thread::Running};
use flate2::{Compression, write::GzEncoder};
use zeroize::Zeroizing;

use super::{
    CircuitCounts, CircuitInput, CompiledCircuit, ComputationError, ComputationLimits, ComputedWitness,
    JudgeError, PublicValues, ReadLimits, Verdict, WitnessError, inputs::InputDocument,
};
use files::CircomFiles;
pub use files::{CircomFileError, KEY_EXTENSION, files};
use wtns_format::WtnsError;

/// A circom circuit with its key.
#[derive(Debug)]
pub struct CircomCircuit {
    key: Arc<edgeprove_groth16::ProvingKey>,
    key_sha256: [u8; 32],
    witness_program: WitnessProgram,
    /// The constraints, where their file is there. The key has only two of their three parts.
    constraints: Option<R1cs>,
    memory_bytes: u64,
}

impl CircomCircuit {
    /// Reads the files of the circuit with this key, and checks that they fit each other. Blocking.
    pub fn read(key: &Path, limits: ReadLimits) -> Result<Self, CircomFileError> {
        // No proof is measured meanwhile.
        let _running = Running::start();
        let CircomFiles { key, key_sha256, witness_program, constraints, memory_bytes } =
            CircomFiles::read(key, limits)?;
        Ok(Self { key: Arc::new(key), key_sha256, witness_program, constraints, memory_bytes })
    }
}

impl CompiledCircuit for CircomCircuit {
    fn program(&self) -> CircuitProgram {
        CircuitProgram::Groth16(Arc::clone(&self.key))
    }

    fn program_sha256(&self) -> &[u8; 32] {
        &self.key_sha256
    }

    fn compiler(&self) -> &'static str {
        "circom 2"
    }

    fn targets(&self) -> &'static [Target] {
        ProofSystem::Groth16.targets()
    }

    fn crs_points(&self, _size: CircuitSize) -> u64 {
        0
    }

    fn counts(&self) -> CircuitCounts {
        // The key was read as a whole, so that nothing is reserved by these.
        CircuitCounts { witnesses: 0, opcodes: 0 }
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn witness_max_bytes(&self) -> u64 {
        wtns_format::file_bytes(self.key.info().wires)
    }

    fn inputs(&self) -> Option<&[CircuitInput]> {
        None
    }

    fn compute_witness(
        &self,
        inputs: &InputDocument,
        limits: &ComputationLimits,
    ) -> Result<ComputedWitness, ComputationError> {
        let signals = signals::read(inputs, self.witness_program.input_size())?;
        // The program is stopped at its next tick, and a small one ends before that.
        if limits.is_cancelled.load(Ordering::Relaxed) {
            return Err(ComputationError::Cancelled);
        }
        if Instant::now() >= limits.deadline {
            return Err(ComputationError::Timeout);
        }
        let limits_of_program = Limits {
            time: limits.deadline.saturating_duration_since(Instant::now()),
            memory_bytes: usize::try_from(limits.memory_max_bytes).unwrap_or(usize::MAX),
            ..Limits::default()
        };
        let program = self.witness_program.with_limits(limits_of_program);
        let witness = program
            .compute(&signals, Some(Arc::clone(&limits.is_cancelled)))
            .map_err(|error| computation_error(error, &signals, limits))?;
        compress(witness.wtns()).map_err(|_| unsupported("its witness could not be encoded"))
    }

    fn check_witness(&self, decompressed: &mut dyn Read) -> Result<(), WitnessError> {
        Ok(wtns_format::check(decompressed, self.key.info().wires)?)
    }

    fn public_values(&self, decompressed: &mut dyn Read) -> Result<PublicValues, WitnessError> {
        let ZkeyInfo { wires, public_signals, .. } = self.key.info();
        let values = wtns_format::first_values(decompressed, wires, public_signals)?;
        Ok(values.into_iter().map(Some).collect())
    }

    fn judge_witness(&self, decompressed: &mut dyn Read) -> Result<Verdict, JudgeError> {
        let Some(constraints) = &self.constraints else {
            let reason = "the circuit has no .r1cs file with its constraints".to_owned();
            return Ok(Verdict::Undecided { reason });
        };
        let mut bytes = Zeroizing::new(Vec::new());
        let read = decompressed.take(self.witness_max_bytes()).read_to_end(&mut bytes);
        read.map_err(|error| WitnessError::from(WtnsError::Read(error)))?;
        let values = WitnessValues::read(&bytes);
        let values = values.map_err(|error| WitnessError::from(WtnsError::Format(error)))?;
        Ok(match constraints.first_unsatisfied(&values) {
            Some(index) => Verdict::Unsatisfied { first: format!("constraint {index}") },
            None => Verdict::Satisfied,
        })
    }
}

/// Why there is no witness, by the error of the program. None has a value.
fn computation_error(
    error: ProgramError,
    signals: &edgeprove_circom_witness::Inputs,
    limits: &ComputationLimits,
) -> ComputationError {
    match error {
        ProgramError::Input(error) => signals::error(error, signals).into(),
        ProgramError::Exception(exception) => exception_error(&exception, limits),
        ProgramError::MemoryLimit { .. } | ProgramError::TableLimit { .. } => {
            ComputationError::TooMuchMemory { max_bytes: limits.memory_max_bytes }
        }
        ProgramError::DeadlineExceeded { .. } => ComputationError::Timeout,
        ProgramError::Cancelled => ComputationError::Cancelled,
        error @ (ProgramError::Trapped(_)
        | ProgramError::NotCanonical { .. }
        | ProgramError::Misbehaved { .. }) => unsupported(error.to_string()),
    }
}

fn exception_error(exception: &CircuitException, limits: &ComputationLimits) -> ComputationError {
    match exception.kind {
        ExceptionKind::AssertFailed => {
            let place = exception.locations.first();
            let first = place.map(|place| format!("the assertion in {} line {}", place.name, place.line));
            ComputationError::Unsatisfied { first }
        }
        ExceptionKind::OutOfMemory => ComputationError::TooMuchMemory { max_bytes: limits.memory_max_bytes },
        ExceptionKind::SignalNotFound
        | ExceptionKind::TooManySignals
        | ExceptionKind::SignalAlreadySet
        | ExceptionKind::IndexOutOfRange
        | ExceptionKind::Unknown => unsupported(exception.to_string()),
    }
}

fn unsupported(reason: impl Into<String>) -> ComputationError {
    ComputationError::Unsupported { reason: reason.into() }
}

fn compress(wtns: &[u8]) -> io::Result<ComputedWitness> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(wtns)?;
    Ok(ComputedWitness { gzip: Zeroizing::new(gzip.finish()?), decompressed_bytes: wtns.len() as u64 })
}

#[cfg(test)]
mod tests;
