//! Receives the inputs of a circuit as JSON, from which the server computes the witness.
//!
//! The body is held in memory and never written to a disk.

use edgeprove_engine::{
    private_thread,
    proof_systems::inputs::{CIRCUIT_ID, InputDocument, InputError},
};
use edgeprove_protocol::{CircuitId, ProblemType, limits::INPUTS_MAX_BYTES};
use edgeprove_spool::Share;
use http::{HeaderMap, header, request::Parts};

use super::{
    api_error::ApiError,
    json_body::{self, JsonBody, JsonBounds},
    request_body::RequestBody,
    state::AppState,
};

/// The media type of inputs.
pub const MEDIA_TYPE: &str = "application/json";
/// The first bytes of a gzip stream.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Inputs that arrived, with their share of the memory for such bodies.
#[derive(Debug)]
pub struct ReceivedInputs {
    /// The document.
    pub document: InputDocument,
    /// Given back when the document is no longer needed.
    pub share: Share,
}

/// Whether a request has inputs instead of a witness.
#[must_use]
pub fn is_expected(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = media.and_then(|value| value.split(';').next()).unwrap_or_default();
    media.trim().eq_ignore_ascii_case(MEDIA_TYPE)
}

/// Receives the body, and checks that it is a document with inputs.
///
/// 1. The body is not encoded (415), and no larger than allowed (413).
/// 2. It arrives without long pauses and fast enough (408), and fits into the memory for such bodies (503).
/// 3. It is JSON of the right shape (400).
pub async fn receive(
    app: &AppState,
    account: &str,
    parts: &Parts,
    body: &mut RequestBody,
) -> Result<ReceivedInputs, ApiError> {
    let limits = &app.options.intake;
    let max_bytes = limits.upload_max_bytes.min(INPUTS_MAX_BYTES);
    let too_large = || {
        let detail = format!("the JSON with the inputs has more than {max_bytes} bytes, which is the limit");
        ApiError::new(ProblemType::InputsTooLarge, detail)
    };
    let bounds = JsonBounds { max_bytes, copies: 1, idle: limits.idle };
    let received = json_body::receive(&parts.headers, body, account, bounds, too_large).await?;
    let JsonBody { json, share } = received;
    let is_gzip = json.starts_with(&GZIP);
    // Large documents take a while, and functions leave copies of private values on their stack.
    let parsed = private_thread::run(move || InputDocument::parse(json)).await;
    let parsed = parsed.map_err(|_| ApiError::new(ProblemType::NotReady, "the inputs could not be read"))?;
    match parsed {
        Ok(document) => Ok(ReceivedInputs { document, share }),
        Err(InputError::NotJson { .. }) if is_gzip => {
            let detail = "the request has Content-Type: application/json and a body that begins as gzip; send a gzipped \
                          witness as Content-Type: application/gzip";
            Err(ApiError::new(ProblemType::InvalidRequest, detail))
        }
        Err(error) => Err(error.into()),
    }
}

impl ReceivedInputs {
    /// The circuit that the head of the request or the document names, which must be the same.
    pub fn circuit(&self, named: Option<CircuitId>) -> Result<Option<CircuitId>, ApiError> {
        let Some(name) = self.document.circuit() else { return Ok(named) };
        // An invalid name cannot be the name of a circuit.
        let id: CircuitId =
            name.parse().map_err(|error: edgeprove_protocol::circuit_id::InvalidCircuitId| {
                ApiError::new(ProblemType::CircuitNotFound, error.to_string())
            })?;
        match named {
            Some(named) if named != id => {
                let detail =
                    format!("the path or the query names the circuit {named}, and `{CIRCUIT_ID}` another");
                Err(ApiError::new(ProblemType::InvalidRequest, detail))
            }
            Some(_) | None => Ok(Some(id)),
        }
    }
}
