//! Finds the programs, bb, the CRS and the compiled circuits that the tests use.

use std::{env, fs, path::PathBuf, sync::OnceLock};

use serde::Deserialize;

/// Bytes of a CRS point.
pub const POINT_BYTES: u64 = edgeprove_protocol::crs::G1_POINT_BYTES;

/// The versions in `versions.toml` that tests need.
#[derive(Debug, Deserialize)]
pub struct PinnedVersions {
    bb: Pinned,
    noir: Pinned,
}

#[derive(Debug, Deserialize)]
struct Pinned {
    version: String,
}

impl PinnedVersions {
    fn get() -> &'static Self {
        static PINNED: OnceLock<PinnedVersions> = OnceLock::new();
        PINNED.get_or_init(|| {
            toml::from_str(include_str!("../../versions.toml")).expect("versions.toml is valid")
        })
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

/// Cargo's target folder.
pub fn target() -> PathBuf {
    // The program of a test is in `target/PROFILE/deps`.
    let program = env::current_exe().expect("this program has a path");
    program.ancestors().nth(3).expect("the program is in the target folder").to_owned()
}

/// A program of this repository that cargo built together with the tests.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let test = env::current_exe().expect("this program has a path");
    let path = test.ancestors().nth(2).expect("the program is in the target folder").join(name);
    assert!(path.exists(), "{} does not exist: run `cargo build --workspace`", path.display());
    path
}

/// The program of the server under test.
#[track_caller]
pub fn edgeprove() -> PathBuf {
    program("edgeprove")
}

/// A variable of the environment that holds a path. An empty one counts as unset.
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn home() -> PathBuf {
    variable("HOME").expect("HOME is set")
}

#[track_caller]
fn existing(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} does not exist: run `cargo xtask setup`", path.display());
    path
}

/// The real bb.
#[track_caller]
pub fn bb() -> PathBuf {
    let from_setup = || {
        let tools = variable("EDGEPROVE_HOME").unwrap_or_else(|| home().join(".edgeprove"));
        tools.join("bb").join(PinnedVersions::bb()).join("bb")
    };
    existing(variable("BB_PATH").unwrap_or_else(from_setup))
}

/// The folder of the CRS.
#[track_caller]
pub fn crs() -> PathBuf {
    let dir = variable("CRS_PATH").unwrap_or_else(|| home().join(".bb-crs"));
    existing(dir.join("bn254_g1.dat"));
    dir
}

/// A compiled circuit of this repository, or its witness.
#[track_caller]
pub fn circuit_file(name: &str) -> PathBuf {
    let circuits = variable("EDGEPROVE_TEST_CIRCUITS").unwrap_or_else(|| target().join("circuits"));
    existing(circuits.join(name))
}

/// The cache of verification keys that tests share, so that bb does not compute the same keys for every server.
pub fn shared_keys() -> PathBuf {
    target().join("tmp/verification-keys")
}

/// The number of points in the CRS.
pub fn crs_points() -> u64 {
    fs::metadata(crs().join("bn254_g1.dat")).expect("the CRS can be read").len() / POINT_BYTES
}
