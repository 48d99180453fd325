//! One bb for each proof: the same answers, and never a process too many.

use edgeprove_protocol::{
    ProblemType,
    Target::{Evm, NoirRecursive},
};
use rustix::process::Signal;

use crate::support::{
    TestServer, eventually,
    fake_bb::{FakeBb, Part},
    samples,
    settings::Settings,
};

#[test]
fn it_proves_for_every_target_and_says_how() {
    let server = TestServer::start(Settings::process_mode);
    let range = samples::range();
    for target in [NoirRecursive, Evm] {
        server
            .posting_to(&format!("/api/prove?target={target}"), &range.witness)
            .send()
            .proves(range, target);
        let json = server.posting_to(&format!("/api/prove?target={target}"), &range.witness);
        json.header("accept", "application/json").send().proves(range, target);
    }
    let health = server.health();
    assert_eq!((health.prover.mode.as_str(), health.prover.proofs), ("process", 4));
    server.assert_well();
}

#[test]
fn what_is_no_witness_of_the_circuit_is_refused() {
    let server = TestServer::start(Settings::process_mode);
    let good = &samples::range().witness;
    for (body, kind) in [
        (Vec::new(), ProblemType::WitnessEmpty),
        (b"hello".to_vec(), ProblemType::WitnessNotGzip),
        (good[..good.len() - 1].to_vec(), ProblemType::WitnessTruncated),
        (samples::gzip(b"hello"), ProblemType::WitnessMalformed),
        (samples::altered(good, 7, 1), ProblemType::WitnessOfAnotherCircuit),
        (samples::unsatisfied(), ProblemType::WitnessUnsatisfied),
        (samples::without(good, 4), ProblemType::WitnessUnsatisfied),
    ] {
        server.post(&body).refused(kind);
        server.assert_well();
    }
}

#[test]
fn killed_midway_bb_is_started_again() {
    let server = TestServer::start(Settings::process_mode);
    let (mut asker, bb) = server.freeze_midway();
    bb.signal(Signal::KILL);
    asker.answer().proves(samples::range(), NoirRecursive);
    server.assert_well();
}

#[test]
fn killed_while_it_verifies_bb_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeBb::new(dir.path(), Part::DieOnceVerifying);
    let server = TestServer::start(|s| {
        s.process_mode();
        s.bb = fake.program();
    });
    server.post(&samples::range().witness).proves(samples::range(), NoirRecursive);
    assert!(server.log().contains("bb died"));
    server.assert_well();
}

#[test]
fn a_proof_that_takes_too_long_is_stopped() {
    let server = TestServer::start(|s| {
        s.process_mode();
        s.flag("--prove-timeout", "3s");
    });
    let (mut asker, bb) = server.freeze_midway();
    asker.answer().refused(ProblemType::ProofTimeout);
    assert!(!bb.lives());
    server.assert_well();
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let server = TestServer::start(Settings::process_mode);
    let (asker, bb) = server.freeze_midway();
    drop(asker);
    eventually("bb is killed", || (!bb.lives()).then_some(()));
    server.assert_well();
}

#[test]
fn a_bb_that_hangs_dies_or_lies_fails_its_own_proof_only() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeBb::new(dir.path(), Part::Real);
    let server = TestServer::start(|s| {
        s.process_mode();
        s.bb = fake.program();
        s.flag("--prove-timeout", "3s");
    });
    let good = &samples::range().witness;
    for (part, kind) in [
        (Part::Deaf, ProblemType::ProofTimeout),
        // It answers nothing and ends well.
        (Part::Idle, ProblemType::ProofFailed),
        (Part::Stillborn, ProblemType::ProofFailed),
    ] {
        fake.play(part);
        server.post(good).refused(kind);
        fake.play(Part::Real);
        server.assert_well();
    }
    fake.play(Part::FloodStderr);
    server.post(good).proof_of(samples::range());
    fake.play(Part::Real);
    server.assert_well();
}
