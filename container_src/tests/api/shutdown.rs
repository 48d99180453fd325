//! How a server ends: what is at work finishes, nothing new begins, nothing is left.

use std::time::{Duration, Instant};

use edgeprove_protocol::{ProblemType, headers};
use rustix::process::Signal;

use crate::support::{Connection, TestServer, eventually, places, processes, samples, settings::Settings};

/// Asks a server to end in the middle of a proof, and looks at it from all sides until it has.
#[track_caller]
fn finishes_its_proof(mut server: TestServer, signal: Signal) {
    let (mut asker, bb) = server.freeze_midway();
    let mut waiter = Connection::post(server.address(), "/api/prove", &samples::range().witness);
    eventually("one waits", || (server.health().prover.waiting == 1).then_some(()));
    let mut kept = Connection::open(server.address());
    kept.get("/readyz");
    assert_eq!(kept.answer().status, 200);

    server.signal(signal);
    eventually("it says that it is not ready", || (server.get("/readyz").status == 503).then_some(()));
    kept.get("/readyz");
    kept.answer().refused_for_now(ProblemType::NotReady);
    let refusal = server.post(&samples::range().witness);
    refusal.refused_for_now(ProblemType::NotReady);
    assert!(
        !refusal.headers.contains_key(headers::PROVER_LOAD),
        "it passes for one that is idle: {refusal:?}"
    );
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.get("/api/health").json()["status"], "unhealthy");

    bb.signal(Signal::CONT);
    asker.answer().proof_of(samples::range());
    waiter.answer().proof_of(samples::range());
    assert_eq!(server.ends().code(), Some(0));
}

#[test]
fn after_sigterm_the_proof_at_work_is_finished() {
    finishes_its_proof(TestServer::plain(), Signal::TERM);
}

#[test]
fn after_sigint_the_proof_at_work_is_finished() {
    finishes_its_proof(TestServer::plain(), Signal::INT);
}

#[test]
fn in_process_mode_the_proof_at_work_is_finished() {
    finishes_its_proof(TestServer::start(Settings::process_mode), Signal::TERM);
}

#[test]
fn as_process_number_one_the_proof_at_work_is_finished() {
    if places::lacks_pid_namespaces() {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = TestServer::start(|s| {
            s.wrapper = Some(places::namespace(&["--pid", "--fork", "--mount-proc", "--kill-child"]));
        });
        let first = processes::children(server.pid());
        assert_eq!(first.len(), 1);
        server.is_really(first[0].pid);
        server.assert_well();
        finishes_its_proof(server, signal);
    }
}

#[test]
fn an_upload_under_way_is_finished_and_proved() {
    let mut server = TestServer::plain();
    let range = samples::range();
    let length = format!("Content-Length: {}", range.witness.len());
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
    upload.send(&range.witness[..20]);
    eventually("half of it is in the spool", || (!server.spooled().is_empty()).then_some(()));
    server.signal(Signal::TERM);
    eventually("it says that it is not ready", || (server.get("/readyz").status == 503).then_some(()));
    upload.send(&range.witness[20..]);
    upload.answer().proof_of(range);
    assert_eq!(server.ends().code(), Some(0));
}

#[test]
fn past_the_deadline_what_is_at_work_is_given_up() {
    let mut server = TestServer::start(|s| s.flag("--drain", "100ms"));
    let (mut asker, bb) = server.freeze_midway();
    let mut queued = Connection::post(server.address(), "/api/prove", &samples::range().witness);
    let mut upload = Connection::post_head(server.address(), "/api/prove", &["Content-Length: 100"]);
    upload.send(&samples::range().witness[..20]);
    eventually("one waits, one uploads", || {
        (server.health().prover.waiting == 1 && server.spooled().len() == 3).then_some(())
    });
    let started = Instant::now();
    server.signal(Signal::TERM);
    asker.answer().refused_for_now(ProblemType::NotReady);
    queued.answer().refused_for_now(ProblemType::NotReady);
    // An upload that never comes to its end is told the same, or cut off.
    if let Ok(answer) = upload.try_answer() {
        answer.refused_for_now(ProblemType::NotReady);
    }
    assert_eq!(server.ends().code(), Some(0));
    assert!(!bb.lives());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn connections_that_do_nothing_do_not_hold_it_up() {
    let mut server = TestServer::plain();
    let idle: Vec<Connection> = (0..10).map(|_| Connection::open(server.address())).collect();
    let mut kept = Connection::open(server.address());
    kept.get("/livez");
    assert_eq!(kept.answer().status, 200);
    let mut half_a_head = Connection::open(server.address());
    half_a_head.send(b"GET /livez HTTP/1.1\r\nHo");
    let asked = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.ends().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    drop(idle);
}

#[test]
fn asked_while_it_starts_it_ends() {
    let keys = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        let mut server = TestServer::start(|s| {
            // Without keys the circuit takes a while to load.
            (s.keys, s.wait_until_ready) = (keys.path().join("none"), false);
        });
        server.signal(Signal::TERM);
        assert_eq!(server.ends().code(), Some(0));
        let _ = std::fs::remove_dir_all(keys.path().join("none"));
    }
}

#[test]
fn killed_midway_it_leaves_nothing_that_the_next_start_does_not_wipe() {
    let spool = tempfile::tempdir().unwrap();
    let path = spool.path().join("spool");
    let mut server = TestServer::start(|s| s.spool = Some(path.clone()));
    let large = samples::padded(&samples::range().witness, 100_000);
    let mut upload = Connection::post_head(server.address(), "/api/prove", &["Content-Length: 200000"]);
    upload.send(&large);
    let (_asker, bb) = server.freeze_midway();
    eventually("the upload and the witness are in the spool", || (server.spooled().len() == 2).then_some(()));
    let provers = server.provers();
    server.kill();
    // Nobody tells them: they notice that nobody talks to them any more.
    bb.signal(Signal::CONT);
    eventually("the provers end by themselves", || provers.iter().all(|bb| !bb.lives()).then_some(()));
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "the dead server's folder is still there");

    let next = TestServer::start(|s| s.spool = Some(path.clone()));
    assert!(next.log().contains("wiped"), "{}", next.log());
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "its own folder and no other");
    assert!(next.spooled().is_empty());
    next.assert_well();
}

#[test]
fn two_servers_share_a_spool_without_wiping_each_others_files() {
    let spool = tempfile::tempdir().unwrap();
    let path = spool.path().join("spool");
    let one = TestServer::start(|s| s.spool = Some(path.clone()));
    let (mut asker, bb) = one.freeze_midway();
    let mut other = TestServer::start(|s| s.spool = Some(path.clone()));
    assert!(!other.log().contains("wiped"));
    bb.signal(Signal::CONT);
    asker.answer().proof_of(samples::range());
    other.assert_well();
    other.signal(Signal::TERM);
    assert_eq!(other.ends_beside_others().code(), Some(0));
    one.assert_well();
}
