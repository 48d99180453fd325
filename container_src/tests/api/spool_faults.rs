//! A spool that is full or read-only. It is on a small file system in the mount namespace of the server, so nothing
//! stays mounted after the test.

use std::{fs, path::PathBuf, process::Command};

use edgeprove_protocol::ProblemType;

use crate::support::{Connection, TestServer, processes, samples, settings::Settings, skipped, wait};

/// Size of the file system.
const BYTES: usize = 64 << 10;

/// Puts the spool on a small file system.
fn use_small_spool(settings: &mut Settings, spool: &tempfile::TempDir, options: &str) {
    let path = spool.path().join("spool");
    settings.small_disk(&path, BYTES, options);
    settings.spool = Some(path);
}

/// Fills the file system of the spool, except for this many pages.
fn fill(server: &TestServer, spare_pages: u64) -> PathBuf {
    server.fill_disk(&server.spool().join("filler"), spare_pages)
}

/// The log has the cause of the problem, with the path of the spool.
#[track_caller]
fn assert_cause_logged(server: &TestServer) {
    let spool = server.spool().display().to_string();
    server.wait_for_log_line("the cause is logged", |line| {
        line["code"] == "spool_unavailable"
            && line["cause"].as_str().is_some_and(|cause| cause.contains(&spool))
    });
}

#[test]
fn a_full_spool_refuses_uploads_until_space_is_freed() {
    if skipped::lacks_mount_namespaces() {
        return;
    }
    let spool = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| use_small_spool(s, &spool, ""));
    server.assert_healthy();
    let filler = fill(&server, 0);
    for _ in 0..3 {
        let problem = server
            .prove(&samples::range_check().witness)
            .assert_refused_for_now(ProblemType::SpoolUnavailable);
        assert!(!problem.detail.contains("spool/"), "the problem contains a path: {}", problem.detail);
        server.assert_idle();
    }
    assert_cause_logged(&server);
    fs::remove_file(filler).unwrap();
    server.assert_healthy();
}

#[test]
fn an_upload_that_fills_the_spool_fails_alone() {
    if skipped::lacks_mount_namespaces() {
        return;
    }
    let spool = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| use_small_spool(s, &spool, ""));
    let large = samples::padded(&samples::range_check().witness, 4 * BYTES);
    for _ in 0..3 {
        let mut upload = Connection::post(server.address(), "/api/prove", &large);
        upload.read_response().assert_refused_for_now(ProblemType::SpoolUnavailable);
        server.assert_healthy();
    }
}

#[test]
fn process_mode_reports_a_full_spool() {
    if skipped::lacks_mount_namespaces() {
        return;
    }
    let spool = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| {
        use_small_spool(s, &spool, "");
        s.process_mode();
    });
    server.assert_healthy();
    // There is space for the witness, but not for the key and the proof.
    let filler = fill(&server, 1);
    server.prove(&samples::range_check().witness).assert_refused_for_now(ProblemType::SpoolUnavailable);
    server.assert_idle();
    fs::remove_file(filler).unwrap();
    server.assert_healthy();
}

#[test]
fn a_read_only_spool_refuses_uploads() {
    if skipped::lacks_mount_namespaces() {
        return;
    }
    let spool = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| use_small_spool(s, &spool, ""));
    let remount = |how: &str| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &server.pid().to_string(), "--mount"]);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["mount", "-o", &format!("remount,bind,{how}")]).arg(server.spool());
        let output = processes::run(&mut command, wait::LIMIT);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    remount("ro");
    server.prove(&samples::range_check().witness).assert_refused_for_now(ProblemType::SpoolUnavailable);
    server.assert_idle();
    assert_cause_logged(&server);
    remount("rw");
    server.assert_healthy();
}

#[test]
fn a_read_only_spool_prevents_the_start() {
    if skipped::lacks_mount_namespaces() {
        return;
    }
    let spool = tempfile::tempdir().unwrap();
    let failed = TestServer::fails_to_start(|s| use_small_spool(s, &spool, ",ro"));
    assert_eq!(failed.code, Some(64));
    assert!(failed.stderr.contains(&spool.path().join("spool").display().to_string()), "{}", failed.stderr);
}
