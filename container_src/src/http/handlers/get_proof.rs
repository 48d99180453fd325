//! `GET /v1/proofs/{id}/proof`: the proof of a job, as `POST /api/prove` would return it.

use std::time::Duration;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use edgeprove_artifacts::ArtifactKind;
use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{JobStatus, ProblemType, headers};
use http::{HeaderMap, Method};

use crate::{
    access::Caller,
    http::{
        api_error::ApiError,
        extract::{AnswerFormat, JobPath},
        job_response::{current_document, usable_job},
        proof_response::{ProofResponse, proof_response},
        request_id::request_id_of,
        state::AppState,
    },
    jobs::{
        Jobs,
        job_kinds::proof_payload::{Payload, ProofReport},
    },
};

/// Maximum size of a stored proof, in bytes.
const PROOF_MAX_BYTES: usize = 16 << 20;
/// `Retry-After` where nothing is known about such jobs.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// 1. The caller may see the job (401, 404, 429).
/// 2. The job has completed: 409 before, 410 where it was cancelled or has expired, its own problem where it failed.
/// 3. The proof is read (503), and its delivery is written to the audit log (503). HEAD delivers nothing.
/// 4. 200 with bytes, JSON or a tar file, by `Accept`. A tar file needs the verification key (503).
pub async fn get_proof(
    State(app): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    method: Method,
    map: HeaderMap,
) -> Result<Response, ApiError> {
    let job = usable_job(&app, &caller, id).await?;
    let format = AnswerFormat::from_headers(&map);
    if method == Method::HEAD && job.status == JobStatus::Completed {
        let mut response = proof_response(&completed_proof(&app, &job, format).await?, format);
        // These show a part of a proof that the audit log does not have as fetched.
        for name in [headers::PUBLIC_INPUTS, headers::PROOF_HASH, headers::RECEIPT] {
            response.headers_mut().remove(name);
        }
        return Ok(response);
    }
    finished_job(&app, &job, &caller, &request_id_of(&map), format).await
}

/// The answer for a finished job: its proof, or why there is none.
pub async fn finished_job(
    app: &AppState,
    job: &Job,
    caller: &Caller,
    request_id: &str,
    format: AnswerFormat,
) -> Result<Response, ApiError> {
    require_completed(app, job).await?;
    let proof = completed_proof(app, job, format).await?;
    app.jobs()?.recorder.fetched(job, caller, request_id.to_owned()).await?;
    Ok(proof_response(&proof, format))
}

/// Fails if a job has no proof, with the reason.
pub(super) async fn require_completed(app: &AppState, job: &Job) -> Result<(), ApiError> {
    let jobs = app.jobs()?;
    match job.status {
        JobStatus::Queued | JobStatus::Running => {
            let document = current_document(jobs, job.clone()).await?;
            let wait = document.estimated_remaining_ms.map_or(RETRY_AFTER, Duration::from_millis);
            Err(ApiError::new(ProblemType::ProofNotReady, format!("the job is {}", job.status)).after(wait))
        }
        JobStatus::Completed => Ok(()),
        JobStatus::Failed => {
            let missing = || ApiError::new(ProblemType::StoredDataDamaged, "the failed job has no problem");
            Err(job.problem()?.map_or_else(missing, ApiError::stored))
        }
        JobStatus::Cancelled => Err(ApiError::new(ProblemType::JobCancelled, "the job was cancelled")),
        JobStatus::Expired => Err(ApiError::expired()),
    }
}

/// The proof of a completed job, with all that the format needs.
async fn completed_proof(app: &AppState, job: &Job, format: AnswerFormat) -> Result<ProofResponse, ApiError> {
    let mut proof = stored_proof(app.jobs()?, job).await?;
    if format == AnswerFormat::Tar {
        proof.vk = stored_key(app, job, &proof).await?;
    }
    Ok(proof)
}

/// The proof of a completed job, without the verification key.
pub(super) async fn stored_proof(jobs: &Jobs, job: &Job) -> Result<ProofResponse, ApiError> {
    let missing = || ApiError::new(ProblemType::StoredDataDamaged, "the stored proof is missing");
    let name = job.result.as_deref().and_then(|name| name.parse().ok()).ok_or_else(missing)?;
    let (report, payload) = (ProofReport::of(job)?, Payload::of(job)?);
    let proof = jobs.store.artifacts.read(&name, ArtifactKind::Proof, PROOF_MAX_BYTES).await?;
    let is_fallback = report.fallback_circuit(&payload).is_some();
    let fallback_from = is_fallback.then(|| payload.requested_circuit().clone());
    let proved = report.fallback.unwrap_or(payload.first);
    Ok(ProofResponse {
        vk: Bytes::new(),
        proof,
        public_inputs: report.public_inputs,
        circuit: proved.circuit,
        target: proved.target,
        vk_hash: report.vk_hash,
        verified: report.verified,
        cached: report.cached,
        fallback_from,
        timings: report.timings,
        cost: report.cost,
        receipt: report.receipt,
        request_id: payload.request_id,
    })
}

/// The verification key of a stored proof: of the loaded circuit or, where that has changed, of its version in the cache.
async fn stored_key(app: &AppState, job: &Job, proof: &ProofResponse) -> Result<Bytes, ApiError> {
    let (report, payload) = (ProofReport::of(job)?, Payload::of(job)?);
    let version = report.fallback.unwrap_or(payload.first).version;
    let loaded = app.circuits.find(Some(&proof.circuit)).await.ok();
    let loaded = loaded.and_then(|circuit| {
        let key = circuit.ready_key(proof.target)?;
        Some((key.vk_hash, key.circuit.vk.clone()))
    });
    let cached = || {
        let program_sha256 = hex::decode(&version).ok()?.try_into().ok()?;
        let material = app.engine.proving.keys().cache.get(&program_sha256, proof.target)?;
        Some((material.key.vk_hash, material.key.vk))
    };
    let is_right = |(hash, _): &([u8; 32], Bytes)| hex::encode(hash) == proof.vk_hash;
    let found = loaded.filter(is_right).or_else(|| cached().filter(is_right));
    found.map(|(_, vk)| vk).ok_or_else(|| {
        let detail =
            "this server no longer has the verification key of this proof: fetch it as bytes or JSON instead";
        ApiError::new(ProblemType::CircuitUnavailable, detail)
    })
}
