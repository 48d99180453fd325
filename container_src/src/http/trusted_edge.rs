//! Accepts requests from the edge only, where edge and server share a secret, and strips the edge's headers.
//!
//! The edge checks keys and rates. A caller that could reach the server directly would bypass these checks. Only the edge
//! may state who the caller is.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use edgeprove_protocol::{
    HasProblemType, ProblemType, caller::parse_digest, headers, voucher::KeyFingerprint,
};
use http::{Extensions, HeaderMap, HeaderValue};

use super::{
    api_error::ApiError,
    edge_secret::EdgeSecret,
    request_body::RequestBody,
    request_id::is_probe,
    state::{AppState, Shared},
};
use crate::access::api_keys::KeyDigest;

/// The caller as the edge reports it. Missing or malformed values are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReportedCaller {
    /// The address that the caller used.
    pub ip: Option<IpAddr>,
    /// The name of the caller's API key.
    pub user: Option<String>,
    /// The caller has no key, and the edge admitted it only for the token of a job's link.
    pub is_link_only: bool,
    /// SHA-256 of the key or the voucher that the caller sent to the edge. A server without an edge secret gets it from
    /// anybody.
    pub credential: Option<KeyDigest>,
    /// The fingerprint of the caller's API key.
    pub key: Option<KeyFingerprint>,
    /// When a sealed body arrived at the edge, which stored it for a job, in milliseconds since 1970.
    pub sealed_arrival_ms: Option<u64>,
    /// The voucher that the caller sent, as a token. The edge has checked its API key and its origin.
    pub voucher: Option<HeaderValue>,
}

/// The request does not come from the edge, but must.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFromTheEdge {
    /// `X-Edge-Secret` is missing, or was sent more than once.
    #[error("this server accepts requests from its edge only: send the request to the edge")]
    NoSecret,
    /// `X-Edge-Secret` is wrong.
    #[error("x-edge-secret is wrong: configure the same secret at the edge and at the server")]
    WrongSecret,
}

impl HasProblemType for NotFromTheEdge {
    fn kind(&self) -> ProblemType {
        ProblemType::NotFromTheEdge
    }
}

type EdgeCheck = Result<ReportedCaller, NotFromTheEdge>;

/// Checks the edge secret and removes every header that only the edge may send. Later layers read the result from the
/// request's extensions.
pub async fn check_edge_secret(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let checked = check(app.options.edge_secret.as_ref(), request.headers());
    let of_the_edge = [
        headers::EDGE_SECRET,
        headers::CLIENT_IP,
        headers::AUTHENTICATED_USER,
        headers::LINK_ONLY,
        headers::CREDENTIAL_DIGEST,
        headers::KEY_FINGERPRINT,
        headers::SEALED_ARRIVAL,
        headers::VOUCHER,
    ];
    for name in of_the_edge {
        request.headers_mut().remove(name);
    }
    request.extensions_mut().insert(checked);
    next.run(request).await
}

fn check(secret: Option<&EdgeSecret>, request_headers: &HeaderMap) -> EdgeCheck {
    let Some(secret) = secret else {
        return Ok(ReportedCaller { credential: key_digest(request_headers), ..ReportedCaller::default() });
    };
    let mut candidates = request_headers.get_all(headers::EDGE_SECRET).into_iter();
    match (candidates.next(), candidates.next()) {
        (Some(candidate), None) if secret.matches(candidate.as_bytes()) => Ok(read_caller(request_headers)),
        (Some(_), None) => Err(NotFromTheEdge::WrongSecret),
        (None, _) | (Some(_), Some(_)) => Err(NotFromTheEdge::NoSecret),
    }
}

fn read_caller(request_headers: &HeaderMap) -> ReportedCaller {
    let text = |name| request_headers.get(name).and_then(|value| value.to_str().ok());
    let user = text(headers::AUTHENTICATED_USER).filter(|user| headers::is_acceptable_user(user.as_bytes()));
    ReportedCaller {
        ip: text(headers::CLIENT_IP).and_then(|ip| ip.parse().ok()),
        user: user.map(ToOwned::to_owned),
        is_link_only: request_headers.contains_key(headers::LINK_ONLY),
        credential: key_digest(request_headers),
        key: text(headers::KEY_FINGERPRINT).and_then(KeyFingerprint::parse),
        sealed_arrival_ms: text(headers::SEALED_ARRIVAL).and_then(|time| time.parse().ok()),
        voucher: request_headers.get(headers::VOUCHER).cloned(),
    }
}

fn key_digest(request_headers: &HeaderMap) -> Option<KeyDigest> {
    let digest = request_headers.get(headers::CREDENTIAL_DIGEST)?.to_str().ok()?;
    parse_digest(digest).map(KeyDigest::from)
}

/// The caller of a request as the edge reports it.
#[must_use]
pub fn reported_caller(extensions: &Extensions) -> ReportedCaller {
    let checked = extensions.get::<EdgeCheck>();
    checked.and_then(|checked| checked.clone().ok()).unwrap_or_default()
}

/// Whether the request comes from the edge, which has checked its origin.
#[must_use]
pub fn is_from_edge(app: &Shared, extensions: &Extensions) -> bool {
    let checked = extensions.get::<EdgeCheck>();
    app.options.edge_secret.is_some() && checked.is_some_and(Result::is_ok)
}

/// Answers 403 to requests that do not come from the edge, before their body is read. Probes stay open: platforms and
/// monitors have no secret, and probes reveal only load and circuit names.
pub async fn require_edge_secret(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let checked = request.extensions().get::<EdgeCheck>().unwrap_or(&Err(NotFromTheEdge::NoSecret));
    let refusal = match checked {
        Err(refusal) if !is_probe(&request) => *refusal,
        Ok(_) | Err(_) => return next.run(request).await,
    };
    // An edge with a wrong secret must see this answer and not a broken upload.
    let (parts, body) = request.into_parts();
    RequestBody::new(&parts, body).discard(&app.lifecycle.supervisor);
    ApiError::from(refusal).into_response()
}

/// Adds `X-Prover-Load` to every answer, by which the edge chooses among containers. A server that is not ready reports no
/// load: it would look like the least busy one.
pub async fn report_load(State(app): State<AppState>, mut response: Response) -> Response {
    if app.not_ready().is_some() {
        return response;
    }
    // The text has only letters, digits and punctuation, which every header value may have.
    if let Ok(load) = HeaderValue::try_from(app.load().to_string()) {
        response.headers_mut().insert(headers::PROVER_LOAD, load);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn request_headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in pairs {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_the_exact_secret_matches() {
        let secret = EdgeSecret::new(SECRET).unwrap();
        assert!(secret.matches(SECRET.as_bytes()));
        for other in
            ["", "0", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef ", "0123456789abcdef0"]
        {
            assert!(!secret.matches(other.as_bytes()), "{other:?}");
        }
        assert_eq!(EdgeSecret::new(&SECRET[1..]), None);
        assert!(!format!("{secret:?}").contains(|c: char| c.is_ascii_digit()));
    }

    #[test]
    fn the_secret_must_be_right_and_sent_once() {
        let secret = EdgeSecret::new(SECRET);
        let from = |pairs: &[_]| check(secret.as_ref(), &request_headers(pairs));
        assert_eq!(from(&[("x-edge-secret", SECRET)]), Ok(ReportedCaller::default()));
        assert_eq!(from(&[("x-edge-secret", "0123456789abcdee")]), Err(NotFromTheEdge::WrongSecret));
        assert_eq!(from(&[("x-client-ip", "192.0.2.1")]), Err(NotFromTheEdge::NoSecret));
        let twice = [("x-edge-secret", SECRET), ("x-edge-secret", SECRET)];
        assert_eq!(from(&twice), Err(NotFromTheEdge::NoSecret));
    }

    #[test]
    fn malformed_caller_headers_are_ignored() {
        let from =
            |ip, user| read_caller(&request_headers(&[("x-client-ip", ip), ("x-authenticated-user", user)]));
        let known = from("2001:db8::1", "alice-1.dev_x");
        assert_eq!(
            known,
            ReportedCaller {
                ip: "2001:db8::1".parse().ok(),
                user: Some("alice-1.dev_x".to_owned()),
                ..ReportedCaller::default()
            }
        );
        for (ip, user) in [("", ""), ("192.0.2.1, 192.0.2.2", "a b"), ("192.0.2.1:80", "a=b"), ("x", "é")] {
            assert_eq!(from(ip, user), ReportedCaller::default(), "{ip:?} {user:?}");
        }
    }

    #[test]
    fn without_a_secret_no_reported_caller_is_accepted() {
        const DIGEST: &str = "0707070707070707070707070707070707070707070707070707070707070707";
        let sent = request_headers(&[
            ("x-edge-secret", SECRET),
            ("x-client-ip", "192.0.2.1"),
            ("x-credential-digest", DIGEST),
        ]);
        let of_digest =
            ReportedCaller { credential: Some(KeyDigest::from([7; 32])), ..ReportedCaller::default() };
        assert_eq!(check(None, &sent), Ok(of_digest.clone()));
        let reported = check(Some(&EdgeSecret::new(SECRET).unwrap()), &sent).unwrap();
        assert_eq!(reported.credential, of_digest.credential);
        assert_eq!(key_digest(&request_headers(&[("x-credential-digest", "07")])), None);
    }
}
