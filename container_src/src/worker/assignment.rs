//! One claimed job: its witness is fetched, proved and verified, and its outcome is reported.
//!
//! The lease is renewed by a task of its own until the outcome has arrived. Only the server ends a lease: where it cannot be
//! reached, the attempt goes on, and its outcome is reported as soon as the server answers again.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_engine::{proof_cache::CachePolicy, proof_service::ProofService};
use edgeprove_job_queue::{
    JobOutcome, LeaseStatus, StageReport,
    attempt::{Attempt, Renewal},
    kind::JobKind as _,
    lease::{Lease, LeaseError},
};
use edgeprove_job_rules::{
    job::{Job, NewJob},
    outcome::{EncodeError, encode_payload},
    priority::Rank,
    time::UnixMillis,
    turn::{OrderKey, Turn},
};
use edgeprove_protocol::{
    CircuitId, ProblemType,
    work::{ClaimedJob, HeartbeatRequest, OutcomeRequest, WorkOutcome, WorkWitness},
};
use edgeprove_spool::{Spool, SpoolFile};
use edgeprove_telemetry::Supervisor;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    backoff::Backoff,
    is_of_this_prover,
    server::{RequestError, Server},
};
use crate::{
    access::ANONYMOUS,
    circuits::Circuits,
    jobs::job_kinds::{
        job_files::{FileError, JobFiles},
        proof_payload::{KIND, Payload, ProofReport, WitnessDescriptor},
        prove::Prove,
    },
};

/// How long the report of an outcome is repeated. The lease has ended long before, if nobody has renewed it.
const REPORT_MAX: Duration = Duration::from_mins(10);

/// What jobs are run with.
#[derive(Clone)]
pub struct Tools {
    /// The circuits.
    pub circuits: Arc<Circuits>,
    /// The one way to prove.
    pub proofs: ProofService,
    /// Where witnesses are while they are proved.
    pub spool: Spool,
    /// The server.
    pub server: Arc<Server>,
}

/// One claimed job.
pub struct Assignment {
    claimed: ClaimedJob,
    server: Arc<Server>,
    /// The proof, until it is reported.
    proof: Mutex<Option<Vec<u8>>>,
}

impl Assignment {
    /// A job that this server gave.
    #[must_use]
    pub fn new(claimed: ClaimedJob, server: Arc<Server>) -> Self {
        Self { claimed, server, proof: Mutex::new(None) }
    }

    /// Runs the job, and reports its outcome. Returns the circuit, if this prover does not have what it needs. `abandon` is
    /// cancelled when the prover waits no longer for its jobs.
    pub async fn run(
        self: Arc<Self>,
        tools: &Tools,
        renewal: Renewal,
        abandon: &CancellationToken,
        supervisor: &Supervisor,
    ) -> Option<CircuitId> {
        let Ok(Some(job)) = self.job() else {
            tracing::error!(job = %self.claimed.id, "the server gave a job without a witness");
            self.report(WorkOutcome::Released, None, supervisor.stop_token()).await;
            return None;
        };
        let attempt = Arc::new(Attempt::new(job.id, None, Box::new(|| UnixMillis(0)), Box::new(|_| ())));
        let ended = CancellationToken::new();
        let _ended = ended.clone().drop_guard();
        let (renewed, lease) = (Arc::clone(&attempt), Arc::clone(&self));
        supervisor.spawn("renew a lease", async move {
            ended.run_until_cancelled(renewed.keep_lease(lease.as_ref(), renewal)).await;
        });
        let (circuits, proofs) = (Arc::clone(&tools.circuits), tools.proofs.clone());
        let files = Arc::clone(&self) as Arc<dyn JobFiles>;
        let prove = Prove::new(circuits, (proofs, None), tools.spool.clone(), files, true);
        let span = prove.span(&job);
        async {
            tracing::info!(job = %job.id, subject = job.subject, "job started");
            let Some(outcome) = attempt.run(prove.run(&job, &attempt), abandon).await else {
                tracing::warn!(job = %job.id, "the lease was lost; the result is discarded");
                return None;
            };
            let (outcome, failed) = self.outcome(&job, outcome);
            self.report(outcome, Some(&attempt), supervisor.stop_token()).await;
            failed
        }
        .instrument(span)
        .await
    }

    /// The job as its kind runs it. `None`: it has no witness.
    fn job(&self) -> Result<Option<Job>, EncodeError> {
        let ClaimedJob { id, priority, witnesses, timeout_ms, request_id, trace, .. } = &self.claimed;
        let mut descriptors = witnesses.iter().map(descriptor);
        let Some(first) = descriptors.next() else { return Ok(None) };
        let (subject, version) = (first.circuit.to_string(), first.version.clone());
        let payload = Payload {
            first,
            smaller: descriptors.collect(),
            requested: None,
            cache: CachePolicy::OFF,
            timeout_ms: *timeout_ms,
            received: None,
            request_id: request_id.clone(),
            trace: trace.clone(),
            voucher: None,
            // The claimed witness is open; whether it came sealed matters for receipts only, and none is signed here.
            sealed: false,
        };
        let new = NewJob {
            id: *id,
            kind: KIND.to_owned(),
            subject,
            version,
            owner: ANONYMOUS.to_owned(),
            account: String::new(),
            priority: *priority,
            max_attempts: 1,
            idempotency: None,
            payload: encode_payload(&payload)?,
            input: None,
        };
        Ok(Some(new.arrive(0, UnixMillis(0), OrderKey { rank: Rank(0), turn: Turn(0) })))
    }

    /// The outcome for the server, and the circuit if this prover does not have what it needs.
    fn outcome(&self, job: &Job, outcome: JobOutcome) -> (WorkOutcome, Option<CircuitId>) {
        match outcome {
            JobOutcome::Released => (WorkOutcome::Released, None),
            JobOutcome::Completed { report, .. } => {
                let report = serde_json::from_value::<ProofReport>(report);
                let proof = self.proof.lock().take();
                let (Ok(report), Some(proof)) = (report, proof) else {
                    tracing::error!(job = %job.id, "a completed job has no proof");
                    return (WorkOutcome::Released, None);
                };
                let proved = report.fallback.as_ref().map(|fallback| &fallback.circuit);
                let place =
                    |circuit: &CircuitId| self.claimed.witnesses.iter().position(|of| of.circuit == *circuit);
                let completed = WorkOutcome::Completed {
                    witness: proved.and_then(place).unwrap_or_default(),
                    proof: STANDARD.encode(proof),
                    public_inputs: report.public_inputs,
                    timings: report.timings,
                    cost: report.cost,
                };
                (completed, None)
            }
            JobOutcome::Failed(problem) | JobOutcome::Retry(problem) => {
                let code = problem.code.known().unwrap_or(ProblemType::Internal);
                let failed = is_of_this_prover(code).then(|| job.subject.parse().ok()).flatten();
                (WorkOutcome::Failed { code, detail: problem.detail }, failed)
            }
        }
    }

    /// Reports the outcome until the server has it, or answers that the lease is lost.
    async fn report(&self, outcome: WorkOutcome, attempt: Option<&Attempt>, stop: &CancellationToken) {
        let id = self.claimed.id;
        let request = OutcomeRequest { lease: self.claimed.lease.clone(), outcome };
        let mut backoff = Backoff::default();
        let reporting = async {
            loop {
                match self.server.outcome(id, &request).await {
                    Ok(answer) => {
                        tracing::info!(job = %id, status = %answer.status, "job reported");
                        return;
                    }
                    Err(error) if error.may_succeed_later() => {
                        tracing::warn!(job = %id, error = %edgeprove_telemetry::chain(&error), "the outcome of a job could not be reported");
                        backoff.pause_after(error.retry_after()).await;
                    }
                    Err(error) => {
                        tracing::error!(job = %id, error = %edgeprove_telemetry::chain(&error), "the server did not accept the outcome of a job");
                        return;
                    }
                }
            }
        };
        let lost = async {
            match attempt {
                // A caller that cancels a proved job changes nothing any more.
                Some(attempt) => attempt.lease_lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reported = tokio::time::timeout(REPORT_MAX, reporting) => {
                if reported.is_err() {
                    tracing::error!(job = %id, "the outcome of a job could not be reported for too long");
                }
            }
            () = lost => tracing::warn!(job = %id, "the lease was lost at the end; the result is discarded"),
            () = stop.cancelled() => {}
        }
    }

    async fn beat(&self, stage: Option<&str>) -> Result<LeaseStatus, LeaseError> {
        let (lease, stage) = (self.claimed.lease.clone(), stage.map(str::to_owned));
        match self.server.heartbeat(self.claimed.id, &HeartbeatRequest { lease, stage }).await {
            Ok(answer) if answer.cancel_requested => Ok(LeaseStatus::CancelRequested),
            Ok(_) => Ok(LeaseStatus::Held),
            Err(error) if error.problem() == Some(ProblemType::LeaseLost) => Ok(LeaseStatus::Lost),
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl Lease for Assignment {
    async fn renew(&self) -> Result<LeaseStatus, LeaseError> {
        self.beat(None).await
    }

    async fn report_stage(&self, stage: &StageReport) -> Result<LeaseStatus, LeaseError> {
        self.beat(Some(stage.name)).await
    }
}

#[async_trait]
impl JobFiles for Assignment {
    async fn fetch(&self, _: &Job, spool: &Spool, cuts: &[u64]) -> Result<Vec<SpoolFile>, FileError> {
        let total: u64 = self.claimed.witnesses.iter().map(|witness| witness.compressed_bytes).sum();
        let mut body =
            self.server.witness(self.claimed.id, &self.claimed.lease).await.map_err(request_error)?;
        let spooled = |error: edgeprove_spool::SpoolError| FileError {
            kind: ProblemType::SpoolUnavailable,
            detail: "the prover has no place for the witness".to_owned(),
            is_outage: true,
            source: error.into(),
        };
        let (mut files, mut cuts) = (vec![spool.create().map_err(spooled)?], cuts.iter().copied().peekable());
        let mut received = 0_u64;
        while let Some(mut piece) = body.next().await.map_err(request_error)? {
            if received + piece.len() as u64 > total {
                return Err(wrong_length());
            }
            while !piece.is_empty() {
                while cuts.next_if(|cut| *cut <= received).is_some() {
                    files.push(spool.create().map_err(spooled)?);
                }
                let left = cuts.peek().map_or(u64::MAX, |cut| cut - received);
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                let part = piece.split_to(length);
                received += part.len() as u64;
                if let Some(file) = files.last_mut() {
                    file.append(part).await.map_err(spooled)?;
                }
            }
        }
        if received == total { Ok(files) } else { Err(wrong_length()) }
    }

    async fn store(&self, _: &Job, proof: &[u8]) -> Result<String, FileError> {
        *self.proof.lock() = Some(proof.to_vec());
        Ok(String::new())
    }

    fn are_checked(&self) -> bool {
        // A witness that is none could make bb take all memory.
        false
    }
}

/// A witness that ends early or goes on: the connection broke, or the server is not what it should be.
fn wrong_length() -> FileError {
    FileError {
        kind: ProblemType::ArtifactUnavailable,
        detail: "the witness did not arrive whole at the prover".to_owned(),
        is_outage: true,
        source: "the witness has another length than described".into(),
    }
}

fn request_error(error: RequestError) -> FileError {
    FileError {
        kind: error.problem().unwrap_or(ProblemType::ArtifactUnavailable),
        detail: "the witness could not be fetched by the prover".to_owned(),
        is_outage: error.may_succeed_later(),
        source: error.into(),
    }
}

fn descriptor(of: &WorkWitness) -> WitnessDescriptor {
    WitnessDescriptor {
        circuit: of.circuit.clone(),
        version: of.version.clone(),
        target: of.target,
        compressed_bytes: of.compressed_bytes,
        decompressed_bytes: of.decompressed_bytes,
    }
}
