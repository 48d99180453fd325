//! Where the tests find bb, the CRS and the circuits, and which of them this machine cannot run.

use std::{env, fs, io::Write as _, path::PathBuf, sync::OnceLock, thread};

use serde::Deserialize;

use crate::processes;

/// Bytes of a point.
pub const POINT_BYTES: u64 = 64;

/// What `versions.toml` pins, as far as tests ask.
#[derive(Debug, Deserialize)]
pub struct Pinned {
    bb: Pin,
    noir: Pin,
}

#[derive(Debug, Deserialize)]
struct Pin {
    version: String,
}

impl Pinned {
    fn get() -> &'static Self {
        static PINNED: OnceLock<Pinned> = OnceLock::new();
        PINNED.get_or_init(|| toml::from_str(include_str!("../../versions.toml")).expect("it is well formed"))
    }

    /// The release of bb.
    pub fn bb() -> &'static str {
        &Self::get().bb.version
    }

    /// The release of Noir.
    pub fn noir() -> &'static str {
        &Self::get().noir.version
    }
}

/// The folder that everything is built into.
fn target() -> PathBuf {
    // A test's program is in `target/PROFILE/deps`.
    let program = env::current_exe().expect("this program has a path");
    program.ancestors().nth(3).expect("it is in the target folder").to_owned()
}

/// A program of this repository, built beside the tests.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let test = env::current_exe().expect("this program has a path");
    let path = test.ancestors().nth(2).expect("it is in the target folder").join(name);
    assert!(path.exists(), "there is no {}: run `cargo build --workspace`", path.display());
    path
}

/// The server under test.
#[track_caller]
pub fn edgeprove() -> PathBuf {
    program("edgeprove")
}

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
pub fn bb() -> PathBuf {
    let by_setup = || {
        let tools = variable("EDGEPROVE_HOME").unwrap_or_else(|| home().join(".edgeprove"));
        tools.join("bb").join(Pinned::bb()).join("bb")
    };
    present(variable("BB_PATH").unwrap_or_else(by_setup))
}

/// The folder of the CRS.
#[track_caller]
pub fn crs() -> PathBuf {
    let dir = variable("CRS_PATH").unwrap_or_else(|| home().join(".bb-crs"));
    present(dir.join("bn254_g1.dat"));
    dir
}

/// A compiled circuit of this repository, or its witness.
#[track_caller]
pub fn circuit_file(name: &str) -> PathBuf {
    let circuits = variable("EDGEPROVE_TEST_CIRCUITS").unwrap_or_else(|| target().join("circuits"));
    present(circuits.join(name))
}

/// Verification keys that tests share, so that bb does not make the same ones for every server.
pub fn shared_keys() -> PathBuf {
    target().join("tmp/verification-keys")
}

/// How many points the CRS has.
pub fn crs_points() -> u64 {
    fs::metadata(crs().join("bn254_g1.dat")).expect("the CRS can be read").len() / POINT_BYTES
}

/// Whether the CRS has too few points for this test, which is then reported as skipped.
pub fn lacks_crs_points(needed: u64) -> bool {
    let have = crs_points();
    have < needed && skip(&format!("needs {needed} CRS points, have {have}"))
}

/// Whether this machine gives no process a mount namespace of its own, in which case the test is reported as
/// skipped.
pub fn lacks_mount_namespaces() -> bool {
    !processes::succeeds(namespace(&["--mount"]).arg("true"))
        && skip("needs mount namespaces, which this machine does not give")
}

/// Whether this machine gives no process a process number namespace of its own, in which case the test is reported
/// as skipped.
pub fn lacks_pid_namespaces() -> bool {
    !processes::succeeds(namespace(&["--pid", "--fork", "--mount-proc"]).arg("true"))
        && skip("needs process number namespaces, which this machine does not give")
}

/// The PostgreSQL that `EDGEPROVE_TEST_POSTGRES` names, such as `postgres:///test?host=/run/postgresql&user=postgres`, or
/// the test is reported as skipped.
pub fn shared_postgres() -> Option<String> {
    let url = env::var("EDGEPROVE_TEST_POSTGRES").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        skip("needs a PostgreSQL, which EDGEPROVE_TEST_POSTGRES is to name");
    }
    url
}

/// Whether this machine has no Python, in which case the test is reported as skipped.
pub fn lacks_python() -> bool {
    !processes::succeeds(std::process::Command::new("python3").arg("--version"))
        && skip("needs python3, which this machine does not have")
}

/// `unshare` with these namespaces; who is not root needs a user namespace around them.
pub fn namespace(kinds: &[&str]) -> std::process::Command {
    let mut unshare = std::process::Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(kinds).arg("--");
    unshare
}

/// Says that this test is skipped, also in the file that `cargo xtask test` shows at its end.
pub(crate) fn skip(why: &str) -> bool {
    let line = format!("SKIPPED {}: {why}", thread::current().name().unwrap_or("a test"));
    eprintln!("{line}");
    if let Some(log) = variable("EDGEPROVE_SKIP_LOG") {
        let log = fs::OpenOptions::new().append(true).create(true).open(log);
        writeln!(log.expect("the skip log can be opened"), "{line}").expect("the skip log can be written");
    }
    true
}
