//! What keeps a server from starting is told in one message, before any port is opened.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::support::{TestServer, places, processes, samples, server::FailedStart, settings::Settings};

const USAGE: Option<i32> = Some(64);
const FAILURE: Option<i32> = Some(1);

#[track_caller]
fn fails(change: impl FnOnce(&mut Settings), code: Option<i32>, words: &[&str]) -> FailedStart {
    let failed = TestServer::fails_to_start(change);
    assert_eq!(failed.code, code, "{}", failed.words);
    for word in words {
        assert!(failed.words.contains(word), "{word:?} is not in: {}", failed.words);
    }
    failed
}

fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("bb");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn bb_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("bb");
    fails(|s| s.bb = missing, USAGE, &["the configuration has 1 fault", "is not an executable file"]);
    let not_executable = dir.path().join("text");
    fs::write(&not_executable, "text").unwrap();
    fails(|s| s.bb = not_executable, USAGE, &["is not an executable file"]);
    let not_a_program = script(dir.path(), "");
    fs::write(&not_a_program, [0xff; 100]).unwrap();
    fails(|s| s.bb = not_a_program, FAILURE, &["bb could not be run"]);
}

#[test]
fn bb_is_of_another_version() {
    let dir = tempfile::tempdir().unwrap();
    let other = script(dir.path(), "echo 0.87.0");
    fails(|s| s.bb = other, FAILURE, &["is bb 0.87.0", "needs bb 5.0.0", "cargo xtask setup"]);
    let mute = script(dir.path(), "exit 0");
    fails(|s| s.bb = mute, FAILURE, &["of no known version"]);
}

#[test]
fn bb_does_not_say_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let silent = script(dir.path(), "exec sleep 600");
    fails(|s| s.bb = silent, FAILURE, &["no version within"]);
}

#[test]
fn the_crs_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    fails(|s| s.crs = dir.path().to_owned(), USAGE, &["bn254_g1.dat cannot be read", "cargo xtask setup"]);
    fs::copy(places::crs().join("bn254_g1.dat"), dir.path().join("bn254_g1.dat")).unwrap();
    fails(|s| s.crs = dir.path().to_owned(), USAGE, &["bn254_g2.dat cannot be read"]);
}

#[test]
fn the_crs_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (g1, g2) = (dir.path().join("bn254_g1.dat"), dir.path().join("bn254_g2.dat"));
    let points = fs::read(places::crs().join("bn254_g1.dat")).unwrap();
    fs::copy(places::crs().join("bn254_g2.dat"), &g2).unwrap();
    let fails_with = |points: &[u8], words: &str| {
        fs::write(&g1, points).unwrap();
        fails(|s| s.crs = dir.path().to_owned(), USAGE, &["damaged", words, "cargo xtask setup"]);
    };
    fails_with(&[], "its size");
    fails_with(&points[..points.len() - 1], "its size");
    fails_with(&points[64..], "first point");
    fails_with(&vec![0; points.len()], "first point");
    let mut flipped = points.clone();
    flipped[64 * 1000 + 40] ^= 1;
    fails_with(&flipped, "not those of the ceremony");

    fs::write(&g1, &points).unwrap();
    fs::write(&g2, [0; 127]).unwrap();
    fails(|s| s.crs = dir.path().to_owned(), USAGE, &["damaged", "128 bytes"]);
}

#[test]
fn the_port_is_taken() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let words = [&format!("cannot listen on {address}"), "EDGEPROVE_LISTEN", "in use"];
    fails(|s| s.flag("--listen", &address), FAILURE, &words);
}

#[test]
fn its_address_cannot_be_written_down() {
    fails(|s| s.address_file = Some("/nonexistent/address".into()), FAILURE, &["cannot write the address"]);
}

#[test]
fn every_fault_of_the_configuration_is_told_at_once() {
    let faults = [
        ("--listen", "nowhere", "LISTEN"),
        ("--cors-origin", "app.example", "CORS_ORIGIN"),
        ("--request-timeout", "soon", "REQUEST_TIMEOUT"),
        ("--connections", "0", "CONNECTIONS"),
        ("--upload-max", "much", "UPLOAD_MAX"),
        ("--decompressed-max", "-1", "INFLATED_MAX"),
        ("--ratio-max", "0", "RATIO_MAX"),
        ("--upload-idle", "15", "UPLOAD_IDLE"),
        ("--drain", "", "DRAIN"),
        ("--prover", "gpu", "PROVER"),
        ("--width", "broad", "WIDTH"),
        ("--prove-timeout", "1 fortnight ago", "PROVE_TIMEOUT"),
        ("--prover-queue-max", "0", "QUEUE"),
        ("--prover-queue-wait", "x", "QUEUE_WAIT"),
        ("--verify", "maybe", "VERIFY"),
        ("--recycle-proofs", "0", "RECYCLE_PROOFS"),
        ("--recycle-growth", "x", "RECYCLE_GROWTH"),
        ("--target", "solidity", "TARGET"),
        ("--api-keys", "alice:hunter2", "API_KEYS"),
        ("--anonymous-role", "root", "ANONYMOUS_ROLE"),
        ("--audit-sync", "soon", "AUDIT_SYNC"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let failed = fails(
        |s| {
            s.bb = dir.path().join("no-bb");
            s.crs = dir.path().join("no-crs");
            s.circuit = Some(dir.path().join("no-circuit.json"));
            s.circuits = Some(dir.path().join("no-circuits"));
            s.flag("--keys-file", &dir.path().join("no-keys.toml").display());
            s.flags.extend(faults.iter().map(|(flag, value, _)| format!("{flag}={value}")));
        },
        USAGE,
        &["is not an executable file", "bn254_g1.dat", "no-circuit.json", "no-circuits", "no-keys.toml"],
    );
    for (flag, _, variable) in faults {
        assert!(failed.words.contains(&format!("{flag} (EDGEPROVE_{variable})")), "{flag}: {}", failed.words);
    }
    let count = faults.len() + 5;
    assert!(
        failed.words.starts_with(&format!("edgeprove: the configuration has {count} faults:\n")),
        "{}",
        failed.words
    );
    assert_eq!(failed.words.lines().count(), count + 1, "{}", failed.words);
}

#[test]
fn the_environment_is_read_and_its_faults_are_told_as_well() {
    let set =
        |s: &mut Settings, name: &str, value: &str| s.environment.push((name.to_owned(), value.to_owned()));
    fails(
        |s| {
            set(s, "EDGEPROVE_PROVER_QUEUE_MAX", "none");
            set(s, "EDGEPROVE_UPLOAD_MAX", "-");
        },
        USAGE,
        &[
            "2 faults",
            "--prover-queue-max (EDGEPROVE_PROVER_QUEUE_MAX): `none`",
            "--upload-max (EDGEPROVE_UPLOAD_MAX): `-`",
        ],
    );
    let server = TestServer::start(|s| {
        set(s, "EDGEPROVE_PROVER_QUEUE_MAX", "7");
        set(s, "EDGEPROVE_VERIFY", "off");
    });
    assert_eq!(server.health().prover.waiting_max, 7);
    assert!(!server.health().verify);
    let server = TestServer::start(|s| {
        set(s, "EDGEPROVE_PROVER_QUEUE_MAX", "7");
        s.flag("--prover-queue-max", &8);
    });
    assert_eq!(server.health().prover.waiting_max, 8, "a flag goes before the environment");
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let server = TestServer::start(|s| {
        let names = [
            "LISTEN",
            "CORS_ORIGIN",
            "REQUEST_TIMEOUT",
            "CONNECTIONS",
            "DRAIN",
            "CIRCUIT",
            "CIRCUITS",
            "TARGET",
            "PROVER",
            "CORES",
            "QUEUE",
            "VERIFY",
            "RECYCLE_GROWTH",
            "BB",
            "CRS",
            "CACHE_DIR",
            "SPOOL_DIR",
            "MSM",
            "LOG_FORMAT",
            "KEYS_FILE",
            "ANONYMOUS_ROLE",
            "AUDIT",
            "AUDIT_SYNC",
        ];
        s.environment.extend(names.map(|name| (format!("EDGEPROVE_{name}"), String::new())));
    });
    server.assert_well();

    // Without a command every setting comes from the environment.
    let mut bare = Command::new(places::edgeprove());
    bare.env_clear().env("BB_PATH", places::bb()).env("CRS_PATH", places::crs());
    bare.env("EDGEPROVE_BB", "").env("EDGEPROVE_CRS", "").env("EDGEPROVE_PROVER_QUEUE_MAX", "");
    let output = processes::run(bare.env("EDGEPROVE_CORES", "none"), Duration::from_secs(30));
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), USAGE, "{words}");
    assert!(words.contains("1 fault:") && words.contains("EDGEPROVE_CORES"), "{words}");
}

#[test]
fn with_nothing_at_all_it_says_what_it_needs() {
    let mut bare = Command::new(places::edgeprove());
    let output = processes::run(bare.env_clear().env("PATH", "/nonexistent"), Duration::from_secs(30));
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), USAGE, "{words}");
    for part in ["2 faults", "bb: there is none on the PATH", "the CRS: there is no home folder", "CRS_PATH"]
    {
        assert!(words.contains(part), "{part:?} is not in: {words}");
    }
}

#[test]
fn a_circuit_has_a_name_that_no_path_can_have() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(&samples::range().circuit, dir.path().join("my circuit.json")).unwrap();
    fails(|s| s.circuits = Some(dir.path().to_owned()), USAGE, &["my circuit.json"]);
    fails(|s| s.flag("--target", "unknown=evm"), USAGE, &["there is no circuit unknown"]);
}

#[test]
fn the_spool_is_no_folder_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a spool").unwrap();
    fails(|s| s.spool = Some(file.clone()), FAILURE, &["is not a directory"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a spool");

    let link = dir.path().join("link");
    symlink("/tmp", &link).unwrap();
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(shared.join("somebody's"), "work").unwrap();
    let server = Spooling(&shared);
    assert!(server.fails().contains("holds other files"));
    assert_eq!(fs::read_to_string(shared.join("somebody's")).unwrap(), "work");
    assert!(Spooling(&link).fails().contains("is not a directory"));
}

/// A server whose spool is not empty to begin with, and must not be afterwards.
struct Spooling<'dir>(&'dir Path);

impl Spooling<'_> {
    #[track_caller]
    fn fails(&self) -> String {
        let mut command = Command::new(places::edgeprove());
        command.arg("serve").env_clear().args(["--listen", "127.0.0.1:0"]);
        command.arg("--bb").arg(places::bb()).arg("--crs").arg(places::crs());
        let output = processes::run(command.arg("--spool-dir").arg(self.0), Duration::from_secs(30));
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), FAILURE, "{words}");
        words
    }
}
