//! The untouched bb, run by hand: the judge of every proof.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use edgeprove_protocol::Target;

use crate::{paths, processes};

/// bb goes to the network, and stays there, when its CRS does not do.
const LIMIT: Duration = Duration::from_mins(2);

fn run(arguments: &[(&str, &Path)], command: &str, target: Target) -> bool {
    let mut bb = Command::new(paths::bb());
    bb.arg(command).args(["-t", target.as_str(), "-c"]).arg(paths::crs());
    for (flag, path) in arguments {
        bb.arg(flag).arg(path);
    }
    let output = processes::run(&mut bb, LIMIT);
    output.status.success()
}

/// A verification key, as bb writes it.
#[derive(Debug, Clone)]
struct Key {
    vk: Vec<u8>,
    hash: Vec<u8>,
}

/// bb's hash of the key it makes of a circuit's file, in hexadecimal.
#[track_caller]
pub fn verification_key_hash(circuit: &Path, target: Target) -> String {
    hex::encode(verification_key(circuit, target).hash)
}

#[track_caller]
fn verification_key(circuit: &Path, target: Target) -> Key {
    static MADE: Mutex<Option<HashMap<(PathBuf, Target), Key>>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made.get_or_insert_default();
    let key = made.entry((circuit.to_owned(), target)).or_insert_with(|| {
        let dir = tempfile::tempdir().unwrap();
        let files = [("-b", circuit), ("-o", dir.path())];
        assert!(run(&files, "write_vk", target), "bb makes no key of {}", circuit.display());
        let read = |name| fs::read(dir.path().join(name)).unwrap();
        Key { vk: read("vk"), hash: read("vk_hash") }
    });
    key.clone()
}

/// Whether bb accepts a proof under the key that it makes of the circuit's file itself.
#[track_caller]
pub fn verifies(circuit: &Path, target: Target, proof: &[u8], public_inputs: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let files = [
        ("-k", file("vk", &verification_key(circuit, target).vk)),
        ("-p", file("proof", proof)),
        ("-i", file("public_inputs", public_inputs)),
    ];
    run(&files.each_ref().map(|(flag, path)| (*flag, path.as_path())), "verify", target)
}
