//! `POST /api/prove` and `POST /api/prove/{circuit}`: a gzipped witness goes in, a verified proof comes out.
//!
//! 0. The caller is known (401), may ask for this priority (400, 403), and has not asked for too much (429).
//! 1. The head is looked at: content type (415), query (400), circuit (404, 503), readiness (503).
//! 2. The body is streamed to the spool and checked while it arrives (400, 408, 413, 503).
//! 3. The spooled witness is held against the circuit's shape (400, 422).
//! 4. It is proved and verified (422, 500, 503, 504).
//! 5. That is put on record (503), whatever came of it.
//! 6. The proof is answered, and the spool file is wiped, as on every other way out of here.

use std::{fmt::Write, sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{FromRequestParts, Request, State},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use edgeprove_pipeline::audit::{Action, Entry, Outcome};
use edgeprove_protocol::{
    VerifierTarget,
    answer::{PROOF_MEDIA_TYPE, ProofAnswer, Timings},
    headers,
    limits::PUBLIC_INPUTS_HEADER_MAX,
};
use http::{HeaderName, HeaderValue, header, request::Parts};

use crate::{
    circuits::Circuit,
    http::{
        api_error::ApiError,
        body::Incoming,
        caller::priority,
        extract::{AnswerFormat, NamedCircuit, Wish, check_content_type, declared_length},
        middleware::request_id,
        state::AppState,
    },
    proving::{Proved, milliseconds},
    trust::access::{Caller, Work},
    witness::intake,
};

/// See the module.
pub async fn prove(State(app): State<AppState>, request: Request) -> Response {
    let arrived = Instant::now();
    let id = request_id(&request);
    let (mut parts, body) = request.into_parts();
    let mut upload = Incoming::new(&parts, body);
    match answer(&app, &mut parts, &mut upload, arrived, &id).await {
        Ok(response) => response,
        Err(error) => {
            upload.read_to_the_end(&app.supervisor);
            error.into_response()
        }
    }
}

async fn answer(
    app: &AppState,
    parts: &mut Parts,
    body: &mut Incoming,
    arrived: Instant,
    id: &str,
) -> Result<Response, ApiError> {
    let caller = Caller::from_request_parts(parts, app).await?;
    priority(app, &caller, parts)?;
    let grant = app.access.admit(&caller, Work::Waited)?;

    check_content_type(&parts.headers)?;
    let format = AnswerFormat::from_headers(&parts.headers);
    let wish = Wish::from_request_parts(parts, app).await?;
    let NamedCircuit(name) = NamedCircuit::from_request_parts(parts, app).await?;
    let circuit = app.circuits.find(name.as_ref())?;
    // Taken before the look at the state, so that a shutdown either sees it or is seen.
    let _at_work = app.proofs_at_work.token();
    if let Some(why) = app.not_ready() {
        return Err(ApiError::not_ready(why));
    }
    if !app.audit.ready() {
        return Err(ApiError::off_the_record());
    }
    let target = wish.target.unwrap_or(circuit.target);

    let entry = app.audit.entry(caller.actor(), Action::ProofSynchronous);
    let (of, request_id) = (Some(circuit.id.clone()), Some(id.to_owned()));
    let record = app.audit.pending(Entry { circuit: of, request_id, ..entry });
    let proved = match proved(app, &circuit, target, parts, body, arrived).await {
        Ok(proved) => proved,
        Err(error) => {
            // What went wrong is told first; that it cannot be put on record is in the log.
            let _ = record.settle(Outcome::Failed(error.kind)).await;
            return Err(error);
        }
    };
    record.settle(Outcome::Ok).await?;
    grant.spend();
    Ok(match format {
        AnswerFormat::Bytes => bytes(&circuit, &proved),
        AnswerFormat::Json => json(&circuit, target, &proved, id),
    })
}

async fn proved(
    app: &AppState,
    circuit: &Arc<Circuit>,
    target: VerifierTarget,
    parts: &Parts,
    body: &mut Incoming,
    arrived: Instant,
) -> Result<Proved, ApiError> {
    let declared = declared_length(&parts.headers);
    let bound = Some(circuit.shape.inflated_bytes_max());
    let upload = intake::receive(&app.spool, &app.options.intake, declared, bound, body).await?;
    let upload = crate::witness::checked(upload, circuit.shape).await?;
    let uploaded = arrived.elapsed();

    let mut proved = app.proving.prove(circuit, target, &upload).await?;
    proved.timings.upload_ms = milliseconds(uploaded);
    proved.timings.total_ms = milliseconds(arrived.elapsed());
    Ok(proved)
}

fn bytes(circuit: &Circuit, proved: &Proved) -> Response {
    let proof = proved.parts.proof.as_flattened().to_vec();
    let media = (header::CONTENT_TYPE, HeaderValue::from_static(PROOF_MEDIA_TYPE));
    with_headers(([media], proof).into_response(), circuit, proved)
}

fn json(circuit: &Circuit, target: VerifierTarget, proved: &Proved, id: &str) -> Response {
    let answer = ProofAnswer {
        success: true,
        proof: STANDARD.encode(proved.parts.proof.as_flattened()),
        public_inputs: proved
            .parts
            .public_inputs
            .iter()
            .map(|field| format!("0x{}", hex::encode(field)))
            .collect(),
        circuit: circuit.id.clone(),
        target,
        vk_hash: format!("0x{}", hex::encode(proved.key.vk_hash)),
        verified: proved.verified,
        timings: proved.timings,
        request_id: id.to_owned(),
    };
    with_headers(Json(answer).into_response(), circuit, proved)
}

fn with_headers(mut response: Response, circuit: &Circuit, proved: &Proved) -> Response {
    let mut set = |name: &'static str, value: &str| {
        // Only hexadecimal digits, names and numbers are set here.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    };
    set(headers::CIRCUIT_ID, circuit.id.as_str());
    set(headers::VK_HASH, &hex::encode(proved.key.vk_hash));
    set(headers::VERIFIED, if proved.verified { "true" } else { "false" });
    set("server-timing", &server_timing(&proved.timings));
    set("cache-control", "no-store");
    let inputs: Vec<String> =
        proved.parts.public_inputs.iter().map(|field| format!("0x{}", hex::encode(field))).collect();
    let inputs = inputs.join(",");
    if inputs.len() <= PUBLIC_INPUTS_HEADER_MAX {
        set(headers::PUBLIC_INPUTS, &inputs);
    }
    response.extensions_mut().insert(proved.timings);
    response
}

fn server_timing(timings: &Timings) -> String {
    let mut value = String::new();
    let stages = [
        ("upload", timings.upload_ms),
        ("queue", timings.queue_ms),
        ("prove", timings.prove_ms),
        ("verify", timings.verify_ms),
        ("total", timings.total_ms),
    ];
    for (index, (stage, ms)) in stages.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(value, "{comma}{stage};dur={ms:.2}");
    }
    value
}
