//! Verifies proofs with an unmodified bb, run as a command.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use edgeprove_protocol::Target;
use parking_lot::Mutex;

use crate::{paths, processes, wait};

fn run(arguments: &[(&str, &Path)], command: &str, target: Target) -> bool {
    let mut bb = Command::new(paths::bb());
    bb.arg(command).args(["-t", target.as_str(), "-c"]).arg(paths::crs());
    for (flag, path) in arguments {
        bb.arg(flag).arg(path);
    }
    // bb tries to download a CRS, without an end, if the given one is unsuitable.
    processes::run(&mut bb, wait::LIMIT).status.success()
}

/// A verification key, as bb writes it.
#[derive(Debug, Clone)]
struct Key {
    vk: Vec<u8>,
    hash: Vec<u8>,
}

/// The hash of the verification key that bb computes for a circuit file, in hexadecimal.
#[track_caller]
pub fn verification_key_hash(circuit: &Path, target: Target) -> String {
    hex::encode(verification_key(circuit, target).hash)
}

/// The verification key that bb computes for a circuit file, as in its file `vk`.
#[track_caller]
pub fn verification_key_bytes(circuit: &Path, target: Target) -> Vec<u8> {
    verification_key(circuit, target).vk
}

#[track_caller]
fn verification_key(circuit: &Path, target: Target) -> Key {
    static KEYS: Mutex<Option<HashMap<(PathBuf, Target), Key>>> = Mutex::new(None);
    let mut keys = KEYS.lock();
    let keys = keys.get_or_insert_default();
    let key = keys.entry((circuit.to_owned(), target)).or_insert_with(|| {
        let dir = tempfile::tempdir().unwrap();
        let files = [("-b", circuit), ("-o", dir.path())];
        assert!(run(&files, "write_vk", target), "bb computes no key for {}", circuit.display());
        let read = |name| fs::read(dir.path().join(name)).unwrap();
        Key { vk: read("vk"), hash: read("vk_hash") }
    });
    key.clone()
}

/// Whether bb accepts a proof under the key that bb itself computes for the circuit file.
#[track_caller]
pub fn verifies(circuit: &Path, target: Target, proof: &[u8], public_inputs: &[u8]) -> bool {
    verifies_with_key(target, &verification_key(circuit, target).vk, proof, public_inputs)
}

/// Whether bb accepts a proof under this key.
#[track_caller]
pub fn verifies_with_key(target: Target, vk: &[u8], proof: &[u8], public_inputs: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let files =
        [("-k", file("vk", vk)), ("-p", file("proof", proof)), ("-i", file("public_inputs", public_inputs))];
    run(&files.each_ref().map(|(flag, path)| (*flag, path.as_path())), "verify", target)
}
