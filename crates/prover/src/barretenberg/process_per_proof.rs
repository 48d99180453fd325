//! The backend that starts one `bb prove` for each proof.
//!
//! Each proof takes longer by the start of a process and the loading of the CRS, but nothing of one proof is left in
//! the memory of the next. A daemon that answers one call makes each key.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_files::regular_file;
use edgeprove_protocol::{ProofSystem, Target};
use edgeprove_spool::{Spool, SpoolDir, SpoolError};
use edgeprove_telemetry::{process::ProcessStatus, supervisor::Supervisor};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    daemon::{self, SingleResponse},
    key_facts::KeyFacts,
    memory_estimate,
    program::{BbProgram, Msm},
    wire,
};
use crate::{
    Backend, BackendIdentity, CapacityPermit, CircuitKey, CircuitProgram, CircuitSize, FIELD_BYTES,
    GeneratedKey, IdleMemory, IdleProvers, LoadLimits, MemoryEstimate, MemoryPeaks, ProcessFailure,
    ProofParts, ProverError, ProverPermit, RestartCounts, UnexpectedResponse, VerificationKey, WitnessSource,
    child_process::{ChildDeath, ChildProcess, DeathCause},
    memory_peaks::Observation,
    stored_gzip::store_in_gzip,
};

/// Largest file that bb writes: a proof or its public inputs.
const OUTPUT_MAX_BYTES: u64 = 64 << 20;

/// The ids of running processes.
type ProcessIds = Arc<Mutex<BTreeSet<u32>>>;

/// One process per proof.
#[derive(Debug, Clone)]
pub struct ProcessBackend {
    program: BbProgram,
    spool: Spool,
    supervisor: Supervisor,
    processes: ProcessIds,
}

impl ProcessBackend {
    /// Creates the backend. Proofs and verification keys pass through temporary folders of the spool.
    #[must_use]
    pub fn new(program: BbProgram, spool: Spool, supervisor: Supervisor) -> Self {
        Self { program, spool, supervisor, processes: Arc::default() }
    }
}

/// No process exists without work.
impl IdleProvers for ProcessBackend {
    fn idle_memory(&self, _system: ProofSystem, _width: usize) -> IdleMemory {
        IdleMemory::default()
    }

    fn reclaim_memory(&self, _capacity: CapacityPermit) {}
}

impl Backend for ProcessBackend {
    fn identity(&self, _system: ProofSystem) -> BackendIdentity {
        super::identity(false, self.program.msm)
    }

    fn permit(&self, width: usize, capacity: CapacityPermit) -> Box<dyn ProverPermit> {
        Box::new(ProcessPermit {
            backend: self.clone(),
            width,
            capacity,
            has_crashed: AtomicBool::new(false),
        })
    }

    fn mode(&self) -> &'static str {
        "process"
    }

    fn is_ready(&self) -> bool {
        self.program.path.is_file()
    }

    fn restarts(&self) -> RestartCounts {
        RestartCounts::default()
    }

    fn processes(&self) -> Vec<u32> {
        self.processes.lock().iter().copied().collect()
    }
}

struct ProcessPermit {
    backend: ProcessBackend,
    width: usize,
    capacity: CapacityPermit,
    /// Whether bb crashed on the proof of this permit. The next attempt then multiplies in bb's default way.
    has_crashed: AtomicBool,
}

/// How a process ended that was not interrupted.
enum Finished {
    Success,
    Death(ChildDeath),
}

impl ProcessPermit {
    /// Runs bb to its end in a task of its own. The task kills bb when the caller leaves, and releases the capacity
    /// only after bb has ended. `circuit` gets the measured memory of a proof.
    async fn run(
        &self,
        arguments: Vec<OsString>,
        circuit: Option<&CircuitKey>,
        deadline: Instant,
    ) -> Result<Finished, ProverError> {
        let (mut reply, response) = oneshot::channel();
        let (mut program, width) = (self.backend.program.clone(), self.width);
        if self.has_crashed.load(Ordering::Relaxed) {
            program.msm = Msm::Legacy;
        }
        let (supervisor, capacity) = (self.backend.supervisor.clone(), Arc::clone(&self.capacity));
        let circuit = circuit.map(|circuit| Arc::clone(&circuit.memory));
        let processes = Arc::clone(&self.backend.processes);
        self.backend.supervisor.spawn("bb process", async move {
            let stop = supervisor.stop_token().clone();
            let mut child = match program.start(arguments, width, &supervisor) {
                Ok(child) => child,
                Err(error) => {
                    drop(capacity);
                    // A caller that left does not need the failure.
                    let _ = reply.send(Err(ProverError::Unavailable(Arc::new(error.into()))));
                    return;
                }
            };
            let running = RunningProcess::new(child.pid().unwrap_or_default(), processes);
            let interrupted = tokio::select! {
                biased;
                () = reply.closed() => ProverError::Stopping,
                () = stop.cancelled() => ProverError::Stopping,
                () = tokio::time::sleep_until(deadline.into()) => ProverError::Timeout,
                never = running.sample_peak() => match never {},
                cause = ChildProcess::beyond_budget(child.pid(), program.memory_max_bytes) => {
                    ProverError::Crashed(ChildDeath { cause, last_words: child.last_words() }.into())
                }
                status = child.wait() => {
                    let finished = match status {
                        Ok(status) if status.success() => {
                            if let Some(circuit) = circuit {
                                running.observe(&circuit, width);
                            }
                            Ok(Finished::Success)
                        }
                        Ok(status) => Ok(Finished::Death(child.death(status))),
                        Err(source) => Err(ProverError::Crashed(ProcessFailure::NoResponse {
                            source,
                            last_words: child.last_words(),
                        })),
                    };
                    let _ = reply.send(finished);
                    return;
                }
            };
            if let Err(error) = child.kill().await {
                tracing::error!(%error, "bb could not be killed");
            }
            drop(capacity);
            let _ = reply.send(Err(interrupted));
        });
        response.await.map_err(|_| ProverError::Stopping)?
    }

    /// Calls a daemon that answers one call.
    async fn call_once(
        &self,
        message: wire::Message,
        limits: LoadLimits,
    ) -> Result<SingleResponse, ProverError> {
        let ProcessBackend { program, supervisor, .. } = &self.backend;
        let capacity = Arc::clone(&self.capacity);
        daemon::call_once(program, self.width, supervisor, message, limits, capacity).await
    }

    fn arguments(&self, command: &str, target: Target) -> Vec<OsString> {
        let crs = self.backend.program.crs_dir.clone();
        vec![
            command.into(),
            "--verifier_target".into(),
            target.as_str().into(),
            "--crs_path".into(),
            crs.into_os_string(),
        ]
    }

    fn temporary_folder(&self) -> Result<SpoolDir, SpoolError> {
        self.backend.spool.create_dir()
    }
}

#[async_trait]
impl ProverPermit for ProcessPermit {
    fn width(&self) -> usize {
        self.width
    }

    async fn prove(
        &self,
        circuit: &CircuitKey,
        witness: &WitnessSource,
        deadline: Instant,
    ) -> Result<ProofParts, ProverError> {
        // bb opens the witness by its path, which must still be the one that was checked.
        witness.file.open()?;
        let folder = self.temporary_folder()?;
        let vk = write(&folder.path().join("vk"), &circuit.vk)?;
        let bytecode = folder.path().join("circuit.gz");
        let gzipped = store_in_gzip(circuit.program.acir()?)
            .map_err(|error| SpoolError::of("write", &bytecode, error))?;
        let bytecode = write(&bytecode, &gzipped)?;
        let mut arguments = self.arguments("prove", circuit.target);
        for (flag, path) in [
            ("--bytecode_path", bytecode.as_path()),
            ("--witness_path", witness.file.path()),
            ("--vk_path", vk.as_path()),
            ("--output_path", folder.path()),
        ] {
            arguments.push(flag.into());
            arguments.push(path.into());
        }
        let outcome = self.run(arguments, Some(circuit), deadline).await.and_then(Finished::into_result);
        self.has_crashed.store(matches!(outcome, Err(ProverError::Crashed(_))), Ordering::Relaxed);
        outcome?;
        Ok(ProofParts {
            proof: read_fields(&folder.path().join("proof"))?,
            public_inputs: read_fields(&folder.path().join("public_inputs"))?,
        })
    }

    async fn verify(
        &self,
        circuit: &CircuitKey,
        parts: &ProofParts,
        deadline: Instant,
    ) -> Result<bool, ProverError> {
        /// bb's exit code for a proof that does not verify.
        const INVALID: DeathCause = DeathCause::Exit(1);
        let folder = self.temporary_folder()?;
        let mut arguments = self.arguments("verify", circuit.target);
        for (flag, name, bytes) in [
            ("--vk_path", "vk", circuit.vk.as_ref()),
            ("--proof_path", "proof", parts.proof.as_flattened()),
            ("--public_inputs_path", "public_inputs", parts.public_inputs.as_flattened()),
        ] {
            arguments.push(flag.into());
            arguments.push(write(&folder.path().join(name), bytes)?.into_os_string());
        }
        match self.run(arguments, None, deadline).await? {
            Finished::Death(death) if death.cause == INVALID => Ok(false),
            finished => finished.into_result().map(|()| true),
        }
    }

    async fn measure(
        &self,
        program: CircuitProgram,
        target: Target,
        limits: LoadLimits,
    ) -> Result<CircuitSize, ProverError> {
        Ok(wire::circuit_size(self.call_once(wire::stats(program.acir()?, target)?, limits).await?.response)?)
    }

    async fn make_key(
        &self,
        program: CircuitProgram,
        target: Target,
        limits: LoadLimits,
    ) -> Result<GeneratedKey, ProverError> {
        self.call_once(wire::compute_vk(program.acir()?, target)?, limits).await?.generated_key()
    }

    fn dyadic_size(&self, key: &VerificationKey, _target: Target) -> Option<u64> {
        KeyFacts::read(&key.vk).ok().map(KeyFacts::dyadic_size)
    }

    fn estimate_memory(&self, size: CircuitSize, _target: Target) -> MemoryEstimate {
        memory_estimate::by_size(size)
    }

    async fn report_invalid_proof(&self) {
        // The process has ended already.
    }
}

/// A process in the list of running ones. Its memory is sampled until it ends, because the kernel reports nothing about
/// the memory of a process that has ended.
struct RunningProcess {
    pid: u32,
    peak_bytes: AtomicU64,
    processes: ProcessIds,
}

impl RunningProcess {
    fn new(pid: u32, processes: ProcessIds) -> Self {
        processes.lock().insert(pid);
        Self { pid, peak_bytes: AtomicU64::new(0), processes }
    }

    async fn sample_peak(&self) -> Infallible {
        // The peak never falls, so only its rise in the last moments is missed.
        const INTERVAL: Duration = Duration::from_millis(20);
        loop {
            tokio::time::sleep(INTERVAL).await;
            if let Some(memory) = ProcessStatus::read(self.pid) {
                self.peak_bytes.store(memory.peak_bytes, Ordering::Relaxed);
            }
        }
    }

    fn observe(&self, circuit: &MemoryPeaks, threads: usize) {
        let peak_bytes = self.peak_bytes.load(Ordering::Relaxed);
        // A process that ended at once was never sampled.
        if peak_bytes > 0 {
            circuit.observe(threads, Observation { before_bytes: 0, peak_bytes, is_alone: true });
        }
    }
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        self.processes.lock().remove(&self.pid);
    }
}

impl Finished {
    /// A process that ended by itself with a failure has rejected its input; any other death is a crash.
    fn into_result(self) -> Result<(), ProverError> {
        match self {
            Self::Success => Ok(()),
            Self::Death(death) if death.is_exit() => {
                Err(ProverError::Refused { reason: death.last_words.to_string() })
            }
            Self::Death(death) => Err(ProverError::Crashed(death.into())),
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<PathBuf, SpoolError> {
    fs::write(path, bytes).map_err(|error| SpoolError::of("write", path, error))?;
    Ok(path.to_owned())
}

fn read_fields(path: &Path) -> Result<Vec<[u8; FIELD_BYTES]>, UnexpectedResponse> {
    let unreadable = |source| UnexpectedResponse::FileUnreadable { path: path.to_owned(), source };
    let bytes = regular_file::read(path, OUTPUT_MAX_BYTES).map_err(unreadable)?;
    let (fields, rest) = bytes.as_chunks::<FIELD_BYTES>();
    if rest.is_empty() {
        Ok(fields.to_vec())
    } else {
        Err(UnexpectedResponse::FileLength { path: path.to_owned(), bytes: bytes.len() })
    }
}
