//! Where the tests find bb, the CRS and the circuits, and which of them this machine cannot run.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    thread,
};

use edgeprove::prover::barretenberg::version::BB_VERSION;

use super::processes;

/// The server under test.
pub(crate) const EDGEPROVE: &str = env!("CARGO_BIN_EXE_edgeprove");

/// Bytes of a point.
pub(crate) const POINT_BYTES: u64 = 64;

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn home() -> PathBuf {
    variable("HOME").expect("HOME is set")
}

#[track_caller]
fn present(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "there is no {}: run `cargo xtask setup`", path.display());
    path
}

/// The real bb.
#[track_caller]
pub(crate) fn bb() -> PathBuf {
    let by_setup = || {
        let tools = variable("EDGEPROVE_HOME").unwrap_or_else(|| home().join(".edgeprove"));
        tools.join("bb").join(BB_VERSION).join("bb")
    };
    present(variable("BB_PATH").unwrap_or_else(by_setup))
}

/// The folder of the CRS.
#[track_caller]
pub(crate) fn crs() -> PathBuf {
    let dir = variable("CRS_PATH").unwrap_or_else(|| home().join(".bb-crs"));
    present(dir.join("bn254_g1.dat"));
    dir
}

/// A compiled circuit of this repository, or its witness.
#[track_caller]
pub(crate) fn circuit_file(name: &str) -> PathBuf {
    let target = || Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target folder");
    let circuits = variable("EDGEPROVE_TEST_CIRCUITS").unwrap_or_else(|| target().join("circuits"));
    present(circuits.join(name))
}

/// Verification keys that tests share, so that bb does not make the same ones for every server.
pub(crate) fn shared_keys() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("verification-keys")
}

/// How many points the CRS has.
pub(crate) fn crs_points() -> u64 {
    fs::metadata(crs().join("bn254_g1.dat")).expect("the CRS can be read").len() / POINT_BYTES
}

/// Whether the CRS has too few points for this test, which is then reported as skipped.
pub(crate) fn lacks_crs_points(needed: u64) -> bool {
    let have = crs_points();
    have < needed && skip(&format!("needs {needed} CRS points, have {have}"))
}

/// Whether this machine gives no process a mount namespace of its own, in which case the test is reported as
/// skipped.
pub(crate) fn lacks_mount_namespaces() -> bool {
    !processes::succeeds(namespace(&["--mount"]).arg("true"))
        && skip("needs mount namespaces, which this machine does not give")
}

/// Whether this machine gives no process a process number namespace of its own, in which case the test is reported
/// as skipped.
pub(crate) fn lacks_pid_namespaces() -> bool {
    !processes::succeeds(namespace(&["--pid", "--fork", "--mount-proc"]).arg("true"))
        && skip("needs process number namespaces, which this machine does not give")
}

/// `unshare` with these namespaces; who is not root needs a user namespace around them.
pub(crate) fn namespace(kinds: &[&str]) -> std::process::Command {
    let mut unshare = std::process::Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(kinds).arg("--");
    unshare
}

/// Says that this test is skipped, also in the file that `cargo xtask test` shows at its end.
fn skip(why: &str) -> bool {
    let line = format!("SKIPPED {}: {why}", thread::current().name().unwrap_or("a test"));
    eprintln!("{line}");
    if let Some(log) = variable("EDGEPROVE_SKIP_LOG") {
        let log = fs::OpenOptions::new().append(true).create(true).open(log);
        writeln!(log.expect("the skip log can be opened"), "{line}").expect("the skip log can be written");
    }
    true
}
