//! Process mode: one bb per proof. The responses are the same as with warm provers, and no process is left.

use edgeprove_protocol::{
    ProblemType,
    Target::{Evm, NoirRecursive},
};
use rustix::process::Signal;

use crate::support::{
    TestServer, eventually,
    fake_bb::{Behaviour, FakeBb},
    samples,
    settings::Settings,
};

#[test]
fn process_mode_proves_for_every_target() {
    let server = TestServer::start(Settings::process_mode);
    let range = samples::range_check();
    for target in [NoirRecursive, Evm] {
        server
            .prove_request_at(&format!("/api/prove?target={target}"), &range.witness)
            .send()
            .assert_proves(range, target);
        let json = server.prove_request_at(&format!("/api/prove?target={target}"), &range.witness);
        json.header("accept", "application/json").send().assert_proves(range, target);
    }
    let health = server.health();
    assert_eq!((health.prover.mode.as_str(), health.prover.proofs), ("process", 4));
    server.assert_healthy();
}

#[test]
fn an_invalid_witness_is_refused() {
    let server = TestServer::start(Settings::process_mode);
    let good = &samples::range_check().witness;
    for (body, kind) in [
        (Vec::new(), ProblemType::WitnessEmpty),
        (b"hello".to_vec(), ProblemType::WitnessNotGzip),
        (good[..good.len() - 1].to_vec(), ProblemType::WitnessTruncated),
        (samples::gzip(b"hello"), ProblemType::WitnessMalformed),
        (samples::altered(good, 7, 1), ProblemType::WitnessOfAnotherCircuit),
        (samples::unsatisfied(), ProblemType::WitnessUnsatisfied),
        (samples::without(good, 4), ProblemType::WitnessUnsatisfied),
    ] {
        server.prove(&body).assert_refused(kind);
        server.assert_healthy();
    }
}

#[test]
fn a_bb_killed_while_proving_is_started_again() {
    let server = TestServer::start(Settings::process_mode);
    let (mut client, bb) = server.suspend_mid_proof();
    bb.signal(Signal::KILL);
    client.read_response().assert_proves(samples::range_check(), NoirRecursive);
    server.assert_healthy();
}

#[test]
fn a_bb_killed_while_verifying_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeBb::new(dir.path(), Behaviour::DieOnceVerifying);
    let server = TestServer::start(|s| {
        s.process_mode();
        s.bb = fake.program();
    });
    server.prove(&samples::range_check().witness).assert_proves(samples::range_check(), NoirRecursive);
    assert!(fake.has_died_verifying(), "no bb was killed");
    server.assert_healthy();
}

#[test]
fn a_proof_that_takes_too_long_is_stopped() {
    let server = TestServer::start(|s| {
        s.process_mode();
        s.flag("--prove-timeout", "10s");
    });
    let (mut client, bb) = server.suspend_mid_proof();
    client.read_response().assert_refused(ProblemType::ProofTimeout);
    eventually("bb is killed", || (!bb.is_alive()).then_some(()));
    server.assert_healthy();
}

#[test]
fn a_client_that_leaves_frees_the_prover() {
    let server = TestServer::start(Settings::process_mode);
    let (client, bb) = server.suspend_mid_proof();
    drop(client);
    eventually("bb is killed", || (!bb.is_alive()).then_some(()));
    server.assert_healthy();
}

#[test]
fn a_faulty_bb_fails_only_its_own_proof() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeBb::new(dir.path(), Behaviour::Real);
    let server = TestServer::start(|s| {
        s.process_mode();
        s.bb = fake.program();
        s.flag("--prove-timeout", "10s");
    });
    let good = &samples::range_check().witness;
    for (behaviour, kind) in [
        (Behaviour::NoHandshake, ProblemType::ProofTimeout),
        (Behaviour::DoesNothing, ProblemType::ProofFailed),
        (Behaviour::ExitsAtStart, ProblemType::ProofFailed),
    ] {
        fake.switch_to(behaviour);
        server.prove(good).assert_refused(kind);
        fake.switch_to(Behaviour::Real);
        server.assert_healthy();
    }
    fake.switch_to(Behaviour::FloodStderr);
    server.prove(good).assert_proof_of(samples::range_check());
    fake.switch_to(Behaviour::Real);
    server.assert_healthy();
}
