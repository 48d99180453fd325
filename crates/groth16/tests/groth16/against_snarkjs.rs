//! What snarkjs writes is read, and what we write is accepted by snarkjs.

use std::{fs, num::NonZeroUsize, path::Path, sync::atomic::AtomicBool};

use edgeprove_groth16::{
    Proof, ProofWithSignals, ProveError, PublicSignals, R1csInfo, Threads, Trust, VerifyingKey,
    WitnessValues, ZkeyInfo,
};
use edgeprove_test_circom::{self as circom, CircomCircuit};
use serde_json::{Value, json};

use crate::support::{RANGE_INPUTS, own_zkey, proved_range, read, snarkjs_verifies, threads, witness, wtns};

/// The power of two of the range circuit's domain.
const RANGE_POWER: u32 = 7;

#[track_caller]
fn assert_snarkjs_accepts(key: &VerifyingKey, proved: &ProofWithSignals) {
    assert!(snarkjs_verifies(&key.to_json(), &proved.proof.to_json(), &proved.signals.to_json()));
}

/// A proof from snarkjs.
fn snarkjs_proof(zkey: &[u8], wtns: &[u8]) -> ProofWithSignals {
    let dir = tempfile::tempdir().unwrap();
    let [key, witness] = [("key.zkey", zkey), ("witness.wtns", wtns)].map(|(name, bytes)| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    });
    let output = circom::snarkjs("prove", &[&key, &witness]).unwrap();
    let output: Value = serde_json::from_str(&output).unwrap();
    ProofWithSignals {
        proof: Proof::from_json(output["proof"].to_string().as_bytes()).unwrap(),
        signals: PublicSignals::from_json(output["publicSignals"].to_string().as_bytes()).unwrap(),
    }
}

#[test]
fn keys_of_snarkjs_prove() {
    let circuit = CircomCircuit::compile("range");
    let zkey_path = circuit.snarkjs_zkey(RANGE_POWER);
    let zkey = fs::read(&zkey_path).unwrap();
    let r1cs = R1csInfo::read(&circuit.r1cs()).unwrap();
    let expected = ZkeyInfo {
        wires: r1cs.wires,
        public_signals: 2,
        constraints: r1cs.constraints,
        domain_size: 1 << RANGE_POWER,
    };
    assert_eq!(ZkeyInfo::read(&zkey).unwrap(), expected);

    let witness_bytes = wtns(&circuit, RANGE_INPUTS);
    let of_snarkjs = snarkjs_proof(&zkey, &witness_bytes);
    for trust in [Trust::Checked, Trust::OwnSetup] {
        let key = read(&zkey, trust);
        assert!(key.prepared_verifying_key().verify(&of_snarkjs.proof, &of_snarkjs.signals));
        let proved = key.prove(&WitnessValues::read(&witness_bytes).unwrap(), &threads()).unwrap();
        assert_eq!(proved.signals, of_snarkjs.signals);
        // Proofs are randomised.
        assert_ne!(proved.proof, of_snarkjs.proof);
        assert_snarkjs_accepts(key.verifying_key(), &proved);
    }
    let exported = circom::snarkjs("key", &[&zkey_path]).unwrap();
    assert_eq!(read(&zkey, Trust::OwnSetup).verifying_key().to_json(), exported);
}

#[test]
fn keys_of_our_setup_prove_here_and_in_snarkjs() {
    let circuit = CircomCircuit::compile("range");
    let zkey = own_zkey(&circuit);
    let key = read(&zkey, Trust::Checked);
    let witness_bytes = wtns(&circuit, RANGE_INPUTS);
    let ours = key.prove(&WitnessValues::read(&witness_bytes).unwrap(), &threads()).unwrap();
    assert_eq!(ours.signals.to_decimals(), ["50", "7"]);
    assert_snarkjs_accepts(key.verifying_key(), &ours);

    let of_snarkjs = snarkjs_proof(&zkey, &witness_bytes);
    assert!(key.prepared_verifying_key().verify(&of_snarkjs.proof, &of_snarkjs.signals));
    assert_snarkjs_accepts(key.verifying_key(), &of_snarkjs);
}

#[test]
fn snarkjs_contributes_to_keys_of_our_setup() {
    let circuit = CircomCircuit::compile("range");
    let dir = tempfile::tempdir().unwrap();
    let [ours, contributed] = ["ours.zkey", "contributed.zkey"].map(|name| dir.path().join(name));
    fs::write(&ours, own_zkey(&circuit)).unwrap();
    circom::snarkjs("contribute", &[&ours, &contributed]).unwrap();
    let key = read(&fs::read(&contributed).unwrap(), Trust::Checked);
    let proved = key.prove(&witness(&circuit, RANGE_INPUTS), &threads()).unwrap();
    assert_snarkjs_accepts(key.verifying_key(), &proved);
    let before = read(&fs::read(&ours).unwrap(), Trust::OwnSetup);
    assert!(!before.prepared_verifying_key().verify(&proved.proof, &proved.signals));
}

#[test]
fn a_larger_circuit_proves_at_any_width() {
    let circuit = CircomCircuit::compile("power_chain");
    let key = read(&own_zkey(&circuit), Trust::OwnSetup);
    let witness = witness(&circuit, r#"{"seed": 42}"#);
    let mut signals = Vec::new();
    for width in [1, 3] {
        let threads = Threads::of_width(NonZeroUsize::new(width).unwrap()).unwrap();
        signals.push(key.prove(&witness, &threads).unwrap().signals);
    }
    assert_eq!(signals[0], signals[1]);
    let proved = key.prove(&witness, &threads()).unwrap();
    assert_snarkjs_accepts(key.verifying_key(), &proved);
}

#[test]
fn proofs_of_other_statements_do_not_verify() {
    let (key, proved) = proved_range();
    let verify = |proof: &Proof, signals: &PublicSignals| {
        let key = key.prepared_verifying_key();
        let verdict = key.verify_on(proof, signals, &threads()).unwrap();
        assert_eq!(key.verify(proof, signals), verdict, "both ways agree");
        verdict
    };
    assert!(verify(&proved.proof, &proved.signals));

    let signals = |json: Value| PublicSignals::from_json(json.to_string().as_bytes()).unwrap();
    assert!(verify(&proved.proof, &signals(json!(["50", "7"]))));
    for other in [json!(["50", "8"]), json!(["7", "50"]), json!(["50"]), json!(["50", "7", "0"]), json!([])] {
        assert!(!verify(&proved.proof, &signals(other.clone())), "{other}");
    }
    let (_, another) = proved_range();
    assert!(!verify(&another.proof, &another.signals));

    let mut mixed: Value = serde_json::from_str(&proved.proof.to_json()).unwrap();
    mixed["pi_c"] = mixed["pi_a"].clone();
    let mixed = Proof::from_json(mixed.to_string().as_bytes()).unwrap();
    assert!(!verify(&mixed, &proved.signals));
}

#[test]
fn witnesses_that_do_not_satisfy_give_no_proof() {
    let circuit = CircomCircuit::compile("range");
    let key = read(&own_zkey(&circuit), Trust::OwnSetup);
    let good = wtns(&circuit, RANGE_INPUTS);
    // A public signal, the private input and an inner wire.
    for index in [1, 3, 20] {
        let mut changed = good.clone();
        changed[76 + 32 * index] ^= 1;
        let error = key.prove(&WitnessValues::read(&changed).unwrap(), &threads()).unwrap_err();
        assert!(matches!(error, ProveError::Unsatisfied), "{index}: {error}");
    }
    let other = witness(&CircomCircuit::compile("shapes"), r#"{"single": 1, "grid": [1, 2, 3, 4, 5, 6]}"#);
    let error = key.prove(&other, &threads()).unwrap_err();
    assert!(matches!(error, ProveError::WitnessLength { .. }), "{error}");
}

#[test]
fn verification_keys_round_trip() {
    let (key, proved) = proved_range();
    let json = key.verifying_key().to_json();
    let read = VerifyingKey::from_json(json.as_bytes()).unwrap();
    assert_eq!(&read, key.verifying_key());
    assert!(read.prepare().verify(&proved.proof, &proved.signals));

    let value: Value = serde_json::from_str(&json).unwrap();
    let changed = |name: &str, to: Value| {
        let mut changed = value.clone();
        changed[name] = to;
        VerifyingKey::from_json(changed.to_string().as_bytes()).map_err(|error| error.to_string())
    };
    assert!(changed("vk_alphabeta_12", Value::Null).is_ok());
    assert!(changed("nPublic", json!(3)).unwrap_err().starts_with("nPublic is 3, but IC has 3 points"));
    assert!(changed("IC", json!([])).is_err());
    assert!(changed("nPublic", json!(u64::MAX)).is_err());
    let off_the_curve = json!(["1", "1", "1"]);
    assert_eq!(
        changed("vk_alpha_1", off_the_curve).unwrap_err(),
        "vk_alpha_1 is not a valid point of the curve"
    );
    assert_eq!(
        changed("vk_beta_2", json!([["0", "0"], ["1", "0"], ["0", "0"]])).unwrap_err(),
        "vk_beta_2 is not a valid point of the curve"
    );
    assert!(changed("curve", json!("bls12381")).is_err());
    assert!(changed("more", json!(1)).is_err());
}

#[test]
fn files_of_other_kinds_are_refused() {
    let circuit = CircomCircuit::compile("range");
    let (r1cs, zkey) = (circuit.r1cs(), own_zkey(&circuit));
    assert!(WitnessValues::read(&r1cs).is_err());
    assert!(R1csInfo::read(&zkey).is_err());
    assert!(ZkeyInfo::read(&r1cs).is_err());
    let text = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(ZkeyInfo::read(&text).is_err());
}

#[test]
fn a_cancelled_proof_ends_without_a_result() {
    let circuit = CircomCircuit::compile("range");
    let key = read(&own_zkey(&circuit), Trust::OwnSetup);
    let witness = witness(&circuit, RANGE_INPUTS);
    let prove = |is_cancelled| key.prove_unverified(&witness, &threads(), &AtomicBool::new(is_cancelled));
    assert!(matches!(prove(true), Err(ProveError::Cancelled)));
    let proved = prove(false).unwrap();
    assert!(key.prepared_verifying_key().verify(&proved.proof, &proved.signals));
}
