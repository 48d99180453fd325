//! The files of a circom circuit.
//!
//! A circuit is named by its key, `NAME.zkey`. Beside it are the program that computes its witnesses, `NAME.wasm` or
//! `NAME_js/NAME.wasm`, where `circom --wasm` writes it, and possibly its constraints, `NAME.r1cs`.
//!
//! The files may come from somebody else. Each is read up to a limit. The points of a key are checked. The program is compiled
//! on a thread of its own: the compiler's time and memory are bounded by the length of the program and of its longest function,
//! and a load that takes too long nevertheless fails while the thread comes to its end. No other program is compiled until
//! then. A child process would bound both more strictly, but only unsafe code can take over what a child has compiled.
//!
//! The key and the constraints stay in memory. What they take is compared with the memory that is left before they are
//! made of the files' bytes.

use std::{
    fs, io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{LazyLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use edgeprove_circom_witness::{Circuit as WitnessProgram, CircuitError, Limits, WitnessEngine};
use edgeprove_files::regular_file;
use edgeprove_groth16::{KeyError, ProvingKey, R1cs, R1csInfo, Threads, Trust, ZkeyInfo};
use edgeprove_protocol::{HasProblemType, ProblemType};
use parking_lot::{Condvar, Mutex};
use sha2::{Digest as _, Sha256};

use crate::{proof_systems::ReadLimits, scheduler::mebibytes};

/// The extension of a key's file.
pub const KEY_EXTENSION: &str = "zkey";

/// Largest key, in bytes: one for some 800,000 constraints.
const KEY_MAX_BYTES: u64 = 512 << 20;
/// Largest file with constraints, in bytes.
const CONSTRAINTS_MAX_BYTES: u64 = 512 << 20;
/// Longest time to compile a program.
const COMPILE_TIME_MAX: Duration = Duration::from_mins(1);
/// Longest time of a program to start, without inputs. It takes milliseconds.
const START_TIME_MAX: Duration = Duration::from_secs(5);

/// Why the files of a circom circuit cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CircomFileError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// There is no program.
    #[error("there is no {}: put the program that `circom --wasm` writes beside the key", path.display())]
    NoProgram {
        /// The place where it is looked for first.
        path: PathBuf,
    },
    /// A file is too large.
    #[error("{} is larger than {max_bytes} bytes, the most for such a file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        max_bytes: u64,
    },
    /// The key is damaged, or not a key of Groth16.
    #[error("{} is not a Groth16 key over BN254: copy it again, or make it again with snarkjs", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: edgeprove_groth16::KeyError,
    },
    /// The program is not one that circom wrote, or too large.
    #[error("{} is not a program of circom that can be run here: compile the circuit again", path.display())]
    Program {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CircuitError,
    },
    /// The program could not be compiled in time.
    #[error(
        "{} could not be compiled within {} s: compile a circuit with smaller templates",
        path.display(),
        COMPILE_TIME_MAX.as_secs()
    )]
    TooSlow {
        /// The file.
        path: PathBuf,
    },
    /// Another program is being compiled, which takes too long.
    #[error(
        "{} was not compiled, because the compiler was busy with another program for {} s: retry when it has finished",
        path.display(),
        COMPILE_TIME_MAX.as_secs()
    )]
    CompilerBusy {
        /// The file.
        path: PathBuf,
    },
    /// There is too little memory for the files.
    #[error(
        "{} and the files before it take {} MiB of memory, but {} MiB are left for circuits and proofs: raise \
         --memory-max on a machine that has more",
        path.display(),
        mebibytes(*needed_bytes),
        *max_bytes >> 20
    )]
    BeyondMemory {
        /// The file that was read last.
        path: PathBuf,
        /// The memory of all files up to this one, in bytes.
        needed_bytes: u64,
        /// The memory that is left, in bytes.
        max_bytes: u64,
    },
    /// The compiler of programs failed.
    #[error("the compiler failed on {}: compile the circuit again", path.display())]
    CompilerFailed {
        /// The file.
        path: PathBuf,
    },
    /// The file with the constraints is damaged.
    #[error("{} has no constraints over BN254: remove it, or compile the circuit again", path.display())]
    Constraints {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: edgeprove_groth16::FormatError,
    },
    /// Two files are of different circuits.
    #[error(
        "{} is of another circuit than the key {}: it has {found} {what}, and the key has {wanted}; make the key from the \
         constraints of the same compilation",
        path.display(),
        key.display()
    )]
    OtherCircuit {
        /// The file that does not fit the key.
        path: PathBuf,
        /// The key.
        key: PathBuf,
        /// What was counted.
        what: &'static str,
        /// How many the file has.
        found: u32,
        /// How many the key has.
        wanted: u32,
    },
    /// The constraints are those of another circuit with as many wires.
    #[error(
        "{} is of another circuit than the key {}: they differ in constraint {constraint}; make the key from the constraints \
         of the same compilation",
        path.display(),
        key.display()
    )]
    OtherConstraints {
        /// The file with the constraints.
        path: PathBuf,
        /// The key.
        key: PathBuf,
        /// The first constraint that differs, counted from 0.
        constraint: usize,
    },
    /// Programs cannot be run on this machine, or no thread could be started.
    #[error("no program of circom can be run: {reason}")]
    NoEngine {
        /// Why not.
        reason: String,
    },
}

impl HasProblemType for CircomFileError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Unreadable { .. }
            | Self::NoProgram { .. }
            | Self::TooLarge { .. }
            | Self::TooSlow { .. }
            | Self::CompilerBusy { .. }
            | Self::BeyondMemory { .. }
            | Self::NoEngine { .. } => ProblemType::CircuitUnavailable,
            Self::Key { .. }
            | Self::Program { .. }
            | Self::CompilerFailed { .. }
            | Self::Constraints { .. }
            | Self::OtherCircuit { .. }
            | Self::OtherConstraints { .. } => ProblemType::CircuitCompilationFailed,
        }
    }
}

impl CircomFileError {
    /// The kind of the fault, as callers may see it: it names no folder of the server.
    #[must_use]
    pub fn public_reason(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "one of its files cannot be read",
            Self::NoProgram { .. } => "its program is missing",
            Self::TooLarge { .. } => "one of its files is too large",
            Self::Key { .. } => "its key is not one that this server can use",
            Self::Program { .. } | Self::CompilerFailed { .. } => {
                "its program is not one that this server can run"
            }
            Self::TooSlow { .. } => "its program takes too long to compile",
            Self::CompilerBusy { .. } => "the compiler of programs was busy with another one",
            Self::BeyondMemory { .. } => "its files need more memory than the server has left",
            Self::Constraints { .. } => "its constraints cannot be read",
            Self::OtherCircuit { .. } | Self::OtherConstraints { .. } => {
                "its files are of different circuits"
            }
            Self::NoEngine { .. } => "this server cannot run its program",
        }
    }

    /// Whether a file is missing or cannot be read.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable { .. } | Self::NoProgram { .. })
    }
}

/// The contents of the files, which fit each other.
#[derive(Debug)]
pub(super) struct CircomFiles {
    pub(super) key: ProvingKey,
    pub(super) key_sha256: [u8; 32],
    pub(super) witness_program: WitnessProgram,
    pub(super) constraints: Option<R1cs>,
    /// The memory that all of them take, in bytes.
    pub(super) memory_bytes: u64,
}

/// The files of the circuit with this key, the key first. Some may not exist.
#[must_use]
pub fn files(key: &Path) -> Vec<PathBuf> {
    let [beside, in_folder] = programs(key);
    vec![key.to_owned(), if in_folder.exists() { in_folder } else { beside }, key.with_extension("r1cs")]
}

/// The two paths of a program.
fn programs(key: &Path) -> [PathBuf; 2] {
    let beside = key.with_extension("wasm");
    let stem = key.file_stem().unwrap_or_default();
    let mut folder = stem.to_owned();
    folder.push("_js");
    let mut name = stem.to_owned();
    name.push(".wasm");
    let in_folder = key.with_file_name(folder).join(name);
    [beside, in_folder]
}

impl CircomFiles {
    pub(super) fn read(key_path: &Path, limits: ReadLimits) -> Result<Self, CircomFileError> {
        let mut memory = Memory { max_bytes: limits.memory_max_bytes, held_bytes: 0 };
        let bytes = read(key_path, KEY_MAX_BYTES, &memory)?;
        let wrong_key = |source: KeyError| CircomFileError::Key { path: key_path.to_owned(), source };
        let info = ZkeyInfo::read(&bytes).map_err(|error| wrong_key(error.into()))?;
        memory.take(key_path, &bytes, info.memory_bytes(bytes.len() as u64))?;
        let key_sha256 = Sha256::digest(&bytes).into();
        let threads = Threads::of_width(NonZeroUsize::new(limits.width).unwrap_or(NonZeroUsize::MIN));
        let threads = threads.map_err(|error| CircomFileError::NoEngine { reason: error.to_string() })?;
        let key = ProvingKey::read(&bytes, Trust::Checked, &threads).map_err(wrong_key)?;
        drop((bytes, threads));
        let constraints = read_constraints(key_path, info, &mut memory)?;
        if let Some(constraint) = constraints.as_ref().and_then(|read| key.first_difference(read)) {
            let (path, key) = (key_path.with_extension("r1cs"), key_path.to_owned());
            return Err(CircomFileError::OtherConstraints { path, key, constraint });
        }
        let witness_program = read_program(key_path, info, &mut memory)?;
        Ok(Self { key, key_sha256, witness_program, constraints, memory_bytes: memory.held_bytes })
    }
}

/// The memory of the files that were read, and the most.
struct Memory {
    max_bytes: u64,
    held_bytes: u64,
}

impl Memory {
    fn check(&self, path: &Path, further_bytes: u64) -> Result<(), CircomFileError> {
        let (needed_bytes, max_bytes) = (self.held_bytes.saturating_add(further_bytes), self.max_bytes);
        if needed_bytes > max_bytes {
            return Err(CircomFileError::BeyondMemory { path: path.to_owned(), needed_bytes, max_bytes });
        }
        Ok(())
    }

    /// Counts the content of a file, before it is made of the file's bytes. Both are there for a while, and a copy of a part.
    fn take(&mut self, path: &Path, file: &[u8], content_bytes: u64) -> Result<(), CircomFileError> {
        self.check(path, content_bytes.saturating_add(2 * file.len() as u64))?;
        self.held_bytes += content_bytes;
        Ok(())
    }
}

/// Reads a file whose length is within the limit of such files, and for which there is memory.
fn read(path: &Path, max_bytes: u64, memory: &Memory) -> Result<Vec<u8>, CircomFileError> {
    let unreadable = |source| CircomFileError::Unreadable { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length <= max_bytes {
        memory.check(path, length)?;
    }
    regular_file::read(path, max_bytes).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => CircomFileError::TooLarge { path: path.to_owned(), max_bytes },
        _ => unreadable(source),
    })
}

fn read_constraints(
    key_path: &Path,
    key: ZkeyInfo,
    memory: &mut Memory,
) -> Result<Option<R1cs>, CircomFileError> {
    let path = key_path.with_extension("r1cs");
    let bytes = match read(&path, CONSTRAINTS_MAX_BYTES, memory) {
        Ok(bytes) => bytes,
        Err(CircomFileError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let damaged = |source| CircomFileError::Constraints { path: path.clone(), source };
    // An empty constraint takes ten times as much memory as in the file, so numbers are compared before.
    let info = R1csInfo::read(&bytes).map_err(damaged)?;
    let counts = [
        ("wires", info.wires, key.wires),
        ("public signals", info.public_signals(), key.public_signals),
        ("constraints", info.constraints, key.constraints),
    ];
    check_counts(&path, key_path, counts)?;
    memory.take(&path, &bytes, info.memory_bytes(bytes.len() as u64))?;
    R1cs::read(&bytes).map(Some).map_err(damaged)
}

fn check_counts<const N: usize>(
    path: &Path,
    key: &Path,
    counts: [(&'static str, u32, u32); N],
) -> Result<(), CircomFileError> {
    match counts.into_iter().find(|(_, found, wanted)| found != wanted) {
        None => Ok(()),
        Some((what, found, wanted)) => {
            let (path, key) = (path.to_owned(), key.to_owned());
            Err(CircomFileError::OtherCircuit { path, key, what, found, wanted })
        }
    }
}

fn read_program(
    key_path: &Path,
    key: ZkeyInfo,
    memory: &mut Memory,
) -> Result<WitnessProgram, CircomFileError> {
    let limits = Limits { time: START_TIME_MAX, ..Limits::default() };
    let [beside, in_folder] = programs(key_path);
    let path = [&beside, &in_folder].into_iter().find(|path| path.exists());
    let path = path.ok_or_else(|| CircomFileError::NoProgram { path: beside.clone() })?.clone();
    let wasm = read(&path, limits.program_bytes as u64, memory)?;
    let program = compile(&path, wasm, limits, COMPILE_TIME_MAX)?;
    check_counts(&path, key_path, [("wires", program.witness_size(), key.wires)])?;
    memory.held_bytes += program.code_bytes() as u64;
    Ok(program)
}

/// The one engine of this process.
fn engine() -> Result<WitnessEngine, CircomFileError> {
    static ENGINE: LazyLock<Result<WitnessEngine, String>> =
        LazyLock::new(|| WitnessEngine::start().map_err(|error| error.to_string()));
    ENGINE.clone().map_err(|reason| CircomFileError::NoEngine { reason })
}

/// Whether a program is being compiled. One compiler runs at a time, so that hostile programs do not fill memory and cores with
/// compilers that cannot be stopped.
static COMPILING: Mutex<bool> = Mutex::new(false);
static COMPILED: Condvar = Condvar::new();

/// The turn of one compiler. It ends with the compiler, and not with the load that started it.
struct CompilerTurn;

impl CompilerTurn {
    /// Waits for the turn. `None`: another compiler took all the time.
    fn take(deadline: Instant) -> Option<Self> {
        let mut is_compiling = COMPILING.lock();
        while *is_compiling {
            if COMPILED.wait_until(&mut is_compiling, deadline).timed_out() && *is_compiling {
                return None;
            }
        }
        *is_compiling = true;
        Some(Self)
    }
}

impl Drop for CompilerTurn {
    fn drop(&mut self) {
        *COMPILING.lock() = false;
        COMPILED.notify_one();
    }
}

/// Compiles a program on a thread of its own. The compiler uses one core.
fn compile(
    path: &Path,
    wasm: Vec<u8>,
    limits: Limits,
    time_max: Duration,
) -> Result<WitnessProgram, CircomFileError> {
    let engine = engine()?;
    let path = path.to_owned();
    let Some(turn) = CompilerTurn::take(Instant::now() + time_max) else {
        return Err(CircomFileError::CompilerBusy { path });
    };
    let (reply, compiled) = mpsc::sync_channel(1);
    let work = move || {
        let _turn = turn;
        // Nobody waits any more after the longest time.
        let _ = reply.send(WitnessProgram::compile(&engine, &wasm, limits));
    };
    let thread = thread::Builder::new().name("circom-compiler".to_owned()).spawn(work);
    thread.map_err(|error| CircomFileError::NoEngine { reason: error.to_string() })?;
    match compiled.recv_timeout(time_max) {
        Ok(compiled) => compiled.map_err(|source| CircomFileError::Program { path, source }),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(CircomFileError::TooSlow { path }),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(CircomFileError::CompilerFailed { path }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_compiler_starts_beside_a_late_one() {
        let late = CompilerTurn::take(Instant::now() + Duration::from_mins(1)).unwrap();
        let compile = |time_max| compile(Path::new("a.wasm"), b"text".to_vec(), Limits::default(), time_max);
        let refused = compile(Duration::from_millis(1)).unwrap_err();
        assert!(matches!(refused, CircomFileError::CompilerBusy { .. }), "{refused}");
        let waiting = thread::scope(|scope| {
            let waiting = scope.spawn(|| compile(Duration::from_mins(1)));
            drop(late);
            waiting.join().unwrap()
        });
        assert!(matches!(waiting, Err(CircomFileError::Program { .. })), "its turn came");
        let after = compile(Duration::from_mins(1));
        assert!(matches!(after, Err(CircomFileError::Program { .. })), "a turn ends with its compiler");
    }
}
