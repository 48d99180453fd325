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
use edgeprove_engine::{
    circuits::{Circuit, registry::LookupError},
    proof_service::{Candidate, Candidates, CompletedProof, OpenProof, ProofError, ProofRequest, WhenBusy},
    proving::{ProofResult, ProofStage, ProvingError, Urgency, milliseconds},
    witness::{digest, from_artifacts::fetch_into, intake::SpooledWitness},
};
use edgeprove_job_queue::queue::{JobOutcome, QueueError};
use edgeprove_spool::SpoolFile;

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

    async fn make(
        &self,
        job: &Job,
        attempt: &Attempt,
        started: Instant,
    ) -> Result<(String, Outcome), Failure> {
        attempt.reached(JobStage::Loading).await;
        let payload = Payload::of(job);
        let input = job.input.as_deref().and_then(|name| name.parse().ok());
        let (Some(payload), Some(input)) = (payload, input) else {
            let detail = "the job does not say what to prove";
            return Err(Failure::Final(Problem::new(ProblemType::Internal, detail, None)));
        };
        let circuits = self.circuits(&payload)?;
        let (asked, first) = (payload.first.target, Arc::clone(&circuits[0].1));
        let proof = self.0.proofs.open(&first, asked, None);
        let candidates = match self.candidates(job, &payload, input, circuits).await {
            Ok(candidates) => candidates,
            Err(Failure::Untried) => {
                proof.release();
                return Err(Failure::Untried);
            }
            Err(Failure::Final(problem)) => {
                proof.fail(problem.code.known().unwrap_or(ProblemType::Internal)).await;
                return Err(Failure::Final(problem));
            }
            Err(Failure::Passing(problem)) => {
                proof.fail(problem.code.known().unwrap_or(ProblemType::Internal)).await;
                return Err(Failure::Passing(problem));
            }
        };
        let mut completed = self.prove(job, attempt, &payload, proof, candidates).await?;
        let result = self.store(job, &payload, completed.result.parts.proof.as_flattened()).await?;
        completed.result.timings.total_ms = milliseconds(started.elapsed());
        let descriptors = payload.targets();
        let proved = descriptors.into_iter().find(|one| one.circuit == completed.circuit.id);
        let fallback = proved.filter(|proved| *proved != payload.first);
        Ok((result, Outcome { fallback, ..outcome(&completed.result) }))
    }

    /// The circuits that can be proved, each with its index in the payload: the requested one and smaller ones of its
    /// family. A smaller one is left out where it cannot be loaded.
    fn circuits(&self, payload: &Payload) -> Result<Vec<(usize, Arc<Circuit>)>, Failure> {
        let mut circuits = Vec::new();
        let mut refusal = None;
        for (index, descriptor) in payload.targets().iter().enumerate() {
            match self.circuit(payload, descriptor) {
                Ok(circuit) => circuits.push((index, circuit)),
                Err(failure) => {
                    let is_fallback = failure.code().is_some_and(ProblemType::fallback);
                    if index == 0 && !is_fallback {
                        return Err(failure);
                    }
                    refusal.get_or_insert(failure);
                }
            }
        }
        match (circuits.is_empty(), refusal) {
            (true, Some(refusal)) => Err(refusal),
            (true, None) | (false, _) => Ok(circuits),
        }
    }

    fn circuit(&self, payload: &Payload, descriptor: &WitnessDescriptor) -> Result<Arc<Circuit>, Failure> {
        let found = self.0.circuits.find(Some(&descriptor.circuit));
        let circuit = found.map_err(|error| match error {
            // Workers start when every circuit was loaded.
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
        // A job is claimed by its requested circuit. A smaller one may have changed.
        if circuit.version() != descriptor.version {
            let detail = format!(
                "the circuit {} was changed after this job was submitted; submit a witness of the new one",
                circuit.id
            );
            return Err(Failure::Final(payload.broken(ProblemType::WitnessOfAnotherCircuit, &detail)));
        }
        Ok(circuit)
    }

    /// The witnesses, fetched from their artifact into the spool.
    async fn candidates(
        &self,
        job: &Job,
        payload: &Payload,
        input: ArtifactName,
        circuits: Vec<(usize, Arc<Circuit>)>,
    ) -> Result<Candidates, Failure> {
        let mut files: Vec<_> = self.fetch(job, payload, input).await?.into_iter().map(Some).collect();
        let descriptors = payload.targets();
        let mut candidates = Vec::new();
        for (index, circuit) in circuits {
            let file = files.get_mut(index).and_then(Option::take);
            let missing = || Failure::Final(payload.broken(ProblemType::Internal, "the job has no witness"));
            let (file, descriptor) = (file.ok_or_else(missing)?, &descriptors[index]);
            let WitnessDescriptor { target, compressed_bytes, inflated_bytes, .. } = *descriptor;
            let witness = SpooledWitness { file, compressed_bytes, decompressed_bytes: inflated_bytes };
            let (witness, digest) = digest(witness).await.map_err(|error| {
                tracing::error!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "witness not readable");
                let detail = "the server cannot store uploads at the moment";
                Failure::Passing(payload.broken(ProblemType::SpoolUnavailable, detail))
            })?;
            candidates.push(Candidate { circuit, target, witness, digest });
        }
        let mut candidates = candidates.into_iter();
        let first = candidates.next();
        let first =
            first.ok_or_else(|| Failure::Final(payload.broken(ProblemType::Internal, "nothing to prove")))?;
        Ok(Candidates { first, smaller: candidates.collect() })
    }

    async fn prove(
        &self,
        job: &Job,
        attempt: &Attempt,
        payload: &Payload,
        proof: OpenProof,
        candidates: Candidates,
    ) -> Result<CompletedProof, Failure> {
        // Callers without a key share one owner, and must not get each other's proofs.
        let is_named = access::actor(&job.owner) != Actor::Anonymous;
        let request = ProofRequest {
            tenant: is_named.then_some(job.owner.as_str()),
            cache: payload.cache,
            urgency: Urgency { priority: job.priority, since: Some(job.enqueued_at) },
            when_busy: WhenBusy::Wait,
        };
        let (stage, mut stages) = tokio::sync::watch::channel(None);
        let on_stage = |reached| {
            let _ = stage.send_replace(Some(reached));
        };
        let proving = proof.prove(candidates, request, &on_stage);
        let reporting = async {
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
            never = reporting => never,
        };
        outcome.map_err(|failure| {
            if matches!(failure.error, ProofError::Proving(ProvingError::Stopping)) {
                return Failure::Untried;
            }
            if failure.kind().status() >= 500 {
                tracing::warn!(job = %job.id, error = %edgeprove_telemetry::chain(&failure), "proof failed");
            }
            let mut problem = payload.broken(failure.kind(), &failure.error.to_string());
            problem.fallback_circuit.clone_from(&failure.fallback_circuit);
            if failure.kind().retryable() { Failure::Passing(problem) } else { Failure::Final(problem) }
        })
    }

    /// Stores the proof as an artifact, and returns its name.
    async fn store(&self, job: &Job, payload: &Payload, proof: &[u8]) -> Result<String, Failure> {
        let mut outage = Outage::none_yet();
        loop {
            match self.0.artifacts.put(ArtifactKind::Proof, proof).await {
                Err(error) if error.is_retryable() => outage.sit_out(job, &error).await?,
                stored => {
                    return stored.map(|name| name.to_string()).map_err(|error| lost(payload, job, &error));
                }
            }
        }
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
