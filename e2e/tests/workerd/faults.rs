//! Servers that fail: each failure has its clear answer, within its time, and none tells what was said inside.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use edgeprove_e2e::{
    Edge, StandIn,
    raw::{self, Fault},
};
use edgeprove_protocol::ProblemType;
use edgeprove_testkit::{Answer, Connection, TestServer, eventually, samples};
use http::Method;

fn before(address: SocketAddr) -> Edge {
    Edge::start(|e| {
        e.upstream(address).var("PROVE_REQUEST_TIMEOUT", "3s").var("OTHER_REQUEST_TIMEOUT", "2s");
    })
}

fn tells_nothing(answer: &Answer) {
    let text = String::from_utf8_lossy(&answer.body);
    assert!(!text.contains("inner words"), "{text}");
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    // A port that is free now may be another test's in a moment; this one is given to nobody.
    let edge = before(SocketAddr::from(([127, 0, 0, 1], 9)));
    edge.posting("/api/prove", b"a body").send().refused_for_now(ProblemType::ContainerUnavailable);
    edge.get("/api/health").refused_for_now(ProblemType::ContainerUnavailable);
}

#[test]
fn an_answer_that_is_no_http_is_not_passed_on() {
    for fault in [Fault::Garbage, Fault::Closes] {
        let edge = before(raw::server(fault));
        let answer = edge.posting("/api/prove", b"a body").send();
        assert!((502..=503).contains(&answer.status.as_u16()), "{fault:?}: {answer:?}");
        tells_nothing(&answer);
        answer.refused_for_now(ProblemType::ContainerUnavailable);
    }
}

#[test]
fn an_answer_of_no_known_status_is_garbled() {
    let edge = before(raw::server(Fault::OddStatus));
    let answer = edge.posting("/api/prove", b"a body").send();
    tells_nothing(&answer);
    assert!((502..=503).contains(&answer.status.as_u16()), "{answer:?}");
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    let edge = before(raw::server(Fault::BreaksOff));
    let answer = edge.posting("/api/prove", b"a body").try_send();
    assert!(answer.is_err(), "{answer:?}");
}

#[test]
fn who_takes_too_long_is_given_up_and_told_so() {
    let stand_in = StandIn::start();
    let edge = before(stand_in.address());
    for (method, path, limit) in
        [("POST", "/api/prove/hang", 3), ("GET", "/v1/proofs/hang", 2), ("DELETE", "/v1/proofs/hang", 2)]
    {
        let began = Instant::now();
        let answer = edge.ask(method, path).send();
        let problem = answer.refused(ProblemType::RequestTimeout);
        assert!(problem.detail.contains(&format!("{limit} s")), "{problem:?}");
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(limit) && took < Duration::from_secs(limit + 4), "{took:?}");
        eventually("the server sees it given up", || (stand_in.under_way() == 0).then_some(()));
    }
}

#[test]
fn an_upload_that_stalls_ends_with_the_request() {
    let stand_in = StandIn::start();
    let edge = before(stand_in.address());
    let began = Instant::now();
    let mut caller = Connection::post_head(edge.address(), "/api/prove", &["Content-Length: 1000"]);
    caller.send(b"the beginning");
    let answer = caller.answer_within(Duration::from_secs(20));
    answer.refused(ProblemType::RequestTimeout);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn a_proof_that_takes_too_long_is_ended_where_it_is_made() {
    let server = TestServer::plain();
    let edge = before(server.address());
    // bb stops in the middle of a proof, for whoever asked directly; the edge's request waits behind it or beside it.
    let (mut direct, bb) = server.freeze_midway();
    for other in server.provers() {
        other.freeze();
    }
    edge.posting("/api/prove", &samples::range().witness).send().refused(ProblemType::RequestTimeout);
    eventually("the server gives it up", || {
        let health = server.health();
        (health.prover.running + health.prover.waiting == 1).then_some(())
    });
    for other in server.provers() {
        other.signal(rustix::process::Signal::CONT);
    }
    bb.signal(rustix::process::Signal::CONT);
    assert_eq!(direct.answer().status, 200);
    server.assert_well();
    assert_eq!(server.ask(Method::GET, "/readyz").send().status, 200);
}
