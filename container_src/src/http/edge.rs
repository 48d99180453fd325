//! Whether a request comes from the edge, and what the two tell each other besides requests and answers.
//!
//! A server that shares a secret with its edge takes requests from nobody else, probes apart: the edge has asked for
//! keys, counted and measured, and whoever could go around it would go around all that. What a request says of its
//! caller is believed of the edge alone.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use edgeprove_protocol::{ProblemType, headers};
use http::{HeaderMap, HeaderValue};

use super::{
    api_error::ApiError, body::Incoming, edge_secret::EdgeSecret, request_id::is_probe, state::AppState,
};

/// What the edge says of whoever sent it a request. What it does not say, or not well, is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EdgeSays {
    /// The address it called from.
    pub ip: Option<IpAddr>,
    /// The name of its API key.
    pub user: Option<String>,
}

/// A request that does not come from the edge, although it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFromTheEdge {
    /// It bears no secret, or more than one.
    #[error("this server takes requests from its edge only: send yours there")]
    NoSecret,
    /// It bears another secret.
    #[error("x-edge-secret is not this server's: give the edge and the server the same secret")]
    OtherSecret,
}

impl From<NotFromTheEdge> for ApiError {
    fn from(error: NotFromTheEdge) -> Self {
        Self::new(ProblemType::NotFromTheEdge, error.to_string())
    }
}

type Sender = Result<EdgeSays, NotFromTheEdge>;

/// Finds out whom a request is from. Nothing that runs after this sees the headers that only the edge may send.
pub async fn recognise(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let sender = sender(app.options.edge_secret.as_ref(), request.headers());
    for name in [headers::EDGE_SECRET, headers::CLIENT_IP, headers::AUTHENTICATED_USER] {
        request.headers_mut().remove(name);
    }
    request.extensions_mut().insert(sender);
    next.run(request).await
}

fn sender(secret: Option<&EdgeSecret>, asked: &HeaderMap) -> Sender {
    let Some(secret) = secret else { return Ok(EdgeSays::default()) };
    let mut presented = asked.get_all(headers::EDGE_SECRET).into_iter();
    match (presented.next(), presented.next()) {
        (Some(presented), None) if secret.is(presented.as_bytes()) => Ok(said(asked)),
        (Some(_), None) => Err(NotFromTheEdge::OtherSecret),
        _ => Err(NotFromTheEdge::NoSecret),
    }
}

fn said(asked: &HeaderMap) -> EdgeSays {
    let text = |name| asked.get(name).and_then(|value| value.to_str().ok());
    let user = text(headers::AUTHENTICATED_USER).filter(|user| headers::is_acceptable_user(user.as_bytes()));
    EdgeSays {
        ip: text(headers::CLIENT_IP).and_then(|ip| ip.parse().ok()),
        user: user.map(ToOwned::to_owned),
    }
}

/// What the edge says of a request's caller.
#[must_use]
pub fn said_by_the_edge(request: &Request) -> EdgeSays {
    let sender = request.extensions().get::<Sender>();
    sender.and_then(|sender| sender.clone().ok()).unwrap_or_default()
}

/// Answers 403 to whoever is not the edge, before anything of the body is read. Probes are open to all: whoever starts,
/// watches and stops servers has no secret, and they tell nothing but whether the server works, how much, and on which
/// circuits.
pub async fn require_edge_secret(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let sender = request.extensions().get::<Sender>().unwrap_or(&Err(NotFromTheEdge::NoSecret));
    let refusal = match sender {
        Err(refusal) if !is_probe(&request) => *refusal,
        _ => return next.run(request).await,
    };
    // An edge that was given another secret is to hear so, and not to see its upload break off.
    let (parts, body) = request.into_parts();
    Incoming::new(&parts, body).read_to_the_end(&app.supervisor);
    ApiError::from(refusal).into_response()
}

/// Says with every answer how busy the server is, so that the edge can choose among several. One that is not ready says
/// nothing: it would pass for the least busy of all.
pub async fn tell_load(State(app): State<AppState>, mut response: Response) -> Response {
    if app.not_ready().is_some() {
        return response;
    }
    // Words and numbers are always a header's value.
    if let Ok(load) = HeaderValue::try_from(app.load().to_string()) {
        response.headers_mut().insert(headers::PROVER_LOAD, load);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn asked(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in pairs {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_the_very_secret_is_the_secret() {
        let secret = EdgeSecret::new(SECRET).unwrap();
        assert!(secret.is(SECRET.as_bytes()));
        for other in
            ["", "0", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef ", "0123456789abcdef0"]
        {
            assert!(!secret.is(other.as_bytes()), "{other:?}");
        }
        assert_eq!(EdgeSecret::new(&SECRET[1..]), None);
        assert!(!format!("{secret:?}").contains(|c: char| c.is_ascii_digit()));
    }

    #[test]
    fn a_secret_stands_once_and_is_right_or_the_request_is_a_strangers() {
        let secret = EdgeSecret::new(SECRET);
        let from = |pairs: &[_]| sender(secret.as_ref(), &asked(pairs));
        assert_eq!(from(&[("x-edge-secret", SECRET)]), Ok(EdgeSays::default()));
        assert_eq!(from(&[("x-edge-secret", "0123456789abcdee")]), Err(NotFromTheEdge::OtherSecret));
        assert_eq!(from(&[("x-client-ip", "192.0.2.1")]), Err(NotFromTheEdge::NoSecret));
        let twice = [("x-edge-secret", SECRET), ("x-edge-secret", SECRET)];
        assert_eq!(from(&twice), Err(NotFromTheEdge::NoSecret));
    }

    #[test]
    fn what_is_no_address_or_no_name_is_not_known() {
        let from = |ip, user| said(&asked(&[("x-client-ip", ip), ("x-authenticated-user", user)]));
        let known = from("2001:db8::1", "alice-1.dev_x");
        assert_eq!(
            known,
            EdgeSays { ip: "2001:db8::1".parse().ok(), user: Some("alice-1.dev_x".to_owned()) }
        );
        for (ip, user) in [("", ""), ("192.0.2.1, 192.0.2.2", "a b"), ("192.0.2.1:80", "a=b"), ("x", "é")] {
            assert_eq!(from(ip, user), EdgeSays::default(), "{ip:?} {user:?}");
        }
    }

    #[test]
    fn without_a_secret_of_its_own_the_server_believes_nobody() {
        let asked = asked(&[("x-edge-secret", SECRET), ("x-client-ip", "192.0.2.1")]);
        assert_eq!(sender(None, &asked), Ok(EdgeSays::default()));
    }
}
