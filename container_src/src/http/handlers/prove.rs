//! `POST /api/prove` and `POST /api/prove/{circuit}`: a gzipped witness, or inputs as JSON, becomes a verified proof while
//! its caller waits.
//!
//! 1. The head of the request passes [`AdmittedRequest::check`].
//! 2. A proof of this circuit can meet the deadline, and the time limit of the caller (503).
//! 3. The body is streamed to the spool and checked while it arrives (400, 408, 413, 503). Of inputs, which arrived in
//!    step 1, the witness is computed (422, 503, 504).
//! 4. The witness fits the circuit's shape (400, 422).
//! 5. Of a page's voucher a use is counted (403), which is given back where the server fails.
//! 6. It is proved and verified (422, 500, 503, 504), and the outcome is written to the audit log (503).
//! 7. The witness file is wiped, as on every other way out, and the receipt is signed.
//! 8. 200 with the proof.

use std::time::Instant;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use edgeprove_engine::{
    proof_service::{ProofAccount, ProofRequest, WhenBusy},
    proving::Urgency,
};
use edgeprove_job_rules::audit::{Action, Entry};
use edgeprove_protocol::HasProblemType as _;
use edgeprove_telemetry::metrics::{self, TimedStage};
use http::request::Parts;

use crate::{
    access::Work,
    http::{
        admitted_request::AdmittedRequest,
        api_error::ApiError,
        callback, milliseconds,
        proof_response::{ProofResponse, proof_response},
        request_body::RequestBody,
        state::AppState,
        upload,
    },
    receipts::{self, Subject},
};

/// Proves while the caller waits. See the module.
pub async fn prove(app: &AppState, request: Request) -> Response {
    let arrived = Instant::now();
    let (mut parts, body) = request.into_parts();
    let mut body = RequestBody::new(&parts, body);
    match try_prove(app, &mut parts, &mut body, arrived).await {
        Ok(response) => response,
        Err(error) => {
            body.discard(&app.lifecycle.supervisor);
            error.into_response()
        }
    }
}

async fn try_prove(
    app: &AppState,
    parts: &mut Parts,
    body: &mut RequestBody,
    arrived: Instant,
) -> Result<Response, ApiError> {
    let accepted_at = receipts::now();
    callback::refuse(&parts.headers)?;
    let mut request = AdmittedRequest::check(app, parts, body, Work::Waited).await?;
    let proof = open_proof(app, &request);
    if let Err(error) = check_deadline(app, &request) {
        proof.fail(error.kind).await;
        return Err(error);
    }
    let candidates = match upload::receive(app, &mut request, parts, body).await {
        Ok(candidates) => candidates,
        Err(error) => {
            proof.fail(error.kind).await;
            return Err(error);
        }
    };
    let uploaded = arrived.elapsed();
    let uses = request.caller.voucher().map(|voucher| app.vouchers.uses_of(voucher));
    if let Some(uses) = &uses
        && let Err(error) = uses.take().await
    {
        proof.fail(error.kind()).await;
        return Err(error.into());
    }
    let account = request.caller.share_account();
    let wanted = ProofRequest {
        tenant: Some(request.caller.tenant()),
        cache: request.cache,
        urgency: Urgency { account: Some(&account), priority: request.priority, since: None },
        timeout: request.limits.timeout,
        when_busy: WhenBusy::Refuse,
    };
    let proved = proof.prove(candidates, wanted, &|_| {}).await.map_err(ApiError::from);
    if let (Err(error), Some(uses)) = (&proved, &uses)
        && error.status().is_server_error()
    {
        // A page pays for its own faults only.
        uses.give_back().await;
    }
    let mut completed = proved?;
    // Before the wait for the wipe, in which the caller may leave.
    request.grant.spend();
    let subject = Subject { request_id: &request.id, accepted_at, sealed: request.sealed };
    let receipt = app.receipts.sign(&mut completed, subject).await;
    let timings = &mut completed.result.timings;
    timings.upload_ms = milliseconds(uploaded);
    timings.total_ms = milliseconds(arrived.elapsed());
    if !completed.result.cached {
        metrics::record_stage(&completed.circuit.id, TimedStage::Upload, uploaded);
        metrics::record_stage(&completed.circuit.id, TimedStage::Total, arrived.elapsed());
    }
    let response = ProofResponse { receipt, ..ProofResponse::of(&completed, &request.id) };
    Ok(proof_response(&response, request.format))
}

/// Opens the account of the proof: whichever way the request ends, it is counted once and written to the audit log once.
fn open_proof(app: &AppState, request: &AdmittedRequest) -> ProofAccount {
    let entry = Entry {
        circuit: Some(request.requested.clone()),
        request_id: Some(request.id.clone()),
        voucher: request.caller.voucher().map(|voucher| voucher.id.clone()),
        ..app.audit.entry(request.caller.actor(), Action::ProofSynchronous)
    };
    let proof = app.proofs.open(&request.circuit, request.target(), request.priority, Some(entry));
    proof.requested_as(&request.requested)
}

fn check_deadline(app: &AppState, request: &AdmittedRequest) -> Result<(), ApiError> {
    request.check_timeout(app)?;
    let Some(deadline) = request.deadline else { return Ok(()) };
    ApiError::check_in_time(app.proofs.recent_estimate(&request.circuit.id), "X-Deadline", deadline)
}
