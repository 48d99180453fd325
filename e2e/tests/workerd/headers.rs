//! The headers that the edge forwards: only those that a caller may set, and the edge's own.

use std::collections::BTreeMap;

use edgeprove_e2e::{Edge, TestUpstream};
use edgeprove_protocol::headers;
use edgeprove_testkit::{Connection, Response};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The headers that reached the upstream.
fn received_headers(response: &Response) -> BTreeMap<String, Vec<String>> {
    assert_eq!(response.status, 200, "{response:?}");
    let shown = response.json();
    let mut headers = BTreeMap::<_, Vec<_>>::new();
    for pair in shown["headers"].as_array().unwrap() {
        headers
            .entry(pair[0].as_str().unwrap().to_owned())
            .or_default()
            .push(pair[1].as_str().unwrap().to_owned());
    }
    headers
}

#[test]
fn a_caller_cannot_forge_the_edges_headers() {
    let test_upstream = TestUpstream::start();
    let edge = Edge::start(|e| {
        e.upstream(test_upstream.address())
            .var("EDGE_SECRET", SECRET)
            .var("API_KEYS", &key("alice", "let me in"));
    });
    let mut request = edge.prove_request("/api/prove", b"a body");
    for (name, value) in [
        (headers::EDGE_SECRET, "guessed-guessed-guessed"),
        (headers::AUTHENTICATED_USER, "root"),
        (headers::CLIENT_IP, "10.0.0.1"),
        (headers::REQUEST_ID, "set-by-the-caller"),
        ("x-edge-timeout-ms", "999999"),
        ("x-edge-problem", "container_lost"),
        ("authorization", "Bearer let me in"),
        ("cookie", "session=1"),
        ("accept", "application/json"),
        ("prefer", "wait=5"),
        ("idempotency-key", "k1"),
    ] {
        request = request.header(name, value);
    }
    let response = request.send();
    let received = received_headers(&response);
    assert_eq!(received[headers::EDGE_SECRET], [SECRET]);
    assert_eq!(received[headers::AUTHENTICATED_USER], ["alice"]);
    assert_eq!(received[headers::REQUEST_ID], [response.header(headers::REQUEST_ID)]);
    assert_ne!(received[headers::REQUEST_ID], ["set-by-the-caller"]);
    assert!(received.get(headers::CLIENT_IP).is_none_or(|ip| *ip != ["10.0.0.1"]), "{received:?}");
    for gone in ["authorization", "cookie", "x-api-key", "x-edge-timeout-ms", "expect", "origin"] {
        assert!(!received.contains_key(gone), "{gone} reached the upstream: {received:?}");
    }
    for (name, value) in [("accept", "application/json"), ("prefer", "wait=5"), ("idempotency-key", "k1")] {
        assert_eq!(received[name], [value]);
    }
    assert_eq!(edge.logged("request_id", response.header(headers::REQUEST_ID))[0]["user"], "alice");
    assert!(!edge.log().contains("let me in"), "the log shows the key");
}

#[test]
fn a_request_with_expect_100_continue_is_served() {
    let test_upstream = TestUpstream::start();
    let edge = Edge::start(|e| {
        e.upstream(test_upstream.address());
    });
    let mut caller = Connection::post_head(
        edge.address(),
        "/api/prove",
        &["Content-Length: 6", "Expect: 100-continue", "Connection: close"],
    );
    // The proxy in front of workerd may or may not send `100 Continue`. curl waits for it no longer than a second.
    caller.receives_within(std::time::Duration::from_secs(1));
    caller.send(b"a body");
    let text = String::from_utf8(caller.read_to_end()).unwrap();
    let text = text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&text);
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("\"body_bytes\":6"), "{text}");
    assert!(!text.contains("[\"expect\""), "{text}");
}

/// An entry of `API_KEYS`.
pub(crate) fn key(name: &str, key: &str) -> String {
    use sha2::{Digest as _, Sha256};
    format!("{name}:{}", hex::encode(Sha256::digest(key)))
}
