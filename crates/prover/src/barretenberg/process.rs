//! The backend that starts one `bb prove` for each proof.
//!
//! Slower by the start of a process and the loading of the CRS, but nothing of one proof is left in the memory of the
//! next. Keys are made by a daemon that lives for one question.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use barretenberg_rs::generated_types::Response;
use bytes::Bytes;
use edgeprove_protocol::Target;
use tokio::{process::Child, sync::oneshot};

use super::{daemon, wire};
use crate::{
    Backend, BackendIdentity, CircuitKey, CircuitSize, GeneratedKey, IdleMemory, IdleProvers, MemoryPeaks,
    ProofParts, ProverError, ProverPermit, WitnessSource,
    backend::{CapacityPermit, FIELD_BYTES, Restarts},
    child::{BbProgram, ChildFailure, LastWords, Msm},
    gzip,
    memory::{MemoryUse, Observation},
    terminate,
};
use edgeprove_spool::Spool;
use edgeprove_telemetry::supervisor::Supervisor;

/// One process a proof.
#[derive(Debug, Clone)]
pub struct ProcessBackend {
    program: BbProgram,
    spool: Spool,
    supervisor: Supervisor,
    /// The processes at this moment.
    processes: Arc<Mutex<BTreeSet<u32>>>,
}

impl ProcessBackend {
    /// Proofs and verification keys pass through scratch folders of the spool.
    #[must_use]
    pub fn new(program: BbProgram, spool: Spool, supervisor: Supervisor) -> Self {
        Self { program, spool, supervisor, processes: Arc::default() }
    }
}

/// There are no processes without work.
impl IdleProvers for ProcessBackend {
    fn idle_memory(&self, _width: usize) -> IdleMemory {
        IdleMemory::default()
    }

    fn shed(&self, _hold: CapacityPermit) {}
}

impl Backend for ProcessBackend {
    fn identity(&self) -> BackendIdentity {
        super::identity(false, self.program.msm)
    }

    fn seat(&self, width: usize, hold: CapacityPermit) -> Box<dyn ProverPermit> {
        Box::new(ProcessSeat { backend: self.clone(), width, hold, failed: AtomicBool::new(false) })
    }

    fn mode(&self) -> &'static str {
        "process"
    }

    fn ready(&self) -> bool {
        self.program.path.is_file()
    }

    fn restarts(&self) -> Restarts {
        Restarts::default()
    }

    fn processes(&self) -> Vec<u32> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

struct ProcessSeat {
    backend: ProcessBackend,
    width: usize,
    hold: CapacityPermit,
    /// Whether bb died of the proof that this seat is for, so that it is tried again in bb's older way.
    failed: AtomicBool,
}

/// How a process ended that was left to finish.
struct Finished {
    status: ExitStatus,
    last_words: LastWords,
}

impl ProcessSeat {
    /// Runs bb to its end in a task of its own, which kills it when the asker leaves, and keeps the hold until then.
    /// `circuit` learns what it took, if it proves one.
    async fn run(
        &self,
        arguments: Vec<OsString>,
        circuit: Option<&CircuitKey>,
        deadline: Instant,
    ) -> Result<Finished, ProverError> {
        let (mut reply, answer) = oneshot::channel();
        let (mut program, width) = (self.backend.program.clone(), self.width);
        if self.failed.load(Ordering::Relaxed) {
            program.msm = Msm::Legacy;
        }
        let (supervisor, hold) = (self.backend.supervisor.clone(), Arc::clone(&self.hold));
        let circuit = circuit.map(|circuit| Arc::clone(&circuit.memory));
        let processes = Arc::clone(&self.backend.processes);
        self.backend.supervisor.spawn("bb process", async move {
            let stop = supervisor.stop_token().clone();
            let (mut child, stderr) = match program.start(arguments, width, &supervisor) {
                Ok(started) => started,
                Err(failure) => {
                    drop(hold);
                    // An asker that left does not miss the failure.
                    let _ = reply.send(Err(ProverError::Unavailable(Arc::new(failure))));
                    return;
                }
            };
            let watched = Watched::new(&child, processes);
            let interrupted = tokio::select! {
                biased;
                () = reply.closed() => ProverError::Stopping,
                () = stop.cancelled() => ProverError::Stopping,
                () = tokio::time::sleep_until(deadline.into()) => ProverError::Timeout,
                never = watched.peak() => match never {},
                status = child.wait() => {
                    if let Some(circuit) = circuit.filter(|_| status.as_ref().is_ok_and(ExitStatus::success)) {
                        watched.tell(&circuit, width);
                    }
                    let last_words = stderr.last_words();
                    let finished = status.map(|status| Finished { status, last_words: last_words.clone() });
                    let _ = reply.send(finished.map_err(|source| {
                        ProverError::Crashed(ChildFailure::Mute { source, last_words })
                    }));
                    return;
                }
            };
            if let Err(error) = terminate::kill(&mut child).await {
                tracing::error!(%error, "bb could not be killed");
            }
            drop(hold);
            let _ = reply.send(Err(interrupted));
        });
        answer.await.map_err(|_| ProverError::Stopping)?
    }

    /// Asks a daemon that lives for this one question.
    async fn ask_once(
        &self,
        message: wire::Message,
        deadline: Instant,
    ) -> Result<(Response, Option<u64>), ProverError> {
        let ProcessBackend { program, supervisor, .. } = &self.backend;
        daemon::ask_once(program, self.width, supervisor, message, deadline, Arc::clone(&self.hold)).await
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

    fn scratch(&self) -> Result<edgeprove_spool::SpoolDir, ProverError> {
        let scratch = self.backend.spool.create_dir();
        scratch.map_err(|error| ProverError::Spool(std::io::Error::other(error)))
    }
}

#[async_trait]
impl ProverPermit for ProcessSeat {
    async fn prove(
        &self,
        circuit: &CircuitKey,
        witness: &WitnessSource,
        deadline: Instant,
    ) -> Result<ProofParts, ProverError> {
        let scratch = self.scratch()?;
        let vk = write(&scratch.path().join("vk"), &circuit.vk)?;
        let bytecode = gzip::stored(&circuit.bytecode).map_err(ProverError::Spool)?;
        let bytecode = write(&scratch.path().join("circuit.gz"), &bytecode)?;
        let mut arguments = self.arguments("prove", circuit.target);
        for (flag, path) in [
            ("--bytecode_path", bytecode.as_path()),
            ("--witness_path", witness.file.as_path()),
            ("--vk_path", vk.as_path()),
            ("--output_path", scratch.path()),
        ] {
            arguments.push(flag.into());
            arguments.push(path.into());
        }
        let outcome =
            self.run(arguments, Some(circuit), deadline).await.and_then(|finished| succeeded(&finished));
        self.failed.store(matches!(outcome, Err(ProverError::Crashed(_))), Ordering::Relaxed);
        outcome?;
        Ok(ProofParts {
            proof: read_fields(&scratch.path().join("proof"))?,
            public_inputs: read_fields(&scratch.path().join("public_inputs"))?,
        })
    }

    async fn verify(
        &self,
        circuit: &CircuitKey,
        parts: &ProofParts,
        deadline: Instant,
    ) -> Result<bool, ProverError> {
        let scratch = self.scratch()?;
        let mut arguments = self.arguments("verify", circuit.target);
        for (flag, name, bytes) in [
            ("--vk_path", "vk", circuit.vk.as_ref()),
            ("--proof_path", "proof", parts.proof.as_flattened()),
            ("--public_inputs_path", "public_inputs", parts.public_inputs.as_flattened()),
        ] {
            arguments.push(flag.into());
            arguments.push(write(&scratch.path().join(name), bytes)?.into_os_string());
        }
        let finished = self.run(arguments, None, deadline).await?;
        match finished.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => succeeded(&finished).map(|()| false),
        }
    }

    async fn measure(
        &self,
        bytecode: Bytes,
        target: Target,
        deadline: Instant,
    ) -> Result<CircuitSize, ProverError> {
        wire::circuit_size(self.ask_once(wire::stats(&bytecode, target)?, deadline).await?.0)
    }

    async fn make_key(
        &self,
        bytecode: Bytes,
        target: Target,
        deadline: Instant,
    ) -> Result<GeneratedKey, ProverError> {
        let (answer, peak_bytes) = self.ask_once(wire::compute_vk(&bytecode, target)?, deadline).await?;
        Ok(GeneratedKey { key: wire::verification_key(answer)?, peak_bytes })
    }

    async fn distrust(&self) {
        // Its process has ended already.
    }
}

/// A process that is listed among those that live, and whose memory is looked at until it ends: afterwards the system
/// tells nobody how much it was.
struct Watched {
    pid: u32,
    peak_bytes: AtomicU64,
    processes: Arc<Mutex<BTreeSet<u32>>>,
}

impl Watched {
    fn new(child: &Child, processes: Arc<Mutex<BTreeSet<u32>>>) -> Self {
        let pid = child.id().unwrap_or_default();
        processes.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
        Self { pid, peak_bytes: AtomicU64::new(0), processes }
    }

    async fn peak(&self) -> Infallible {
        // The peak never falls, so what is missed is what it rises by in its last moments.
        const INTERVAL: Duration = Duration::from_millis(20);
        loop {
            tokio::time::sleep(INTERVAL).await;
            if let Some(memory) = MemoryUse::of(self.pid) {
                self.peak_bytes.store(memory.peak_bytes, Ordering::Relaxed);
            }
        }
    }

    fn tell(&self, circuit: &MemoryPeaks, threads: usize) {
        let peak_bytes = self.peak_bytes.load(Ordering::Relaxed);
        // One that ended at once was never looked at.
        if peak_bytes > 0 {
            circuit.observe(threads, Observation { before_bytes: 0, peak_bytes, alone: true });
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.pid);
    }
}

fn succeeded(finished: &Finished) -> Result<(), ProverError> {
    match (finished.status.success(), finished.status.code()) {
        (true, _) => Ok(()),
        (false, Some(_)) => Err(ProverError::Refused { reason: finished.last_words.to_string() }),
        (false, None) => Err(ProverError::Crashed(ChildFailure::Ended {
            status: finished.status,
            last_words: finished.last_words.clone(),
        })),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<PathBuf, ProverError> {
    fs::write(path, bytes).map_err(ProverError::Spool)?;
    Ok(path.to_owned())
}

fn read_fields(path: &Path) -> Result<Vec<[u8; FIELD_BYTES]>, ProverError> {
    let garbled = |what: String| ProverError::UnexpectedResponse { what };
    let bytes =
        fs::read(path).map_err(|error| garbled(format!("no readable {}: {error}", path.display())))?;
    let (fields, rest) = bytes.as_chunks::<FIELD_BYTES>();
    if rest.is_empty() {
        Ok(fields.to_vec())
    } else {
        Err(garbled(format!("{} has {} bytes, which is no number of fields", path.display(), bytes.len())))
    }
}
