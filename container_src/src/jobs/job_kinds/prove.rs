//! Runs proof jobs.
//!
//! 1. The witnesses are fetched into the spool.
//! 2. [`ProofService`] proves and verifies, as it does for requests.
//! 3. The proof is stored as an artifact, and its report as the outcome of the job, with the receipt.
//!
//! While the artifact store or the spool is unavailable or full, the job waits with what it has done. Such an outage is not
//! the job's fault, and one that outlasts all attempts would fail every job.
//!
//! If a job runs twice, the second result is discarded, because one of the two leases is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_engine::{
    circuits::{Circuit, registry::LookupError},
    proof_service::{
        Candidate, Candidates, CompletedProof, ProofAccount, ProofError, ProofRequest, ProofService, WhenBusy,
    },
    proving::{ProofStage, ProvingError, Urgency, milliseconds},
    witness::{check, digest, intake::SpooledWitness},
};
use edgeprove_job_queue::{
    JobOutcome,
    attempt::Attempt,
    kind::{JobKind, Work},
};
use edgeprove_job_rules::{
    audit::Actor, capability::Capability, job::Job, prediction::Estimate, progress::Stage,
};
use edgeprove_protocol::{HasProblemType as _, JobStage, Problem, ProblemType, TraceContext};
use edgeprove_spool::{Spool, SpoolFile};
use edgeprove_telemetry::metrics::is_callers_fault;

use super::{
    job_files::{FileError, JobFiles},
    proof_payload::{KIND, Payload, ProofReport, STAGES, WAITING, WitnessDescriptor},
};
use crate::{
    access,
    circuits::{CircuitError, Circuits},
    receipts::{Receipts, Subject},
};

/// How long a job waits for an outage to end. Then it is released: another server may reach the store.
const OUTAGE_MAX: Duration = Duration::from_mins(1);
/// The first pause before the store is tried again, and the longest one.
const OUTAGE_PAUSE: Duration = Duration::from_millis(250);
const OUTAGE_PAUSE_MAX: Duration = Duration::from_secs(4);

/// The kind of proof jobs.
pub struct Prove {
    circuits: Arc<Circuits>,
    proofs: ProofService,
    /// `None` at a prover that pulls: the server that gave it the job does not observe that the witness is wiped.
    receipts: Option<Arc<Receipts>>,
    /// Where witnesses are while they are proved.
    spool: Spool,
    files: Arc<dyn JobFiles>,
    is_enabled: bool,
}

/// Circuits, each with its index in the payload.
type ProvableCircuits = Vec<(usize, Arc<Circuit>)>;

/// Why an attempt has no result.
enum AttemptError {
    /// Another attempt would fail as well.
    Permanent(Box<Problem>),
    /// Another attempt may succeed.
    Temporary(Box<Problem>),
    /// The proof was not attempted.
    Released,
}

impl AttemptError {
    fn permanent(problem: Problem) -> Self {
        Self::Permanent(Box::new(problem))
    }

    fn temporary(problem: Problem) -> Self {
        Self::Temporary(Box::new(problem))
    }

    fn kind(&self) -> Option<ProblemType> {
        match self {
            Self::Permanent(problem) | Self::Temporary(problem) => problem.code.known(),
            Self::Released => None,
        }
    }
}

#[async_trait]
impl JobKind for Prove {
    fn name(&self) -> &'static str {
        KIND
    }

    fn stages(&self) -> &'static [Stage] {
        STAGES
    }

    /// The circuits that are loaded or can be, each in its version. A server that does not prove takes no job.
    fn capability(&self) -> Capability {
        let subjects = if self.is_enabled { self.circuits.subjects() } else { Vec::new() };
        Capability { kind: KIND, subjects: Some(subjects) }
    }

    /// The circuits of a server that does not prove are proved by others.
    fn known(&self) -> Capability {
        Capability { kind: KIND, subjects: Some(self.circuits.subjects()) }
    }

    fn work_of(&self, job: &Job) -> Option<Work> {
        match ProofReport::of(job) {
            Ok(report) => report.work(&job.subject),
            Err(error) => {
                tracing::error!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "a completed job has a corrupt outcome");
                None
            }
        }
    }

    /// Lines about the job have the id of the request that submitted it, and the ids of its trace.
    fn span(&self, job: &Job) -> tracing::Span {
        let Ok(Payload { request_id, trace, .. }) = Payload::of(job) else { return tracing::Span::none() };
        let trace_id = trace.as_ref().map(TraceContext::trace_id);
        let span_id = trace.as_ref().map(TraceContext::span_id);
        tracing::info_span!("job", request_id, trace_id, span_id)
    }

    async fn run(&self, job: &Job, attempt: &Attempt) -> JobOutcome {
        match self.run_attempt(job, attempt, Instant::now()).await {
            Ok((result, report)) => JobOutcome::completed(Some(result), report).unwrap_or_else(|error| {
                tracing::error!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "the report of a proof could not be encoded");
                let detail = "the server failed to store the outcome of the proof";
                JobOutcome::Failed(Box::new(Problem::new(ProblemType::Internal, detail, None)))
            }),
            Err(AttemptError::Permanent(problem)) => JobOutcome::Failed(problem),
            Err(AttemptError::Temporary(problem)) => JobOutcome::Retry(problem),
            Err(AttemptError::Released) => JobOutcome::Released,
        }
    }
}

impl Prove {
    /// Proof jobs of these circuits, with these files. `is_enabled` is whether this server runs them.
    #[must_use]
    pub fn new(
        circuits: Arc<Circuits>,
        (proofs, receipts): (ProofService, Option<Arc<Receipts>>),
        spool: Spool,
        files: Arc<dyn JobFiles>,
        is_enabled: bool,
    ) -> Self {
        Self { circuits, proofs, receipts, spool, files, is_enabled }
    }

    /// Proves the job's witness. Returns the name of the stored proof and its report.
    async fn run_attempt(
        &self,
        job: &Job,
        attempt: &Attempt,
        started: Instant,
    ) -> Result<(String, ProofReport), AttemptError> {
        attempt.report_stage(JobStage::Loading.as_str());
        let payload = Payload::of(job).map_err(|error| {
            tracing::error!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "a job has a corrupt payload");
            AttemptError::permanent(Problem::new(error.kind(), error.public_detail(), None))
        })?;
        let (circuits, refused) = self.circuits(&payload).await?;
        let first = circuits.first().ok_or_else(|| nothing_to_prove(&payload))?;
        let proof = self.proofs.open(&first.1, payload.first.target, job.priority, None);
        let proof = proof.requested_as(payload.requested_circuit());
        let candidates = match self.candidates(job, &payload, circuits).await {
            Ok(candidates) => candidates,
            Err(error) => {
                match error.kind() {
                    Some(kind) => proof.fail(kind).await,
                    None => proof.release(),
                }
                return Err(error);
            }
        };
        let mut completed = match (self.prove(job, attempt, &payload, proof, candidates).await, refused) {
            // A smaller circuit would be next, and cannot be proved: the reason for that is what its caller can act on.
            (Err(error), Some(refused)) if error.kind().is_some_and(ProblemType::fallback) => {
                return Err(refused);
            }
            (outcome, _) => outcome?,
        };
        let result = self.store(job, &payload, completed.result.parts.proof.as_flattened()).await?;
        let (request_id, sealed) = (payload.request_id.as_str(), payload.sealed);
        let subject = Subject { request_id, accepted_at: job.enqueued_at, sealed };
        let receipt = match &self.receipts {
            Some(receipts) => receipts.sign(&mut completed, subject).await,
            None => None,
        };
        completed.result.timings.total_ms = milliseconds(started.elapsed());
        let proved = payload.witnesses().find(|witness| witness.circuit == completed.circuit.id);
        let fallback = proved.filter(|proved| **proved != payload.first).cloned();
        Ok((result, ProofReport { receipt, ..ProofReport::new(&completed.result, fallback) }))
    }

    /// The circuits that can be proved, each with its index in the payload: the requested one and smaller ones of its
    /// family. One that cannot be proved is left out; the second value is the first reason for that.
    async fn circuits(
        &self,
        payload: &Payload,
    ) -> Result<(ProvableCircuits, Option<AttemptError>), AttemptError> {
        let mut circuits = Vec::new();
        let mut refused = None;
        for (index, descriptor) in payload.witnesses().enumerate() {
            match self.circuit(payload, descriptor).await {
                Ok(circuit) => circuits.push((index, circuit)),
                Err(failure) => {
                    let is_fallback = failure.kind().is_some_and(ProblemType::fallback);
                    if index == 0 && !is_fallback {
                        return Err(failure);
                    }
                    refused.get_or_insert(failure);
                }
            }
        }
        match (circuits.is_empty(), refused) {
            (true, Some(refused)) => Err(refused),
            (true, None) => Ok((circuits, None)),
            (false, refused) => Ok((circuits, refused)),
        }
    }

    async fn circuit(
        &self,
        payload: &Payload,
        descriptor: &WitnessDescriptor,
    ) -> Result<Arc<Circuit>, AttemptError> {
        let found = self.circuits.find(Some(&descriptor.circuit)).await;
        let circuit = found.map_err(|error| {
            let error = match error {
                CircuitError::Lookup(error) => error,
                error => {
                    tracing::warn!(circuit = %descriptor.circuit, error = %edgeprove_telemetry::chain(&error), "a circuit could not be loaded");
                    let problem = payload.problem(error.kind(), &error.public_detail());
                    let temporary = error.kind().retryable();
                    return if temporary { AttemptError::temporary(problem) } else { AttemptError::permanent(problem) };
                }
            };
            match error {
            // Workers start when every circuit was loaded.
            LookupError::Loading { .. } => {
                AttemptError::temporary(payload.problem(ProblemType::NotReady, &error.to_string()))
            }
            LookupError::Failed { kind, .. } => {
                AttemptError::permanent(payload.problem(kind, &error.to_string()))
            }
            LookupError::Unknown { .. } | LookupError::Unnamed { .. } => {
                AttemptError::permanent(payload.problem(ProblemType::CircuitNotFound, &error.to_string()))
            }
            }
        })?;
        // A job is claimed by its requested circuit. A smaller one may have changed.
        if circuit.version() != descriptor.version {
            let detail = format!(
                "the circuit {} was changed after this job was submitted; submit a witness of the new one",
                circuit.id
            );
            return Err(AttemptError::permanent(
                payload.problem(ProblemType::WitnessOfAnotherCircuit, &detail),
            ));
        }
        Ok(circuit)
    }

    /// The witnesses, fetched from their artifact into the spool.
    async fn candidates(
        &self,
        job: &Job,
        payload: &Payload,
        circuits: ProvableCircuits,
    ) -> Result<Candidates, AttemptError> {
        let mut files: Vec<_> = self.fetch(job, payload).await?.into_iter().map(Some).collect();
        let descriptors: Vec<_> = payload.witnesses().collect();
        let mut candidates = Vec::new();
        for (index, circuit) in circuits {
            let file = files.get_mut(index).and_then(Option::take);
            let missing = || {
                AttemptError::permanent(
                    payload.problem(ProblemType::StoredDataDamaged, "the job has no witness"),
                )
            };
            let (file, descriptor) = (file.ok_or_else(missing)?, descriptors[index]);
            let WitnessDescriptor { target, compressed_bytes, decompressed_bytes, .. } = *descriptor;
            let witness = SpooledWitness { file, compressed_bytes, decompressed_bytes };
            let checked = async {
                if self.files.are_checked() { digest(witness).await } else { check(witness, &circuit).await }
            };
            let (witness, digest) = checked.await.map_err(|error| {
                tracing::error!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "a spooled witness could not be read");
                AttemptError::temporary(payload.problem(error.kind(), &error.public_detail()))
            })?;
            candidates.push(Candidate { circuit, target, witness, digest });
        }
        let mut candidates = candidates.into_iter();
        let first = candidates.next().ok_or_else(|| nothing_to_prove(payload))?;
        Ok(Candidates { first, smaller: candidates.collect() })
    }

    async fn prove(
        &self,
        job: &Job,
        attempt: &Attempt,
        payload: &Payload,
        proof: ProofAccount,
        candidates: Candidates,
    ) -> Result<CompletedProof, AttemptError> {
        // Callers without a key share one owner, and must not get each other's proofs.
        let is_named = access::actor(&job.owner) != Actor::Anonymous;
        let tenant = match &payload.voucher {
            // Neither must pages of one key, by the time that a proof takes.
            Some(voucher) => format!("{} {}", job.owner, voucher.scope),
            None => job.owner.clone(),
        };
        // A caller's jobs and requests take turns with each other. A job competes with requests from its start, because its wait
        // before has counted in the queue: the jobs of a long queue would all go ahead of a request.
        let account = format!("job {}", job.account);
        let request = ProofRequest {
            tenant: is_named.then_some(tenant.as_str()),
            cache: payload.cache,
            urgency: Urgency { account: Some(&account), priority: job.priority, since: job.started_at },
            timeout: payload.timeout_ms.map(Duration::from_millis),
            when_busy: WhenBusy::Wait,
        };
        let circuit = candidates.first.circuit.id.clone();
        let has_started = AtomicBool::new(false);
        let on_stage = |stage| match stage {
            // A smaller circuit that waits after a larger one was proved in vain: progress never goes back.
            ProofStage::Waiting { .. } if has_started.load(Ordering::Relaxed) => {}
            ProofStage::Waiting { ahead } => {
                let wait = self.proofs.expected_wait_behind(&circuit, ahead);
                attempt.report_waiting_stage(WAITING.name, wait.unwrap_or(Estimate::NOTHING));
            }
            ProofStage::Proving => {
                has_started.store(true, Ordering::Relaxed);
                attempt.report_stage(JobStage::Proving.as_str());
            }
            ProofStage::Verifying => attempt.report_stage(JobStage::Verifying.as_str()),
        };
        proof.prove(candidates, request, &on_stage).await.map_err(|failure| {
            if matches!(failure.error, ProofError::Proving(ProvingError::Stopping)) {
                return AttemptError::Released;
            }
            if !is_callers_fault(failure.kind()) {
                tracing::warn!(job = %job.id, error = %edgeprove_telemetry::chain(&failure), "proof failed");
            }
            let mut problem = payload.problem(failure.kind(), &failure.public_detail());
            problem.fallback_circuit.clone_from(&failure.fallback_circuit);
            if failure.kind().retryable() {
                AttemptError::temporary(problem)
            } else {
                AttemptError::permanent(problem)
            }
        })
    }

    /// Stores the proof, and returns its name.
    async fn store(&self, job: &Job, payload: &Payload, proof: &[u8]) -> Result<String, AttemptError> {
        let mut outage = Outage::new();
        loop {
            match self.files.store(job, proof).await {
                Err(error) if error.is_outage => outage.wait(job, &error).await?,
                stored => return stored.map_err(|error| unusable(payload, job, &error)),
            }
        }
    }

    /// Fetches the witnesses into the spool, a file each. The files wipe themselves.
    async fn fetch(&self, job: &Job, payload: &Payload) -> Result<Vec<SpoolFile>, AttemptError> {
        let cuts = payload.cuts();
        let mut outage = Outage::new();
        loop {
            match self.files.fetch(job, &self.spool, &cuts).await {
                Err(error) if error.is_outage => outage.wait(job, &error).await?,
                fetched => return fetched.map_err(|error| unusable(payload, job, &error)),
            }
        }
    }
}

/// An outage of the artifact store or the spool. The artifact itself is intact.
#[derive(Debug)]
struct Outage {
    since: Instant,
    pause: Duration,
}

impl Outage {
    fn new() -> Self {
        Self { since: Instant::now(), pause: OUTAGE_PAUSE }
    }

    /// Waits a while, after which the outage may be over. Fails when it lasts too long.
    async fn wait(&mut self, job: &Job, error: &FileError) -> Result<(), AttemptError> {
        tracing::warn!(job = %job.id, error = %edgeprove_telemetry::chain(error), "a job waits for the artifact store");
        if self.since.elapsed() >= OUTAGE_MAX {
            return Err(AttemptError::Released);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(OUTAGE_PAUSE_MAX);
        Ok(())
    }
}

/// The error for an artifact that cannot be read or written, and not because of an outage.
fn unusable(payload: &Payload, job: &Job, error: &FileError) -> AttemptError {
    tracing::error!(job = %job.id, error = %edgeprove_telemetry::chain(error), "an artifact cannot be used");
    AttemptError::permanent(payload.problem(error.kind, &error.detail))
}

fn nothing_to_prove(payload: &Payload) -> AttemptError {
    AttemptError::permanent(payload.problem(ProblemType::StoredDataDamaged, "the job has nothing to prove"))
}
