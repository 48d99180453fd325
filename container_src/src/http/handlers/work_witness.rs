//! `GET /v1/work/{job}/witness`: the witness of a claimed job, for the prover that has it.
//!
//! 1. The caller is a prover (401, 403). It has the lease of the job (400, 404, 409).
//! 2. 200 with the witnesses of the job, one after the other. They are decrypted while they are sent, and the connection breaks
//!    where the stored bytes turn out to be damaged. 503 where they cannot be read.

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use edgeprove_artifacts::{ArtifactError, ArtifactKind};
use edgeprove_protocol::{ProblemType, headers, work::LeaseSecret};
use futures_util::stream;
use http::{HeaderValue, header};

use crate::{
    http::{
        api_error::ApiError,
        job_response::no_store,
        single_header,
        state::AppState,
        work_request::{job_of_prover, split},
    },
    jobs::{
        job_kinds::proof_payload::Payload,
        pull::{LeaseFault, Leased},
    },
};

/// See the module.
pub async fn witness(State(app): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, _) = split(request);
    let id = job_of_prover(&app, &mut parts).await?;
    let jobs = app.jobs()?;
    let secret = single_header::text(&parts.headers, headers::LEASE)?;
    let secret = secret
        .ok_or_else(|| ApiError::new(ProblemType::InvalidRequest, "send the lease of the job as X-Lease"))?;
    let Leased::Held(job) = jobs.leased(id, &LeaseSecret(secret.to_owned())).await? else {
        return Err(LeaseFault::Lost.into());
    };
    let bytes: u64 = Payload::of(&job)?.witnesses().map(|witness| witness.compressed_bytes).sum();
    let name = job.input.as_deref().and_then(|name| name.parse().ok());
    let name = name.ok_or_else(|| ApiError::new(ProblemType::StoredDataDamaged, "the job has no witness"))?;
    let reader = jobs.store.artifacts.reader(&name, ArtifactKind::Witness).await?;
    let pieces = stream::try_unfold(reader, |mut reader| async move {
        let piece = reader.next().await.inspect_err(|error: &ArtifactError| {
            tracing::error!(error = %edgeprove_telemetry::chain(error), "a witness could not be read for a prover");
        })?;
        Ok::<_, ArtifactError>(piece.map(|piece| (piece, reader)))
    });
    let mut response = Body::from_stream(pieces).into_response();
    let map = response.headers_mut();
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    map.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    Ok(no_store(response))
}
