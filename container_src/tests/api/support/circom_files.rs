//! Folders with circom circuits, and snarkjs as judge of their proofs.

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use edgeprove_groth16::{R1cs, Threads, setup};
use edgeprove_test_circom::{self as circom, CircomCircuit};
use serde_json::Value;

use super::samples;

/// Bytes of a key after its last point: the header and the content of its last section.
pub(crate) const AFTER_LAST_POINT: usize = 12 + 68;

/// A program that never ends its start, in the binary format: a loop in its start function.
pub(crate) const ENDLESS: &[u8] = &[
    0, b'a', b's', b'm', 1, 0, 0, 0, // magic and version
    1, 4, 1, 0x60, 0, 0, // one type: no parameters, no results
    3, 2, 1, 0, // one function
    8, 1, 0, // which is the start function
    10, 9, 1, 7, 0, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b, // loop { branch to the loop }
];

/// A program that imports a function which circom's runtime does not have.
pub(crate) fn importing() -> Vec<u8> {
    let mut program = vec![0, b'a', b's', b'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0];
    let import = [&[1_u8, 3][..], b"env", &[9], b"read_file", &[0, 0]].concat();
    program.extend([2, u8::try_from(import.len()).unwrap()]);
    program.extend(import);
    program
}

/// A folder with the files of circuits.
pub(crate) struct CircomFolder(tempfile::TempDir);

impl CircomFolder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Adds the key and the program of a circuit of `circuit/circom/tests`.
    pub(crate) fn add(&self, name: &str) -> CircomCircuit {
        let circuit = CircomCircuit::compile(name);
        let threads = Threads::of_width(NonZeroUsize::new(2).unwrap()).unwrap();
        let key = setup(&R1cs::read(&circuit.r1cs()).unwrap(), &threads).unwrap();
        fs::write(self.at(&format!("{name}.zkey")), key).unwrap();
        fs::write(self.at(&format!("{name}.wasm")), circuit.wasm()).unwrap();
        circuit
    }

    /// Adds the constraints of a circuit too.
    pub(crate) fn add_constraints(&self, circuit: &CircomCircuit, name: &str) {
        fs::write(self.at(&format!("{name}.r1cs")), circuit.r1cs()).unwrap();
    }
}

/// The gzipped witness that snarkjs computes.
pub(crate) fn witness(circuit: &CircomCircuit, inputs: &Value) -> Vec<u8> {
    samples::gzip(&circuit.snarkjs_witness(&inputs.to_string()).unwrap())
}

/// A witness with the last value changed, which satisfies no circuit of the tests.
pub(crate) fn unsatisfied(witness: &[u8]) -> Vec<u8> {
    let mut wtns = samples::decompress(witness);
    let last = wtns.len() - 32;
    wtns[last] ^= 1;
    samples::gzip(&wtns)
}

/// Whether snarkjs accepts a proof.
pub(crate) fn snarkjs_verifies(key: &[u8], proof: &[u8], signals: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let paths = [("key", key), ("proof", proof), ("public", signals)].map(|(name, json)| {
        let path = dir.path().join(name);
        fs::write(&path, json).unwrap();
        path
    });
    let [key, proof, signals] = paths.each_ref().map(PathBuf::as_path);
    circom::snarkjs("verify", &[key, proof, signals]).unwrap() == "true"
}
