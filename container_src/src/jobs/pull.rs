//! The jobs of provers that pull: they claim jobs, renew their leases and end them by requests to this server.
//!
//! Nothing of it is in memory but the claims that wait. The row of a job has its lease, and the secret of a lease follows from
//! its token under the key of the artifacts. So a server that was started again, or another one that shares the jobs, goes on
//! where this one ended.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use edgeprove_artifacts::ArtifactStore;
use edgeprove_job_queue::{
    JobOutcome, LeaseStatus, QueueError, SqlQueue, StageReport,
    events::{AttemptEnd, JobEvents as _},
    long_poll::{LongPolls, WaitingClaim},
};
use edgeprove_job_rules::{
    capability::{Capability, Subject},
    job::Job,
    lease::LeaseToken,
    outcome::DecodeError,
    progress::StageEstimate,
    scale::ScaleBounds,
};
use edgeprove_protocol::{
    HasProblemType, JobId, JobStatus, Problem, ProblemType,
    work::{ClaimRequest, ClaimedJob, LeaseSecret, WorkWitness},
};
use edgeprove_telemetry::metrics::jobs as metrics;
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use super::{
    Jobs,
    job_kinds::proof_payload::{KIND, Payload, STAGES, WitnessDescriptor},
    watch_permits::{WatchLimits, WatchPermit, WatchPermits},
};

/// Makes the digests of leases differ from every other digest of the store.
const DOMAIN: &[u8] = b"edgeprove lease secret v1";
/// Longest secret of a lease.
const SECRET_MAX_BYTES: usize = 80;

/// Settings of provers that pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullSettings {
    /// The most claims that wait.
    pub waiting_max: u32,
    /// The bounds of the number of provers.
    pub scale: ScaleBounds,
}

/// The jobs of provers that pull.
#[derive(Debug)]
pub struct PullJobs {
    polls: LongPolls,
    permits: WatchPermits,
    artifacts: Arc<ArtifactStore>,
}

/// Why a prover may not act on a job.
#[derive(Debug, thiserror::Error)]
pub enum LeaseFault {
    /// The lease has ended, or never was.
    #[error(
        "this lease of the job has ended: another prover has it, or the job has finished or was cancelled"
    )]
    Lost,
    /// The payload of the job is damaged.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl HasProblemType for LeaseFault {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Lost => ProblemType::LeaseLost,
            Self::Decode(error) => error.kind(),
            Self::Queue(error) => error.kind(),
        }
    }
}

/// A job and the state of a lease of it.
#[derive(Debug)]
pub enum Leased {
    /// The lease holds.
    Held(Box<Job>),
    /// The job has finished under this lease: the same report may have arrived before.
    Finished(JobStatus),
}

impl PullJobs {
    /// Jobs of this queue. The secrets of leases are made with the key of the artifacts.
    #[must_use]
    pub fn new(settings: &PullSettings, queue: SqlQueue, artifacts: Arc<ArtifactStore>) -> Self {
        let limits = WatchLimits { per_caller_max: None, max: settings.waiting_max };
        Self { polls: LongPolls::new(queue), permits: WatchPermits::new(limits), artifacts }
    }

    /// Counts a claim of this account as waiting; `None` where as many wait as may.
    #[must_use]
    pub fn wait_permit(&self, account: String) -> Option<WatchPermit> {
        self.permits.admit([account]).ok()
    }

    /// The number of claims that wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.permits.open()
    }

    /// The secret of the lease with this token.
    #[must_use]
    pub fn secret(&self, id: JobId, LeaseToken(token): LeaseToken) -> LeaseSecret {
        LeaseSecret(format!("{token}.{}", URL_SAFE_NO_PAD.encode(self.digest(id, token))))
    }

    /// The token of the lease with this secret; `None` if it is no secret of the job.
    #[must_use]
    pub fn token(&self, id: JobId, LeaseSecret(secret): &LeaseSecret) -> Option<LeaseToken> {
        let (token, digest) = secret.split_once('.').filter(|_| secret.len() <= SECRET_MAX_BYTES)?;
        let (token, digest) = (token.parse().ok()?, URL_SAFE_NO_PAD.decode(digest).ok()?);
        let is_authentic: bool = self.digest(id, token).as_slice().ct_eq(&digest).into();
        is_authentic.then_some(LeaseToken(token))
    }

    fn digest(&self, id: JobId, token: i64) -> [u8; 32] {
        self.artifacts.fingerprint(&[DOMAIN, id.to_string().as_bytes(), &token.to_be_bytes()])
    }
}

impl Jobs {
    /// Claims jobs for a prover, and records their start. A job whose start cannot be recorded is released. If the future is
    /// dropped, leases of jobs that it has claimed expire.
    pub async fn pull(
        &self,
        claim: WaitingClaim<'_>,
        draining: &CancellationToken,
    ) -> Result<Vec<Job>, QueueError> {
        let mut jobs = Vec::new();
        for job in self.pull.polls.claim(claim, draining).await? {
            match self.recorder.started(&job).await {
                Ok(()) => jobs.push(job),
                Err(error) => {
                    tracing::warn!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "job released: its start could not be recorded");
                    self.end_pulled(&job, &JobOutcome::Released).await?;
                }
            }
        }
        metrics::pull_claimed(jobs.len());
        Ok(jobs)
    }

    /// What a prover can be given: circuits that it has and that this server can verify, each in the same version.
    #[must_use]
    pub fn capability_of(&self, claim: &ClaimRequest) -> Capability {
        let known = self.circuits.subjects();
        let named = claim.circuits.iter().map(|of| (of.circuit.as_str(), of.version.as_str()));
        let named: std::collections::BTreeSet<_> = named.collect();
        let is_named = |subject: &Subject| named.contains(&(subject.name.as_str(), subject.version.as_str()));
        let mut subjects: Vec<_> = known.into_iter().filter(is_named).collect();
        if claim.stored_circuits {
            let except = |subject: &Subject| claim.except.iter().any(|id| id.as_str() == subject.name);
            subjects.extend(self.circuits.stored_subjects().into_iter().filter(|subject| !except(subject)));
        }
        // Provers with the same circuits wait in one line.
        subjects.sort_unstable();
        subjects.dedup();
        Capability { kind: KIND, subjects: Some(subjects) }
    }

    /// A claimed job as its prover gets it.
    pub fn claimed(&self, job: &Job) -> Result<ClaimedJob, DecodeError> {
        let payload = Payload::of(job)?;
        let witness = |of: &WitnessDescriptor| WorkWitness {
            circuit: of.circuit.clone(),
            version: of.version.clone(),
            target: of.target,
            compressed_bytes: of.compressed_bytes,
            decompressed_bytes: of.decompressed_bytes,
        };
        Ok(ClaimedJob {
            id: job.id,
            lease: self.pull.secret(job.id, job.lease_token),
            priority: job.priority,
            witnesses: payload.witnesses().map(witness).collect(),
            timeout_ms: payload.timeout_ms,
            request_id: payload.request_id,
            trace: payload.trace,
        })
    }

    /// The job that a prover acts on with the secret of its lease.
    pub async fn leased(&self, id: JobId, secret: &LeaseSecret) -> Result<Leased, LeaseFault> {
        // Whether there is such a job is not for others.
        let token = self.pull.token(id, secret).ok_or(LeaseFault::Lost)?;
        let job = self.store.queue.get(id).await?.ok_or(LeaseFault::Lost)?;
        if job.is_held_by(token) {
            Ok(Leased::Held(Box::new(job)))
        } else if job.lease_token == token && job.status.is_finished() {
            Ok(Leased::Finished(job.status))
        } else {
            Err(LeaseFault::Lost)
        }
    }

    /// Renews a lease, and reports the stage of the attempt. Returns whether a caller cancelled the job.
    pub async fn renew_pulled(
        &self,
        id: JobId,
        secret: &LeaseSecret,
        stage: Option<&'static str>,
    ) -> Result<bool, LeaseFault> {
        let token = self.pull.token(id, secret).ok_or(LeaseFault::Lost)?;
        let queue = &self.store.queue;
        if let Some(name) = stage {
            let job = queue.get(id).await?.filter(|job| job.is_held_by(token)).ok_or(LeaseFault::Lost)?;
            let estimate = self.views().estimate(&job).await.map(StageEstimate::from);
            let report = StageReport { name, at: queue.approximate_now(), estimate };
            self.watchers.stage_reported(id, token, report);
            queue.report_stage(id, token, &report).await?;
        }
        match queue.heartbeat(id, token).await? {
            LeaseStatus::Held => Ok(false),
            LeaseStatus::CancelRequested => Ok(true),
            LeaseStatus::Lost => Err(LeaseFault::Lost),
        }
    }

    /// Ends an attempt of a prover, and records that. `None`: the lease was lost meanwhile.
    pub async fn end_pulled(&self, job: &Job, outcome: &JobOutcome) -> Result<Option<JobStatus>, QueueError> {
        let _finishing = self.recorder.finishing(job);
        let queue = &self.store.queue;
        let Some(status) = queue.finish(job.id, job.lease_token, outcome).await? else { return Ok(None) };
        let now = queue.approximate_now();
        let ran = job.started_at.map(|at| now.since(at)).unwrap_or_default();
        let code = outcome.problem().map(|problem| problem.code.as_str());
        let holder = job.lease.as_ref().map(|lease| lease.holder.as_str());
        let took_ms = edgeprove_telemetry::millis(ran);
        let message = if status.is_finished() { "job finished" } else { "job queued again" };
        tracing::info!(job = %job.id, kind = job.kind, attempt = job.attempts, holder, %status, code, took_ms, "{message}");
        self.recorder.ended(job, AttemptEnd { status, problem: outcome.problem(), ran }).await;
        Ok(Some(status))
    }

    /// Gives up claimed jobs that their prover did not get.
    pub async fn give_back(&self, jobs: Vec<Job>) {
        for job in jobs {
            if let Err(error) = self.end_pulled(&job, &JobOutcome::Released).await {
                tracing::warn!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "a claimed job could not be released; its lease expires");
            }
        }
    }

    /// Fails a claimed job whose payload is damaged.
    pub async fn fail_damaged(&self, job: &Job, error: &DecodeError) {
        tracing::error!(job = %job.id, error = %edgeprove_telemetry::chain(error), "a job has a corrupt payload");
        let problem = Problem::new(error.kind(), error.public_detail(), None);
        let outcome = JobOutcome::Failed(Box::new(problem));
        if let Err(error) = self.end_pulled(job, &outcome).await {
            tracing::warn!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "a damaged job could not be failed; its lease expires");
        }
    }
}

/// The stage of proof jobs with this name.
#[must_use]
pub fn stage(name: &str) -> Option<&'static str> {
    STAGES.iter().map(|stage| stage.name).find(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use edgeprove_artifacts::{ArtifactKey, ArtifactSettings, KeyRing, KeySettings, LocationSettings};
    use edgeprove_job_queue::store::{Database, DatabaseLocation};
    use edgeprove_job_rules::{queue_bounds::Bounds, transition::Rules};

    use super::*;

    async fn pulls(key: &ArtifactKey) -> PullJobs {
        let keys = KeySettings::Given(KeyRing::new(key.clone()));
        let settings = ArtifactSettings { location: LocationSettings::Temporary, keys };
        let artifacts = Arc::new(ArtifactStore::open(&settings).unwrap());
        let database = Database::open(&DatabaseLocation::Memory).await.unwrap();
        let queue = SqlQueue::new(database, Rules::default(), Bounds::default()).await.unwrap();
        let scale = ScaleBounds { drain: std::time::Duration::from_mins(1), min: 0, max: 1 };
        PullJobs::new(&PullSettings { waiting_max: 4, scale }, queue, artifacts)
    }

    #[tokio::test]
    async fn the_secret_of_a_lease_is_of_one_claim_of_one_job() {
        let key = ArtifactKey::random().unwrap();
        let (ours, of_another_server) = (pulls(&key).await, pulls(&key).await);
        let [id, other] = [1, 2].map(|byte| JobId::new(None, [byte; 16]).unwrap());
        let secret = ours.secret(id, LeaseToken(7));
        assert_eq!(ours.token(id, &secret), Some(LeaseToken(7)));
        assert_eq!(of_another_server.token(id, &secret), Some(LeaseToken(7)));
        assert_eq!(ours.token(other, &secret), None);
        let LeaseSecret(text) = secret;
        let digest = text.split_once('.').unwrap().1;
        for wrong in [
            format!("8.{digest}"),
            format!("7.{}", &digest[1..]),
            "7".to_owned(),
            "7.".to_owned(),
            "x".repeat(99),
        ] {
            assert_eq!(ours.token(id, &LeaseSecret(wrong.clone())), None, "{wrong}");
        }
        let unrelated = pulls(&ArtifactKey::random().unwrap()).await;
        assert_eq!(unrelated.token(id, &LeaseSecret(text)), None);
    }

    #[tokio::test]
    async fn one_key_does_not_take_every_place_to_wait() {
        let pulls = pulls(&ArtifactKey::random().unwrap()).await;
        let take = |key: &str| pulls.wait_permit(key.to_owned());
        let held = [take("key:a"), take("key:a"), take("key:a")];
        assert_eq!(held.iter().filter(|permit| permit.is_some()).count(), 2);
        assert!(take("key:b").is_some());
        assert_eq!(pulls.waiting(), 2);
    }
}
