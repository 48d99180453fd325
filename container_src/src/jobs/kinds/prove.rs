//! Proving a witness that was handed in.
//!
//! 1. The witness is fetched into the spool, whose files wipe themselves.
//! 2. It is proved and verified, by the same code that serves requests that wait.
//! 3. The proof is kept as an artefact, and what belongs to it as the job's outcome.
//!
//! While the store of artefacts or the spool is away or full, the job waits with what is done of it: it is not the job's
//! fault, and an outage that outlasts all its attempts would fail every job there is.
//!
//! Run twice, it makes the proof twice and the second is thrown away: its lease is lost by then.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_job_rules::{
    audit::Actor,
    capability::{Capability, Subject},
    job::Job,
    queue_position::QueuedJob,
};
use edgeprove_protocol::{HasProblemType as _, JobStage, Problem, ProblemType};

use super::{
    JobKind,
    proof::{KIND, Outcome, Payload, WitnessDescriptor, failure},
};
use crate::{
    access,
    jobs::{JobContext, attempt::Attempt},
};
use edgeprove_artifacts::{ArtifactError, ArtifactKind, ArtifactName};
use edgeprove_engine::witness::from_artifacts::fetch_into;
use edgeprove_engine::{
    circuits::{Circuit, registry::LookupError},
    proof_cache::{CachePolicy, CacheQuery},
    proving::{ProofResult, ProofStage, ProvingError, Urgency, milliseconds},
    scheduler::AdmissionError,
    witness::{digested, intake::SpooledWitness},
};
use edgeprove_job_queue::queue::{JobOutcome, QueueError};
use edgeprove_spool::SpoolFile;
use edgeprove_telemetry::metrics;

/// How often watchers are told how much of a proof is done.
const TICK: Duration = Duration::from_millis(250);
/// How long an outage of the store is sat out. Then the job is handed back, as it was: another server may be better off.
const OUTAGE_MAX: Duration = Duration::from_mins(1);
/// The pause before the store is tried again, and what it grows to.
const OUTAGE_PAUSE: Duration = Duration::from_millis(250);
const OUTAGE_PAUSE_MAX: Duration = Duration::from_secs(4);
/// A proof's share of the whole, as [`JobStage::percent`] has it, that is told before the proof is there.
const ALMOST: f64 = 0.95;

/// See the module.
pub struct Prove(pub Arc<JobContext>);

/// Why an attempt came to nothing.
enum Failure {
    /// It would again.
    Final(Problem),
    /// It may succeed the next time.
    Passing(Problem),
    /// It was not really tried.
    Untried,
}

impl Failure {
    fn code(&self) -> Option<ProblemType> {
        match self {
            Self::Final(problem) | Self::Passing(problem) => problem.code.known(),
            Self::Untried => None,
        }
    }
}

#[async_trait]
impl JobKind for Prove {
    fn name(&self) -> &'static str {
        KIND
    }

    fn capability(&self) -> Capability {
        Capability { kind: KIND, subjects: Some(self.subjects()) }
    }

    async fn run(&self, job: &Job, attempt: &Attempt) -> JobOutcome {
        let began = Instant::now();
        let _running = self.0.estimator.started(job.id, &job.kind, &job.subject, began);
        match self.make(job, attempt, began).await {
            Ok((result, outcome)) => JobOutcome::Completed {
                result: Some(result),
                outcome: serde_json::to_string(&outcome).unwrap_or_default(),
            },
            Err(Failure::Final(problem)) => JobOutcome::Failed { outcome: failure(&problem) },
            Err(Failure::Passing(problem)) => JobOutcome::Retry { outcome: failure(&problem) },
            Err(Failure::Untried) => JobOutcome::Released,
        }
    }
}

impl Prove {
    /// Says which queued jobs no worker of this server will take.
    pub async fn warn_unclaimable_jobs(&self) -> Result<(), QueueError> {
        let known: HashSet<Subject> = self.subjects().into_iter().collect();
        let mut strangers = BTreeMap::<_, usize>::new();
        for QueuedJob { subject: name, version, .. } in self.0.queue.order(u32::MAX).await? {
            let subject = Subject { name, version };
            if !known.contains(&subject) {
                *strangers.entry(subject).or_default() += 1;
            }
        }
        for (Subject { name: circuit, version }, jobs) in strangers {
            tracing::warn!(
                circuit,
                version,
                jobs,
                "queued jobs wait for a server that has loaded their circuit: this one has not, or another version"
            );
        }
        Ok(())
    }

    /// What its workers can work on at this moment.
    fn subjects(&self) -> Vec<Subject> {
        let subject =
            |circuit: &Arc<Circuit>| Subject { name: circuit.id.to_string(), version: circuit.version() };
        self.0.circuits.loaded().map(subject).collect()
    }

    async fn make(&self, job: &Job, attempt: &Attempt, began: Instant) -> Result<(String, Outcome), Failure> {
        attempt.reached(JobStage::Loading).await;
        let payload = Payload::of(job);
        let input = job.input.as_deref().and_then(|name| name.parse().ok());
        let (Some(payload), Some(input)) = (payload, input) else {
            let detail = "the job lacks what is to be proved";
            return Err(Failure::Final(Problem::new(ProblemType::Internal, detail, None)));
        };
        let mut files = self.fetch(job, &payload, input).await?.into_iter();
        let mut targets = payload.targets().into_iter();
        let (target, mut proved) = loop {
            let (Some(target), Some(file)) = (targets.next(), files.next()) else {
                return Err(Failure::Final(payload.broken(ProblemType::Internal, "the job lacks a witness")));
            };
            match self.prove(job, attempt, &payload, &target, file).await {
                Ok(proved) => break (target, proved),
                Err(failure) => match (failure.code().filter(|code| code.fallback()), targets.as_slice()) {
                    (Some(code), [next, ..]) => {
                        let (code, instead) = (code.code(), &next.circuit);
                        tracing::warn!(job = %job.id, circuit = %target.circuit, code, %instead, "a smaller circuit is proved");
                    }
                    _ => return Err(failure),
                },
            }
        };
        // Wiped before what may take long: nobody needs them any more.
        drop(files);
        let mut outage = Outage::none_yet();
        let result = loop {
            match self.0.artifacts.put(ArtifactKind::Proof, proved.parts.proof.as_flattened()).await {
                Err(error) if error.is_retryable() => outage.sit_out(job, &error).await?,
                kept => break kept.map_err(|error| lost(&payload, job, &error))?,
            }
        };
        proved.timings.total_ms = milliseconds(began.elapsed());
        let fallback = (target != payload.first).then_some(target);
        Ok((result.to_string(), Outcome { fallback, ..outcome(&proved) }))
    }

    /// The witnesses, in files that wipe themselves.
    async fn fetch(
        &self,
        job: &Job,
        payload: &Payload,
        input: ArtifactName,
    ) -> Result<Vec<SpoolFile>, Failure> {
        let mut end = 0;
        let mut cuts = Vec::new();
        for target in payload.targets().iter().take(payload.smaller.len()) {
            end += target.compressed_bytes;
            cuts.push(end);
        }
        let mut outage = Outage::none_yet();
        loop {
            match fetch_into(&self.0.artifacts, &input, ArtifactKind::Witness, &self.0.spool, &cuts).await {
                Err(error) if error.is_retryable() => outage.sit_out(job, &error).await?,
                fetched => return fetched.map_err(|error| lost(payload, job, &error)),
            }
        }
    }

    /// Proves one of them, or finds its proof.
    async fn prove(
        &self,
        job: &Job,
        attempt: &Attempt,
        payload: &Payload,
        target: &WitnessDescriptor,
        file: SpoolFile,
    ) -> Result<ProofResult, Failure> {
        let circuit = self.0.circuits.find(Some(&target.circuit)).map_err(|error| match error {
            // Workers begin when all that was there at the start is loaded.
            LookupError::Loading { .. } => {
                Failure::Passing(payload.broken(ProblemType::NotReady, &error.to_string()))
            }
            LookupError::Failed { .. } => {
                Failure::Final(payload.broken(ProblemType::CircuitUnavailable, &error.to_string()))
            }
            LookupError::Unknown { .. } | LookupError::Unnamed { .. } => {
                Failure::Final(payload.broken(ProblemType::CircuitNotFound, &error.to_string()))
            }
        })?;
        // A job is claimed by the first of its circuits; this may be one of the smaller ones.
        if circuit.version() != target.version {
            let detail = format!(
                "the circuit {} was changed after this job was handed in; hand in a witness of the new one",
                circuit.id
            );
            return Err(Failure::Final(payload.broken(ProblemType::WitnessOfAnotherCircuit, &detail)));
        }
        let upload = SpooledWitness {
            file,
            compressed_bytes: target.compressed_bytes,
            inflated_bytes: target.inflated_bytes,
        };
        let (upload, witness) = digested(upload).await.map_err(|error| {
            tracing::error!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "a witness cannot be read back");
            let detail = "the server cannot store uploads at the moment";
            Failure::Passing(payload.broken(ProblemType::SpoolUnavailable, detail))
        })?;
        // Callers without a key share a name, and nothing of what they prove is remembered for each other.
        let is_named = access::actor(&job.owner) != Actor::Anonymous;
        let cache_wish = if is_named { payload.cache } else { CachePolicy::OFF };
        let wanted =
            CacheQuery { tenant: &job.owner, circuit: &circuit, target: target.target, witness: &witness };
        if let Some(proved) = self.0.proof_cache.get(wanted, cache_wish) {
            return Ok(proved);
        }
        loop {
            let urgency = Urgency { priority: job.priority, since: Some(job.enqueued_at) };
            let (stage, mut stages) = tokio::sync::watch::channel(None);
            let on_stage = |reached| {
                let _ = stage.send_replace(Some(reached));
            };
            let proving = self.0.proving.prove(&circuit, target.target, &upload, urgency, &on_stage);
            let telling = async {
                while stages.changed().await.is_ok() {
                    let stage = *stages.borrow_and_update();
                    let mut next = stages.clone();
                    tokio::select! {
                        _ = next.changed() => {}
                        () = async { if let Some(stage) = stage { self.tell(job, attempt, stage).await } } => {}
                    }
                }
                std::future::pending().await
            };
            let outcome = tokio::select! {
                outcome = proving => outcome,
                never = telling => never,
            };
            match outcome {
                Ok(proved) => {
                    self.0.proof_cache.put(wanted, cache_wish, &proved);
                    metrics::proof_made(&circuit.id, &proved.timings);
                    let took_ms = proved.timings.prove_ms + proved.timings.verify_ms;
                    let took = Duration::from_secs_f64(took_ms / 1000.0);
                    self.0.estimator.record(KIND, circuit.id.as_str(), took);
                    return Ok(proved);
                }
                // Requests that somebody waits for have filled the house; the job has time.
                Err(ProvingError::Admission(
                    AdmissionError::QueueFull { .. } | AdmissionError::WaitedTooLong { .. },
                )) => tokio::time::sleep(TICK).await,
                Err(ProvingError::Stopping) => return Err(Failure::Untried),
                Err(error) => {
                    if error.kind().status() >= 500 {
                        tracing::warn!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "the proof was not made");
                    }
                    let mut problem = payload.broken(error.kind(), &error.to_string());
                    problem.fallback_circuit = self.0.circuits.fallback(&circuit.id, error.kind()).cloned();
                    let again = error.kind().retryable();
                    return Err(if again { Failure::Passing(problem) } else { Failure::Final(problem) });
                }
            }
        }
    }

    /// Tells watchers how far the proof is, until it is dropped.
    async fn tell(&self, job: &Job, attempt: &Attempt, stage: ProofStage) {
        match stage {
            ProofStage::Proving => attempt.reached(JobStage::Proving).await,
            ProofStage::Verifying => attempt.reached(JobStage::Verifying).await,
        }
        if stage != ProofStage::Proving {
            return;
        }
        // bb says nothing while it proves; what it has done is told by how long such proofs take.
        let Some(estimate) = self.0.estimator.expected(&job.kind, &job.subject) else { return };
        let span = f64::from(JobStage::Verifying.percent() - JobStage::Proving.percent());
        let began = Instant::now();
        loop {
            tokio::time::sleep(TICK).await;
            let expected = estimate.expected.as_secs_f64().max(f64::EPSILON);
            let done = (began.elapsed().as_secs_f64() / expected).min(ALMOST);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is below 100")]
            let percent = JobStage::Proving.percent() + (span * done) as u8;
            attempt.within(JobStage::Proving, percent);
        }
    }
}

/// The store of artefacts, or the spool, is away or full: nothing is wrong with the artefact.
#[derive(Debug)]
struct Outage {
    since: Instant,
    pause: Duration,
}

impl Outage {
    fn none_yet() -> Self {
        Self { since: Instant::now(), pause: OUTAGE_PAUSE }
    }

    /// Waits a while, after which it may be over; unless that has been done for too long.
    async fn sit_out(&mut self, job: &Job, error: &ArtifactError) -> Result<(), Failure> {
        tracing::warn!(job = %job.id, error = %edgeprove_telemetry::chain(error), "a job waits for the artefacts' store");
        if self.since.elapsed() >= OUTAGE_MAX {
            return Err(Failure::Untried);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(OUTAGE_PAUSE_MAX);
        Ok(())
    }
}

/// Of what fails again and again without being waited for, only what cannot be mended is left.
fn lost(payload: &Payload, job: &Job, error: &ArtifactError) -> Failure {
    tracing::error!(job = %job.id, error = %edgeprove_telemetry::chain(error), "an artefact cannot be used");
    let detail = "what was kept for this job cannot be had";
    Failure::Final(payload.broken(ProblemType::ArtifactUnavailable, detail))
}

fn outcome(proved: &ProofResult) -> Outcome {
    Outcome {
        fallback: None,
        public_inputs: proved.public_inputs(),
        vk_hash: proved.vk_hash(),
        verified: proved.verified,
        cached: proved.cached,
        timings: proved.timings,
    }
}
