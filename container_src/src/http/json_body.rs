//! Receives a JSON body into memory. The bodies of all callers together are bounded, and a caller may have as many bytes as
//! would still be free after it.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use edgeprove_protocol::{ProblemType, limits::INPUTS_MAX_BYTES};
use edgeprove_spool::{Bound, Budget, Share};
use http::{HeaderMap, header};

use super::{api_error::ApiError, extract::declared_length, request_body::RequestBody};

/// Bytes of the bodies of all callers.
const BODIES_MAX_BYTES: u64 = 8 * INPUTS_MAX_BYTES;

static BODIES: LazyLock<Arc<Budget>> = LazyLock::new(|| Arc::new(Budget::new(BODIES_MAX_BYTES)));

/// A body that arrived, with its share of the memory for such bodies.
#[derive(Debug)]
pub struct JsonBody {
    /// The JSON.
    pub json: Vec<u8>,
    /// Given back when nothing of the body is needed any longer.
    pub share: Share,
}

/// How much memory a body may take.
#[derive(Debug, Clone, Copy)]
pub struct JsonBounds {
    /// The largest body, in bytes.
    pub max_bytes: u64,
    /// Bytes of memory for each byte of the body.
    pub copies: u64,
    /// The longest pause.
    pub idle: Duration,
}

/// Receives the body.
///
/// 1. The body is not encoded (415), and no larger than allowed (the error of `too_large`).
/// 2. It arrives without long pauses and fast enough (408), and fits into the memory for such bodies (503).
pub async fn receive(
    headers: &HeaderMap,
    body: &mut RequestBody,
    account: &str,
    bounds: JsonBounds,
    too_large: impl Fn() -> ApiError,
) -> Result<JsonBody, ApiError> {
    check_encoding(headers)?;
    let JsonBounds { max_bytes, copies, idle } = bounds;
    if declared_length(headers).is_some_and(|declared| declared > max_bytes) {
        return Err(too_large());
    }
    let share = Share::new(Arc::clone(&BODIES), Some(Arc::from(account)));
    let admit = |received: u64, piece: u64| {
        if received > max_bytes {
            return Err(too_large());
        }
        share.take(piece.saturating_mul(copies)).map_err(no_memory)
    };
    let json = body.collect(idle, admit).await?;
    Ok(JsonBody { json, share })
}

fn check_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            let detail = "a body of JSON must have no Content-Encoding";
            Err(ApiError::new(ProblemType::UnsupportedMediaType, detail))
        }
        Some(_) | None => Ok(()),
    }
}

fn no_memory(bound: Bound) -> ApiError {
    let whose = match bound {
        Bound::All => "of all callers",
        Bound::Owner => "of this caller",
    };
    let detail = format!("the bodies of JSON {whose} that arrive at once take as much memory as they may");
    ApiError::new(ProblemType::TooManyUploads, detail)
}
