//! The verifier contract, compiled by solc and run in an Ethereum virtual machine.

use std::fs;

use edgeprove_groth16::{ProofWithSignals, VerifyingKey, verifier_contract};
use edgeprove_test_circom as circom;
use serde::Deserialize;
use serde_json::Value;

use crate::support::proved_range;

/// The modulus of coordinates.
const P: &str = "30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47";
/// The modulus of public signals.
const R: &str = "30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001";

/// Ethereum's limit for the code of a contract.
const MAX_CODE_BYTES: u64 = 24_576;

#[derive(Debug, Deserialize)]
struct CallResult {
    returned: String,
    reverted: bool,
    gas: u64,
}

impl CallResult {
    fn is_true(&self) -> bool {
        !self.reverted && self.returned == format!("{:064x}", 1)
    }

    fn is_false(&self) -> bool {
        !self.reverted && self.returned == format!("{:064x}", 0)
    }
}

/// What the virtual machine printed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Called {
    deploy_gas: u64,
    calls: Vec<CallResult>,
}

/// What solc printed.
struct Contract {
    compiled: String,
}

impl Contract {
    fn of(key: &VerifyingKey) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("Verifier.sol");
        fs::write(&source, verifier_contract(key).unwrap()).unwrap();
        let compiled = circom::node("solc.mjs", &[&source, "Groth16Verifier".as_ref()]).unwrap();
        let printed: Value = serde_json::from_str(&compiled).unwrap();
        assert_eq!(printed["contracts"].as_array().unwrap().len(), 1);
        assert_eq!(printed["license"], "MIT OR Apache-2.0");
        let bytes = printed["contracts"][0]["runtimeBytes"].as_u64().unwrap();
        assert!(bytes < MAX_CODE_BYTES, "{bytes} bytes");
        Self { compiled }
    }

    fn call(&self, calls: &[String]) -> Vec<CallResult> {
        let dir = tempfile::tempdir().unwrap();
        let [code_file, calls_file] = ["verifier.json", "calls"].map(|name| dir.path().join(name));
        fs::write(&code_file, &self.compiled).unwrap();
        fs::write(&calls_file, calls.join("\n")).unwrap();
        let output = circom::node("evm.mjs", &[&code_file, &calls_file]).unwrap();
        let called: Called = serde_json::from_str(&output).unwrap();
        assert!((300_000..1_000_000).contains(&called.deploy_gas), "{} gas", called.deploy_gas);
        called.calls
    }
}

fn calldata(ProofWithSignals { proof, signals }: &ProofWithSignals) -> String {
    hex::encode(proof.calldata(signals))
}

/// Replaces a word after the selector.
fn with_word(calldata: &str, index: usize, word: &str) -> String {
    let at = 8 + 64 * index;
    format!("{}{word}{}", &calldata[..at], &calldata[at + 64..])
}

fn word(calldata: &str, index: usize) -> &str {
    &calldata[8 + 64 * index..][..64]
}

/// The sum of two words, digit by digit.
fn sum(left: &str, right: &str) -> String {
    let mut carry = 0;
    let digits = left.chars().rev().zip(right.chars().rev()).map(|(left, right)| {
        let digit = left.to_digit(16).unwrap() + right.to_digit(16).unwrap() + carry;
        carry = digit / 16;
        char::from_digit(digit % 16, 16).unwrap()
    });
    let digits: Vec<char> = digits.collect();
    digits.iter().rev().collect()
}

#[test]
fn the_contract_accepts_proofs_and_nothing_else() {
    let (key, proved) = proved_range();
    let contract = Contract::of(key.verifying_key());
    let good = calldata(&proved);
    let (_, of_another_key) = proved_range();
    // A, B with its parts in the wrong order, C, signals; then values that are the same modulo their modulus.
    let mut bad = vec![calldata(&of_another_key)];
    bad.extend((0..10).map(|index| with_word(&good, index, &format!("{:064x}", 3))));
    bad.push(with_word(&with_word(&good, 2, word(&good, 3)), 3, word(&good, 2)));
    bad.extend((0..8).map(|index| with_word(&good, index, &sum(word(&good, index), P))));
    bad.extend((8..10).map(|index| with_word(&good, index, &sum(word(&good, index), R))));
    bad.extend((0..10).map(|index| with_word(&good, index, &"f".repeat(64))));
    bad.extend((0..8).map(|index| with_word(&good, index, &"0".repeat(64))));
    bad.push(with_word(&good, 0, P));
    bad.push(with_word(&good, 9, R));

    let mut calls = vec![good.clone()];
    calls.extend(bad);
    let results = contract.call(&calls);
    assert!(results[0].is_true(), "{:?}", results[0]);
    assert!((150_000..250_000).contains(&results[0].gas), "{} gas", results[0].gas);
    for (index, result) in results.iter().enumerate().skip(1) {
        assert!(result.is_false(), "{index}: {result:?}");
    }
}

#[test]
fn calls_of_another_shape_revert() {
    let (key, proved) = proved_range();
    let good = calldata(&proved);
    let other_selector = format!("00000000{}", &good[8..]);
    let results = Contract::of(key.verifying_key()).call(&[
        good[..good.len() - 64].to_owned(),
        other_selector,
        good[..8].to_owned(),
    ]);
    assert!(results.iter().all(|result| result.reverted), "{results:?}");
}

#[test]
fn the_source_names_no_placeholder() {
    let source = verifier_contract(proved_range().0.verifying_key()).unwrap();
    assert!(!source.contains('@'), "{source}");
    assert!(source.contains("uint256[2] calldata signals"));
}

#[test]
fn a_contract_for_256_public_signals_can_be_deployed() {
    let mut key: Value = serde_json::from_str(&proved_range().0.verifying_key().to_json()).unwrap();
    key["IC"] = vec![key["IC"][0].clone(); 257].into();
    key["nPublic"] = 256.into();
    // The length of the code is checked there.
    Contract::of(&VerifyingKey::from_json(key.to_string().as_bytes()).unwrap());
}
