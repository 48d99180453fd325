//! A verifier contract.
//!
//! The text is our own, not the one of snarkjs, which is under the GPL. The function has the same name and parameters,
//! so that clients of either work with both. The points of the public signals are data in the code, and the contract of
//! a circuit with 256 public signals stays below Ethereum's limit for contracts, which snarkjs's exceeds.

use ark_bn254::{G1Affine, G2Affine};

use crate::{field, verifying_key::VerifyingKey};

const TEMPLATE: &str = include_str!("verifier.sol");

/// The circuit has no public signals. Solidity has no arrays without elements, and a proof of nothing public is rarely
/// meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit has no public signals, so that a contract has nothing to verify a proof against")]
pub struct NoPublicSignals;

/// Solidity source of the contract `Groth16Verifier`, for solc 0.8.20 or newer.
///
/// ```no_run
/// use edgeprove_groth16::{VerifyingKey, verifier_contract};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = VerifyingKey::from_json(&std::fs::read("verification_key.json")?)?;
/// std::fs::write("Verifier.sol", verifier_contract(&key)?)?;
/// # Ok(())
/// # }
/// ```
pub fn verifier_contract(key: &VerifyingKey) -> Result<String, NoPublicSignals> {
    if key.public_signals() == 0 {
        return Err(NoPublicSignals);
    }
    let G1Affine { x, y, .. } = &key.alpha_g1;
    let mut text = TEMPLATE
        .replace("@PUBLIC@", &key.public_signals().to_string())
        .replace("@ALPHA_X@", &field::to_decimal(x))
        .replace("@ALPHA_Y@", &field::to_decimal(y));
    for (name, point) in [("BETA", &key.beta_g2), ("GAMMA", &key.gamma_g2), ("DELTA", &key.delta_g2)] {
        let G2Affine { x, y, .. } = point;
        for (part, coordinate) in [("X1", &x.c1), ("X0", &x.c0), ("Y1", &y.c1), ("Y0", &y.c0)] {
            text = text.replace(&format!("@{name}_{part}@"), &field::to_decimal(coordinate));
        }
    }
    let points: Vec<String> = key.ic.iter().map(point_literal).collect();
    Ok(text.replace("@POINTS@", &points.join("\n")))
}

/// Adjacent literals are one value.
fn point_literal(point: &G1Affine) -> String {
    let [x, y] = [&point.x, &point.y].map(|coordinate| hex::encode(field::to_word(coordinate)));
    format!("        hex\"{x}\"\n        hex\"{y}\"")
}
