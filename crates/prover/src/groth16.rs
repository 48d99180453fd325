//! The backend that proves circuits of circom with Groth16, in this process.
//!
//! A proof runs on threads of its own, as many as its permit is wide. They end with the proof, so that nothing of the
//! witness stays on their stacks. There is no process to kill: a proof whose caller has left, or whose deadline has passed,
//! ends before its next step, and holds its cores and its memory until then.
//!
//! A proof is its eight words in the order of a verifier contract ([`Proof::words`]), and its public signals are words.

use std::{
    io::{self, Read as _},
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_groth16::{
    Proof, ProofWithSignals, ProveError, ProvingKey, PublicSignals, Threads, ThreadsError, WitnessValues,
};
use edgeprove_protocol::Target;
use edgeprove_spool::SpoolError;
use edgeprove_telemetry::{PRIVATE_VALUES_THREAD, process::ProcessStatus};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::{
    Backend, BackendIdentity, CapacityPermit, CircuitKey, CircuitProgram, CircuitSize, GeneratedKey,
    IdleMemory, IdleProvers, LoadLimits, MemoryEstimate, MemoryPeaks, ProcessFailure, ProofParts,
    ProverError, ProverPermit, RestartCounts, VerificationKey, WitnessSource, child_process::StartError,
    memory_peaks::Observation,
};

/// Address space of a thread's stack: more than the C library stores for later threads, so that it goes back to the system.
const STACK_BYTES: usize = 64 << 20;
/// How often the memory of a running proof is looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);
/// How much more than the estimate a measurement can show. Other work of this process may take memory at the same time.
const MEASURED_MAX_FACTOR: u64 = 4;

/// Proves in this process.
#[derive(Debug, Default)]
pub struct Groth16Backend {
    activity: Arc<Activity>,
}

/// The proofs of this process. The memory of a proof can be measured only while no other one runs.
#[derive(Debug, Default)]
struct Activity {
    running: AtomicUsize,
    started: AtomicU64,
}

/// A proof that runs.
struct Running(Arc<Activity>);

impl Running {
    /// Returns the number of the proof too, if no other one runs.
    fn start(activity: &Arc<Activity>) -> (Self, Option<u64>) {
        let is_alone = activity.running.fetch_add(1, Ordering::Relaxed) == 0;
        let number = activity.started.fetch_add(1, Ordering::Relaxed) + 1;
        (Self(Arc::clone(activity)), is_alone.then_some(number))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl IdleProvers for Groth16Backend {
    fn idle_memory(&self, _width: usize) -> IdleMemory {
        IdleMemory::default()
    }

    fn reclaim_memory(&self, _capacity: CapacityPermit) {}
}

impl Backend for Groth16Backend {
    fn identity(&self) -> BackendIdentity {
        BackendIdentity { program: "groth16", version: env!("CARGO_PKG_VERSION"), variant: "in-process" }
    }

    fn permit(&self, width: usize, capacity: CapacityPermit) -> Box<dyn ProverPermit> {
        let width = NonZeroUsize::new(width).unwrap_or(NonZeroUsize::MIN);
        Box::new(Groth16Permit { width, capacity, activity: Arc::clone(&self.activity) })
    }

    fn mode(&self) -> &'static str {
        "in-process"
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn restarts(&self) -> RestartCounts {
        RestartCounts::default()
    }

    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }
}

struct Groth16Permit {
    width: NonZeroUsize,
    capacity: CapacityPermit,
    activity: Arc<Activity>,
}

/// Cancels a proof whose future is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl ProverPermit for Groth16Permit {
    async fn prove(
        &self,
        circuit: &CircuitKey,
        witness: &WitnessSource,
        deadline: Instant,
    ) -> Result<ProofParts, ProverError> {
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let cancel = CancelOnDrop(Arc::clone(&is_cancelled));
        let (running, number) = Running::start(&self.activity);
        let work = Work {
            key: Arc::clone(circuit.program.groth16()?),
            witness: witness.clone(),
            width: self.width,
            is_cancelled,
            _held: (running, Arc::clone(&self.capacity)),
        };
        let before_bytes = resident_bytes();
        let mut response = work.start()?;
        let mut peak_bytes = before_bytes;
        let parts = loop {
            tokio::select! {
                biased;
                ended = &mut response => break ended.unwrap_or(Err(ProverError::Stopping))?,
                () = tokio::time::sleep_until(deadline.into()) => return Err(ProverError::Timeout),
                () = tokio::time::sleep(SAMPLE_INTERVAL) => peak_bytes = peak_bytes.max(resident_bytes()),
            }
        };
        drop(cancel);
        let was_alone = number.is_some_and(|number| self.activity.started.load(Ordering::Relaxed) == number);
        // A proof that ended before it was looked at takes little.
        if was_alone && before_bytes > 0 && peak_bytes > before_bytes {
            observe(&circuit.memory, self.width.get(), before_bytes, peak_bytes);
        }
        Ok(parts)
    }

    async fn verify(
        &self,
        circuit: &CircuitKey,
        parts: &ProofParts,
        _deadline: Instant,
    ) -> Result<bool, ProverError> {
        let key = Arc::clone(circuit.program.groth16()?);
        let Some((proof, signals)) = read_parts(parts) else { return Ok(false) };
        // It takes milliseconds, which is no time to wait for.
        let verify = move || key.prepared_verifying_key().verify(&proof, &signals);
        tokio::task::spawn_blocking(verify).await.map_err(|_| ProverError::Stopping)
    }

    async fn measure(
        &self,
        program: CircuitProgram,
        _target: Target,
        _limits: LoadLimits,
    ) -> Result<CircuitSize, ProverError> {
        let info = program.groth16()?.info();
        Ok(CircuitSize { gates: info.constraints.into(), dyadic_size: info.domain_size.into() })
    }

    async fn make_key(
        &self,
        program: CircuitProgram,
        _target: Target,
        _limits: LoadLimits,
    ) -> Result<GeneratedKey, ProverError> {
        Ok(GeneratedKey { key: verification_key(program.groth16()?), proof_memory: None })
    }

    fn dyadic_size(&self, _key: &VerificationKey, _target: Target) -> Option<u64> {
        None
    }

    fn estimate_memory(&self, size: CircuitSize, _target: Target) -> MemoryEstimate {
        // For each value of the domain: the witness as bytes and as values, three vectors of the quotient, and what five
        // sums of points copy. The rest is what the sums gather in.
        MemoryEstimate {
            base_bytes: (12 << 20) + size.dyadic_size.saturating_mul(512),
            per_thread_bytes: 4 << 20,
        }
    }

    async fn report_invalid_proof(&self) {
        // Nothing of one proof is left for the next.
    }
}

/// The verification key as snarkjs writes it. Its hash is the SHA-256 of these bytes.
#[must_use]
pub fn verification_key(key: &ProvingKey) -> VerificationKey {
    let json = key.verifying_key().to_json().into_bytes();
    let vk_hash = Sha256::digest(&json).into();
    VerificationKey { vk: json.into(), vk_hash }
}

/// The proof and its public signals. `None`: these are not the words of a proof.
#[must_use]
pub fn read_parts(parts: &ProofParts) -> Option<(Proof, PublicSignals)> {
    let words = parts.proof.as_slice().try_into().ok()?;
    Some((Proof::from_words(words)?, PublicSignals::from_words(&parts.public_inputs)?))
}

/// The proof as the object of snarkjs's `proof.json`, and the public signals in decimal digits, as in its `public.json`.
/// `None`: these are not the words of a proof.
#[must_use]
pub fn snarkjs_json(parts: &ProofParts) -> Option<(serde_json::Value, Vec<String>)> {
    let (proof, signals) = read_parts(parts)?;
    Some((serde_json::from_str(&proof.to_json()).ok()?, signals.to_decimals()))
}

/// Adds a measurement of this process. Its memory before the proof is that of everything else in the server.
fn observe(memory: &MemoryPeaks, threads: usize, before_bytes: u64, peak_bytes: u64) {
    let expected = memory.expected(threads);
    let growth = (peak_bytes - before_bytes).min(expected.saturating_mul(MEASURED_MAX_FACTOR));
    let peak_bytes = before_bytes.saturating_add(growth);
    memory.observe(threads, Observation { before_bytes, peak_bytes, is_alone: false });
}

/// 0 where the system does not report it.
fn resident_bytes() -> u64 {
    ProcessStatus::read(std::process::id()).map_or(0, |now| now.resident_bytes)
}

/// One proof, with everything that it holds until it ends.
struct Work {
    key: Arc<ProvingKey>,
    witness: WitnessSource,
    width: NonZeroUsize,
    is_cancelled: Arc<AtomicBool>,
    /// Released when the work ends, which may be after its caller has left.
    _held: (Running, CapacityPermit),
}

impl Work {
    /// Starts the work on a thread of its own.
    fn start(self) -> Result<oneshot::Receiver<Result<ProofParts, ProverError>>, ProverError> {
        let (reply, response) = oneshot::channel();
        let named = thread::Builder::new().name(PRIVATE_VALUES_THREAD.to_owned()).stack_size(STACK_BYTES);
        let run = move || {
            let result = self.run();
            // The capacity is free before the caller continues.
            drop(self);
            // The caller may have left.
            let _ = reply.send(result);
        };
        named.spawn(run).map_err(no_thread)?;
        Ok(response)
    }

    fn run(&self) -> Result<ProofParts, ProverError> {
        let witness = self.read()?;
        let prove = |threads: &Threads| self.key.prove_unverified(&witness, threads, &self.is_cancelled);
        let proved = Threads::with_new(self.width, PRIVATE_VALUES_THREAD, STACK_BYTES, prove);
        match proved.map_err(|error: ThreadsError| no_thread(io::Error::other(error)))? {
            Ok(ProofWithSignals { proof, signals }) => {
                Ok(ProofParts { proof: proof.words().to_vec(), public_inputs: signals.words() })
            }
            Err(ProveError::Cancelled) => Err(ProverError::Stopping),
            Err(
                error @ (ProveError::WitnessLength { .. }
                | ProveError::Unsatisfied
                | ProveError::Randomness(_)
                | ProveError::Panicked(_)),
            ) => Err(ProverError::Refused { reason: error.to_string() }),
        }
    }

    /// Reads the witness from the spool. It was checked before.
    fn read(&self) -> Result<WitnessValues, ProverError> {
        let WitnessSource { file, decompressed_bytes } = &self.witness;
        let expected = usize::try_from(*decompressed_bytes).unwrap_or(usize::MAX);
        let mut bytes = Zeroizing::new(Vec::new());
        bytes
            .try_reserve_exact(expected)
            .map_err(|_| ProverError::Refused { reason: "there is no memory for its witness".to_owned() })?;
        let mut witness = file.decompressed()?.take(*decompressed_bytes);
        witness.read_to_end(&mut bytes).map_err(|error| SpoolError::of("read", file.path(), error))?;
        // Errors have positions and no values.
        WitnessValues::read(&bytes).map_err(|error| ProverError::Refused { reason: error.to_string() })
    }
}

fn no_thread(source: io::Error) -> ProverError {
    let program = PathBuf::from("a thread for the proof");
    ProverError::Unavailable(Arc::new(ProcessFailure::Start(StartError { program, source })))
}
