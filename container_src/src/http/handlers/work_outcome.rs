//! `POST /v1/work/{job}/outcome`: ends the attempt of a prover at a claimed job.
//!
//! 1. The caller is a prover (401, 403).
//! 2. The body arrives, and is of the right form and size (400, 408, 413, 415, 503).
//! 3. The caller has the lease of the job (404, 409). Where the job has finished under this lease, 200 with its status: the
//!    same report has arrived before.
//! 4. The server verifies the proof, or judges the witness that does not satisfy its circuit. 422 where the report is not true:
//!    the attempt has failed. 503 where nothing is free to verify: the lease holds, and the prover tries again.
//! 5. 200 with the status of the job.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use edgeprove_artifacts::ArtifactKind;
use edgeprove_job_queue::{JobOutcome, QueueError};
use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{
    HasProblemType as _, JobStatus, Problem, ProblemType,
    answer::{Cost, Timings},
    work::{OutcomeAnswer, OutcomeRequest, WorkOutcome},
};
use edgeprove_telemetry::metrics::jobs::{self as metrics, PullEnd};
use tokio::sync::oneshot;

use crate::{
    http::{
        api_error::ApiError,
        job_response::no_store,
        request_body::RequestBody,
        state::{AppState, NotReady},
        work_request::{job_of_prover, receive, split},
    },
    jobs::{
        Jobs,
        job_kinds::proof_payload::{KIND, Payload, ProofReport},
        pull::{LeaseFault, Leased},
        pulled_proof::{ProofChecker, ReportError, ReportedProof},
    },
};

/// The largest body, in bytes: a proof with 4,096 public inputs, as `POST /v1/verify` takes it, and more.
const BODY_MAX_BYTES: u64 = 512 << 10;
/// Longest detail of a failure.
const DETAIL_MAX_CHARACTERS: usize = 500;

/// What is done with a report.
enum Decision {
    /// The attempt has this outcome.
    Outcome(JobOutcome, PullEnd),
    /// The attempt failed, because the report is not true.
    Rejected(JobOutcome, ReportError),
}

/// See the module.
pub async fn outcome(State(app): State<AppState>, request: Request) -> Response {
    // The shutdown waits for this request.
    let _work = app.lifecycle.admit();
    let (mut parts, mut body) = split(request);
    match answer(&app, &mut parts, &mut body).await {
        Ok(status) => no_store(Json(OutcomeAnswer { status }).into_response()),
        Err(error) => {
            if error.kind == ProblemType::LeaseLost {
                metrics::pull_ended(PullEnd::Lost);
            }
            body.discard(&app.lifecycle.supervisor);
            error.into_response()
        }
    }
}

async fn answer(
    app: &AppState,
    parts: &mut http::request::Parts,
    body: &mut RequestBody,
) -> Result<JobStatus, ApiError> {
    let id = job_of_prover(app, parts).await?;
    let jobs = app.jobs()?;
    let account = id.to_string();
    let OutcomeRequest { lease, outcome } = receive(app, &account, parts, body, BODY_MAX_BYTES).await?;
    let job = match jobs.leased(id, &lease).await? {
        Leased::Held(job) => *job,
        Leased::Finished(status) => return Ok(status),
    };
    let ended = match decide(app, jobs, &job, outcome).await? {
        Decision::Outcome(outcome, end) => end_in_task(app, jobs, &job, outcome, end).await?,
        Decision::Rejected(outcome, error) => {
            let holder = job.lease.as_ref().map(|lease| lease.holder.clone());
            tracing::error!(job = %job.id, holder, %error, "ALARM: the report of a prover is not true");
            end_in_task(app, jobs, &job, outcome, PullEnd::Rejected).await?;
            return Err(error.into());
        }
    };
    match ended {
        Some(status) => Ok(status),
        // The same report may have been faster on another connection.
        None => match jobs.leased(id, &lease).await? {
            Leased::Finished(status) => Ok(status),
            Leased::Held(_) => Err(LeaseFault::Lost.into()),
        },
    }
}

/// Decides what a report means.
async fn decide(app: &AppState, jobs: &Jobs, job: &Job, outcome: WorkOutcome) -> Result<Decision, ApiError> {
    let payload = Payload::of(job)?;
    let checker = ProofChecker { jobs, proving: &app.engine.proving, spool: &app.engine.spool };
    match outcome {
        WorkOutcome::Released => Ok(Decision::Outcome(JobOutcome::Released, PullEnd::Released)),
        WorkOutcome::Completed { witness, proof, public_inputs, timings, cost } => {
            let ran = ran(jobs, job);
            let (timings, cost) = (plausible(timings, ran), plausible_cost(cost, ran));
            let reported = ReportedProof { witness, proof, public_inputs, timings, cost };
            match checker.verify(job, &payload, reported).await {
                Ok((proof, report)) => completed(jobs, job, &proof, report).await,
                Err(error) => rejected(&payload, error),
            }
        }
        WorkOutcome::Failed { code: ProblemType::WitnessUnsatisfied, .. } => {
            match checker.judge(job, &payload).await {
                Ok(first) => {
                    let first = first.map_or_else(String::new, |first| format!(", first at {first}"));
                    let detail = format!("the witness does not satisfy the circuit's constraints{first}");
                    let problem = payload.problem(ProblemType::WitnessUnsatisfied, &detail);
                    Ok(Decision::Outcome(JobOutcome::Failed(Box::new(problem)), PullEnd::Failed))
                }
                Err(error) => rejected(&payload, error),
            }
        }
        WorkOutcome::Failed { code, detail } => {
            // Another prover may succeed. A job that none can prove has used up its attempts after some.
            let shown = detail.chars().filter(|character| !character.is_control());
            let detail: String = shown.take(DETAIL_MAX_CHARACTERS).collect();
            let problem = Problem { retryable: true, ..payload.problem(code, &detail) };
            Ok(Decision::Outcome(JobOutcome::Retry(Box::new(problem)), PullEnd::Failed))
        }
    }
}

/// The attempt of an untrue report has failed, and another prover may try. All other errors are those of this server.
fn rejected(payload: &Payload, error: ReportError) -> Result<Decision, ApiError> {
    if !matches!(error, ReportError::Untrue(_)) {
        return Err(error.into());
    }
    let problem = payload.problem(ProblemType::ProofRejected, &error.public_detail());
    Ok(Decision::Rejected(JobOutcome::Retry(Box::new(problem)), error))
}

async fn completed(jobs: &Jobs, job: &Job, proof: &[u8], report: ProofReport) -> Result<Decision, ApiError> {
    let work = report.work(&job.subject);
    let name = jobs.store.artifacts.put(ArtifactKind::Proof, proof).await?;
    let outcome = JobOutcome::completed(Some(name.to_string()), report).map_err(|error| {
        let cause = Some(edgeprove_telemetry::chain(&error).into());
        ApiError {
            cause,
            ..ApiError::new(ProblemType::Internal, "the report of a proof could not be stored")
        }
    })?;
    if let Some(work) = work {
        jobs.views().record(KIND, &work.subject, work.took);
    }
    Ok(Decision::Outcome(outcome, PullEnd::Completed))
}

/// Ends the attempt in a task of its own: a caller that leaves must not prevent its record in the audit log.
async fn end_in_task(
    app: &AppState,
    jobs: &Arc<Jobs>,
    job: &Job,
    outcome: JobOutcome,
    end: PullEnd,
) -> Result<Option<JobStatus>, ApiError> {
    let (sender, receiver) = oneshot::channel::<Result<Option<JobStatus>, QueueError>>();
    let (jobs, job) = (Arc::clone(jobs), job.clone());
    app.lifecycle.supervisor.spawn("end a job of a prover", async move {
        let ended = jobs.end_pulled(&job, &outcome).await;
        match (&ended, &outcome) {
            (Ok(Some(_)), _) => metrics::pull_ended(end),
            // Upkeep would find it later.
            (Ok(None), JobOutcome::Completed { result: Some(name), .. }) => {
                if let Ok(name) = name.parse() {
                    let _ = jobs.store.artifacts.delete(&name).await;
                }
            }
            (Ok(None) | Err(_), _) => {}
        }
        // The caller may have left.
        let _ = sender.send(ended);
    });
    let ended = receiver.await.map_err(|_| NotReady::Lifecycle("the server is shutting down"))?;
    Ok(ended?)
}

/// How long the attempt has run.
fn ran(jobs: &Jobs, job: &Job) -> Duration {
    let now = jobs.store.queue.approximate_now();
    job.started_at.map(|at| now.since(at)).unwrap_or_default()
}

/// No machine has more cores or more memory.
const CORES_MAX: f64 = 1024.0;
const MEMORY_MAX_BYTES: f64 = 16.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0;

/// The durations that a prover reports, none below 0 or longer than the whole attempt: estimates are made of them.
fn plausible(timings: Timings, ran: Duration) -> Timings {
    let max = ran.as_secs_f64() * 1000.0;
    let within = |ms: f64| if ms.is_finite() { ms.clamp(0.0, max) } else { 0.0 };
    Timings {
        upload_ms: 0.0,
        queue_ms: within(timings.queue_ms),
        prove_ms: within(timings.prove_ms),
        verify_ms: within(timings.verify_ms),
        total_ms: within(timings.total_ms),
    }
}

/// The cost that a prover reports; nothing where it is more than the attempt can have taken on the largest machine.
fn plausible_cost(cost: Cost, ran: Duration) -> Cost {
    let max = Cost::of(ran.as_secs_f64(), CORES_MAX, MEMORY_MAX_BYTES);
    let within =
        |value: f64, max: f64| if value.is_finite() && (0.0..=max).contains(&value) { value } else { 0.0 };
    Cost {
        vcpu_seconds: within(cost.vcpu_seconds, max.vcpu_seconds),
        gib_seconds: within(cost.gib_seconds, max.gib_seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_one_of_the_attempt() {
        let ran = Duration::from_secs(2);
        let cost = |vcpu_seconds, gib_seconds| plausible_cost(Cost { vcpu_seconds, gib_seconds }, ran);
        assert_eq!(cost(4.0, 0.5), Cost { vcpu_seconds: 4.0, gib_seconds: 0.5 });
        assert_eq!(cost(-1.0, f64::NAN), Cost::default());
        assert_eq!(cost(1e9, 1e9), Cost::default());
    }

    #[test]
    fn durations_are_not_longer_than_the_attempt() {
        let reported =
            Timings { upload_ms: 9.0, queue_ms: -1.0, prove_ms: 1e300, verify_ms: f64::NAN, total_ms: 500.0 };
        let seen = plausible(reported, Duration::from_secs(1));
        let expected =
            Timings { upload_ms: 0.0, queue_ms: 0.0, prove_ms: 1000.0, verify_ms: 0.0, total_ms: 500.0 };
        assert_eq!(seen, expected);
    }
}
