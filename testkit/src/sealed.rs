//! Requests whose body is sealed for a server.

use std::{net::SocketAddr, time::SystemTime};

use edgeprove_protocol::service::{SEALED_MEDIA_TYPE, SealingKeyDocument, ServiceDocument};
pub use edgeprove_sealing::Binding;
use edgeprove_sealing::sealing::seal;
use http::Method;

use crate::client::Request;

/// The key that a server, or an edge in front of it, offers now. `key` is the caller's.
#[track_caller]
pub fn sealing_key(to: SocketAddr, key: Option<&str>) -> SealingKeyDocument {
    service(to, key).sealing.keys.into_iter().next().expect("the server offers a key")
}

/// What a server, or an edge in front of it, reports of itself.
#[track_caller]
pub fn service(to: SocketAddr, key: Option<&str>) -> ServiceDocument {
    let mut request = Request::new(to, Method::GET, "/.well-known/edgeprove");
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    let response = request.send();
    assert_eq!((response.status.as_u16(), response.header("cache-control")), (200, "no-store"));
    serde_json::from_slice(&response.body).expect("the document is that of a service")
}

/// What a witness of this circuit is bound to; an empty name is the default circuit.
pub fn of_witness(circuit: &str) -> Binding {
    Binding { content: "application/gzip".to_owned(), circuit: circuit.to_owned(), ..Binding::default() }
}

/// What inputs of this circuit are bound to.
pub fn of_inputs(circuit: &str) -> Binding {
    Binding { content: "application/json".to_owned(), ..of_witness(circuit) }
}

/// The present, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_millis()).expect("it is before the year 500 million")
}

/// A body that is sealed now.
#[track_caller]
pub fn sealed_body(key: &SealingKeyDocument, binding: &Binding, plaintext: &[u8]) -> Vec<u8> {
    seal(key, binding, now_ms(), plaintext).expect("it can be sealed")
}

/// A request with this sealed body.
pub fn sealed_request(to: SocketAddr, path: &str, content: &str, body: Vec<u8>) -> Request {
    let media = format!("{SEALED_MEDIA_TYPE}; content=\"{content}\"");
    let mut request = Request::new(to, Method::POST, path).header("content-type", &media);
    request.body = body;
    request
}
