//! Servers that fail. Each failure has a clear response in time, and none contains text from inside the container.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use edgeprove_e2e::{
    Edge, TestUpstream,
    broken_upstream::{self, Fault, INNER_TEXT, NEW_PROBLEM},
};
use edgeprove_protocol::ProblemType;
use edgeprove_testkit::{Connection, Response, TestServer, eventually, reserved_port::ReservedPort, samples};
use http::Method;

fn edge_before(address: SocketAddr) -> Edge {
    Edge::start(|e| {
        e.upstream(address).var("PROVE_REQUEST_TIMEOUT", "10s").var("OTHER_REQUEST_TIMEOUT", "5s");
    })
}

fn assert_no_inner_text(response: &Response) {
    let text = String::from_utf8_lossy(&response.body);
    assert!(!text.contains(INNER_TEXT), "{text}");
}

#[test]
fn a_missing_upstream_is_unavailable() {
    let port = ReservedPort::new();
    let edge = edge_before(port.address());
    edge.prove_request("/api/prove", b"a body")
        .send()
        .assert_refused_for_now(ProblemType::ContainerUnavailable);
    edge.get("/api/health").assert_refused_for_now(ProblemType::ContainerUnavailable);
}

#[test]
fn a_response_that_is_not_http_is_not_forwarded() {
    for fault in [Fault::NotHttp, Fault::Closes] {
        let edge = edge_before(broken_upstream::start(fault));
        let response = edge.prove_request("/api/prove", b"a body").send();
        assert!((502..=503).contains(&response.status.as_u16()), "{fault:?}: {response:?}");
        assert_no_inner_text(&response);
        response.assert_refused_for_now(ProblemType::ContainerUnavailable);
    }
}

#[test]
fn a_response_with_an_unknown_status_is_not_forwarded() {
    let edge = edge_before(broken_upstream::start(Fault::UnknownStatus(999)));
    let response = edge.prove_request("/api/prove", b"a body").send();
    assert_no_inner_text(&response);
    response.assert_refused(ProblemType::ContainerBadResponse);
    assert_eq!(edge.logged("code", "container_bad_response")[0]["cause"], "status 999");
}

#[test]
fn a_problem_of_a_newer_server_passes_unchanged() {
    for status in [403, 422, 503] {
        let edge = edge_before(broken_upstream::start(Fault::NewProblem(status)));
        let response = edge.prove_request("/api/prove", b"a body").send();
        assert_eq!((response.status.as_u16(), response.body.as_slice()), (status, NEW_PROBLEM.as_bytes()));
        for (name, value) in [
            ("content-type", "application/problem+json"),
            ("retry-after", "17"),
            ("x-of-a-newer-server", "1"),
        ] {
            assert_eq!(response.header(name), value, "{response:?}");
        }
        let line = &edge.logged("request_id", response.header("x-request-id"))[0];
        assert_eq!((&line["status"], &line["code"]), (&status.into(), &serde_json::Value::Null), "{line}");
    }
}

#[test]
fn a_response_that_breaks_off_is_an_error() {
    let edge = edge_before(broken_upstream::start(Fault::BreaksOff));
    let response = edge.prove_request("/api/prove", b"a body").try_send();
    assert!(response.is_err(), "{response:?}");
}

#[test]
fn a_request_that_takes_too_long_times_out() {
    let test_upstream = TestUpstream::start();
    let edge = edge_before(test_upstream.address());
    for (method, path, limit) in
        [("POST", "/api/prove/hang", 10), ("GET", "/v1/proofs/hang", 5), ("DELETE", "/v1/proofs/hang", 5)]
    {
        let began = Instant::now();
        let response = edge.request(method, path).send();
        let problem = response.assert_refused(ProblemType::RequestTimeout);
        assert!(problem.detail.contains(&format!("{limit} s")), "{problem:?}");
        assert!(began.elapsed() >= Duration::from_secs(limit), "{:?}", began.elapsed());
        eventually("the request to the upstream ends", || (test_upstream.open_requests() == 0).then_some(()));
    }
}

#[test]
fn an_upload_that_stalls_times_out() {
    let test_upstream = TestUpstream::start();
    let edge = edge_before(test_upstream.address());
    let mut caller = Connection::post_head(edge.address(), "/api/prove", &["Content-Length: 1000"]);
    caller.send(b"the beginning");
    caller.read_response().assert_refused(ProblemType::RequestTimeout);
}

#[test]
fn a_request_that_times_out_cancels_its_proof() {
    let server = TestServer::start_default();
    let edge = edge_before(server.address());
    // All bb processes are suspended: one during a proof of a direct request, so that the edge's request has to wait.
    let (mut direct, bb) = server.suspend_mid_proof();
    for other in server.provers() {
        other.suspend();
    }
    edge.prove_request("/api/prove", &samples::range_check().witness)
        .send()
        .assert_refused(ProblemType::RequestTimeout);
    eventually("the server cancels the request of the edge", || {
        let health = server.health();
        (health.prover.running + health.prover.waiting == 1).then_some(())
    });
    for other in server.provers() {
        other.resume();
    }
    bb.resume();
    assert_eq!(direct.read_response().status, 200);
    server.assert_healthy();
    assert_eq!(server.request(Method::GET, "/readyz").send().status, 200);
}
