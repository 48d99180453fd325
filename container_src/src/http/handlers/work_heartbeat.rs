//! `POST /v1/work/{job}/heartbeat`: renews the lease of a claimed job, and reports the stage of the attempt.
//!
//! 1. The caller is a prover (401, 403).
//! 2. The body arrives, and is of the right form and size (400, 408, 413, 415, 503).
//! 3. The caller has the lease of the job (404, 409). 200, also while the server starts or shuts down.

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use edgeprove_protocol::{
    ProblemType,
    work::{HeartbeatAnswer, HeartbeatRequest},
};

use crate::{
    http::{
        api_error::ApiError,
        job_response::no_store,
        request_body::RequestBody,
        state::AppState,
        work_request::{job_of_prover, receive, split},
    },
    jobs::pull::stage,
};

/// The largest body, in bytes.
const BODY_MAX_BYTES: u64 = 4 << 10;

/// See the module.
pub async fn heartbeat(State(app): State<AppState>, request: Request) -> Response {
    let (mut parts, mut body) = split(request);
    match answer(&app, &mut parts, &mut body).await {
        Ok(answer) => no_store(Json(answer).into_response()),
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
) -> Result<HeartbeatAnswer, ApiError> {
    let id = job_of_prover(app, parts).await?;
    let jobs = app.jobs()?;
    let account = id.to_string();
    let HeartbeatRequest { lease, stage: name } = receive(app, &account, parts, body, BODY_MAX_BYTES).await?;
    let known = name.map(|name| {
        let detail = "`stage` must be loading, waiting, proving or verifying";
        stage(&name).ok_or_else(|| ApiError::new(ProblemType::InvalidRequest, detail))
    });
    let cancel_requested = jobs.renew_pulled(id, &lease, known.transpose()?).await?;
    Ok(HeartbeatAnswer { cancel_requested })
}
