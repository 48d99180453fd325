//! Proofs and public signals: snarkjs's JSON, and the calldata of a verifier contract.

use ark_bn254::{Fq2, Fr, G1Affine, G2Affine};
use ark_ec::AffineRepr as _;
use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Keccak256};

use crate::{
    curve::PointBytes as _,
    field::{self, FIELD_BYTES},
    json::{self, CURVE, G1Json, G2Json, JsonError, PROTOCOL},
};

/// A 256-bit word of Ethereum, the most significant byte first.
pub type Word = [u8; FIELD_BYTES];

/// Words of a proof in calldata.
pub const PROOF_WORDS: usize = 8;

/// A Groth16 proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    pub(crate) a: G1Affine,
    pub(crate) b: G2Affine,
    pub(crate) c: G1Affine,
}

/// A proof as snarkjs's `proof.json` has it. Nothing of it is checked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofJson {
    pi_a: G1Json,
    pi_b: G2Json,
    pi_c: G1Json,
    protocol: String,
    curve: String,
}

/// The name of a proof in messages.
const WHAT: &str = "a proof";

impl TryFrom<&ProofJson> for Proof {
    type Error = JsonError;

    /// Points that are not on the curve are errors.
    fn try_from(ProofJson { pi_a, pi_b, pi_c, protocol, curve }: &ProofJson) -> Result<Self, JsonError> {
        json::expect_protocol(WHAT, protocol, curve)?;
        Ok(Self {
            a: json::g1_from_json("pi_a", pi_a)?,
            b: json::g2_from_json("pi_b", pi_b)?,
            c: json::g1_from_json("pi_c", pi_c)?,
        })
    }
}

impl Proof {
    /// Reads snarkjs's `proof.json`. Points that are not on the curve are errors.
    pub fn from_json(json: &[u8]) -> Result<Self, JsonError> {
        Self::try_from(&json::read::<ProofJson>(WHAT, json)?)
    }

    /// Writes snarkjs's `proof.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(&ProofJson {
            pi_a: json::g1_to_json(&self.a),
            pi_b: json::g2_to_json(&self.b),
            pi_c: json::g1_to_json(&self.c),
            protocol: PROTOCOL.to_owned(),
            curve: CURVE.to_owned(),
        })
    }

    /// The proof in the order of a verifier contract: A, B, C. Ethereum has the two parts of a coordinate of B in the
    /// opposite order of the JSON.
    #[must_use]
    pub fn words(&self) -> [Word; PROOF_WORDS] {
        let (a, b, c) = (&self.a, &self.b, &self.c);
        [a.x, a.y, b.x.c1, b.x.c0, b.y.c1, b.y.c0, c.x, c.y].map(|coordinate| field::to_word(&coordinate))
    }

    /// Reads the words of [`Self::words`]. `None`: a coordinate is not below the modulus, or a point is not one of the curve.
    #[must_use]
    pub fn from_words(words: &[Word; PROOF_WORDS]) -> Option<Self> {
        let [ax, ay, bx1, bx0, by1, by0, cx, cy] = words.each_ref().map(field::from_word);
        let a = G1Affine::new_unchecked(ax?, ay?);
        let b = G2Affine::new_unchecked(Fq2::new(bx0?, bx1?), Fq2::new(by0?, by1?));
        let c = G1Affine::new_unchecked(cx?, cy?);
        let is_valid = a.is_valid() && b.is_valid() && c.is_valid();
        let has_infinity = a.is_zero() || b.is_zero() || c.is_zero();
        (is_valid && !has_infinity).then_some(Self { a, b, c })
    }

    /// The calldata of `verifyProof`. Give the call a gas limit of its own: a verifier that runs out of gas in a
    /// pairing returns false, and an estimate is wrong for that reason.
    #[must_use]
    pub fn calldata(&self, signals: &PublicSignals) -> Vec<u8> {
        let mut calldata = selector(signals.len()).to_vec();
        calldata.extend(self.words().as_flattened());
        calldata.extend(signals.words().as_flattened());
        calldata
    }
}

/// The function of a verifier contract for a number of public signals, with the types of its parameters.
#[must_use]
pub fn function(public_signals: usize) -> String {
    format!("verifyProof(uint256[2],uint256[2][2],uint256[2],uint256[{public_signals}])")
}

/// The first bytes of a call of this function.
#[must_use]
pub fn selector_of(function: &str) -> [u8; 4] {
    let [a, b, c, d, ..]: [u8; 32] = Keccak256::digest(function).into();
    [a, b, c, d]
}

/// The first bytes of a call of `verifyProof` for a number of public signals, which is a part of the function's name.
#[must_use]
pub fn selector(public_signals: usize) -> [u8; 4] {
    selector_of(&function(public_signals))
}

/// The public signals of a proof: the circuit's outputs, then its public inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicSignals(pub(crate) Vec<Fr>);

impl PublicSignals {
    /// Reads snarkjs's `public.json`. Signals that are not below the modulus are errors.
    pub fn from_json(json: &[u8]) -> Result<Self, JsonError> {
        Self::from_decimals(&json::read::<Vec<String>>("a list of public signals", json)?)
    }

    /// Reads signals in decimal digits. Signals that are not below the modulus are errors.
    pub fn from_decimals(signals: &[String]) -> Result<Self, JsonError> {
        signals.iter().map(|signal| json::signal_from_json(signal)).collect::<Result<_, _>>().map(Self)
    }

    /// Writes snarkjs's `public.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(&self.to_decimals())
    }

    /// The signals in decimal digits.
    #[must_use]
    pub fn to_decimals(&self) -> Vec<String> {
        self.0.iter().map(field::to_decimal).collect()
    }

    /// The signals as Ethereum has them.
    #[must_use]
    pub fn words(&self) -> Vec<Word> {
        self.0.iter().map(field::to_word).collect()
    }

    /// Reads the words of [`Self::words`]. `None`: one is not below the modulus.
    #[must_use]
    pub fn from_words(words: &[Word]) -> Option<Self> {
        words.iter().map(field::from_word).collect::<Option<_>>().map(Self)
    }

    /// The number of signals.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the circuit has no public signals.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use ark_ec::AffineRepr as _;

    use super::*;

    fn proof() -> Proof {
        Proof { a: G1Affine::generator(), b: G2Affine::generator(), c: G1Affine::generator() }
    }

    #[test]
    fn json_round_trips() {
        let json = proof().to_json();
        assert_eq!(Proof::from_json(json.as_bytes()).unwrap(), proof());
        assert!(json.starts_with("{\n \"pi_a\": [\n  \"1\",\n  \"2\",\n  \"1\"\n ],\n"), "{json}");
        let signals = PublicSignals(vec![Fr::from(7_u64), Fr::from(8_u64)]);
        assert_eq!(signals.to_json(), "[\n \"7\",\n \"8\"\n]");
        assert_eq!(PublicSignals::from_json(signals.to_json().as_bytes()).unwrap(), signals);
    }

    #[test]
    fn words_round_trip() {
        let words = proof().words();
        assert_eq!(Proof::from_words(&words), Some(proof()));
        for index in 0..PROOF_WORDS {
            let mut other = words;
            other[index][31] ^= 1;
            assert_eq!(Proof::from_words(&other), None, "off the curve");
            other[index] = [0xff; 32];
            assert_eq!(Proof::from_words(&other), None, "not below the modulus");
        }
        assert_eq!(Proof::from_words(&[[0; 32]; PROOF_WORDS]), None);
        let signals = PublicSignals(vec![Fr::from(7_u64), Fr::from(8_u64)]);
        assert_eq!(PublicSignals::from_words(&signals.words()), Some(signals));
        assert_eq!(PublicSignals::from_words(&[[0xff; 32]]), None);
    }

    #[test]
    fn other_json_is_refused() {
        let json = proof().to_json();
        for (from, to) in [("groth16", "plonk"), ("bn128", "bls12381")] {
            let error = Proof::from_json(json.replace(from, to).as_bytes()).unwrap_err();
            assert!(matches!(error, JsonError::OtherProtocol { .. }), "{error}");
        }
        for (from, to) in [("pi_c", "pi_d"), ("\"1\",", "1,"), ("{", "[")] {
            let error = Proof::from_json(json.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(matches!(error, JsonError::Shape { .. }), "{error}");
        }
        for signals in ["{}", "[1]", r#"["0x1"]"#, r#"["-1"]"#] {
            assert!(PublicSignals::from_json(signals.as_bytes()).is_err(), "{signals}");
        }
    }

    #[test]
    fn calldata_has_the_words_in_order() {
        let signals = PublicSignals(vec![Fr::from(5_u64)]);
        let calldata = proof().calldata(&signals);
        assert_eq!(calldata.len(), 4 + 9 * 32);
        // The selector of snarkjs's verifier for one public signal.
        assert_eq!(calldata[..4], [0x43, 0x75, 0x3b, 0x4d]);
        assert_eq!(calldata[4 + 31], 1);
        assert_eq!(calldata[4 + 2 * 32..][..32], field::to_word(&G2Affine::generator().x.c1));
        assert_eq!(calldata[calldata.len() - 1], 5);
    }

    /// What `exportSolidityCallData` of snarkjs 0.7.6 returns for the same proof and signals.
    #[test]
    fn calldata_is_that_of_snarkjs() {
        let of_snarkjs = r#"["0x0000000000000000000000000000000000000000000000000000000000000001", "0x0000000000000000000000000000000000000000000000000000000000000002"],[["0x198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2", "0x1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed"],["0x090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b", "0x12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa"]],["0x0000000000000000000000000000000000000000000000000000000000000001", "0x0000000000000000000000000000000000000000000000000000000000000002"],["0x0000000000000000000000000000000000000000000000000000000000000007","0x0000000000000000000000000000000000000000000000000000000000000008"]"#;
        let words = of_snarkjs.split('"').filter_map(|part| part.strip_prefix("0x")).collect::<String>();
        let signals = PublicSignals(vec![Fr::from(7_u64), Fr::from(8_u64)]);
        let calldata = proof().calldata(&signals);
        assert_eq!(hex::encode(&calldata[4..]), words);
        assert_eq!(calldata[..4], selector_of("verifyProof(uint256[2],uint256[2][2],uint256[2],uint256[2])"));
    }
}
