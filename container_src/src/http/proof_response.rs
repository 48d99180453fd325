//! A proof on its way out, made now or by a job.

use std::fmt::Write;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use edgeprove_protocol::{
    CircuitId, Target,
    answer::{PROOF_MEDIA_TYPE, ProofAnswer, Timings},
    headers,
    limits::PUBLIC_INPUTS_HEADER_MAX,
};
use http::{HeaderName, HeaderValue, header};

use super::extract::AnswerFormat;
use edgeprove_engine::{circuits::Circuit, proving::ProofResult};

/// A proof that was made, now or by a job, and what belongs to it.
#[derive(Debug, Clone)]
pub struct ProofResponse {
    /// Its bytes.
    pub proof: Vec<u8>,
    /// What it shows, `0x`-prefixed fields.
    pub public_inputs: Vec<String>,
    /// The circuit.
    pub circuit: CircuitId,
    /// Who is to verify it.
    pub target: Target,
    /// bb's hash of the verification key, 64 hexadecimal digits.
    pub vk_hash: String,
    /// Whether it was verified.
    pub verified: bool,
    /// Whether it had been made before.
    pub cached: bool,
    /// The circuit that was asked for, where this is a smaller one.
    pub fallback_from: Option<CircuitId>,
    /// Where the time went.
    pub timings: Timings,
    /// The request that handed the witness in.
    pub request_id: String,
}

impl ProofResponse {
    /// What belongs to a proof that was made for this request.
    #[must_use]
    pub fn of(circuit: &Circuit, target: Target, proved: &ProofResult, id: &str) -> Self {
        Self {
            proof: proved.parts.proof.as_flattened().to_vec(),
            public_inputs: proved.public_inputs(),
            circuit: circuit.id.clone(),
            target,
            vk_hash: proved.vk_hash(),
            verified: proved.verified,
            cached: proved.cached,
            fallback_from: None,
            timings: proved.timings,
            request_id: id.to_owned(),
        }
    }
}

/// The proof as its caller wants it.
#[must_use]
pub fn proof_response(made: &ProofResponse, format: AnswerFormat) -> Response {
    let mut response = match format {
        AnswerFormat::Bytes => {
            let media = (header::CONTENT_TYPE, HeaderValue::from_static(PROOF_MEDIA_TYPE));
            ([media], made.proof.clone()).into_response()
        }
        AnswerFormat::Json => Json(ProofAnswer {
            success: true,
            proof: STANDARD.encode(&made.proof),
            public_inputs: made.public_inputs.clone(),
            circuit: made.circuit.clone(),
            target: made.target,
            vk_hash: format!("0x{}", made.vk_hash),
            verified: made.verified,
            cached: made.cached,
            fallback_from: made.fallback_from.clone(),
            timings: made.timings,
            request_id: made.request_id.clone(),
        })
        .into_response(),
    };
    let mut set = |name: &'static str, value: &str| {
        // Only hexadecimal digits, names and numbers are set here.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    };
    set(headers::CIRCUIT_ID, made.circuit.as_str());
    set(headers::VK_HASH, &format!("0x{}", made.vk_hash));
    set(headers::VERIFIED, if made.verified { "true" } else { "false" });
    if let Some(asked) = &made.fallback_from {
        set(headers::FALLBACK_FROM, asked.as_str());
    }
    if made.cached {
        set(headers::PROOF_CACHE, "hit");
    }
    set("server-timing", &server_timing(&made.timings));
    set("cache-control", "no-store");
    let inputs = made.public_inputs.join(",");
    if inputs.len() <= PUBLIC_INPUTS_HEADER_MAX {
        set(headers::PUBLIC_INPUTS, &inputs);
    }
    response.extensions_mut().insert(made.timings);
    response
}

fn server_timing(timings: &Timings) -> String {
    let mut value = String::new();
    for (index, (stage, ms)) in timings.stages().iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(value, "{comma}{stage};dur={ms:.2}");
    }
    value
}
