//! Turns a proof into an answer, whether it was made for this request or by a job.

use std::fmt::Write;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use edgeprove_protocol::{
    CircuitId, ProblemType, ProofSystem, Target,
    answer::{Cost, PROOF_MEDIA_TYPE, ProofAnswer, TAR_MEDIA_TYPE, Timings},
    headers,
    limits::PUBLIC_INPUTS_HEADER_MAX,
};
use http::{HeaderName, HeaderValue, header};
use sha2::{Digest as _, Sha256};

use super::{api_error::ApiError, extract::AnswerFormat};
use crate::proof_files::ProofFiles;
use edgeprove_engine::proof_service::CompletedProof;
use edgeprove_prover::{FIELD_BYTES, ProofParts, contract_call, groth16};

/// A proof and its description.
#[derive(Debug, Clone)]
pub struct ProofResponse {
    /// The verification key; empty where the answer does not contain it.
    pub vk: Bytes,
    /// The proof: 32-byte fields without the public inputs. For Groth16, the eight words of a verifier contract.
    pub proof: Vec<u8>,
    /// The public inputs, `0x`-prefixed 32-byte fields.
    pub public_inputs: Vec<String>,
    /// The circuit that was proved.
    pub circuit: CircuitId,
    /// The verifier that it is for.
    pub target: Target,
    /// Hash of the verification key, 64 hexadecimal digits.
    pub vk_hash: String,
    /// Whether the server verified it.
    pub verified: bool,
    /// Whether it came from the proof cache.
    pub cached: bool,
    /// The requested circuit, where a smaller one was proved instead.
    pub fallback_from: Option<CircuitId>,
    /// Duration of each stage.
    pub timings: Timings,
    /// What it has taken.
    pub cost: Cost,
    /// The receipt; `None` where none was signed.
    pub receipt: Option<String>,
    /// The request that brought the witness.
    pub request_id: String,
}

impl ProofResponse {
    /// A proof that was made for the request `id`, without a receipt.
    #[must_use]
    pub fn of(completed: &CompletedProof, id: &str) -> Self {
        let CompletedProof { circuit, target, fallback_from, result, .. } = completed;
        Self {
            vk: result.key.circuit.vk.clone(),
            proof: result.parts.proof.as_flattened().to_vec(),
            public_inputs: result.public_inputs(),
            circuit: circuit.id.clone(),
            target: *target,
            vk_hash: result.vk_hash(),
            verified: result.verified,
            cached: result.cached,
            fallback_from: fallback_from.clone(),
            timings: result.timings,
            cost: result.cost,
            receipt: None,
            request_id: id.to_owned(),
        }
    }

    /// The proof and its public inputs as fields.
    #[must_use]
    pub fn parts(&self) -> ProofParts {
        let field = |text: &String| {
            let mut field = [0; FIELD_BYTES];
            // The server wrote the fields itself.
            let _ = hex::decode_to_slice(text.trim_start_matches("0x"), &mut field);
            field
        };
        ProofParts {
            proof: self.proof.as_chunks().0.to_vec(),
            public_inputs: self.public_inputs.iter().map(field).collect(),
        }
    }

    fn answer<P>(&self, value: P, public_signals: Option<Vec<String>>, hash: &str) -> ProofAnswer<P> {
        ProofAnswer {
            success: true,
            proof: value,
            public_signals,
            proof_hash: hash.to_owned(),
            public_inputs: self.public_inputs.clone(),
            circuit: self.circuit.clone(),
            target: self.target,
            vk_hash: format!("0x{}", self.vk_hash),
            verified: self.verified,
            cached: self.cached,
            fallback_from: self.fallback_from.clone(),
            receipt: self.receipt.clone(),
            calldata: contract_call(self.target, &self.parts())
                .map(|call| format!("0x{}", hex::encode(call.calldata))),
            cost: self.cost,
            timings: self.timings,
            request_id: self.request_id.clone(),
        }
    }
}

/// The server wrote the proof itself.
fn damaged() -> ApiError {
    ApiError::new(ProblemType::StoredDataDamaged, "the proof is not one of its target")
}

/// The answer, in the format that the caller prefers.
#[must_use]
pub fn proof_response(proof: &ProofResponse, format: AnswerFormat) -> Response {
    let hash = format!("0x{}", hex::encode(Sha256::digest(&proof.proof)));
    let mut response = match format {
        AnswerFormat::Bytes => {
            let media = (header::CONTENT_TYPE, HeaderValue::from_static(PROOF_MEDIA_TYPE));
            ([media], proof.proof.clone()).into_response()
        }
        AnswerFormat::Tar => {
            let media = (header::CONTENT_TYPE, HeaderValue::from_static(TAR_MEDIA_TYPE));
            match ProofFiles::of(proof.target, &proof.parts(), &proof.vk) {
                Some(files) => ([media], files.to_tar()).into_response(),
                None => return damaged().into_response(),
            }
        }
        AnswerFormat::Json => match proof.target.proof_system() {
            ProofSystem::UltraHonk => {
                Json(proof.answer(STANDARD.encode(&proof.proof), None, &hash)).into_response()
            }
            ProofSystem::Groth16 => match groth16::snarkjs_json(&proof.parts()) {
                Some((value, signals)) => Json(proof.answer(value, Some(signals), &hash)).into_response(),
                None => return damaged().into_response(),
            },
        },
    };
    let mut set = |name: &'static str, value: &str| {
        // Hexadecimal digits, names and numbers are always valid header values.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    };
    set(headers::CIRCUIT_ID, proof.circuit.as_str());
    set(headers::VK_HASH, &format!("0x{}", proof.vk_hash));
    set(headers::PROOF_HASH, &hash);
    set(headers::VERIFIED, if proof.verified { "true" } else { "false" });
    if let Some(requested) = &proof.fallback_from {
        set(headers::FALLBACK_FROM, requested.as_str());
    }
    if proof.cached {
        set(headers::PROOF_CACHE, "hit");
    }
    set("server-timing", &server_timing(&proof.timings));
    set("cache-control", "no-store");
    let inputs = proof.public_inputs.join(",");
    if inputs.len() <= PUBLIC_INPUTS_HEADER_MAX {
        set(headers::PUBLIC_INPUTS, &inputs);
    }
    // JSON has it in the body.
    if let Some(receipt) = proof.receipt.as_deref().filter(|_| format != AnswerFormat::Json) {
        set(headers::RECEIPT, receipt);
    }
    response.extensions_mut().insert(proof.timings);
    response
}

fn server_timing(timings: &Timings) -> String {
    let mut value = String::new();
    for (index, (stage, ms)) in timings.stages().iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a `String` cannot fail.
        let _ = write!(value, "{comma}{stage};dur={ms:.2}");
    }
    value
}
