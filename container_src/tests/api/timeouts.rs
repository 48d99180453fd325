//! Timeouts. A suspended bb makes a proof take longer than any limit.

use std::time::{Duration, Instant};

use edgeprove_protocol::ProblemType;

use crate::support::{Connection, TestServer, eventually, samples};

/// Longer than a proof takes on a busy machine.
const PROOF_LIMIT: &str = "10s";
/// The same limit, as problems write it.
const PROOF_LIMIT_TEXT: &str = "10 s";

#[test]
fn a_proof_timeout_kills_the_prover() {
    let server = TestServer::start(|s| s.flag("--prove-timeout", PROOF_LIMIT));
    let (mut client, bb) = server.suspend_mid_proof();
    let problem = client.read_response().assert_refused(ProblemType::ProofTimeout);
    assert!(problem.detail.contains(PROOF_LIMIT_TEXT), "{}", problem.detail);
    assert!(!bb.is_alive(), "the response came before the end of the prover");
    server.assert_healthy();
    assert!(server.health().prover.restarts >= 1);
}

#[test]
fn a_request_timeout_kills_the_prover() {
    let server = TestServer::start(|s| s.flag("--request-timeout", PROOF_LIMIT));
    let (mut client, bb) = server.suspend_mid_proof();
    client.read_response().assert_refused(ProblemType::RequestTimeout);
    eventually("the prover is killed", || (!bb.is_alive()).then_some(()));
    server.assert_healthy();
}

#[test]
fn a_wait_for_a_prover_times_out() {
    let server = TestServer::start(|s| s.flag("--prover-queue-wait", "1s"));
    let (mut client, bb) = server.suspend_mid_proof();
    let started = Instant::now();
    let problem =
        server.prove(&samples::range_check().witness).assert_refused_for_now(ProblemType::ProverBusy);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(problem.detail.contains("1 s"), "{}", problem.detail);
    bb.resume();
    client.read_response().assert_proof_of(samples::range_check());
    server.assert_healthy();
}

#[test]
fn a_full_queue_refuses_at_once() {
    let server = TestServer::start(|s| s.flag("--prover-queue-max", &1));
    let (mut client, bb) = server.suspend_mid_proof();
    let good = &samples::range_check().witness;
    let mut waiter = Connection::post(server.address(), "/api/prove", good);
    eventually("one request waits", || (server.health().prover.waiting == 1).then_some(()));
    let problem = server.prove(good).assert_refused_for_now(ProblemType::ProverBusy);
    assert!(problem.detail.contains('1'), "{}", problem.detail);
    bb.resume();
    for connection in [&mut client, &mut waiter] {
        connection.read_response().assert_proof_of(samples::range_check());
    }
    server.assert_healthy();
}

#[test]
fn a_client_that_leaves_frees_its_place_in_the_queue() {
    let server = TestServer::start(|s| s.flag("--prover-queue-max", &1));
    let (mut client, bb) = server.suspend_mid_proof();
    let good = &samples::range_check().witness;
    for _ in 0..3 {
        let waiter = Connection::post(server.address(), "/api/prove", good);
        eventually("one request waits", || (server.health().prover.waiting == 1).then_some(()));
        drop(waiter);
        eventually("no request waits", || (server.health().prover.waiting == 0).then_some(()));
    }
    bb.resume();
    client.read_response().assert_proof_of(samples::range_check());
    server.assert_healthy();
}

#[test]
fn a_client_that_leaves_during_a_proof_frees_the_prover() {
    let server = TestServer::start_default();
    let (client, bb) = server.suspend_mid_proof();
    let restarts = server.health().prover.restarts;
    drop(client);
    eventually("the prover is killed", || (!bb.is_alive()).then_some(()));
    server.assert_healthy();
    assert_eq!(server.health().prover.restarts, restarts + 1);
    // The request is logged without a status, because it had no response.
    server.wait_for_log_line("the request is logged", |line| {
        line["route"] == "/api/prove" && line.get("status").is_none()
    });
}
