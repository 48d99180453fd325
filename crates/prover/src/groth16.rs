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
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_groth16::{
    Panicked, Proof, ProofWithSignals, ProveError, ProvingKey, PublicSignals, Threads, ThreadsError,
    WitnessValues, ZkeyInfo,
};
use edgeprove_protocol::{ProofSystem, Target};
use edgeprove_spool::SpoolError;
use edgeprove_telemetry::{PRIVATE_VALUES_THREAD, process::ProcessStatus};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::{
    Backend, BackendIdentity, CapacityPermit, CircuitKey, CircuitProgram, CircuitSize, GeneratedKey,
    IdleMemory, IdleProvers, LoadLimits, MemoryEstimate, ProcessFailure, ProofParts, ProverError,
    ProverPermit, RestartCounts, VerificationKey, WitnessSource,
    child_process::StartError,
    memory_peaks::Observation,
    private_thread::{self, CancelOnDrop, Running, STACK_BYTES},
};

/// How often the memory of a running proof is looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);
/// How many times the estimate a measurement can be. Other work of this process may take memory at the same time. A proof
/// with 100,000 wires and constraints grew a process by a fifth of its estimate.
const MEASURED_MAX_FACTOR: u64 = 2;
/// Memory of any proof, in bytes.
const BASE_BYTES: u64 = 12 << 20;
/// Memory for each wire, in bytes: the witness as bytes and as values, and what four sums of points copy and count.
const WIRE_BYTES: u64 = 640;
/// Memory for each value of the domain, in bytes: three vectors of the quotient, and what its sum of points copies.
const DOMAIN_BYTES: u64 = 256;
/// Memory for each thread, in bytes: what the sums gather in.
const THREAD_BYTES: u64 = 4 << 20;

/// Proves in this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Groth16Backend;

impl IdleProvers for Groth16Backend {
    fn idle_memory(&self, _system: ProofSystem, _width: usize) -> IdleMemory {
        IdleMemory::default()
    }

    fn reclaim_memory(&self, _capacity: CapacityPermit) {}
}

impl Backend for Groth16Backend {
    fn identity(&self, _system: ProofSystem) -> BackendIdentity {
        BackendIdentity { program: "groth16", version: env!("CARGO_PKG_VERSION"), variant: "in-process" }
    }

    fn permit(&self, width: usize, capacity: CapacityPermit) -> Box<dyn ProverPermit> {
        let width = NonZeroUsize::new(width).unwrap_or(NonZeroUsize::MIN);
        Box::new(Groth16Permit { width, capacity })
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
}

#[async_trait]
impl ProverPermit for Groth16Permit {
    fn width(&self) -> usize {
        self.width.get()
    }

    async fn prove(
        &self,
        circuit: &CircuitKey,
        witness: &WitnessSource,
        deadline: Instant,
    ) -> Result<ProofParts, ProverError> {
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let cancel = CancelOnDrop(Arc::clone(&is_cancelled));
        let running = Arc::new(Running::start());
        let work = Work {
            key: Arc::clone(circuit.program.groth16()?),
            witness: witness.clone(),
            width: self.width,
            is_cancelled,
            _held: (Arc::clone(&running), Arc::clone(&self.capacity)),
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
        if let Some(observation) = observation(&running, before_bytes, peak_bytes) {
            circuit.memory.observe(self.width.get(), observation);
        }
        Ok(parts)
    }

    async fn verify(
        &self,
        circuit: &CircuitKey,
        parts: &ProofParts,
        deadline: Instant,
    ) -> Result<bool, ProverError> {
        let key = Arc::clone(circuit.program.groth16()?);
        let Some((proof, signals)) = read_parts(parts) else { return Ok(false) };
        let (width, capacity) = (self.width, Arc::clone(&self.capacity));
        let verify = move || {
            // Free when the work ends, which may be after its caller has left.
            let _capacity = capacity;
            let threads = Threads::of_width(width).map_err(no_threads)?;
            let verified = key.prepared_verifying_key().verify_on(&proof, &signals, &threads);
            verified.map_err(|error: Panicked| ProverError::Refused { reason: error.to_string() })
        };
        let verified = tokio::task::spawn_blocking(verify);
        match tokio::time::timeout_at(deadline.into(), verified).await {
            Ok(verified) => verified.map_err(|_| ProverError::Stopping)?,
            Err(_) => Err(ProverError::Timeout),
        }
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
        let key = program.groth16()?;
        Ok(GeneratedKey { key: verification_key(key), proof_memory: Some(proof_memory(key.info())) })
    }

    fn dyadic_size(&self, _key: &VerificationKey, _target: Target) -> Option<u64> {
        None
    }

    fn estimate_memory(&self, size: CircuitSize, _target: Target) -> MemoryEstimate {
        // The number of wires is known with the key.
        estimate(0, size.dyadic_size)
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

/// The memory of a proof with this key.
fn proof_memory(info: ZkeyInfo) -> MemoryEstimate {
    estimate(info.wires.into(), info.domain_size.into())
}

fn estimate(wires: u64, domain_size: u64) -> MemoryEstimate {
    let of_wires = wires.saturating_mul(WIRE_BYTES);
    let of_domain = domain_size.saturating_mul(DOMAIN_BYTES);
    MemoryEstimate {
        base_bytes: BASE_BYTES.saturating_add(of_wires).saturating_add(of_domain),
        per_thread_bytes: THREAD_BYTES,
        measured_max_factor: Some(MEASURED_MAX_FACTOR),
    }
}

/// The measurement of a proof: the memory of this process before, which is that of everything else in the server, and the
/// peak. `None` if other work may have taken memory, or if the proof ended before the memory was looked at.
fn observation(running: &Running, before_bytes: u64, peak_bytes: u64) -> Option<Observation> {
    let is_measured = running.was_alone() && before_bytes > 0 && peak_bytes > before_bytes;
    is_measured.then_some(Observation { before_bytes, peak_bytes, is_alone: false })
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
    _held: (Arc<Running>, CapacityPermit),
}

impl Work {
    /// Starts the work on a thread of its own.
    fn start(self) -> Result<oneshot::Receiver<Result<ProofParts, ProverError>>, ProverError> {
        let (reply, response) = oneshot::channel();
        let run = move || {
            let result = self.run();
            // The capacity is free before the caller continues.
            drop(self);
            // The caller may have left.
            let _ = reply.send(result);
        };
        private_thread::spawn(run).map_err(no_thread)?;
        Ok(response)
    }

    fn run(&self) -> Result<ProofParts, ProverError> {
        let witness = self.read()?;
        let prove = |threads: &Threads| self.key.prove_unverified(&witness, threads, &self.is_cancelled);
        let proved = Threads::with_new(self.width, PRIVATE_VALUES_THREAD, STACK_BYTES, prove);
        match proved.map_err(no_threads)? {
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

fn no_threads(error: ThreadsError) -> ProverError {
    no_thread(io::Error::other(error))
}

fn no_thread(source: io::Error) -> ProverError {
    let program = PathBuf::from("a thread for the proof");
    ProverError::Unavailable(Arc::new(ProcessFailure::Start(StartError { program, source })))
}

#[cfg(test)]
mod tests {
    use edgeprove_groth16::{R1cs, Trust, setup};

    use super::*;

    #[test]
    fn the_estimate_counts_wires_and_the_domain() {
        let info = |wires, domain_size| ZkeyInfo { wires, public_signals: 1, constraints: 1, domain_size };
        let base = |wires, domain_size| proof_memory(info(wires, domain_size)).base_bytes;
        assert_eq!(base(1_000_000, 4), BASE_BYTES + 640_000_000 + 1024, "wires that few constraints use");
        assert_eq!(base(4, 1 << 20), BASE_BYTES + 4 * 640 + (256 << 20));
        let size = CircuitSize { gates: 1, dyadic_size: 1 << 20 };
        let permit = Groth16Backend.permit(1, Arc::new(()));
        assert!(
            permit.estimate_memory(size, Target::Groth16).base_bytes <= base(0, 1 << 20),
            "what is known first refuses no circuit that fits"
        );
    }

    #[test]
    fn only_a_proof_without_other_work_is_measured() {
        let running = Running::start();
        let measured = running.was_alone();
        // Tests in the same process may work at the same time.
        assert_eq!(observation(&running, 5, 9).is_some(), measured);
        assert_eq!(observation(&running, 0, 9), None, "the system reports no memory");
        assert_eq!(observation(&running, 9, 9), None);
        let other = Running::start();
        assert_eq!(observation(&running, 5, 9), None, "the other work may have taken it");
        drop(other);
        assert_eq!(observation(&running, 5, 9), None);
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn file(magic: &str, version: u32, sections: &[Vec<u8>]) -> Vec<u8> {
        let count = u32::try_from(sections.len()).unwrap();
        let mut file = [magic.as_bytes().to_vec(), words(&[version, count])].concat();
        for (kind, section) in (1..).zip(sections) {
            file.extend(words(&[kind, u32::try_from(section.len()).unwrap(), 0]));
            file.extend(section);
        }
        file
    }

    fn value(value: u8) -> Vec<u8> {
        let mut bytes = vec![0; 32];
        bytes[0] = value;
        bytes
    }

    /// The circuit `wire 2 * wire 2 = wire 1`, with wire 1 public.
    fn square() -> CircuitKey {
        let threads = Threads::of_width(NonZeroUsize::MIN).unwrap();
        let r1cs = R1cs::read(&square_r1cs()).unwrap();
        let key = ProvingKey::read(&setup(&r1cs, &threads).unwrap(), Trust::OwnSetup, &threads).unwrap();
        CircuitKey {
            vk: verification_key(&key).vk,
            program: CircuitProgram::Groth16(Arc::new(key)),
            target: Target::Groth16,
            memory: Arc::default(),
        }
    }

    fn square_r1cs() -> Vec<u8> {
        let field = [words(&[32]), edgeprove_groth16::scalar_modulus().to_vec()].concat();
        let header = [field, words(&[3, 1, 0, 1, 3, 0, 1])].concat();
        let terms = [2, 2, 1].map(|wire| [words(&[1, wire]), value(1)].concat());
        file("r1cs", 1, &[header, terms.concat(), vec![0; 24]])
    }

    /// A proof of `3 * 3 = 9`.
    fn proof(key: &ProvingKey) -> ProofParts {
        let header = [words(&[32]), edgeprove_groth16::scalar_modulus().to_vec(), words(&[3])].concat();
        let wtns = file("wtns", 2, &[header, [value(1), value(9), value(3)].concat()]);
        let threads = Threads::of_width(NonZeroUsize::MIN).unwrap();
        let proved = key.prove(&WitnessValues::read(&wtns).unwrap(), &threads).unwrap();
        ProofParts { proof: proved.proof.words().to_vec(), public_inputs: proved.signals.words() }
    }

    #[tokio::test]
    async fn a_verification_ends_at_its_deadline() {
        let circuit = square();
        let capacity: CapacityPermit = Arc::new(());
        let permit = Groth16Backend.permit(2, Arc::clone(&capacity));
        let size = permit.measure(circuit.program.clone(), Target::Groth16, limits()).await.unwrap();
        assert_eq!(size, CircuitSize { gates: 1, dyadic_size: 4 });
        let memory = permit.make_key(circuit.program.clone(), Target::Groth16, limits()).await.unwrap();
        assert!(memory.proof_memory.unwrap().base_bytes > BASE_BYTES);
        let parts = proof(circuit.program.groth16().unwrap());
        let verify = |deadline| permit.verify(&circuit, &parts, deadline);
        let later = Instant::now() + Duration::from_mins(1);
        assert!(verify(later).await.unwrap());
        let other = ProofParts { public_inputs: vec![[0; 32]], ..parts.clone() };
        assert!(!permit.verify(&circuit, &other, later).await.unwrap());
        let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        assert!(matches!(verify(past).await, Err(ProverError::Timeout)));
        // The work that nobody waits for holds the cores until it ends.
        let ended = Instant::now() + Duration::from_mins(1);
        while Arc::strong_count(&capacity) > 2 {
            assert!(Instant::now() < ended);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn limits() -> LoadLimits {
        LoadLimits { deadline: Instant::now() + Duration::from_mins(1), memory_max_bytes: u64::MAX }
    }
}
