//! A spool that is full or read-only. The server gets a file system of its own for it, in a mount namespace of its own,
//! so that nothing is left mounted whatever happens.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use edgeprove_protocol::ProblemType;

use crate::support::{Connection, TestServer, places, processes, samples, settings::Settings};

/// Size of the file system.
const BYTES: usize = 64 << 10;

/// Starts the server on a small file system.
fn on_small_spool(settings: &mut Settings, spool: &tempfile::TempDir, options: &str) {
    let path = spool.path().join("spool");
    settings.small_disk(&path, BYTES, options);
    settings.spool = Some(path);
}

/// Fills the file system to its last byte but leaves this many pages.
fn fill(server: &TestServer, spare_pages: u64) -> PathBuf {
    server.fill_disk(&server.spool().join("filler"), spare_pages)
}

#[test]
fn full_it_refuses_uploads_until_there_is_space_again() {
    if places::lacks_mount_namespaces() {
        return;
    }
    let spool = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| on_small_spool(s, &spool, ""));
    server.assert_well();
    let filler = fill(&server, 0);
    for _ in 0..3 {
        let problem = server.post(&samples::range().witness).refused_for_now(ProblemType::SpoolUnavailable);
        assert!(!problem.detail.contains("spool/"), "a caller is told no path: {}", problem.detail);
        server.assert_idle();
    }
    assert!(server.log().contains("no space is left"));
    fs::remove_file(filler).unwrap();
    server.assert_well();
}

#[test]
fn filled_by_an_upload_it_refuses_this_one_and_takes_the_next() {
    if places::lacks_mount_namespaces() {
        return;
    }
    let spool = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| on_small_spool(s, &spool, ""));
    let large = samples::padded(&samples::range().witness, 4 * BYTES);
    for _ in 0..3 {
        let mut upload = Connection::post(server.address(), "/api/prove", &large);
        upload.answer().refused_for_now(ProblemType::SpoolUnavailable);
        server.assert_well();
    }
}

#[test]
fn full_it_has_no_room_for_what_one_bb_a_proof_needs_either() {
    if places::lacks_mount_namespaces() {
        return;
    }
    let spool = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| {
        on_small_spool(s, &spool, "");
        s.process_mode();
    });
    server.assert_well();
    // The witness fits, but neither the key nor the proof.
    let filler = fill(&server, 1);
    server.post(&samples::range().witness).refused_for_now(ProblemType::SpoolUnavailable);
    server.assert_idle();
    fs::remove_file(filler).unwrap();
    server.assert_well();
}

#[test]
fn read_only_it_refuses_uploads_until_it_is_writable_again() {
    if places::lacks_mount_namespaces() {
        return;
    }
    let spool = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| on_small_spool(s, &spool, ""));
    let remount = |how: &str| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &server.pid().to_string(), "--mount"]);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["mount", "-o", &format!("remount,bind,{how}")]).arg(server.spool());
        let output = processes::run(&mut command, Duration::from_secs(30));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    remount("ro");
    server.post(&samples::range().witness).refused_for_now(ProblemType::SpoolUnavailable);
    server.assert_idle();
    assert!(server.log().contains("cannot be written"));
    remount("rw");
    server.assert_well();
}

#[test]
fn read_only_from_the_start_it_keeps_the_server_from_starting() {
    if places::lacks_mount_namespaces() {
        return;
    }
    let spool = tempfile::tempdir().unwrap();
    let failed = TestServer::fails_to_start(|s| on_small_spool(s, &spool, ",ro"));
    assert_eq!(failed.code, Some(1));
    assert!(failed.words.contains("cannot be written: point the spool at"), "{}", failed.words);
}
