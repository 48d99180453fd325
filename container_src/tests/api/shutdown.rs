//! Graceful shutdown: running proofs finish, no new one starts, and nothing is left.

use edgeprove_protocol::{ProblemType, headers};
use rustix::process::Signal;

use crate::support::{Connection, TestServer, eventually, processes, samples, settings::Settings, skipped};

/// Asks a server to end during a proof, and checks all of its endpoints until it has ended.
#[track_caller]
fn assert_finishes_proof(mut server: TestServer, signal: Signal) {
    let (mut client, bb) = server.suspend_mid_proof();
    let mut waiter = Connection::post(server.address(), "/api/prove", &samples::range_check().witness);
    eventually("one request waits", || (server.health().prover.waiting == 1).then_some(()));
    let mut idle = Connection::open(server.address());
    idle.get("/readyz");
    assert_eq!(idle.read_response().status, 200);

    server.signal(signal);
    eventually("the server reports that it is not ready", || {
        (server.get("/readyz").status == 503).then_some(())
    });
    idle.get("/readyz");
    idle.read_response().assert_refused_for_now(ProblemType::NotReady);
    let refusal = server.prove(&samples::range_check().witness);
    refusal.assert_refused_for_now(ProblemType::NotReady);
    assert!(
        !refusal.headers.contains_key(headers::PROVER_LOAD),
        "the load header makes the server look idle: {refusal:?}"
    );
    let proof = server.json_request("/v1/verify/range_check?on=evm", r#"{"proof":"","publicInputs":[]}"#);
    proof.send().assert_refused_for_now(ProblemType::NotReady);
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.get("/api/health").json()["status"], "unhealthy");

    bb.resume();
    client.read_response().assert_proof_of(samples::range_check());
    waiter.read_response().assert_proof_of(samples::range_check());
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn a_running_proof_finishes_after_sigterm() {
    assert_finishes_proof(TestServer::start_default(), Signal::TERM);
}

#[test]
fn a_running_proof_finishes_after_sigint() {
    assert_finishes_proof(TestServer::start_default(), Signal::INT);
}

#[test]
fn a_running_proof_finishes_in_process_mode() {
    assert_finishes_proof(TestServer::start(Settings::process_mode), Signal::TERM);
}

#[test]
fn a_running_proof_finishes_when_the_server_is_pid_1() {
    if skipped::lacks_pid_namespaces() {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = TestServer::start(|s| {
            s.wrapper = Some(skipped::namespace(&["--pid", "--fork", "--mount-proc", "--kill-child"]));
        });
        let children = processes::children(server.pid());
        assert_eq!(children.len(), 1);
        server.set_pid(children[0].pid);
        server.assert_healthy();
        assert_finishes_proof(server, signal);
    }
}

#[test]
fn a_started_upload_is_completed_and_proved() {
    let mut server = TestServer::start_default();
    let range = samples::range_check();
    let length = format!("Content-Length: {}", range.witness.len());
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
    upload.send(&range.witness[..20]);
    eventually("half of the upload is in the spool", || (!server.spool_files().is_empty()).then_some(()));
    server.signal(Signal::TERM);
    eventually("the server reports that it is not ready", || {
        (server.get("/readyz").status == 503).then_some(())
    });
    upload.send(&range.witness[20..]);
    upload.read_response().assert_proof_of(range);
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn running_work_is_cancelled_after_the_drain_time() {
    let mut server = TestServer::start(|s| s.flag("--drain", "100ms"));
    let (mut client, bb) = server.suspend_mid_proof();
    let mut queued = Connection::post(server.address(), "/api/prove", &samples::range_check().witness);
    let mut upload = Connection::post_head(server.address(), "/api/prove", &["Content-Length: 100"]);
    upload.send(&samples::range_check().witness[..20]);
    eventually("one request waits, and one uploads", || {
        (server.health().prover.waiting == 1 && server.spool_files().len() == 3).then_some(())
    });
    server.signal(Signal::TERM);
    client.read_response().assert_refused_for_now(ProblemType::NotReady);
    queued.read_response().assert_refused_for_now(ProblemType::NotReady);
    // An upload that never ends gets the same response, or its connection is closed.
    if let Ok(response) = upload.try_read_response() {
        response.assert_refused_for_now(ProblemType::NotReady);
    }
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(!bb.is_alive(), "the server ended before its bb");
}

#[test]
fn idle_connections_do_not_delay_the_shutdown() {
    let mut server = TestServer::start_default();
    let connections: Vec<Connection> = (0..10).map(|_| Connection::open(server.address())).collect();
    let mut idle = Connection::open(server.address());
    idle.get("/livez");
    assert_eq!(idle.read_response().status, 200);
    let mut half_a_head = Connection::open(server.address());
    half_a_head.send(b"GET /livez HTTP/1.1\r\nHo");
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    drop(connections);
}

#[test]
fn a_server_that_still_starts_can_be_stopped() {
    let keys = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        let mut server = TestServer::start(|s| {
            // Without cached keys, loading the circuit takes some time.
            (s.keys, s.wait_until_ready) = (keys.path().join("none"), false);
        });
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_exit().code(), Some(0));
        let _ = std::fs::remove_dir_all(keys.path().join("none"));
    }
}

#[test]
fn the_next_start_wipes_the_spool_of_a_killed_server() {
    let spool = tempfile::tempdir().unwrap();
    let path = spool.path().join("spool");
    let mut server = TestServer::start(|s| s.spool = Some(path.clone()));
    let large = samples::padded(&samples::range_check().witness, 100_000);
    let mut upload = Connection::post_head(server.address(), "/api/prove", &["Content-Length: 200000"]);
    upload.send(&large);
    let (_asker, bb) = server.suspend_mid_proof();
    eventually("the upload and the witness are in the spool", || {
        (server.spool_files().len() == 2).then_some(())
    });
    let provers = server.provers();
    server.kill();
    // The provers notice by themselves that their input has ended.
    bb.resume();
    eventually("the provers end", || provers.iter().all(|bb| !bb.is_alive()).then_some(()));
    assert_eq!(
        std::fs::read_dir(&path).unwrap().count(),
        1,
        "the folder of the killed server is still there"
    );

    let next = TestServer::start(|s| s.spool = Some(path.clone()));
    next.wait_for_log_line("a warning counts the wiped files", |line| {
        line["level"] == "WARN" && line["files"].is_u64()
    });
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "only its own folder is left");
    assert!(next.spool_files().is_empty());
    next.assert_healthy();
}

#[test]
fn servers_that_share_a_spool_keep_each_others_files() {
    let spool = tempfile::tempdir().unwrap();
    let path = spool.path().join("spool");
    let one = TestServer::start(|s| s.spool = Some(path.clone()));
    let (mut client, bb) = one.suspend_mid_proof();
    let mut other = TestServer::start(|s| s.spool = Some(path.clone()));
    assert_eq!(one.spool_files().len(), 1, "the witness of the first server is still there");
    bb.resume();
    client.read_response().assert_proof_of(samples::range_check());
    other.assert_healthy();
    other.signal(Signal::TERM);
    assert_eq!(other.wait_for_exit_in_shared_spool().code(), Some(0));
    one.assert_healthy();
}
