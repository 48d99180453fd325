//! The proving core: admit a witness, prove it, verify the proof.
//!
//! [`ProofService`](crate::proof_service::ProofService) is the only caller that proves; this module knows neither cache
//! nor fallback nor audit.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{self, Duration},
};

use edgeprove_job_rules::time::UnixMillis;
use edgeprove_protocol::{
    HasProblemType, Priority, ProblemType, Target,
    answer::{Cost, Timings},
};
use tokio::time::Instant;

use crate::{
    circuits::{
        Circuit, Key,
        circuit::{KeyGenerator, LoadError},
    },
    private_thread::{self, NoResult},
    proof_systems::{JudgeError, Verdict},
    scheduler::{AdmissionError, Demand, Scheduler},
    witness::intake::SpooledWitness,
};
use edgeprove_prover::{Backend, ProofParts, ProverError, ProverPermit, WitnessSource};
use edgeprove_spool::SpoolSource;

/// Options of every proof.
#[derive(Debug, Clone)]
pub struct ProvingOptions {
    /// Longest time for one proof.
    pub timeout: Duration,
    /// Whether each proof is verified before it is returned.
    pub verify: bool,
}

/// How urgent a proof is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Urgency<'a> {
    /// The account of the caller, which takes turns with others. `None`: all such proofs share a turn.
    pub account: Option<&'a str>,
    /// The priority that the caller named.
    pub priority: Priority,
    /// When the proof began to wait, if that was before it came here, as for a job.
    pub since: Option<UnixMillis>,
}

/// The stage of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProofStage {
    /// The proof waits for cores or memory. One that starts at once does not have this stage.
    Waiting {
        /// The number of proofs that wait ahead of it.
        ahead: usize,
    },
    /// The prover proves.
    Proving,
    /// The prover verifies the proof.
    Verifying,
}

/// The proving core.
pub struct Proving {
    scheduler: Scheduler,
    backend: Arc<dyn Backend>,
    keys: KeyGenerator,
    options: ProvingOptions,
    proofs: AtomicU64,
}

/// A proof that may be returned to its caller.
#[derive(Debug, Clone)]
pub struct ProofResult {
    /// The proof and its public inputs.
    pub parts: ProofParts,
    /// The key it verifies under.
    pub key: Arc<Key>,
    /// Whether it was verified.
    pub verified: bool,
    /// Whether it comes from the proof cache.
    pub cached: bool,
    /// The durations of its stages in milliseconds. `upload_ms` and `total_ms` are 0: only the caller knows them.
    pub timings: Timings,
    /// What it has taken; nothing for a proof from the cache.
    pub cost: Cost,
}

impl ProofResult {
    /// The public inputs as `0x`-prefixed 32-byte big-endian fields, in the circuit's order.
    #[must_use]
    pub fn public_inputs(&self) -> Vec<String> {
        self.parts.public_inputs.iter().map(|field| format!("0x{}", hex::encode(field))).collect()
    }

    /// The prover's hash of the verification key, 64 hexadecimal digits.
    #[must_use]
    pub fn vk_hash(&self) -> String {
        hex::encode(self.key.vk_hash)
    }
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProvingError {
    /// The scheduler did not admit the proof.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The circuit has no key for this target.
    #[error("the circuit has no key for this target")]
    Key(#[source] LoadError),
    /// The witness violates the constraints.
    #[error("the witness does not satisfy the circuit's constraints{}", first_constraint(first.as_deref()))]
    Unsatisfied {
        /// The first constraint that fails, such as `ACIR opcode 7`; `None` if it is unknown.
        first: Option<String>,
    },
    /// The proof took longer than allowed.
    #[error("the proof took longer than {} s and was stopped", limit.as_secs_f64())]
    Timeout {
        /// Longest time for one proof.
        limit: Duration,
    },
    /// The proof of a satisfied witness does not verify.
    #[error("the proof of a satisfied witness does not verify")]
    Invalid,
    /// The prover refused a satisfied witness, or its response cannot be understood.
    #[error("the prover failed on a satisfied witness")]
    Failed(#[source] ProverError),
    /// The prover died twice on this proof.
    #[error("the prover died while it worked on this proof")]
    Crashed(#[source] ProverError),
    /// No prover could be started.
    #[error("no prover is running")]
    Unavailable(#[source] ProverError),
    /// The witness could not be read from the spool, or the prover's files could not be written to it.
    #[error("the spool failed")]
    Spool(#[source] ProverError),
    /// There is no proof that verifies, and the server could not find out whether the witness is at fault.
    #[error("the witness of a proof that does not verify could not be judged")]
    NotJudged(#[source] NoResult),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Stopping,
}

impl HasProblemType for ProvingError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Admission(error) => error.kind(),
            Self::Key(error) => error.kind(),
            Self::Unsatisfied { .. } => ProblemType::WitnessUnsatisfied,
            Self::Timeout { .. } => ProblemType::ProofTimeout,
            Self::Invalid => ProblemType::ProofInvalid,
            Self::Failed(error) | Self::Crashed(error) | Self::Unavailable(error) | Self::Spool(error) => {
                error.kind()
            }
            Self::NotJudged(_) => ProblemType::WitnessPreparationFailed,
            Self::Stopping => ProblemType::NotReady,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Admission(error) => error.retry_after(),
            Self::Key(_)
            | Self::Unsatisfied { .. }
            | Self::Timeout { .. }
            | Self::Invalid
            | Self::Failed(_)
            | Self::Crashed(_)
            | Self::Unavailable(_)
            | Self::Spool(_)
            | Self::NotJudged(_)
            | Self::Stopping => None,
        }
    }
}

impl ProvingError {
    /// Whether a key that is not the circuit's may be the cause.
    fn may_be_the_key(&self) -> bool {
        matches!(self, Self::Invalid | Self::Failed(_) | Self::Crashed(ProverError::Crashed(_)))
    }
}

/// What an attempt at a proof needs beside the key.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    circuit: &'a Arc<Circuit>,
    witness: &'a WitnessSource,
    permit: &'a dyn ProverPermit,
    deadline: time::Instant,
    /// The time behind `deadline`.
    limit: Duration,
    on_stage: &'a (dyn Fn(ProofStage) + Send + Sync),
}

fn first_constraint(first: Option<&str>) -> String {
    first.map_or_else(String::new, |first| format!(", first at {first}"))
}

impl Proving {
    /// Makes a proving core of its parts.
    #[must_use]
    pub fn new(
        scheduler: Scheduler,
        backend: Arc<dyn Backend>,
        keys: KeyGenerator,
        options: ProvingOptions,
    ) -> Self {
        Self { scheduler, backend, keys, options, proofs: AtomicU64::new(0) }
    }

    /// Proves a spooled witness and verifies the proof. `timeout` can lower the longest time for one proof. `on_stage` is
    /// called when a stage begins.
    ///
    /// Dropping the future leaves the scheduler's queue or stops the prover at work: a process is killed, and a proof in
    /// this process ends before its next step. The cores are free again after that.
    pub async fn prove(
        &self,
        circuit: &Arc<Circuit>,
        target: Target,
        witness: &SpooledWitness,
        urgency: Urgency<'_>,
        timeout: Option<Duration>,
        on_stage: &(dyn Fn(ProofStage) + Send + Sync),
    ) -> Result<ProofResult, ProvingError> {
        let requested = Instant::now();
        let Urgency { account, priority, since } = urgency;
        let memory = Some(Arc::clone(circuit.memory()));
        let system = circuit.proof_system();
        let demand = Demand { account: account.map(Arc::from), priority, since, memory, system };
        let on_wait = |ahead| on_stage(ProofStage::Waiting { ahead });
        let slot = Arc::new(self.scheduler.admit_reporting(demand, &on_wait).await?);
        let permit = self.backend.permit(slot.width(), Arc::clone(&slot) as _);
        let admitted = Instant::now();
        let mut key = match circuit.ready_key(target) {
            Some(key) => key,
            None => circuit.key(target, &self.keys, permit.as_ref()).await.map_err(ProvingError::Key)?,
        };
        let witness =
            WitnessSource { file: witness.file.source(), decompressed_bytes: witness.decompressed_bytes };
        let limit = timeout.map_or(self.options.timeout, |timeout| timeout.min(self.options.timeout));
        let deadline = time::Instant::now() + limit;

        let attempt =
            Attempt { circuit, witness: &witness, permit: permit.as_ref(), deadline, limit, on_stage };
        let was_doubtful = key.is_doubtful();
        let mut outcome = self.attempt(attempt, &key).await;
        if outcome.as_ref().is_err_and(ProvingError::may_be_the_key)
            && let Some(other) = circuit.other_key(target, &key, &self.keys, permit.as_ref()).await
            // Stages that were reported are not reported again: progress never goes back.
            && let Ok(proved) = self.attempt(Attempt { on_stage: &|_| (), ..attempt }, &other).await
        {
            circuit.replace_key(target, &other, &self.keys.cache);
            (key, outcome) = (other, Ok(proved));
        }
        if matches!(outcome, Err(ProvingError::Invalid)) && was_doubtful && !key.is_doubtful() {
            // The key turned out to be the circuit's, so it is no explanation any more.
            outcome = Err(explain_invalid(circuit, &key, witness.file.clone()).await);
        }
        if matches!(outcome, Err(ProvingError::Invalid)) {
            tracing::error!(circuit = %circuit.id, "ALARM: a proof does not verify, and not because of its witness");
            permit.report_invalid_proof().await;
        }
        let (parts, timings) = outcome?;
        self.proofs.fetch_add(1, Ordering::Relaxed);
        let timings = Timings { queue_ms: milliseconds(admitted - requested), ..timings };
        let seconds = (timings.prove_ms + timings.verify_ms) / 1000.0;
        #[expect(clippy::cast_precision_loss, reason = "cores and bytes of a machine are far below 2^53")]
        let cost = Cost::of(seconds, slot.width() as f64, slot.memory_bytes() as f64);
        Ok(ProofResult { parts, key, verified: self.options.verify, cached: false, timings, cost })
    }

    /// Proves and verifies with this key.
    async fn attempt(&self, attempt: Attempt<'_>, key: &Key) -> Result<(ProofParts, Timings), ProvingError> {
        let Attempt { circuit, witness, permit, deadline, limit, on_stage } = attempt;
        let started = Instant::now();
        on_stage(ProofStage::Proving);
        let parts = match retry_once(deadline, || permit.prove(&key.circuit, witness, deadline)).await {
            Ok(parts) => parts,
            Err(refused @ (ProverError::Refused { .. } | ProverError::UnexpectedResponse { .. })) => {
                return Err(match judge(circuit, witness.file.clone()).await? {
                    Verdict::Unsatisfied { first } => ProvingError::Unsatisfied { first: Some(first) },
                    Verdict::Satisfied | Verdict::Undecided { .. } => ProvingError::Failed(refused),
                });
            }
            Err(error) => return Err(proving_error(error, limit)),
        };
        let proved = Instant::now();
        // A key of the cache or of a file may be another circuit's, and only a proof shows it.
        if self.options.verify || key.is_doubtful() {
            on_stage(ProofStage::Verifying);
            let verified = retry_once(deadline, || permit.verify(&key.circuit, &parts, deadline)).await;
            if !verified.map_err(|error| proving_error(error, limit))? {
                return Err(explain_invalid(circuit, key, witness.file.clone()).await);
            }
            key.confirm();
        }
        let timings = Timings {
            prove_ms: milliseconds(proved - started),
            verify_ms: milliseconds(proved.elapsed()),
            ..Timings::default()
        };
        Ok((parts, timings))
    }

    /// Waits for a prover permit, for work other than a proof.
    pub async fn permit(&self) -> Result<Box<dyn ProverPermit>, AdmissionError> {
        let slot = self.scheduler.admit_reporting(Demand::default(), &|_| {}).await?;
        Ok(self.backend.permit(slot.width(), Arc::new(slot)))
    }

    /// Proofs made since the start; cached ones do not count.
    #[must_use]
    pub fn proofs(&self) -> u64 {
        self.proofs.load(Ordering::Relaxed)
    }

    /// The scheduler.
    #[must_use]
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// The proving backend.
    #[must_use]
    pub fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// The generator of circuits' keys.
    #[must_use]
    pub fn keys(&self) -> &KeyGenerator {
        &self.keys
    }

    /// The options of every proof.
    #[must_use]
    pub fn options(&self) -> &ProvingOptions {
        &self.options
    }
}

/// Why there is no proof, by the prover's error. `limit` is the longest time for the proof.
fn proving_error(error: ProverError, limit: Duration) -> ProvingError {
    match error {
        ProverError::Timeout => ProvingError::Timeout { limit },
        ProverError::Stopping => ProvingError::Stopping,
        ProverError::Crashed(_) => ProvingError::Crashed(error),
        ProverError::Unavailable(_) => ProvingError::Unavailable(error),
        ProverError::Spool(_) => ProvingError::Spool(error),
        ProverError::Refused { .. } | ProverError::UnexpectedResponse { .. } => ProvingError::Failed(error),
    }
}

/// Finds out why a proof does not verify. A prover proves an unsatisfied witness without complaint, so the constraints are
/// evaluated here, independently of the prover.
async fn explain_invalid(circuit: &Arc<Circuit>, key: &Key, witness: SpoolSource) -> ProvingError {
    match judge(circuit, witness).await {
        Ok(Verdict::Unsatisfied { first }) => ProvingError::Unsatisfied { first: Some(first) },
        // The key may be that of another circuit, which is not the caller's fault.
        Ok(Verdict::Undecided { reason }) if key.is_doubtful() => {
            tracing::error!(
                circuit = %circuit.id,
                reason,
                "a proof did not verify, and none has verified under the key: the key may be that of another circuit"
            );
            ProvingError::Invalid
        }
        Ok(Verdict::Undecided { reason }) => {
            tracing::info!(circuit = %circuit.id, reason, "a proof did not verify; the witness is blamed");
            ProvingError::Unsatisfied { first: None }
        }
        Ok(Verdict::Satisfied) => ProvingError::Invalid,
        Err(error) => error,
    }
}

/// Runs the work again if the prover dies. A dead prover is not the caller's fault, so a fresh one gets a second attempt
/// in the time that is left. One that took too much memory would do so again.
async fn retry_once<T, F>(deadline: time::Instant, work: impl Fn() -> F) -> Result<T, ProverError>
where
    F: Future<Output = Result<T, ProverError>>,
{
    match work().await {
        Err(ProverError::Crashed(first)) if !first.is_over_budget() && time::Instant::now() < deadline => {
            tracing::warn!(error = %edgeprove_telemetry::chain(&first), "the prover died; the proof is tried once more");
            work().await
        }
        outcome => outcome,
    }
}

/// Evaluates a circuit's constraints over a spooled witness, on a thread of its own. A failure of the server is an error,
/// and no fault of the witness.
pub async fn judge(circuit: &Arc<Circuit>, witness: SpoolSource) -> Result<Verdict, ProvingError> {
    let circuit = Arc::clone(circuit);
    let work = move || circuit.judge_witness(&mut witness.decompressed()?);
    let error: Box<dyn Error + Send + Sync> = match private_thread::run(work).await {
        Ok(Ok(verdict)) => return Ok(verdict),
        Ok(Err(JudgeError::Read(error))) => return Err(ProvingError::Spool(error.into())),
        Err(NoResult::Stopped) => return Err(ProvingError::Stopping),
        Err(error @ NoResult::NotStarted(_)) => return Err(ProvingError::NotJudged(error)),
        Ok(Err(error)) => error.into(),
        Err(error @ NoResult::Panicked) => error.into(),
    };
    tracing::error!(error = %edgeprove_telemetry::chain(&*error), "a witness could not be judged");
    Ok(Verdict::Undecided { reason: "the witness could not be judged".to_owned() })
}

/// A duration in milliseconds, as the wire has it.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
