//! `edgeprove` alone, `edgeprove check-config`, and several circuits on the command line.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{TestServer, paths, processes, samples, wait};

/// A command with bb and CRS, and nothing else in its environment.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(paths::edgeprove());
    command.env_clear().env("BB_PATH", paths::bb()).env("CRS_PATH", paths::crs());
    command.env("EDGEPROVE_SPOOL_DIR", folder.join("spool")).env("EDGEPROVE_CACHE_DIR", folder.join("keys"));
    command
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn edgeprove_alone_prints_its_help() {
    let output = processes::run(&mut Command::new(paths::edgeprove()), wait::LIMIT);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2), "no command is an invalid command line");
    let help = stdout + &stderr;
    for word in ["Usage: edgeprove <COMMAND>", "serve", "check-config", "Examples:"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn check_config_prints_what_would_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let circuit = &samples::range_check().circuit;
    let mut check = command(folder.path());
    check.args(["check-config", "--listen", "127.0.0.1:0", "--drain", "9s", "--circuit"]).arg(circuit);
    check.env("EDGEPROVE_EDGE_SECRET", "0123456789abcdef-secret").env("EDGEPROVE_CORES", "3");
    check.env("DATABASE_URL", "postgres://user:hunter2@db.example/jobs").env("EDGEPROVE_CORSE", "2");
    check.env("EDGEPROVE_DATA", folder.path().join("data"));
    let output = processes::run(&mut check, wait::LIMIT);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    for line in [
        "--drain: 9s (command line)",
        "--cores: 3 (environment)",
        "--upload-max: 64MiB (default)",
        "--edge-secret: (secret) (environment)",
        "--database-url: (secret) (environment)",
        "--audit: not set (default)",
    ] {
        assert!(stdout.lines().any(|other| other == line), "{line:?} is not in: {stdout}");
    }
    for part in [&circuit.display().to_string(), "range_check", "EDGEPROVE_CORES?", "is valid", "db.example"]
    {
        assert!(stdout.contains(part), "{part:?} is not in: {stdout}");
    }
    assert!(!stdout.contains("hunter2") && !stdout.contains("0123456789abcdef"), "{stdout}");
    assert!(
        !folder.path().join("spool").exists() && !folder.path().join("data").exists(),
        "something was started"
    );
}

#[test]
fn check_config_reports_every_error() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.json");
    fs::write(&broken, "{}").unwrap();
    let check = |arguments: &[&str]| {
        let mut check = command(folder.path());
        let output = processes::run(check.arg("check-config").args(arguments), wait::LIMIT);
        let (stdout, stderr) = texts(&output);
        assert_eq!((output.status.code(), stdout.as_str()), (Some(64), ""), "{stderr}");
        stderr
    };
    let fifo = folder.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let fifo = fifo.display().to_string();
    let stderr = check(&["--drain", "soon", "--circuit", &broken.display().to_string(), "--audit", &fifo]);
    for part in ["--drain", "broken.json", &fifo, "3 errors"] {
        assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
    }
    let broken = broken.display().to_string();
    assert!(check(&["--listen", "127.0.0.1:0", "--circuit", &broken]).contains(&broken));
}

#[test]
fn several_circuits_are_served_and_the_first_is_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let (range, square) = (samples::range_check(), &samples::square(dir.path(), "square", 3));
    let server = TestServer::start(|s| s.flag("--circuit", &square.circuit.display()));
    let named: Vec<_> = server.health().circuits.iter().map(|circuit| circuit.id.to_string()).collect();
    assert_eq!(named, ["range_check", "square"]);
    server.prove(&range.witness).assert_proof_of(range);
    server.prove_request_at("/api/prove/square", &square.witness).send().assert_proof_of(square);
    drop(server);

    let list = format!("{},{}", square.circuit.display(), range.circuit.display());
    let server = TestServer::start(|s| {
        (s.circuit, s.sample) = (None, Some(square.clone()));
        s.environment.push(("EDGEPROVE_CIRCUIT".to_owned(), list));
    });
    server.prove(&square.witness).assert_proof_of(square);
    assert_ne!(server.prove(&range.witness).status, 200, "the default is the first one");
}

#[test]
fn two_circuits_of_one_name_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("range_check.json");
    fs::copy(&samples::range_check().circuit, &copy).unwrap();
    let failed = TestServer::fails_to_start(|s| s.flag("--circuit", &copy.display()));
    assert_eq!(failed.code, Some(64));
    assert!(
        failed.stderr.contains("same name") && failed.stderr.contains("range_check"),
        "{}",
        failed.stderr
    );
}

#[test]
fn the_log_names_the_url_to_open() {
    let server = TestServer::start_default();
    let url = format!("http://{}/", server.address());
    server.wait_for_log_line("the URL is logged", |line| line["url"] == url.as_str());
}
