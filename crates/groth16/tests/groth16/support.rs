//! Circuits with keys and witnesses.

use std::{fs, num::NonZeroUsize, path::Path};

use edgeprove_circom_witness::{Circuit, Inputs, Limits, WitnessEngine};
use edgeprove_groth16::{ProofWithSignals, ProvingKey, R1cs, Threads, Trust, WitnessValues, setup};
use edgeprove_test_circom::{self as circom, CircomCircuit};

pub(crate) const RANGE_INPUTS: &str = r#"{"in": 50, "randomPublicSignal": "7"}"#;

pub(crate) fn threads() -> Threads {
    Threads::of_width(NonZeroUsize::new(2).unwrap()).unwrap()
}

/// The bytes of a witness.
pub(crate) fn wtns(circuit: &CircomCircuit, inputs: &str) -> Vec<u8> {
    let engine = WitnessEngine::start().unwrap();
    let program = Circuit::compile(&engine, &circuit.wasm(), Limits::default()).unwrap();
    program.compute(&Inputs::parse(inputs.as_bytes()).unwrap(), None).unwrap().wtns().to_vec()
}

pub(crate) fn witness(circuit: &CircomCircuit, inputs: &str) -> WitnessValues {
    WitnessValues::read(&wtns(circuit, inputs)).unwrap()
}

/// A key of our own setup.
pub(crate) fn own_zkey(circuit: &CircomCircuit) -> Vec<u8> {
    setup(&R1cs::read(&circuit.r1cs()).unwrap(), &threads()).unwrap()
}

pub(crate) fn read(zkey: &[u8], trust: Trust) -> ProvingKey {
    ProvingKey::read(zkey, trust, &threads()).unwrap()
}

/// The range circuit with a key of our own, and a proof.
pub(crate) fn proved_range() -> (ProvingKey, ProofWithSignals) {
    let circuit = CircomCircuit::compile("range");
    let key = read(&own_zkey(&circuit), Trust::OwnSetup);
    let proved = key.prove(&witness(&circuit, RANGE_INPUTS), &threads()).unwrap();
    (key, proved)
}

/// Whether snarkjs accepts a proof.
pub(crate) fn snarkjs_verifies(verification_key: &str, proof: &str, signals: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let files = [("key.json", verification_key), ("proof.json", proof), ("public.json", signals)];
    let paths = files.map(|(name, text)| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    });
    let operands: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
    circom::snarkjs("verify", &operands).unwrap() == "true"
}
