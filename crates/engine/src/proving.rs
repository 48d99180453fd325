//! The one story: admitted, proved, verified. The HTTP handler and the command line both tell it through here, and
//! nobody proves around it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use acir::{FieldElement, native_types::WitnessStack};
use edgeprove_job_rules::time::UnixMillis;
use edgeprove_protocol::{Priority, ProblemType, Target, answer::Timings};

use crate::{
    circuits::{
        Circuit, Key,
        circuit::{KeyGenerator, LoadError},
        satisfaction::{self, Verdict},
    },
    scheduler::{AdmissionError, Demand, Scheduler},
    witness::intake::SpooledWitness,
};
use edgeprove_prover::{Backend, ProofParts, ProverError, ProverPermit, WitnessSource};

/// How proofs are made.
#[derive(Debug, Clone)]
pub struct ProvingOptions {
    /// Longest time for one proof.
    pub timeout: Duration,
    /// Whether each proof is verified before it is handed out.
    pub verify: bool,
}

/// How urgent a proof is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Urgency {
    /// What the caller named.
    pub priority: Priority,
    /// Since when it waits, where that was before it came here, as a job does.
    pub since: Option<UnixMillis>,
}

/// Makes proofs.
pub struct Proving {
    scheduler: Scheduler,
    backend: Arc<dyn Backend>,
    keys: KeyGenerator,
    options: ProvingOptions,
    proofs: AtomicU64,
}

/// A proof that may leave the house.
#[derive(Debug, Clone)]
pub struct ProofResult {
    /// The proof and its public inputs.
    pub parts: ProofParts,
    /// The key it verifies under.
    pub key: Arc<Key>,
    /// Whether it was verified.
    pub verified: bool,
    /// Whether it had been made before.
    pub cached: bool,
    /// Where the time went; `upload_ms` and `total_ms` are the caller's to fill in.
    pub timings: Timings,
}

impl ProofResult {
    /// What it shows, as `0x`-prefixed 32-byte big-endian fields in the circuit's order.
    #[must_use]
    pub fn public_inputs(&self) -> Vec<String> {
        self.parts.public_inputs.iter().map(|field| format!("0x{}", hex::encode(field))).collect()
    }

    /// bb's hash of the verification key, 64 hexadecimal digits.
    #[must_use]
    pub fn vk_hash(&self) -> String {
        hex::encode(self.key.vk_hash)
    }
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProvingError {
    /// No prover became free.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The verifier asked for is none this circuit has a key for.
    #[error("the circuit has no key for this verifier")]
    Key(#[source] LoadError),
    /// The witness violates the constraints.
    #[error("the witness does not satisfy the circuit's constraints{place}")]
    Unsatisfied {
        /// The first ACIR opcode that fails, in words; empty where none could be named.
        place: String,
    },
    /// The proof took longer than one may.
    #[error("the proof took longer than {} s and was stopped", limit.as_secs())]
    Timeout {
        /// How long one may take.
        limit: Duration,
    },
    /// A satisfied witness gave a proof that does not verify.
    #[error("bb made a proof of a satisfied witness that does not verify")]
    Invalid,
    /// bb refused a satisfied witness, or its answer made no sense.
    #[error("bb failed on a satisfied witness")]
    Failed(#[source] ProverError),
    /// bb died, and died again on the second try.
    #[error("bb died while it worked on this proof")]
    Crashed(#[source] ProverError),
    /// No bb could be started.
    #[error("no bb runs")]
    Unavailable(#[source] ProverError),
    /// The witness could not be read back, or bb's own files not be written.
    #[error("the spool failed")]
    Spool(#[source] ProverError),
    /// The server stops.
    #[error("the server is shutting down")]
    Stopping,
}

/// What is done with a proof that was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is made.
    Proving,
    /// It is verified.
    Verifying,
}

impl ProvingError {
    /// What a caller calls it.
    #[must_use]
    pub fn kind(&self) -> ProblemType {
        match self {
            Self::Admission(AdmissionError::BeyondMemory { .. }) | Self::Key(_) => {
                ProblemType::CircuitUnavailable
            }
            Self::Admission(_) => ProblemType::ProverBusy,
            Self::Unsatisfied { .. } => ProblemType::WitnessUnsatisfied,
            Self::Timeout { .. } => ProblemType::ProofTimeout,
            Self::Invalid => ProblemType::ProofInvalid,
            Self::Failed(_) => ProblemType::ProofFailed,
            Self::Crashed(_) => ProblemType::ProverCrashed,
            Self::Unavailable(_) => ProblemType::ProverUnavailable,
            Self::Spool(_) => ProblemType::SpoolUnavailable,
            Self::Stopping => ProblemType::NotReady,
        }
    }

    fn unsatisfied(opcode: usize) -> Self {
        Self::Unsatisfied { place: format!(", first at ACIR opcode {opcode}") }
    }
}

impl Proving {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        scheduler: Scheduler,
        backend: Arc<dyn Backend>,
        keys: KeyGenerator,
        options: ProvingOptions,
    ) -> Self {
        Self { scheduler, backend, keys, options, proofs: AtomicU64::new(0) }
    }

    /// Proves a spooled witness. Dropping the future gives up the place in the queue, or kills the prover at work; the
    /// cores are free again when it is dead.
    pub async fn prove(
        &self,
        circuit: &Arc<Circuit>,
        target: Target,
        upload: &SpooledWitness,
        urgency: Urgency,
    ) -> Result<ProofResult, ProvingError> {
        self.prove_told(circuit, target, upload, urgency, |_| std::future::ready(())).await
    }

    /// The same, and says when each stage begins. What it says it with may go on for as long as the stage does, and is
    /// dropped at its end.
    pub async fn prove_told<F>(
        &self,
        circuit: &Arc<Circuit>,
        target: Target,
        upload: &SpooledWitness,
        urgency: Urgency,
        told: impl Fn(Stage) -> F + Send + Sync,
    ) -> Result<ProofResult, ProvingError>
    where
        F: Future<Output = ()> + Send,
    {
        let asked = Instant::now();
        let Urgency { priority, since } = urgency;
        let demand = Demand { priority, since, memory: Some(Arc::clone(circuit.memory())) };
        let seat = self.seat_for(demand).await?;
        let admitted = Instant::now();
        let key = match circuit.ready_key(target) {
            Some(key) => key,
            None => circuit.key(target, &self.keys, seat.as_ref()).await.map_err(ProvingError::Key)?,
        };
        let witness =
            WitnessSource { file: upload.file.path().to_owned(), inflated_bytes: upload.inflated_bytes };
        let deadline = Instant::now() + self.options.timeout;

        let started = Instant::now();
        let proving = once_or_twice(deadline, || seat.prove(&key.circuit, &witness, deadline));
        let parts = match while_told(told(Stage::Proving), proving).await {
            Ok(parts) => parts,
            Err(refused @ (ProverError::Refused { .. } | ProverError::UnexpectedResponse { .. })) => {
                return Err(match judge(circuit, witness.file).await {
                    Verdict::Unsatisfied { opcode } => ProvingError::unsatisfied(opcode),
                    Verdict::Satisfied | Verdict::Undecided { .. } => ProvingError::Failed(refused),
                });
            }
            Err(error) => return Err(self.told(error)),
        };
        let proved = Instant::now();

        if self.options.verify {
            let verifying = once_or_twice(deadline, || seat.verify(&key.circuit, &parts, deadline));
            let verified = while_told(told(Stage::Verifying), verifying).await;
            if !verified.map_err(|error| self.told(error))? {
                return Err(self.blame(circuit, witness.file, seat.as_ref()).await);
            }
        }
        self.proofs.fetch_add(1, Ordering::Relaxed);
        Ok(ProofResult {
            parts,
            key,
            verified: self.options.verify,
            cached: false,
            timings: Timings {
                queue_ms: milliseconds(admitted - asked),
                prove_ms: milliseconds(proved - started),
                verify_ms: milliseconds(proved.elapsed()),
                ..Timings::default()
            },
        })
    }

    /// Waits for a place at a prover, for something else than a proof.
    pub async fn seat(&self) -> Result<Box<dyn ProverPermit>, AdmissionError> {
        self.seat_for(Demand::default()).await
    }

    async fn seat_for(&self, demand: Demand) -> Result<Box<dyn ProverPermit>, AdmissionError> {
        let slot = self.scheduler.admit(demand).await?;
        Ok(self.backend.seat(slot.width(), Arc::new(slot)))
    }

    /// Whose fault it is that a proof does not verify: bb proves an unsatisfied witness without complaint, so the
    /// constraints are evaluated here, independently of bb.
    async fn blame(&self, circuit: &Arc<Circuit>, witness: PathBuf, seat: &dyn ProverPermit) -> ProvingError {
        match judge(circuit, witness).await {
            Verdict::Unsatisfied { opcode } => ProvingError::unsatisfied(opcode),
            Verdict::Undecided { reason } => {
                tracing::info!(circuit = %circuit.id, reason, "a proof did not verify; the witness is blamed");
                ProvingError::Unsatisfied { place: String::new() }
            }
            Verdict::Satisfied => {
                tracing::error!(circuit = %circuit.id, "ALARM: a proof of a satisfied witness does not verify");
                seat.distrust().await;
                ProvingError::Invalid
            }
        }
    }

    fn told(&self, error: ProverError) -> ProvingError {
        match error {
            ProverError::Timeout => ProvingError::Timeout { limit: self.options.timeout },
            ProverError::Stopping => ProvingError::Stopping,
            ProverError::Crashed(_) => ProvingError::Crashed(error),
            ProverError::Unavailable(_) => ProvingError::Unavailable(error),
            ProverError::Spool(_) => ProvingError::Spool(error),
            ProverError::Refused { .. } | ProverError::UnexpectedResponse { .. } => {
                ProvingError::Failed(error)
            }
        }
    }

    /// Proofs handed out since the start.
    #[must_use]
    pub fn proofs(&self) -> u64 {
        self.proofs.load(Ordering::Relaxed)
    }

    /// Who decides when proofs start.
    #[must_use]
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// What makes the proofs.
    #[must_use]
    pub fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// What makes circuits' keys.
    #[must_use]
    pub fn keys(&self) -> &KeyGenerator {
        &self.keys
    }

    /// How proofs are made.
    #[must_use]
    pub fn options(&self) -> &ProvingOptions {
        &self.options
    }
}

/// Does the work, and says so beside it for as long as it takes.
async fn while_told<T>(told: impl Future<Output = ()>, work: impl Future<Output = T>) -> T {
    let told = async {
        told.await;
        std::future::pending().await
    };
    tokio::select! {
        outcome = work => outcome,
        never = told => never,
    }
}

/// A prover that dies is not the caller's fault, so a fresh one gets a second try in the time that is left.
async fn once_or_twice<T, F>(deadline: Instant, ask: impl Fn() -> F) -> Result<T, ProverError>
where
    F: Future<Output = Result<T, ProverError>>,
{
    match ask().await {
        Err(ProverError::Crashed(first)) if Instant::now() < deadline => {
            tracing::warn!(error = %edgeprove_telemetry::chain(&first), "bb died; the proof is tried once more");
            ask().await
        }
        outcome => outcome,
    }
}

/// Evaluates a circuit's constraints over a spooled witness, off the async threads.
async fn judge(circuit: &Arc<Circuit>, witness: PathBuf) -> Verdict {
    let circuit = Arc::clone(circuit);
    let work = move || -> Result<Verdict, Box<dyn std::error::Error + Send + Sync>> {
        let program = circuit.program()?;
        let mut stack = WitnessStack::<FieldElement>::deserialize(&std::fs::read(witness)?)?;
        let item = stack.pop().ok_or("the witness stack is empty")?;
        Ok(satisfaction::judge(&program, item.witness))
    };
    let error = match tokio::task::spawn_blocking(work).await {
        Ok(Ok(verdict)) => return verdict,
        Ok(Err(error)) => error,
        Err(error) => error.into(),
    };
    tracing::error!(%error, "a witness could not be judged");
    Verdict::Undecided { reason: "the witness could not be read again".to_owned() }
}

/// A duration as the wire tells it.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
