//! Containers that never become ready.

use edgeprove_e2e::Edge;
use edgeprove_protocol::ProblemType;

use crate::sample;

/// Requests a proof from a container that cannot compute any.
#[track_caller]
fn assert_unavailable(edge: &Edge) {
    let response = edge.prove_request("/api/prove", &sample().witness).send();
    response.assert_refused_for_now(ProblemType::ContainerUnavailable);
    assert!(
        !String::from_utf8_lossy(&response.body).contains("/nothing"),
        "the response contains a message from inside the container: {response:?}"
    );
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_container_that_exits_at_start_fails_the_request() {
    let edge = Edge::start(|e| {
        e.var("EDGEPROVE_CIRCUIT", "/nothing").var("START_TIMEOUT", "1h").var("PROVE_REQUEST_TIMEOUT", "1h");
    });
    // The response comes long before the start timeout, because the edge notices that the container has exited.
    assert_unavailable(&edge);
    edge.logged("event", "container_request_failed");
    // The next request starts another container.
    assert_unavailable(&edge);
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_container_that_never_gets_ready_fails_the_request() {
    let edge = Edge::start(|e| {
        e.var("EDGEPROVE_LISTEN", "127.0.0.1:9999")
            .var("START_TIMEOUT", "5s")
            .var("PROVE_REQUEST_TIMEOUT", "1h");
    });
    assert_unavailable(&edge);
    edge.logged("event", "container_request_failed");
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_request_times_out_while_its_container_starts() {
    let edge = Edge::start(|e| {
        e.var("EDGEPROVE_LISTEN", "127.0.0.1:9999")
            .var("START_TIMEOUT", "1h")
            .var("PROVE_REQUEST_TIMEOUT", "3s");
    });
    edge.prove_request("/api/prove", &sample().witness).send().assert_refused(ProblemType::RequestTimeout);
}
