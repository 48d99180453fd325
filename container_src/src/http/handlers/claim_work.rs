//! `POST /v1/work/claims`: claims proof jobs for a prover that pulls, and waits until there is one.
//!
//! 1. The caller is a prover (401, 403), and within its rate (429). The server accepts work (503).
//! 2. The body arrives, and is of the right form and size (400, 408, 413, 415, 503). The versions of the prover are those of
//!    the server (400).
//! 3. 200 with as many jobs as there are and as the prover takes; with none if there is none in time, or too many claims wait
//!    already. A job whose prover has left meanwhile is released.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Json,
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use edgeprove_job_queue::long_poll::WaitingClaim;
use edgeprove_job_rules::{job::Job, lease::pull_holder};
use edgeprove_protocol::{
    ProblemType, ProofSystem,
    work::{
        CIRCUITS_MAX, CLAIM_MAX, ClaimAnswer, ClaimRequest, PROTOCOL, PROTOCOL_MIN, WAIT_MAX_S,
        WORKER_MAX_BYTES, is_worker_name,
    },
};
use hyper::body::{Frame, SizeHint};
use serde::Deserialize;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    http::{
        api_error::ApiError,
        job_response::no_store,
        request_body::RequestBody,
        state::{AppState, NotReady},
        work_request::{key_name, prover, receive, split},
    },
    jobs::Jobs,
};

/// The largest body, in bytes: 4,096 circuits.
const BODY_MAX_BYTES: u64 = 1 << 20;
/// The share of the request timeout that a claim may wait.
const WAIT_SHARE: f64 = 0.5;

/// The part of a claim that every version has.
#[derive(Debug, Deserialize)]
struct Protocol {
    protocol: u32,
}

/// Jobs on their way to their prover. They are released if they do not arrive.
struct Delivery {
    jobs: Vec<Job>,
    app: AppState,
}

/// A body that is delivered when it is read.
struct DeliveredBody {
    body: Body,
    delivery: Delivery,
}

/// See the module.
pub async fn claim(State(app): State<AppState>, request: Request) -> Response {
    let (mut parts, mut body) = split(request);
    match answer(&app, &mut parts, &mut body).await {
        Ok(response) => no_store(response),
        Err(error) => {
            body.discard(&app.lifecycle.supervisor);
            error.into_response()
        }
    }
}

async fn answer(
    app: &AppState,
    parts: &mut http::request::Parts,
    body: &mut RequestBody,
) -> Result<Response, ApiError> {
    let caller = prover(app, parts).await?;
    app.access.count(&caller)?;
    if let Some(reason) = app.lifecycle.refusal() {
        return Err(NotReady::Lifecycle(reason).into());
    }
    let jobs = Arc::clone(app.jobs()?);
    let account = caller.share_account().into_owned();
    // First the version alone: a body of another one may have another form.
    let json: serde_json::Value = receive(app, &account, parts, body, BODY_MAX_BYTES).await?;
    let invalid = |error: serde_json::Error| {
        let detail = format!("the body is not a claim: {error}; docs/WORKERS.md has its form");
        ApiError::new(ProblemType::InvalidRequest, detail)
    };
    let Protocol { protocol } = Protocol::deserialize(&json).map_err(invalid)?;
    if !(PROTOCOL_MIN..=PROTOCOL).contains(&protocol) {
        let detail = format!(
            "this server is version {} and speaks version {PROTOCOL_MIN} to {PROTOCOL} of the protocol of provers that pull, \
             and the prover speaks version {protocol}: install the same version of edgeprove at both",
            env!("CARGO_PKG_VERSION")
        );
        return Err(ApiError::new(ProblemType::ProverVersionMismatch, detail));
    }
    let claim = ClaimRequest::deserialize(json).map_err(invalid)?;
    check(app, &claim)?;
    let wait = Duration::from_secs(claim.wait_s.min(WAIT_MAX_S).into());
    let wait = wait.min(app.options.other_request_timeout.mul_f64(WAIT_SHARE));
    let permit = jobs.pull.wait_permit(account);
    let until = Instant::now() + if permit.is_some() { wait } else { Duration::ZERO };
    let holder = pull_holder(key_name(&caller), &claim.worker.name);
    let delivery = Delivery {
        jobs: claim_in_task(app, Arc::clone(&jobs), claim, holder, until).await?,
        app: Arc::clone(app),
    };
    drop(permit);
    let mut claimed = Vec::new();
    for job in &delivery.jobs {
        match jobs.claimed(job) {
            Ok(job) => claimed.push(job),
            Err(error) => jobs.fail_damaged(job, &error).await,
        }
    }
    let lease = jobs.store.queue.rules().lease;
    let answer = ClaimAnswer {
        protocol: PROTOCOL,
        lease_ms: edgeprove_telemetry::millis(lease.length),
        heartbeat_ms: edgeprove_telemetry::millis(lease.heartbeat_every()),
        jobs: claimed,
    };
    Ok(Json(answer).into_response().map(|body| Body::new(DeliveredBody { body, delivery })))
}

fn check(app: &AppState, claim: &ClaimRequest) -> Result<(), ApiError> {
    let invalid = |detail: String| Err(ApiError::new(ProblemType::InvalidRequest, detail));
    if !is_worker_name(&claim.worker.name) {
        return invalid(format!("`worker.name` must have 1 to {WORKER_MAX_BYTES} of A-Z a-z 0-9 - _ ."));
    }
    if !(1..=CLAIM_MAX).contains(&claim.max) {
        return invalid(format!("`max` must be 1 to {CLAIM_MAX} (got {})", claim.max));
    }
    if claim.circuits.len().max(claim.except.len()) > CIRCUITS_MAX {
        return invalid(format!("`circuits` and `except` must have at most {CIRCUITS_MAX} entries each"));
    }
    // A proof of another version would not verify here.
    for system in ProofSystem::ALL {
        let own = app.engine.proving.backend().identity(system);
        let other = claim.worker.backends.iter().find(|other| other.name == own.program);
        if let Some(other) = other.filter(|other| other.version != own.version) {
            let detail = format!(
                "this server proves with {} {}, and the prover with version {}: install the same version of edgeprove, with \
                 its {}, at both",
                own.program,
                own.version,
                shown(&other.version),
                own.program
            );
            return Err(ApiError::new(ProblemType::ProverVersionMismatch, detail));
        }
    }
    Ok(())
}

/// The beginning of a version, for a message.
fn shown(version: &str) -> String {
    version.chars().filter(|character| !character.is_control()).take(40).collect()
}

/// Claims in a task of its own, which a caller that leaves does not interrupt between the claim and its record.
async fn claim_in_task(
    app: &AppState,
    jobs: Arc<Jobs>,
    claim: ClaimRequest,
    holder: String,
    until: Instant,
) -> Result<Vec<Job>, ApiError> {
    let (sender, receiver) = oneshot::channel();
    let stop = app.lifecycle.draining().child_token();
    // A caller that leaves drops this future, and waits no longer.
    let _leaves = stop.clone().drop_guard();
    app.lifecycle.supervisor.spawn("claim for a prover", async move {
        let capabilities = [jobs.capability_of(&claim)];
        let waiting = WaitingClaim { holder: &holder, capabilities: &capabilities, max: claim.max, until };
        let claimed = jobs.pull(waiting, &stop).await;
        if let Err(Ok(undelivered)) = sender.send(claimed) {
            jobs.give_back(undelivered).await;
        }
    });
    let claimed = receiver.await.map_err(|_| NotReady::Lifecycle("the server is shutting down"))?;
    Ok(claimed?)
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let jobs = std::mem::take(&mut self.jobs);
        if jobs.is_empty() {
            return;
        }
        let app = Arc::clone(&self.app);
        self.app.lifecycle.supervisor.spawn("give claimed jobs back", async move {
            if let Ok(all) = app.jobs() {
                all.give_back(jobs).await;
            }
        });
    }
}

impl HttpBody for DeliveredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = Pin::new(&mut self.body).poll_frame(context);
        if matches!(next, Poll::Ready(_)) {
            // Whoever reads the body writes it to the connection.
            self.delivery.jobs.clear();
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
