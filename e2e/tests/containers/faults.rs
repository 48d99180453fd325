//! Containers that never come to work.

use std::time::{Duration, Instant};

use edgeprove_e2e::Edge;
use edgeprove_protocol::ProblemType;

use crate::sample;

/// Asks for a proof of a container that cannot make any.
#[track_caller]
fn is_unavailable(edge: &Edge, within: Duration) {
    let began = Instant::now();
    let answer = edge.posting("/api/prove", &sample().witness).send();
    let took = began.elapsed();
    answer.refused_for_now(ProblemType::ContainerUnavailable);
    assert!(took < within, "{took:?}");
    assert!(
        !String::from_utf8_lossy(&answer.body).contains("/nothing"),
        "an inner message is told: {answer:?}"
    );
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn one_that_dies_at_its_start_is_not_waited_for() {
    let edge = Edge::start(|e| {
        e.var("EDGEPROVE_CIRCUIT", "/nothing").var("START_TIMEOUT", "40s");
    });
    is_unavailable(&edge, Duration::from_secs(20));
    let fault = &edge.logged("event", "container_request_failed")[0];
    assert!(fault["detail"].as_str().unwrap().contains("exit"), "{fault}");
    // The next one is a fresh attempt.
    is_unavailable(&edge, Duration::from_secs(20));
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn one_that_never_gets_ready_is_given_up_in_time() {
    let edge = Edge::start(|e| {
        e.var("EDGEPROVE_LISTEN", "127.0.0.1:9999").var("START_TIMEOUT", "5s");
    });
    is_unavailable(&edge, Duration::from_secs(10));
    let fault = &edge.logged("event", "container_request_failed")[0];
    assert!(fault["detail"].as_str().unwrap().contains("ready"), "{fault}");
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_request_does_not_outlast_its_time_for_a_container_that_comes_late() {
    let edge = Edge::start(|e| {
        e.var("EDGEPROVE_LISTEN", "127.0.0.1:9999")
            .var("START_TIMEOUT", "50s")
            .var("PROVE_REQUEST_TIMEOUT", "3s");
    });
    let began = Instant::now();
    edge.posting("/api/prove", &sample().witness).send().refused(ProblemType::RequestTimeout);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}
