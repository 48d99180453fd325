//! Computes a witness from a circuit's inputs, with Noir's own solver.
//!
//! The solver runs step by step, so that it ends at its deadline, when its caller leaves, and before an unconstrained
//! function takes more memory than allowed: [`written_slots()`] looks at each of its opcodes before it runs. Foreign calls are
//! refused, because a server answers none; `println` is skipped, since it would print private values.
//!
//! The message of a failed assertion is returned where it is a fixed text of the circuit. A message that is made from values
//! is not read at all. The values are overwritten at the end; what the solver copied itself is overwritten by the allocator
//! of the server, and the stack ends with its thread, as for [`super::satisfaction`].

mod written_slots;

use std::{
    hint::black_box,
    io::{self, Write},
    sync::atomic::Ordering,
    time::Instant,
};

use acir::{
    AcirField as _, FieldElement,
    brillig::{ForeignCallResult, Opcode as BrilligOpcode},
    circuit::{ErrorSelector, Program},
    native_types::{Witness, WitnessMap},
};
use acvm::{
    brillig_vm::MemoryValue,
    pwg::{
        ACVM, ACVMStatus, BrilligSolver, BrilligSolverStatus, ErrorLocation, OpcodeResolutionError,
        RawAssertionPayload, ResolvedAssertionPayload, StepResult,
    },
};
use bn254_blackbox_solver::Bn254BlackBoxSolver;
use flate2::{Compression, write::GzEncoder};
use rmp::encode;
use zeroize::Zeroizing;

use super::abi::{Abi, Flattened};
use crate::proof_systems::{ComputationError, ComputationLimits, ComputedWitness};
use written_slots::{call_depth, written_slots};

/// Opcodes of an unconstrained function between two looks at the clock.
const STEPS_PER_LOOK: u32 = 4096;
/// Most calls of unconstrained functions within each other.
const CALL_DEPTH_MAX: usize = 1 << 16;
/// Most calls of `println` of one unconstrained function. The solver remembers each.
const PRINTS_MAX: u32 = 1 << 20;
/// The foreign call of `print` and `println`.
const PRINT: &str = "print";
/// The byte before a witness in compact `MessagePack`.
const FORMAT: u8 = 3;

type Solver<'a> = BrilligSolver<'a, FieldElement, Bn254BlackBoxSolver>;

/// Computes the witness of a program with one circuit, whose largest witness index is `max_index`. Blocking.
pub fn compute(
    program: &Program<FieldElement>,
    abi: &Abi,
    max_index: Option<u32>,
    inputs: &Flattened,
    limits: &ComputationLimits,
) -> Result<ComputedWitness, ComputationError> {
    let [circuit] = program.functions.as_slice() else {
        return Err(unsupported("it has several constrained functions"));
    };
    let mut given = WitnessMap::new();
    for (index, &value) in (0..).zip(inputs.values()) {
        given.insert(Witness(index), value);
    }
    let backend = Bn254BlackBoxSolver;
    let acvm = ACVM::new(
        &backend,
        &circuit.opcodes,
        given,
        &program.unconstrained_functions,
        &circuit.assert_messages,
    );
    let mut execution = Execution { acvm, max_index };
    execution.solve(program, limits).map_err(|stop| stop.into_error(abi))?;
    let encoded = encode_witness(execution.acvm.witness_map(), max_index);
    encoded.map_err(|_| unsupported("its witness could not be encoded"))
}

/// Why the solver stopped before the end.
enum Stop {
    /// The solver itself failed.
    Failure(OpcodeResolutionError<FieldElement>),
    /// It reached a limit, or something that it cannot do.
    Error(ComputationError),
}

impl From<ComputationError> for Stop {
    fn from(error: ComputationError) -> Self {
        Self::Error(error)
    }
}

impl Stop {
    fn into_error(self, abi: &Abi) -> ComputationError {
        let failure = match self {
            Self::Failure(failure) => failure,
            Self::Error(error) => return error,
        };
        let (location, payload) = match failure {
            OpcodeResolutionError::UnsatisfiedConstrain { opcode_location, payload } => {
                (Some(opcode_location), payload)
            }
            OpcodeResolutionError::IndexOutOfBounds { opcode_location, .. }
            | OpcodeResolutionError::InvalidInputBitSize { opcode_location, .. } => {
                (Some(opcode_location), None)
            }
            OpcodeResolutionError::BlackBoxFunctionFailed(..) => (None, None),
            OpcodeResolutionError::BrilligFunctionFailed { payload, .. } => (None, payload),
            OpcodeResolutionError::OpcodeNotSolvable(_)
            | OpcodeResolutionError::AcirMainCallAttempted { .. }
            | OpcodeResolutionError::AcirCallOutputsMismatch { .. }
            | OpcodeResolutionError::BrilligOutputsMismatch { .. }
            | OpcodeResolutionError::PredicateLargerThanOne { .. }
            | OpcodeResolutionError::MemoryOperationLargerThanOne { .. } => {
                return unsupported("it is not as Noir's compiler writes circuits");
            }
        };
        let message = match payload {
            Some(ResolvedAssertionPayload::Raw(RawAssertionPayload { selector, .. })) => fixed(abi, selector),
            // The solver's own texts may quote values.
            Some(ResolvedAssertionPayload::String(_)) | None => None,
        };
        let first = message.or_else(|| match location {
            Some(ErrorLocation::Resolved(location)) => Some(format!("ACIR opcode {location}")),
            Some(ErrorLocation::Unresolved) | None => None,
        });
        ComputationError::Unsatisfied { first }
    }
}

fn fixed(abi: &Abi, selector: ErrorSelector) -> Option<String> {
    const SHOWN_MAX_CHARS: usize = 200;
    let message = abi.message(selector.as_u64())?;
    let shown: String =
        message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_MAX_CHARS).collect();
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(format!("\"{shown}\""))
}

fn unsupported(reason: impl Into<String>) -> ComputationError {
    ComputationError::Unsupported { reason: reason.into() }
}

/// The solver with the values that it has so far. They are overwritten when it is dropped.
struct Execution<'a> {
    acvm: ACVM<'a, FieldElement, Bn254BlackBoxSolver>,
    max_index: Option<u32>,
}

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        for index in indices(self.max_index) {
            if self.acvm.witness_map().contains_key(&index) {
                self.acvm.overwrite_witness(index, FieldElement::zero());
            }
        }
        // Otherwise the compiler could leave out writes to memory that is freed next.
        black_box(self.acvm.witness_map());
    }
}

fn indices(max: Option<u32>) -> impl Iterator<Item = Witness> {
    max.into_iter().flat_map(|max| (0..=max).map(Witness))
}

impl Execution<'_> {
    /// Solves one opcode after the other.
    fn solve(&mut self, program: &Program<FieldElement>, limits: &ComputationLimits) -> Result<(), Stop> {
        let mut status = self.acvm.get_status().clone();
        loop {
            match status {
                ACVMStatus::Solved => return Ok(()),
                ACVMStatus::InProgress => {}
                ACVMStatus::Failure(failure) => return Err(Stop::Failure(failure)),
                ACVMStatus::RequiresForeignCall(call) => return Err(foreign_call(&call.function).into()),
                ACVMStatus::RequiresAcirCall(_) => return Err(unsupported("it calls another circuit").into()),
            }
            check_time(limits)?;
            status = match self.acvm.step_into_brillig() {
                StepResult::Status(status) => status,
                StepResult::IntoBrillig(solver) => {
                    let function = program.unconstrained_functions.get(solver.function_id.as_usize());
                    let bytecode = function.map(|function| function.bytecode.as_slice()).unwrap_or_default();
                    let solver = run(solver, bytecode, limits)?;
                    self.acvm.finish_brillig_with_solver(solver)
                }
            };
        }
    }
}

/// Runs an unconstrained function to its end.
fn run<'a>(
    mut solver: Solver<'a>,
    bytecode: &[BrilligOpcode<FieldElement>],
    limits: &ComputationLimits,
) -> Result<Solver<'a>, Stop> {
    let slots_max = limits.memory_max_bytes / size_of::<MemoryValue<FieldElement>>() as u64;
    let (mut steps, mut depth, mut prints) = (0_u32, 0_usize, 0_u32);
    loop {
        let Some(opcode) = bytecode.get(solver.program_counter()) else { return Err(malformed()) };
        depth = call_depth(opcode, depth);
        if depth > CALL_DEPTH_MAX || written_slots(opcode, solver.get_memory()) > slots_max {
            let max_bytes = limits.memory_max_bytes;
            return Err(ComputationError::TooMuchMemory { max_bytes }.into());
        }
        steps = steps.wrapping_add(1);
        if steps.is_multiple_of(STEPS_PER_LOOK) {
            check_time(limits)?;
        }
        match solver.step().map_err(Stop::Failure)? {
            BrilligSolverStatus::InProgress => {}
            // The solver runs this opcode once more when it takes the results, and only `Stop` may run twice.
            BrilligSolverStatus::Finished if matches!(opcode, BrilligOpcode::Stop { .. }) => {
                return Ok(solver);
            }
            BrilligSolverStatus::Finished => return Err(malformed()),
            BrilligSolverStatus::ForeignCallWait(call) if call.function == PRINT && prints < PRINTS_MAX => {
                prints += 1;
                solver.resolve_pending_foreign_call(ForeignCallResult::default());
            }
            BrilligSolverStatus::ForeignCallWait(call) => return Err(foreign_call(&call.function).into()),
        }
    }
}

fn malformed() -> Stop {
    unsupported("one of its unconstrained functions has no end").into()
}

/// The name is in the circuit's file.
fn foreign_call(name: &str) -> ComputationError {
    const SHOWN_MAX_CHARS: usize = 60;
    if name == PRINT {
        return unsupported("it prints too often");
    }
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '-');
    let name: String = name.chars().filter(is_plain).take(SHOWN_MAX_CHARS).collect();
    unsupported(format!("it calls the oracle `{name}`, and this server answers no oracles"))
}

fn check_time(limits: &ComputationLimits) -> Result<(), ComputationError> {
    if limits.is_cancelled.load(Ordering::Relaxed) {
        return Err(ComputationError::Cancelled);
    }
    if Instant::now() >= limits.deadline {
        return Err(ComputationError::Timeout);
    }
    Ok(())
}

/// Encodes a witness in the format that Noir writes and bb reads, compressed with gzip.
fn encode_witness(map: &WitnessMap<FieldElement>, max_index: Option<u32>) -> io::Result<ComputedWitness> {
    let present = || indices(max_index).filter_map(|index| Some((index, map.get(&index)?)));
    let count = u32::try_from(present().count()).map_err(io::Error::other)?;
    let compressed = GzEncoder::new(Vec::new(), Compression::fast());
    let mut out = Counting { inner: compressed, bytes: 0 };
    out.write_all(&[FORMAT])?;
    // A stack file with a stack of one item: the function 0 and its map.
    encode::write_array_len(&mut out, 1)?;
    encode::write_array_len(&mut out, 1)?;
    encode::write_array_len(&mut out, 2)?;
    encode::write_uint(&mut out, 0)?;
    encode::write_map_len(&mut out, count)?;
    for (Witness(index), value) in present() {
        encode::write_uint(&mut out, index.into())?;
        encode::write_bin(&mut out, &Zeroizing::new(value.to_be_bytes()))?;
    }
    let gzip = Zeroizing::new(out.inner.finish()?);
    Ok(ComputedWitness { gzip, decompressed_bytes: out.bytes })
}

/// Counts the bytes that are written.
struct Counting<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
