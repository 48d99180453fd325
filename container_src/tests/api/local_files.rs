//! What other programs and users of the machine can do to a server: signals, crashes, and something else in the place of
//! a file.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use edgeprove_protocol::{ProblemType, Target::NoirRecursive};
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::Signal,
};

use crate::support::{Connection, TestServer, eventually, paths, samples, settings::Settings};

pub(super) fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// The limit of core dumps of a process, as the kernel reports it.
fn core_limit(pid: i32) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

#[test]
fn a_crash_leaves_no_core() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = TestServer::start(|s| {
        let mut wrapper = Command::new("sh");
        wrapper.args(["-c", "ulimit -c unlimited; cd \"$1\" && shift && exec \"$@\"", "sh"]).arg(dir.path());
        s.wrapper = Some(wrapper);
    });
    assert_eq!(core_limit(server.pid()), ["0", "0"]);
    let provers = server.provers();
    assert!(!provers.is_empty());
    for bb in provers {
        assert_eq!(core_limit(bb.pid), ["0", "0"]);
        bb.signal(Signal::ABORT);
    }
    // The server may notice the end of all of them only after it was asked.
    eventually("new provers prove", || {
        (server.prove(&samples::range_check().witness).status == 200).then_some(())
    });
    server.assert_healthy();
    server.signal(Signal::ABORT);
    server.wait_until_killed();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn sighup_never_ends_a_server() {
    let server = TestServer::start_default();
    let witness = &samples::range_check().witness;
    let length = format!("Content-Length: {}", witness.len());
    let mut upload = Connection::post_head(server.address(), "/api/prove", &[&length]);
    upload.send(&witness[..10]);
    for _ in 0..3 {
        server.signal(Signal::HUP);
    }
    server.get("/readyz");
    upload.send(&witness[10..]);
    upload.read_response().assert_proves(samples::range_check(), NoirRecursive);
    server.assert_healthy();
}

#[test]
fn a_fifo_in_the_place_of_a_file_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for folder in ["crs", "data", "locked"] {
        fs::create_dir(at(folder)).unwrap();
    }
    for file in ["fifo", "circuit.json", "crs/bn254_g1.dat", "data/artifact.key", "locked/edgeprove.lock"] {
        make_fifo(&at(file));
    }
    symlink(paths::crs().join("bn254_g2.dat"), at("crs/bn254_g2.dat")).unwrap();
    let flag = |s: &mut Settings, name: &str, file: &str| s.flag(name, &at(file).display());
    let starts: [&dyn Fn(&mut Settings); 7] = [
        &|s| flag(s, "--keys-file", "fifo"),
        &|s| flag(s, "--audit", "fifo"),
        &|s| flag(s, "--data", "data"),
        &|s| flag(s, "--data", "locked"),
        &|s| s.circuit = Some(at("circuit.json")),
        &|s| s.crs = at("crs"),
        &|s| s.address_file = Some(at("fifo")),
    ];
    for (number, change) in starts.iter().enumerate() {
        let failed = TestServer::fails_to_start(change);
        assert!(matches!(failed.code, Some(1 | 64)), "{number}: {:?} {}", failed.code, failed.stderr);
        assert!(failed.stderr.contains("FIFO"), "{number}: {}", failed.stderr);
    }
}

#[test]
fn a_cache_with_other_things_than_files_is_no_obstacle() {
    let (keys, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = || TestServer::start(|s| s.keys = keys.path().to_owned());
    let server = start();
    server.assert_healthy();
    server.finish();
    let files = || fs::read_dir(keys.path()).unwrap().flatten().map(|entry| entry.path());
    let cached: Vec<_> = files().filter(|path| path.is_file()).collect();
    assert!(!cached.is_empty());
    for file in cached {
        fs::rename(&file, other.path().join(file.file_name().unwrap())).unwrap();
        make_fifo(&file);
    }
    start().assert_healthy();
}

#[test]
fn a_keys_file_that_becomes_a_fifo_blocks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    let text = format!("[keys.alice]\nsha256 = ['{}']\n", "0".repeat(64));
    fs::write(&file, &text).unwrap();
    let server = TestServer::start(|s| {
        s.flag("--keys-file", &file.display());
        s.sample = None;
    });
    fs::remove_file(&file).unwrap();
    make_fifo(&file);
    server.signal(Signal::HUP);
    eventually("the fault is reported", || (!server.health().problems.is_empty()).then_some(()));
    assert!(server.log().contains("FIFO"), "the log names the fault");
    fs::remove_file(&file).unwrap();
    fs::write(&file, &text).unwrap();
    eventually("the file is read again", || server.health().problems.is_empty().then_some(()));
    fs::remove_file(&file).unwrap();
    make_fifo(&file);
    server.signal(Signal::HUP);
    let started = Instant::now();
    server.finish();
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[test]
fn an_artifact_that_becomes_a_fifo_is_a_problem() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| s.flag("--data", &data.path().display()));
    let request = || server.prove_request(&samples::range_check().witness).header("prefer", "respond-async");
    let job = request().send().assert_accepted();
    server.wait_until_finished(job.id, crate::support::wait::LIMIT);
    for artifact in fs::read_dir(data.path().join("artifacts")).unwrap().flatten() {
        fs::remove_file(artifact.path()).unwrap();
        make_fifo(&artifact.path());
    }
    let started = Instant::now();
    server.get(&job.links.proof).assert_refused_for_now(ProblemType::ArtifactUnavailable);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    server.assert_healthy();
}

#[test]
fn a_witness_that_was_exchanged_is_not_proved() {
    let server = TestServer::start_default();
    let witness = &samples::range_check().witness;
    // Every bb is suspended, so that the witness waits in the spool.
    let provers = server.provers();
    assert!(provers.iter().all(|bb| bb.suspend()));
    let mut requests: Vec<_> =
        (0..6).map(|_| Connection::post(server.address(), "/api/prove", witness)).collect();
    let spooled = eventually("the witnesses are spooled and wait", || {
        let (files, prover) = (server.spool_files(), server.health().prover);
        (files.len() == requests.len() && prover.waiting > 0).then_some(files)
    });
    for file in spooled {
        fs::rename(&file, file.with_extension("moved")).unwrap();
        fs::write(&file, samples::unsatisfied()).unwrap();
        // The server still wipes what it wrote; the name of it is gone.
        fs::remove_file(file.with_extension("moved")).unwrap();
    }
    for bb in provers {
        bb.resume();
    }
    let statuses: Vec<u16> =
        requests.iter_mut().map(|request| request.read_response().status.as_u16()).collect();
    assert!(
        statuses.contains(&503) && statuses.iter().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    server.assert_healthy();
}
