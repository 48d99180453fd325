//! Recognises a server that refuses the edge itself, because the two have different secrets.
//!
//! A caller can do nothing about that, so it gets a problem of the edge's own. Every other problem of a server is
//! forwarded unchanged, also one whose code this edge does not know: a newer server may have more of them.

use std::{pin::pin, time::Duration};

use edgeprove_protocol::{ProblemType, problem};
use futures_util::{
    StreamExt as _,
    future::{Either, select},
};
use serde_json::Value;
use worker::{ByteStream, Delay};

use crate::edge_error::EdgeError;

/// The longest body that is read of a possible refusal. A problem document has some hundred bytes.
pub const REFUSAL_MAX_BYTES: usize = 8 << 10;
/// How long that body may take after the head of its response.
pub const REFUSAL_TIME_LIMIT: Duration = Duration::from_secs(2);

/// Returns a server's response, or an error if the server refuses the edge.
pub async fn check(response: web_sys::Response) -> Result<web_sys::Response, EdgeError> {
    let content_type = response.headers().get("content-type").ok().flatten();
    if !may_be_refusal(response.status(), content_type.as_deref()) {
        return Ok(response);
    }
    // A copy is read, so that the response can still be forwarded whole.
    let body = response.clone().ok().and_then(|copy| copy.body());
    let body = match body {
        Some(body) => match select(pin!(read_small(body)), Delay::from(REFUSAL_TIME_LIMIT)).await {
            Either::Left((body, _)) => body,
            Either::Right(_) => None,
        },
        None => Some(Vec::new()),
    };
    if body.is_some_and(|body| is_refusal(&body)) {
        return Err(EdgeError::RefusedByServer);
    }
    Ok(response)
}

/// Whether status and type are those of a refusal. Only then the body is read.
fn may_be_refusal(status: u16, content_type: Option<&str>) -> bool {
    let media_type = content_type.and_then(|content_type| content_type.split(';').next());
    status == ProblemType::NotFromTheEdge.status()
        && media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(problem::MEDIA_TYPE))
}

/// Whether the body is that of a refusal. The response to a `HEAD` request has no body and counts as a refusal: it is
/// the most likely 403 for a request that the edge admitted.
fn is_refusal(body: &[u8]) -> bool {
    let code = |body| {
        serde_json::from_str::<Value>(std::str::from_utf8(body).ok()?)
            .ok()?
            .get("code")?
            .as_str()
            .map(str::to_owned)
    };
    body.is_empty() || code(body).as_deref() == Some(ProblemType::NotFromTheEdge.code())
}

/// Reads a body. Returns `None` for one that breaks off or is too long for a refusal.
async fn read_small(body: web_sys::ReadableStream) -> Option<Vec<u8>> {
    let mut pieces = ByteStream::from(body);
    let mut read = Vec::new();
    while let Some(piece) = pieces.next().await {
        read.extend(piece.ok()?);
        if read.len() > REFUSAL_MAX_BYTES {
            return None;
        }
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::Problem;

    use super::*;

    #[test]
    fn only_a_problem_of_status_403_may_be_a_refusal() {
        assert!(may_be_refusal(403, Some(problem::MEDIA_TYPE)));
        assert!(may_be_refusal(403, Some("Application/Problem+JSON; charset=utf-8")));
        assert!(!may_be_refusal(401, Some(problem::MEDIA_TYPE)));
        assert!(!may_be_refusal(403, Some("application/json")));
        assert!(!may_be_refusal(403, None));
    }

    #[test]
    fn only_not_from_the_edge_is_a_refusal() {
        for &kind in ProblemType::ALL {
            let body = serde_json::to_vec(&Problem::new(kind, "detail", Some("id".to_owned()))).unwrap();
            assert_eq!(is_refusal(&body), kind == ProblemType::NotFromTheEdge, "{kind:?}");
        }
        assert!(is_refusal(b""), "the response to a HEAD request");
        for other in ["{}", "[]", "not_from_the_edge", r#"{"code":7}"#, r#"{"code":"not_from_the_edge""#] {
            assert!(!is_refusal(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_problem_code_of_a_newer_server_is_not_a_refusal() {
        let newer = r#"{"type":"/problems/moon_phase","status":403,"code":"moon_phase","new_member":[1]}"#;
        assert!(!is_refusal(newer.as_bytes()));
    }
}
