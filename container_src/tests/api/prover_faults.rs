//! Faults of bb: it dies, hangs, returns garbage, or is missing.

use std::fs;

use edgeprove_protocol::{ProblemType, Target::NoirRecursive};
use rustix::process::Signal;

use crate::support::{
    TestServer, eventually,
    fake_bb::{Behaviour, FakeBb},
    paths,
    processes::{self, Process},
    samples,
    settings::WARM_PROVERS,
};

/// A server with a fake bb whose behaviour can be changed.
pub(super) struct FakeBbServer {
    pub(super) server: TestServer,
    pub(super) fake: FakeBb,
    _dir: tempfile::TempDir,
}

impl FakeBbServer {
    pub(super) fn new(flags: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = FakeBb::new(dir.path(), Behaviour::Real);
        let server = TestServer::start(|s| {
            s.bb = fake.program();
            for (name, value) in flags {
                s.flag(name, value);
            }
        });
        server.assert_healthy();
        Self { server, fake, _dir: dir }
    }

    /// Changes the behaviour, and replaces every prover.
    #[track_caller]
    fn switch_to(&self, behaviour: Behaviour) {
        self.fake.switch_to(behaviour);
        let before = self.server.health().prover.restarts;
        kill_all(&self.server);
        eventually("every prover is replaced", || {
            (self.server.health().prover.restarts >= before + WARM_PROVERS as u64).then_some(())
        });
    }

    /// As [`Self::switch_to`], for a behaviour that completes the handshake.
    #[track_caller]
    pub(super) fn switch_to_and_wait(&self, behaviour: Behaviour) {
        self.switch_to(behaviour);
        self.server.wait_until_ready();
    }

    /// Changes back to the real bb, and checks that the server proves again.
    #[track_caller]
    fn assert_recovers(&self) {
        self.switch_to(Behaviour::Real);
        eventually("the server recovers", || {
            let response = self.server.prove(&samples::range_check().witness);
            (response.status == 200).then_some(())
        });
        self.server.assert_healthy();
    }
}

/// Kills every prover, and waits until all of them are gone.
#[track_caller]
pub(super) fn kill_all(server: &TestServer) {
    let provers: Vec<Process> = server.provers();
    for bb in &provers {
        bb.signal(Signal::KILL);
    }
    eventually("the provers are dead", || provers.iter().all(|bb| !bb.is_alive()).then_some(()));
}

#[test]
fn a_bb_killed_while_proving_does_not_fail_the_request() {
    let server = TestServer::start_default();
    let (mut client, bb) = server.suspend_mid_proof();
    bb.signal(Signal::KILL);
    client.read_response().assert_proves(samples::range_check(), NoirRecursive);
    server.assert_healthy();
    assert!(server.health().prover.restarts >= 1);
    server.wait_for_log_line("a warning about bb is logged", |line| line["level"] == "WARN");
}

#[test]
fn an_idle_bb_that_is_killed_is_replaced() {
    let server = TestServer::start_default();
    for _ in 0..3 {
        kill_all(&server);
        eventually("the server proves again", || {
            let response = server.prove(&samples::range_check().witness);
            assert!([200, 503].contains(&response.status.as_u16()), "{response:?}");
            (response.status == 200).then_some(())
        });
    }
    server.assert_healthy();
}

#[test]
fn a_bb_that_hangs_is_killed_at_the_timeout() {
    let fake = FakeBbServer::new(&[("--prove-timeout", "10s")]);
    fake.switch_to_and_wait(Behaviour::Hang);
    fake.server.prove(&samples::range_check().witness).assert_refused(ProblemType::ProofTimeout);
    fake.assert_recovers();
}

#[test]
fn a_bb_that_returns_garbage_fails_only_the_proof() {
    let fake = FakeBbServer::new(&[]);
    fake.switch_to_and_wait(Behaviour::Garbage);
    let problem = fake.server.prove(&samples::range_check().witness).assert_refused(ProblemType::ProofFailed);
    // The problem does not contain the cause.
    assert!(!problem.detail.contains("bytes"), "{}", problem.detail);
    // The witness is checked before the fault is attributed to bb.
    fake.server.prove(&samples::unsatisfied()).assert_refused(ProblemType::WitnessUnsatisfied);
    fake.server.wait_for_log_line("the cause is logged", |line| {
        line["code"] == "proof_failed" && line["cause"].is_string()
    });
    fake.assert_recovers();
}

#[test]
fn a_bb_beyond_the_memory_budget_is_killed_and_named() {
    let fake = FakeBbServer::new(&[("--memory-max", "100MiB")]);
    fake.switch_to_and_wait(Behaviour::TakeMemory);
    let problem = fake.server.prove(&samples::range_check().witness).assert_refused(ProblemType::OutOfMemory);
    assert!(problem.retryable);
    fake.server.wait_for_log_line("the cause is logged", |line| {
        line["code"] == "out_of_memory"
            && line["cause"].as_str().is_some_and(|cause| cause.contains("where 100 MiB are allowed"))
    });
    fake.assert_recovers();
}

#[test]
fn a_bb_that_dies_at_every_proof_is_tried_twice() {
    let fake = FakeBbServer::new(&[]);
    fake.switch_to_and_wait(Behaviour::Die);
    let problem =
        fake.server.prove(&samples::range_check().witness).assert_refused(ProblemType::ProverCrashed);
    assert!(problem.retryable);
    assert!(fake.server.log().contains("I give up"), "the log contains the last output of bb");
    fake.assert_recovers();
}

#[test]
fn a_bb_that_floods_its_stderr_still_proves() {
    let fake = FakeBbServer::new(&[]);
    let before = processes::peak_memory(fake.server.pid());
    fake.switch_to_and_wait(Behaviour::FloodStderr);
    fake.server.prove(&samples::range_check().witness).assert_proves(samples::range_check(), NoirRecursive);
    let growth = processes::peak_memory(fake.server.pid()) - before;
    assert!(growth < 16 << 20, "the server grew by {growth} bytes");
    fake.assert_recovers();
}

#[test]
fn a_bb_that_does_not_exit_is_killed_at_shutdown() {
    let fake = FakeBbServer::new(&[]);
    fake.switch_to_and_wait(Behaviour::Stay);
    fake.server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());
    fake.server.finish();
}

#[test]
fn a_bb_without_a_handshake_makes_the_server_unready() {
    let fake = FakeBbServer::new(&[]);
    fake.switch_to(Behaviour::NoHandshake);
    eventually("the server is not ready", || (fake.server.get("/readyz").status == 503).then_some(()));
    fake.server.get("/readyz").assert_refused_for_now(ProblemType::NotReady);
    fake.server.prove(&samples::range_check().witness).assert_refused_for_now(ProblemType::NotReady);
    let health = fake.server.get("/api/health");
    assert_eq!(health.status, 500);
    assert_eq!(health.json()["status"], "unhealthy");
    fake.assert_recovers();
}

#[test]
fn a_bb_that_exits_at_start_makes_the_server_unready() {
    let fake = FakeBbServer::new(&[]);
    fake.switch_to(Behaviour::ExitsAtStart);
    eventually("the server is not ready", || (fake.server.get("/readyz").status == 503).then_some(()));
    fake.server.prove(&samples::range_check().witness).assert_refused_for_now(ProblemType::NotReady);
    assert!(!fake.server.health().bb.available);
    fake.assert_recovers();
}

#[test]
fn a_bb_missing_on_disk_is_used_again_once_restored() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("bb");
    std::os::unix::fs::symlink(paths::bb(), &program).unwrap();
    let server = TestServer::start(|s| s.bb.clone_from(&program));
    fs::remove_file(&program).unwrap();
    // The running provers do not need the file.
    server.assert_healthy();
    kill_all(&server);
    eventually("the server is not ready", || (server.get("/readyz").status == 503).then_some(()));
    server.prove(&samples::range_check().witness).assert_refused_for_now(ProblemType::NotReady);
    std::os::unix::fs::symlink(paths::bb(), &program).unwrap();
    eventually("the server is ready", || (server.get("/readyz").status == 200).then_some(()));
    server.assert_healthy();
}
