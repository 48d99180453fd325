//! What reaches the server of a request: its body untouched, and only those of its headers that are its caller's to say.

use std::collections::BTreeMap;

use edgeprove_e2e::{Edge, StandIn};
use edgeprove_protocol::headers;
use edgeprove_testkit::{Answer, Connection};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Headers as the stand-in got them.
fn reached(answer: &Answer) -> BTreeMap<String, Vec<String>> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown = answer.json();
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
fn nothing_a_caller_says_passes_for_the_edges_own_words() {
    let stand_in = StandIn::start();
    let edge = Edge::start(|e| {
        e.upstream(stand_in.address()).var("EDGE_SECRET", SECRET).var("API_KEYS", &key("alice", "let me in"));
    });
    let mut ask = edge.posting("/api/prove", b"a body");
    for (name, value) in [
        (headers::EDGE_SECRET, "guessed-guessed-guessed"),
        (headers::AUTHENTICATED_USER, "root"),
        (headers::CLIENT_IP, "10.0.0.1"),
        (headers::REQUEST_ID, "chosen-by-the-caller"),
        ("x-edge-timeout-ms", "999999"),
        ("x-edge-problem", "container_lost"),
        ("authorization", "Bearer let me in"),
        ("cookie", "session=1"),
        ("accept", "application/json"),
        ("prefer", "wait=5"),
        ("idempotency-key", "k1"),
    ] {
        ask = ask.header(name, value);
    }
    let answer = ask.send();
    let reached = reached(&answer);
    assert_eq!(reached[headers::EDGE_SECRET], [SECRET]);
    assert_eq!(reached[headers::AUTHENTICATED_USER], ["alice"]);
    assert_eq!(reached[headers::REQUEST_ID], [answer.header(headers::REQUEST_ID)]);
    assert_ne!(reached[headers::REQUEST_ID], ["chosen-by-the-caller"]);
    assert!(reached.get(headers::CLIENT_IP).is_none_or(|ip| *ip != ["10.0.0.1"]), "{reached:?}");
    for gone in ["authorization", "cookie", "x-api-key", "x-edge-timeout-ms", "expect", "origin"] {
        assert!(!reached.contains_key(gone), "{gone} reached the server: {reached:?}");
    }
    for (name, value) in [("accept", "application/json"), ("prefer", "wait=5"), ("idempotency-key", "k1")] {
        assert_eq!(reached[name], [value]);
    }
    assert_eq!(edge.logged("request_id", answer.header(headers::REQUEST_ID))[0]["user"], "alice");
    assert!(!edge.log().contains("let me in"), "the log shows the key");
}

#[test]
fn a_caller_that_waits_for_leave_to_send_is_served() {
    let stand_in = StandIn::start();
    let edge = Edge::start(|e| {
        e.upstream(stand_in.address());
    });
    let mut caller = Connection::post_head(
        edge.address(),
        "/api/prove",
        &["Content-Length: 6", "Expect: 100-continue", "Connection: close"],
    );
    // Some of what stands before workerd gives leave and some does not; curl sends after a second in any case.
    if caller.hears_within(std::time::Duration::from_secs(1)) {
        let leave = caller.answer();
        assert_eq!(leave.status.as_u16(), 100, "{leave:?}");
    }
    caller.send(b"a body");
    let rest = String::from_utf8(caller.rest()).unwrap();
    assert!(rest.starts_with("HTTP/1.1 200") && rest.contains("\"body_bytes\":6"), "{rest}");
    assert!(!rest.contains("[\"expect\""), "{rest}");
}

/// A key as `API_KEYS` takes it.
pub(crate) fn key(name: &str, key: &str) -> String {
    use sha2::{Digest as _, Sha256};
    format!("{name}:{}", hex::encode(Sha256::digest(key)))
}
