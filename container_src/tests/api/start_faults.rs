//! Errors that prevent the start of a server. One message reports all of them, before a port is opened.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::support::{
    TestServer, paths, processes, reserved_port::ReservedPort, samples, server::FailedStart,
    settings::Settings, wait,
};

const USAGE: Option<i32> = Some(64);

#[track_caller]
fn assert_fails(change: impl FnOnce(&mut Settings), code: Option<i32>, parts: &[&str]) -> FailedStart {
    let failed = TestServer::fails_to_start(change);
    assert_eq!(failed.code, code, "{}", failed.stderr);
    for part in parts {
        assert!(failed.stderr.contains(part), "{part:?} is not in: {}", failed.stderr);
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
fn a_missing_bb_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("bb");
    let missing_path = missing.display().to_string();
    assert_fails(|s| s.bb = missing, USAGE, &["--bb", &missing_path]);
    let not_executable = dir.path().join("text");
    fs::write(&not_executable, "text").unwrap();
    assert_fails(|s| s.bb = not_executable, USAGE, &["--bb", "text"]);
    let not_a_program = script(dir.path(), "");
    fs::write(&not_a_program, [0xff; 100]).unwrap();
    assert_fails(|s| s.bb = not_a_program, USAGE, &["bb"]);
}

#[test]
fn a_bb_of_another_version_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let other = script(dir.path(), "echo 0.87.0");
    assert_fails(|s| s.bb = other, USAGE, &["0.87.0", "5.0.0", "cargo xtask setup"]);
    let silent = script(dir.path(), "exit 0");
    assert_fails(|s| s.bb = silent, USAGE, &["version"]);
}

#[test]
fn a_bb_that_prints_no_version_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let silent = script(dir.path(), "exec sleep 600");
    assert_fails(|s| s.bb = silent, USAGE, &["version"]);
}

#[test]
fn a_missing_crs_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    assert_fails(|s| s.crs = dir.path().to_owned(), USAGE, &["bn254_g1.dat", "cargo xtask setup"]);
}

#[test]
fn a_crs_with_fewer_points_than_bb_needs_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let points = fs::read(paths::crs().join("bn254_g1.dat")).unwrap();
    for count in [1, 65, 511] {
        fs::write(dir.path().join("bn254_g1.dat"), &points[..count * 64]).unwrap();
        let parts = [&format!("{count} points"), "512", "cargo xtask setup"];
        assert_fails(|s| s.crs = dir.path().to_owned(), USAGE, &parts);
    }
}

/// Every point that a circuit can use is compared with the ceremony's.
#[test]
fn a_wrong_point_anywhere_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let g1 = dir.path().join("bn254_g1.dat");
    let points = fs::read(paths::crs().join("bn254_g1.dat")).unwrap();
    for (count, wrong) in [(512, 511), (3000, 3), (4096, 4095), (4097, 4096)] {
        let mut damaged = points[..count * 64].to_vec();
        damaged.copy_within(64..128, wrong * 64);
        fs::write(&g1, damaged).unwrap();
        assert_fails(|s| s.crs = dir.path().to_owned(), USAGE, &["bn254_g1.dat", "damaged", "ceremony"]);
    }
    fs::remove_file(&g1).unwrap();
    let mut compressed = vec![0; 600 * 32];
    compressed[31] = 1;
    fs::write(dir.path().join("bn254_g1_compressed.dat"), compressed).unwrap();
    let parts = ["bn254_g1_compressed.dat", "damaged", "ceremony"];
    assert_fails(|s| s.crs = dir.path().to_owned(), USAGE, &parts);
}

#[test]
fn a_damaged_crs_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (g1, g2) = (dir.path().join("bn254_g1.dat"), dir.path().join("bn254_g2.dat"));
    let points = fs::read(paths::crs().join("bn254_g1.dat")).unwrap();
    fs::copy(paths::crs().join("bn254_g2.dat"), &g2).unwrap();
    let assert_fails_with = |points: &[u8], part: &str| {
        fs::write(&g1, points).unwrap();
        assert_fails(|s| s.crs = dir.path().to_owned(), USAGE, &["damaged", part, "cargo xtask setup"]);
    };
    assert_fails_with(&[], "size");
    assert_fails_with(&points[..points.len() - 1], "size");
    assert_fails_with(&points[64..], "first point");
    assert_fails_with(&vec![0; points.len()], "first point");
    let mut flipped = points.clone();
    flipped[64 * 1000 + 40] ^= 1;
    assert_fails_with(&flipped, "ceremony");

    fs::write(&g1, &points).unwrap();
    fs::write(&g2, [0; 127]).unwrap();
    assert_fails(|s| s.crs = dir.path().to_owned(), USAGE, &["damaged", "128 bytes"]);
    fs::write(&g2, [0; 128]).unwrap();
    assert_fails(|s| s.crs = dir.path().to_owned(), USAGE, &["bn254_g2.dat", "ceremony"]);
}

#[test]
fn a_port_in_use_is_reported() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let parts = [address.as_str(), "EDGEPROVE_LISTEN", "in use"];
    assert_fails(|s| s.flag("--listen", &address), USAGE, &parts);
}

#[test]
fn an_address_file_that_cannot_be_written_is_reported() {
    assert_fails(|s| s.address_file = Some("/nonexistent/address".into()), USAGE, &["/nonexistent/address"]);
}

#[test]
fn all_configuration_errors_are_reported_at_once() {
    let faults = [
        ("--listen", "nowhere"),
        ("--cors-origin", "app.example"),
        ("--request-timeout", "soon"),
        ("--connections", "0"),
        ("--upload-max", "much"),
        ("--decompressed-max", "-1"),
        ("--ratio-max", "0"),
        ("--upload-idle", "15"),
        ("--drain", ""),
        ("--prover", "gpu"),
        ("--width", "broad"),
        ("--prove-timeout", "1 fortnight ago"),
        ("--prover-queue-max", "0"),
        ("--prover-queue-wait", "x"),
        ("--verify", "maybe"),
        ("--recycle-proofs", "0"),
        ("--recycle-growth", "x"),
        ("--target", "solidity"),
        ("--api-keys", "alice:hunter2"),
        ("--anonymous-role", "root"),
        ("--audit-sync", "soon"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let failed = assert_fails(
        |s| {
            s.bb = dir.path().join("no-bb");
            s.crs = dir.path().join("no-crs");
            s.circuit = Some(dir.path().join("no-circuit.json"));
            s.circuits = Some(dir.path().join("no-circuits"));
            s.flag("--keys-file", &dir.path().join("no-keys.toml").display());
            s.flags.extend(faults.iter().map(|(flag, value)| format!("{flag}={value}")));
        },
        USAGE,
        &["no-bb", "bn254_g1.dat", "no-circuit.json", "no-circuits", "no-keys.toml"],
    );
    for (flag, _) in faults {
        let variable = format!("EDGEPROVE_{}", flag[2..].to_ascii_uppercase().replace('-', "_"));
        let is_reported = |line: &str| line.contains(flag) && line.contains(&variable);
        assert!(failed.stderr.lines().any(is_reported), "{flag}: {}", failed.stderr);
    }
    let count = faults.len() + 5;
    assert!(
        failed.stderr.lines().next().is_some_and(|line| line.contains(&count.to_string())),
        "{}",
        failed.stderr
    );
    assert_eq!(failed.stderr.lines().count(), count + 1, "{}", failed.stderr);
}

#[test]
fn settings_that_cannot_work_are_faults() {
    // A value without its unit is a fault for sizes and times alike.
    let sets = [
        &[
            ("--prove-timeout", "500000000000y"),
            ("--connections", "18446744073709551615"),
            ("--cores", "100000"),
            ("--lease", "1y"),
            ("--upload-max", "10"),
            ("--upload-idle", "0s"),
            ("--prover-queue-max", "18446744073709551615"),
            ("--prover-queue-wait", "100y"),
            ("--request-timeout", "9"),
            ("--drain", "10000y"),
            ("--proof-cache", "18446744073709551615"),
            ("--memory-max", "1000"),
            ("--recycle-drift", "1e300"),
            ("--job-workers", "18446744073709551615"),
            ("--job-attempts", "4294967295"),
            ("--job-queue-max", "4294967295"),
            ("--result-ttl", "500000y"),
        ][..],
        &[("--prove-timeout", "90"), ("--upload-max", "10B"), ("--memory-max", "1B"), ("--spool-max", "1B")],
    ];
    for faults in sets {
        let failed = assert_fails(
            |s| {
                let flags = faults.iter().flat_map(|(flag, value)| [flag, value]);
                s.flags.extend(flags.map(|word| (*word).to_owned()));
            },
            USAGE,
            &[],
        );
        for (flag, _) in faults {
            assert!(failed.stderr.lines().any(|line| line.contains(flag)), "{flag}: {}", failed.stderr);
        }
        assert_eq!(failed.stderr.lines().count(), faults.len() + 1, "{}", failed.stderr);
    }
}

#[test]
fn errors_in_the_environment_are_reported() {
    let set =
        |s: &mut Settings, name: &str, value: &str| s.environment.push((name.to_owned(), value.to_owned()));
    assert_fails(
        |s| {
            set(s, "EDGEPROVE_PROVER_QUEUE_MAX", "none");
            set(s, "EDGEPROVE_UPLOAD_MAX", "-");
        },
        USAGE,
        &[
            "--prover-queue-max",
            "EDGEPROVE_PROVER_QUEUE_MAX",
            "`none`",
            "--upload-max",
            "EDGEPROVE_UPLOAD_MAX",
            "`-`",
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
    assert_eq!(server.health().prover.waiting_max, 8, "a flag overrides the environment");
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
            "PROVER_QUEUE_MAX",
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
    server.assert_healthy();

    // Every setting comes from the environment.
    let mut bare = Command::new(paths::edgeprove());
    bare.arg("serve").env_clear().env("BB_PATH", paths::bb()).env("CRS_PATH", paths::crs());
    bare.env("EDGEPROVE_BB", "").env("EDGEPROVE_CRS", "").env("EDGEPROVE_PROVER_QUEUE_MAX", "");
    let output = processes::run(bare.env("EDGEPROVE_CORES", "none"), wait::LIMIT);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), USAGE, "{stderr}");
    assert!(stderr.contains("EDGEPROVE_CORES") && stderr.lines().count() == 2, "{stderr}");
}

#[test]
fn a_wrong_command_line_is_not_a_wrong_setting() {
    let run = |change: &dyn Fn(&mut Command)| {
        let mut command = Command::new(paths::edgeprove());
        command.arg("serve").env_clear().env("BB_PATH", paths::bb()).env("CRS_PATH", paths::crs());
        change(&mut command);
        let output = processes::run(&mut command, wait::LIMIT);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, stderr) = run(&|command| {
        command.arg("--unknown");
    });
    assert_eq!(code, Some(2), "{stderr}");
    let (code, stderr) = run(&|command| {
        command.env("EDGEPROVE_EPHEMERAL_JOBS", "perhaps");
    });
    assert!(code == USAGE && stderr.contains("EDGEPROVE_EPHEMERAL_JOBS"), "{stderr}");
    assert!(stderr.contains("`perhaps`"), "{stderr}");
    let (code, stderr) = run(&|command| {
        command.env("EDGEPROVE_CORES", OsStr::from_bytes(b"\xff"));
    });
    assert!(code == USAGE && stderr.contains("EDGEPROVE_CORES"), "{stderr}");
}

#[test]
fn without_any_setting_the_missing_ones_are_reported() {
    let mut bare = Command::new(paths::edgeprove());
    let output = processes::run(bare.arg("serve").env_clear().env("PATH", "/nonexistent"), wait::LIMIT);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), USAGE, "{stderr}");
    for part in ["bb", "PATH", "CRS", "CRS_PATH"] {
        assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
    }
}

#[test]
fn a_start_reports_bb_port_and_settings_in_one_message() {
    let dir = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let other = script(dir.path(), "echo 0.87.0");
    let failed = assert_fails(
        |s| {
            s.bb = other;
            s.flag("--listen", &address);
            s.flag("--drain", "soon");
            s.address_file = Some("/nonexistent/address".into());
            s.environment.push(("EDGEPROVE_UPLAOD_MAX".to_owned(), "1MiB".to_owned()));
        },
        USAGE,
        &[
            "0.87.0",
            &address,
            "--drain",
            "/nonexistent/address",
            "EDGEPROVE_UPLAOD_MAX",
            "EDGEPROVE_UPLOAD_MAX",
        ],
    );
    assert_eq!(failed.stderr.lines().count(), 6, "{}", failed.stderr);
}

#[test]
fn a_user_with_only_a_binary_learns_how_to_get_bb() {
    let elsewhere = tempfile::tempdir().unwrap();
    let stderr = |folder: &Path| {
        let mut command = Command::new(paths::edgeprove());
        command
            .arg("serve")
            .env_clear()
            .env("PATH", "/nonexistent")
            .env("HOME", elsewhere.path())
            .current_dir(folder);
        let output = processes::run(command.env("CRS_PATH", paths::crs()), wait::LIMIT);
        assert_eq!(output.status.code(), USAGE);
        String::from_utf8(output.stderr).unwrap()
    };
    let outside = stderr(elsewhere.path());
    let home = elsewhere.path().join(".edgeprove/bb/5.0.0");
    for part in ["--bb", "BB_PATH", "PATH", home.to_str().unwrap(), "npm install @aztec/bb.js@5.0.0"] {
        assert!(outside.contains(part), "{part}: {outside}");
    }
    assert!(!outside.contains("cargo"), "{outside}");
    let inside = stderr(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(inside.contains("cargo xtask setup") && !inside.contains("npm"), "{inside}");
}

#[test]
fn a_user_with_only_a_binary_learns_how_to_get_a_crs() {
    let elsewhere = tempfile::tempdir().unwrap();
    for arguments in [&["serve"][..], &["warm", "--circuit", "circuit.json"]] {
        let mut command = Command::new(paths::edgeprove());
        command.args(arguments).env_clear().env("BB_PATH", paths::bb()).env("HOME", elsewhere.path());
        let output = processes::run(command.current_dir(elsewhere.path()), wait::LIMIT);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), USAGE, "{stderr}");
        for part in ["bn254_g1.dat", "--crs", "CRS_PATH", "~/.bb-crs"] {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
        assert!(!stderr.contains("cargo"), "{stderr}");
    }
}

#[test]
fn a_misspelt_variable_is_named_by_a_server_that_starts() {
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_UPLAOD_MAX".to_owned(), "1MiB".to_owned()));
    });
    let line =
        server.wait_for_log_line("the variable is named", |line| line["name"] == "EDGEPROVE_UPLAOD_MAX");
    assert_eq!((&line["meant"], &line["level"]), (&"EDGEPROVE_UPLOAD_MAX".into(), &"WARN".into()));
}

#[test]
fn booleans_have_the_usual_spellings() {
    for value in ["1", "true", "YES", "on"] {
        let server = TestServer::start(|s| {
            s.environment.push(("EDGEPROVE_EPHEMERAL_JOBS".to_owned(), value.to_owned()));
            s.environment.push(("EDGEPROVE_VERIFY".to_owned(), value.to_owned()));
        });
        let health = server.health();
        assert!(health.jobs.enabled && health.verify, "{value}");
    }
}

#[test]
fn a_database_that_is_away_is_named_with_its_host() {
    let port = ReservedPort::new();
    let host = port.address().to_string();
    let mut settings = Command::new(paths::edgeprove());
    settings
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--ephemeral-jobs"])
        .env_clear();
    settings.env("BB_PATH", paths::bb()).env("CRS_PATH", paths::crs()).env("HOME", "/nonexistent");
    let folder = tempfile::tempdir().unwrap();
    settings.arg("--spool-dir").arg(folder.path().join("spool")).arg("--cache-dir").arg(folder.path());
    settings.env("DATABASE_URL", format!("postgres://user:hunter2@{host}/jobs"));
    let started = std::time::Instant::now();
    let mut child = settings.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let waiting = lines.find(|line| line.contains(&host)).expect("a line names the host");
    assert!(started.elapsed() < Duration::from_secs(5), "{waiting}");
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    let errors: Vec<_> = rest.iter().filter(|line| line.starts_with("edgeprove: ")).collect();
    assert!(errors.len() == 1 && errors[0].contains(&host), "{rest:?}");
    assert_eq!(errors[0].matches("refused").count(), 1, "{}", errors[0]);
    assert!(!waiting.contains("hunter2") && !rest.concat().contains("hunter2"), "{rest:?}");
}

#[test]
fn an_invalid_circuit_name_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(&samples::range_check().circuit, dir.path().join("my circuit.json")).unwrap();
    assert_fails(|s| s.circuits = Some(dir.path().to_owned()), USAGE, &["my circuit.json"]);
    assert_fails(|s| s.flag("--target", "unknown=evm"), USAGE, &["--target", "unknown"]);
}

#[test]
fn a_name_with_a_line_feed_takes_one_line() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(&samples::range_check().circuit, dir.path().join("a\n  - b.json")).unwrap();
    let failed =
        assert_fails(|s| s.circuits = Some(dir.path().to_owned()), USAGE, &["(1 error)", "a\\n  - b.json"]);
    assert_eq!(failed.stderr.lines().count(), 2, "{}", failed.stderr);
}

#[test]
fn a_key_of_an_empty_text_is_refused() {
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let keys = format!("alice:{digest}");
    assert_fails(|s| s.flag("--api-keys", &keys), USAGE, &["--api-keys", "empty text"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    fs::write(&file, format!("[keys.alice]\nsha256 = ['{digest}']\n")).unwrap();
    assert_fails(|s| s.flag("--keys-file", &file.display()), USAGE, &["keys.alice", "empty text"]);
}

#[test]
fn a_spool_with_other_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a spool").unwrap();
    assert_fails(|s| s.spool = Some(file.clone()), USAGE, &["file"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a spool");

    let link = dir.path().join("link");
    symlink("/tmp", &link).unwrap();
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(shared.join("other file"), "work").unwrap();
    assert!(start_with_spool(&shared).contains(&shared.display().to_string()));
    assert_eq!(fs::read_to_string(shared.join("other file")).unwrap(), "work");
    assert!(start_with_spool(&link).contains(&link.display().to_string()));
}

/// Starts a server with this spool, which prevents the start, and returns its standard error. [`TestServer`] cannot be
/// used here, because it expects an empty spool.
#[track_caller]
fn start_with_spool(spool: &Path) -> String {
    let mut command = Command::new(paths::edgeprove());
    command.arg("serve").env_clear().args(["--listen", "127.0.0.1:0"]);
    command.arg("--bb").arg(paths::bb()).arg("--crs").arg(paths::crs());
    let output = processes::run(command.arg("--spool-dir").arg(spool), wait::LIMIT);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), USAGE, "{stderr}");
    stderr
}
