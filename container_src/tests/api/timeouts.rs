//! Waits that are too long. bb is stopped in the middle of a proof, so that time passes and nothing else.

use std::time::{Duration, Instant};

use edgeprove_protocol::ProblemType;
use rustix::process::Signal;

use crate::support::{Connection, TestServer, eventually, samples};

/// More than a proof takes on a busy machine.
const LIMIT: &str = "3s";

#[test]
fn a_proof_that_takes_too_long_is_stopped_and_its_prover_killed() {
    let server = TestServer::start(|s| s.flag("--prove-timeout", LIMIT));
    let (mut asker, bb) = server.freeze_midway();
    let problem = asker.answer().refused(ProblemType::ProofTimeout);
    assert!(problem.detail.contains("3 s"), "{}", problem.detail);
    assert!(!bb.lives(), "the answer came before the prover's end");
    server.assert_well();
    assert!(server.health().prover.restarts >= 1);
}

#[test]
fn a_request_that_takes_too_long_is_given_up_and_its_prover_killed() {
    let server = TestServer::start(|s| s.flag("--request-timeout", LIMIT));
    let (mut asker, bb) = server.freeze_midway();
    asker.answer().refused(ProblemType::RequestTimeout);
    eventually("the prover is killed", || (!bb.lives()).then_some(()));
    server.assert_well();
}

#[test]
fn a_wait_for_a_prover_that_takes_too_long_is_given_up() {
    let server = TestServer::start(|s| s.flag("--prover-queue-wait", "1s"));
    let (mut asker, bb) = server.freeze_midway();
    let started = Instant::now();
    let problem = server.post(&samples::range().witness).refused_for_now(ProblemType::ProverBusy);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(problem.detail.contains("1 s"), "{}", problem.detail);
    bb.signal(Signal::CONT);
    asker.answer().proof_of(samples::range());
    server.assert_well();
}

#[test]
fn a_full_queue_refuses_at_once_and_whoever_waited_is_served() {
    let server = TestServer::start(|s| s.flag("--prover-queue-max", &1));
    let (mut asker, bb) = server.freeze_midway();
    let good = &samples::range().witness;
    let mut waiter = Connection::post(server.address(), "/api/prove", good);
    eventually("one waits", || (server.health().prover.waiting == 1).then_some(()));
    let problem = server.post(good).refused_for_now(ProblemType::ProverBusy);
    assert!(problem.detail.contains("1 request"), "{}", problem.detail);
    bb.signal(Signal::CONT);
    for connection in [&mut asker, &mut waiter] {
        connection.answer().proof_of(samples::range());
    }
    server.assert_well();
}

#[test]
fn a_client_that_leaves_the_queue_leaves_its_place() {
    let server = TestServer::start(|s| s.flag("--prover-queue-max", &1));
    let (mut asker, bb) = server.freeze_midway();
    let good = &samples::range().witness;
    for _ in 0..3 {
        let waiter = Connection::post(server.address(), "/api/prove", good);
        eventually("one waits", || (server.health().prover.waiting == 1).then_some(()));
        drop(waiter);
        eventually("none waits", || (server.health().prover.waiting == 0).then_some(()));
    }
    bb.signal(Signal::CONT);
    asker.answer().proof_of(samples::range());
    server.assert_well();
}

#[test]
fn a_client_that_leaves_midway_through_a_proof_frees_its_place() {
    let server = TestServer::plain();
    let (asker, bb) = server.freeze_midway();
    let restarts = server.health().prover.restarts;
    drop(asker);
    eventually("the prover is killed", || (!bb.lives()).then_some(()));
    server.assert_well();
    assert_eq!(server.health().prover.restarts, restarts + 1);
    assert!(server.log().contains("the client left"));
}
