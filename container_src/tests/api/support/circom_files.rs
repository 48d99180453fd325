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
