//! A compiled program of a circuit, and how one witness is computed.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use wasmtime::{
    ExternType, InstancePre, Linker, Memory, Module, Store, Trap, TypedFunc, WasmParams, WasmResults,
};
use zeroize::Zeroize as _;

use crate::{
    assertions,
    engine::WitnessEngine,
    field::{self, FIELD_BYTES, MODULUS},
    functions,
    host::{self, CircuitException, HostState, IMPORT_MODULE, IMPORTS, Limits, Stop},
    inputs::{InputError, Inputs},
    witness::Witness,
};

/// The circom version whose programs are understood.
const CIRCOM_VERSION: i32 = 2;

/// Bytes of a WebAssembly page.
const PAGE_BYTES: u64 = 64 << 10;

/// A circuit's program, compiled once. Clones share it. Each witness is computed in an instance of its own.
///
/// ```no_run
/// use edgeprove_circom_witness::{Circuit, Inputs, Limits, WitnessEngine};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = WitnessEngine::start()?;
/// let circuit = Circuit::compile(&engine, &std::fs::read("range.wasm")?, Limits::default())?;
/// let inputs = Inputs::parse(br#"{"in": 50, "randomPublicSignal": "7"}"#)?;
/// let witness = circuit.compute(&inputs, None)?;
/// std::fs::write("witness.wtns", witness.wtns())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Circuit {
    engine: WitnessEngine,
    instance: InstancePre<HostState>,
    limits: Limits,
    input_size: u32,
    witness_size: u32,
}

impl fmt::Debug for Circuit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Circuit")
            .field("input_size", &self.input_size)
            .field("witness_size", &self.witness_size)
            .finish_non_exhaustive()
    }
}

/// A program that is not the one of a circom 2 circuit over BN254, or that needs too much.
#[derive(Debug, thiserror::Error)]
pub enum CircuitError {
    /// The program is too long.
    #[error("the circuit's program has {bytes} bytes; at most {limit} are accepted")]
    ProgramTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A function of the program is too long.
    #[error("a function of the circuit's program has {bytes} bytes; at most {limit} are accepted")]
    FunctionTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The bytes are no valid WebAssembly module.
    #[error("the circuit's program is not a valid WebAssembly module: {reason}")]
    NotWasm {
        /// The compiler's message.
        reason: String,
    },
    /// The program imports something that circom's runtime does not have.
    #[error("the circuit's program imports {module:?} {name:?}, which circom's runtime does not have")]
    ForeignImport {
        /// The module of the import, cut off where it is long.
        module: String,
        /// The name of the import, cut off where it is long.
        name: String,
    },
    /// The program lacks an export of circom 2, or the export has another type.
    #[error("the circuit's program does not export `{name}` as programs of circom 2 do")]
    MissingExport {
        /// The name of the export.
        name: &'static str,
    },
    /// The program declares too much memory.
    #[error("the circuit's program declares {bytes} bytes of memory; at most {limit} are accepted")]
    MemoryTooLarge {
        /// The declared memory.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// The program declares a table with too many entries.
    #[error("the circuit's program declares a table of {entries} entries; at most {limit} are accepted")]
    TableTooLarge {
        /// The declared entries.
        entries: u64,
        /// The limit.
        limit: usize,
    },
    /// The program declares more than one memory or table.
    #[error("the circuit's program declares more than one memory or table")]
    TooManyResources,
    /// The program is one of another version of circom.
    #[error("the circuit's program is one of circom {version}; circom 2 is needed")]
    UnsupportedVersion {
        /// The major version.
        version: i32,
    },
    /// The circuit is one over another field.
    #[error("the circuit is not one over BN254's scalar field (`circom --prime bn128`, the default)")]
    WrongField,
    /// The program reports a size that cannot be.
    #[error("the circuit's program reports more signals than fit into its memory")]
    ImpossibleSize,
    /// The program failed before it had inputs.
    #[error("the circuit's program does not start")]
    DoesNotStart(#[source] WitnessError),
}

/// A witness that could not be computed. No variant contains a value of a signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// The inputs do not fit the circuit.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The circuit raised an exception, most often because the inputs do not satisfy it.
    #[error(transparent)]
    Exception(CircuitException),
    /// The program did not end in time.
    #[error("the circuit's program did not end within {limit:?}")]
    DeadlineExceeded {
        /// The time limit.
        limit: Duration,
    },
    /// The caller no longer needs the witness.
    #[error("the computation of the witness was cancelled")]
    Cancelled,
    /// The program needs more memory than allowed.
    #[error("the circuit's program needs more than {limit} bytes of memory")]
    MemoryLimit {
        /// The limit.
        limit: usize,
    },
    /// The program needs a larger table than allowed.
    #[error("the circuit's program needs a table of more than {limit} entries")]
    TableLimit {
        /// The limit.
        limit: usize,
    },
    /// The program trapped.
    #[error("the circuit's program trapped: {0}")]
    Trapped(Trap),
    /// A value of the witness is not below the modulus: the program is not one of circom.
    #[error("the circuit's program returned a value that is not below the modulus, at index {index}")]
    NotCanonical {
        /// The index in the witness.
        index: u32,
    },
    /// The program does not behave as a program of circom does.
    #[error("the circuit's program does not behave as one of circom 2: {reason}")]
    Misbehaved {
        /// What it did.
        reason: &'static str,
    },
}

impl Circuit {
    /// Checks and compiles a program. That takes longer than a witness: 30 ms for a small circuit, and seconds for one
    /// of a million constraints.
    ///
    /// The compiler cannot be stopped. Its time and memory are bounded by the length of the program and of its functions.
    pub fn compile(engine: &WitnessEngine, wasm: &[u8], limits: Limits) -> Result<Self, CircuitError> {
        if wasm.len() > limits.program_bytes {
            return Err(CircuitError::ProgramTooLong { bytes: wasm.len(), limit: limits.program_bytes });
        }
        let longest = functions::longest(wasm).unwrap_or(0);
        if longest > limits.function_bytes {
            return Err(CircuitError::FunctionTooLong { bytes: longest, limit: limits.function_bytes });
        }
        let not_wasm =
            |error: wasmtime::Error| CircuitError::NotWasm { reason: error.root_cause().to_string() };
        // Without `wat`, text is no module.
        let module = Module::from_binary(engine.wasm(), wasm).map_err(not_wasm)?;
        check_imports(&module)?;
        check_resources(&module, &limits)?;
        let mut linker = Linker::new(engine.wasm());
        host::define_imports(&mut linker).map_err(not_wasm)?;
        let instance = linker.instantiate_pre(&module).map_err(not_wasm)?;
        let mut circuit = Self { engine: engine.clone(), instance, limits, input_size: 0, witness_size: 0 };
        circuit.probe()?;
        Ok(circuit)
    }

    /// Compiles a program without its assertions: it computes a witness also for inputs that do not satisfy the circuit, and
    /// the constraints alone decide whether that witness is one. The same for inputs that do.
    ///
    /// For programs of circom only: assertions are recognised by the instructions that it writes for them.
    pub fn compile_without_assertions(
        engine: &WitnessEngine,
        wasm: &[u8],
        limits: Limits,
    ) -> Result<Self, CircuitError> {
        let foreign = |reason: &str| CircuitError::NotWasm { reason: reason.to_owned() };
        let changed = assertions::remove(wasm).ok_or_else(|| foreign("its sections end early"))?;
        let circuit = Self::compile(engine, &changed, limits)?;
        // All imports are functions.
        let mut imports = circuit.instance.module().imports();
        let print_error = imports.nth(usize::from(assertions::PRINT_ERROR_INDEX));
        let is_known = print_error.is_some_and(|import| import.name() == host::PRINT_ERROR);
        drop(imports);
        if is_known { Ok(circuit) } else { Err(foreign("its imports have another order than circom's")) }
    }

    /// The same program with other limits for its witnesses. The limit of the program's length has no effect any more.
    #[must_use]
    pub fn with_limits(&self, limits: Limits) -> Self {
        Self { limits, ..self.clone() }
    }

    /// The number of values of all input signals.
    #[must_use]
    pub fn input_size(&self) -> u32 {
        self.input_size
    }

    /// The number of values of the witness.
    #[must_use]
    pub fn witness_size(&self) -> u32 {
        self.witness_size
    }

    /// Computes the witness. The call blocks its thread; another thread may set `cancelled` to end it.
    pub fn compute(
        &self,
        inputs: &Inputs,
        cancelled: Option<Arc<AtomicBool>>,
    ) -> Result<Witness, WitnessError> {
        let _running = self.engine.run();
        let mut run = Run::start(self, cancelled).map_err(|error| match error {
            StartError::Failed(error) => error,
            StartError::MissingExport(_) => WitnessError::Misbehaved { reason: "an export is missing" },
        })?;
        run.call(|exports| &exports.init, 0)?;
        self.set_inputs(&mut run, inputs)?;
        let mut witness = Witness::with_capacity(self.witness_size);
        for index in 0..self.witness_size {
            run.call(|exports| &exports.get_witness, index.cast_signed())?;
            if !witness.push(run.shared()?) {
                return Err(WitnessError::NotCanonical { index });
            }
        }
        Ok(witness)
    }

    fn set_inputs(&self, run: &mut Run<'_>, inputs: &Inputs) -> Result<(), WitnessError> {
        // The program computes at its last input, so that lengths are checked before the first one is set.
        let mut given = 0;
        for signal in inputs.signals() {
            given += self.check_length(run, &signal.name, signal.given)?;
        }
        if given != self.input_size {
            return Err(InputError::Missing { expected: self.input_size, given }.into());
        }
        for signal in inputs.signals() {
            let (high, low) = name_hash(&signal.name);
            for (position, value) in (0..).zip(&signal.values) {
                run.shared_mut()?.copy_from_slice(field::to_le_bytes(value).as_slice());
                run.call(|exports| &exports.set_input_signal, (high, low, position))?;
            }
        }
        Ok(())
    }

    /// The memory that the compiled program takes, in bytes.
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        let code = self.instance.module().image_range();
        code.end.addr().saturating_sub(code.start.addr())
    }

    fn check_length(&self, run: &mut Run<'_>, name: &str, given: usize) -> Result<u32, WitnessError> {
        let size = run.call(|exports| &exports.get_input_signal_size, name_hash(name))?;
        // For an unknown name, programs return what is at a fixed place of their memory: 0, or more than all inputs have.
        let is_size = |size: &u32| *size <= self.input_size && (*size > 0 || given == 0);
        let size = u32::try_from(size).ok().filter(is_size);
        let expected = size.ok_or_else(|| InputError::UnknownSignal { signal: name.to_owned() })?;
        if usize::try_from(expected) == Ok(given) {
            return Ok(expected);
        }
        Err(InputError::WrongLength { signal: name.to_owned(), expected, given }.into())
    }

    /// Starts the program once, and reads what does not depend on inputs.
    fn probe(&mut self) -> Result<(), CircuitError> {
        let engine = self.engine.clone();
        let _running = engine.run();
        let this = self.clone();
        let mut run = Run::start(&this, None).map_err(|error| match error {
            StartError::Failed(error) => CircuitError::DoesNotStart(error),
            StartError::MissingExport(name) => CircuitError::MissingExport { name },
        })?;
        let failed = CircuitError::DoesNotStart;
        let version = run.call(|exports| &exports.get_version, ()).map_err(failed)?;
        if version != CIRCOM_VERSION {
            return Err(CircuitError::UnsupportedVersion { version });
        }
        let words = run.call(|exports| &exports.get_field_num_len32, ()).map_err(failed)?;
        if usize::try_from(words) != Ok(FIELD_BYTES / 4) {
            return Err(CircuitError::WrongField);
        }
        run.call(|exports| &exports.get_raw_prime, ()).map_err(failed)?;
        if field::from_le_bytes(run.shared().map_err(failed)?) != MODULUS {
            return Err(CircuitError::WrongField);
        }
        let inputs = run.call(|exports| &exports.get_input_size, ()).map_err(failed)?;
        let witness = run.call(|exports| &exports.get_witness_size, ()).map_err(failed)?;
        // circom's programs hold every signal in the memory that they declare.
        let capacity = run.memory.data_size(&run.store) / FIELD_BYTES;
        let size = |count: i32| {
            let count = u32::try_from(count).ok()?;
            usize::try_from(count).is_ok_and(|count| count <= capacity).then_some(count)
        };
        self.input_size = size(inputs).ok_or(CircuitError::ImpossibleSize)?;
        self.witness_size = size(witness).filter(|size| *size > 0).ok_or(CircuitError::ImpossibleSize)?;
        Ok(())
    }
}

fn check_imports(module: &Module) -> Result<(), CircuitError> {
    for import in module.imports() {
        let is_known = import.module() == IMPORT_MODULE
            && IMPORTS.iter().any(|(name, has_parameter)| {
                let ExternType::Func(function) = import.ty() else { return false };
                let has_type = function.results().len() == 0
                    && function.params().len() == usize::from(*has_parameter)
                    && function.params().all(|parameter| parameter.is_i32());
                import.name() == *name && has_type
            });
        if !is_known {
            let cut = |name: &str| name.chars().take(80).collect();
            return Err(CircuitError::ForeignImport {
                module: cut(import.module()),
                name: cut(import.name()),
            });
        }
    }
    Ok(())
}

fn check_resources(module: &Module, limits: &Limits) -> Result<(), CircuitError> {
    let needed = module.resources_required();
    if needed.num_memories > 1 || needed.num_tables > 1 {
        return Err(CircuitError::TooManyResources);
    }
    let exceeds = |needed: u64, limit: usize| usize::try_from(needed).map_or(true, |needed| needed > limit);
    let bytes = needed.max_initial_memory_size.unwrap_or(0).saturating_mul(PAGE_BYTES);
    if exceeds(bytes, limits.memory_bytes) {
        return Err(CircuitError::MemoryTooLarge { bytes, limit: limits.memory_bytes });
    }
    let entries = needed.max_initial_table_size.unwrap_or(0);
    if exceeds(entries, limits.table_entries) {
        return Err(CircuitError::TableTooLarge { entries, limit: limits.table_entries });
    }
    Ok(())
}

/// The two halves of a name's 64-bit FNV-1a hash, by which programs know their input signals.
fn name_hash(name: &str) -> (i32, i32) {
    // snarkjs hashes UTF-16 code units.
    let hash = name.encode_utf16().fold(0xcbf2_9ce4_8422_2325_u64, |hash, unit| {
        (hash ^ u64::from(unit)).wrapping_mul(0x0100_0000_01b3)
    });
    let bytes = hash.to_be_bytes();
    let [high, low] = [0, 1].map(|half| i32::from_be_bytes(bytes.as_chunks().0[half]));
    (high, low)
}

/// The functions of a program.
struct Exports {
    init: TypedFunc<i32, ()>,
    get_version: TypedFunc<(), i32>,
    get_field_num_len32: TypedFunc<(), i32>,
    get_raw_prime: TypedFunc<(), ()>,
    get_input_size: TypedFunc<(), i32>,
    get_witness_size: TypedFunc<(), i32>,
    get_input_signal_size: TypedFunc<(i32, i32), i32>,
    set_input_signal: TypedFunc<(i32, i32, i32), ()>,
    get_witness: TypedFunc<i32, ()>,
}

enum StartError {
    Failed(WitnessError),
    MissingExport(&'static str),
}

/// An instance of a program. Its memory is overwritten when this is dropped.
struct Run<'a> {
    circuit: &'a Circuit,
    store: Store<HostState>,
    memory: Memory,
    exports: Exports,
    /// The offset of the value that the program and the host pass to each other.
    shared_offset: usize,
}

impl<'a> Run<'a> {
    fn start(circuit: &'a Circuit, cancelled: Option<Arc<AtomicBool>>) -> Result<Self, StartError> {
        let mut store = Store::new(circuit.engine.wasm(), HostState::new(circuit.limits, cancelled));
        host::bound(&mut store);
        let instance = circuit
            .instance
            .instantiate(&mut store)
            .map_err(|error| StartError::Failed(circuit.failure(&mut store, &error)))?;
        let memory = instance.get_memory(&mut store, "memory").ok_or(StartError::MissingExport("memory"))?;
        macro_rules! function {
            ($name:literal) => {
                instance.get_typed_func(&mut store, $name).map_err(|_| StartError::MissingExport($name))?
            };
        }
        let start: TypedFunc<(), i32> = function!("getSharedRWMemoryStart");
        // Called from the host's imports.
        let _: TypedFunc<(), i32> = function!("getMessageChar");
        let exports = Exports {
            init: function!("init"),
            get_version: function!("getVersion"),
            get_field_num_len32: function!("getFieldNumLen32"),
            get_raw_prime: function!("getRawPrime"),
            get_input_size: function!("getInputSize"),
            get_witness_size: function!("getWitnessSize"),
            get_input_signal_size: function!("getInputSignalSize"),
            set_input_signal: function!("setInputSignal"),
            get_witness: function!("getWitness"),
        };
        let mut run = Self { circuit, store, memory, exports, shared_offset: 0 };
        let offset =
            start.call(&mut run.store, ()).map_err(|error| StartError::Failed(run.failure(&error)))?;
        run.shared_offset = usize::try_from(offset).map_err(|_| {
            StartError::Failed(WitnessError::Misbehaved {
                reason: "its shared value is outside of its memory",
            })
        })?;
        Ok(run)
    }

    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        function: impl Fn(&Exports) -> &TypedFunc<P, R>,
        parameters: P,
    ) -> Result<R, WitnessError> {
        function(&self.exports).call(&mut self.store, parameters).map_err(|error| self.failure(&error))
    }

    fn failure(&mut self, error: &wasmtime::Error) -> WitnessError {
        self.circuit.failure(&mut self.store, error)
    }

    /// The value that the program returns.
    fn shared(&self) -> Result<&[u8; FIELD_BYTES], WitnessError> {
        let memory = self.memory.data(&self.store).get(self.shared_offset..);
        memory.and_then(<[u8]>::first_chunk).ok_or(OUTSIDE)
    }

    /// The value that the program receives.
    fn shared_mut(&mut self) -> Result<&mut [u8; FIELD_BYTES], WitnessError> {
        let memory = self.memory.data_mut(&mut self.store).get_mut(self.shared_offset..);
        memory.and_then(<[u8]>::first_chunk_mut).ok_or(OUTSIDE)
    }
}

const OUTSIDE: WitnessError =
    WitnessError::Misbehaved { reason: "its shared value is outside of its memory" };

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.memory.data_mut(&mut self.store).zeroize();
    }
}

impl Circuit {
    /// Why a call failed: the host stopped the program, or it trapped.
    fn failure(&self, store: &mut Store<HostState>, error: &wasmtime::Error) -> WitnessError {
        match store.data_mut().take_stop() {
            Some(Stop::Exception(exception)) => WitnessError::Exception(exception),
            Some(Stop::Deadline) => WitnessError::DeadlineExceeded { limit: self.limits.time },
            Some(Stop::Cancelled) => WitnessError::Cancelled,
            Some(Stop::MemoryLimit) => WitnessError::MemoryLimit { limit: self.limits.memory_bytes },
            Some(Stop::TableLimit) => WitnessError::TableLimit { limit: self.limits.table_entries },
            None => match error.downcast_ref::<Trap>() {
                Some(trap) => WitnessError::Trapped(*trap),
                None => WitnessError::Misbehaved { reason: "a call failed" },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_hash_of_circom() {
        // FNV-1a of "a" and of "in".
        assert_eq!(name_hash("a"), (0xaf63_dc4c_u32.cast_signed(), 0x8601_ec8c_u32.cast_signed()));
        assert_eq!(name_hash(""), (0xcbf2_9ce4_u32.cast_signed(), 0x8422_2325_u32.cast_signed()));
    }
}
