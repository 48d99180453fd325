//! Verifies proofs, and reads and writes snarkjs's `verification_key.json`.

use ark_bn254::{Bn254, Fq12, Fr, G1Affine, G1Projective, G2Affine};
use ark_ec::{
    CurveGroup as _,
    pairing::{Pairing, PairingOutput},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use taceo_ark_algebra::msm::msm_unchecked;

use crate::{
    json::{self, CURVE, Fq2Json, G1Json, G2Json, JsonError, PROTOCOL},
    proof::{Proof, PublicSignals},
    threads::{Panicked, Threads},
};

type G2Prepared = <Bn254 as Pairing>::G2Prepared;

/// What a verifier needs of a circuit's key. Anybody may have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    pub(crate) alpha_g1: G1Affine,
    pub(crate) beta_g2: G2Affine,
    pub(crate) gamma_g2: G2Affine,
    pub(crate) delta_g2: G2Affine,
    /// One point for the constant 1, and one for each public signal. Never empty.
    pub(crate) ic: Vec<G1Affine>,
}

#[derive(Serialize)]
struct WrittenKey {
    protocol: &'static str,
    curve: &'static str,
    #[serde(rename = "nPublic")]
    public: usize,
    vk_alpha_1: G1Json,
    vk_beta_2: G2Json,
    vk_gamma_2: G2Json,
    vk_delta_2: G2Json,
    vk_alphabeta_12: [[Fq2Json; 3]; 2],
    #[serde(rename = "IC")]
    ic: Vec<G1Json>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadKey {
    protocol: String,
    curve: String,
    #[serde(rename = "nPublic")]
    public: usize,
    vk_alpha_1: G1Json,
    vk_beta_2: G2Json,
    vk_gamma_2: G2Json,
    vk_delta_2: G2Json,
    // Follows from the points above, and is computed from them.
    #[serde(rename = "vk_alphabeta_12")]
    _alpha_beta: Option<IgnoredAny>,
    #[serde(rename = "IC")]
    ic: Vec<G1Json>,
}

impl VerifyingKey {
    /// Reads snarkjs's `verification_key.json`. Points that are not on the curve are errors.
    pub fn from_json(json: &[u8]) -> Result<Self, JsonError> {
        let what = "a verification key";
        let key: ReadKey = json::read(what, json)?;
        json::expect_protocol(what, &key.protocol, &key.curve)?;
        if key.public.checked_add(1) != Some(key.ic.len()) {
            return Err(JsonError::WrongCount { public: key.public, points: key.ic.len() });
        }
        Ok(Self {
            alpha_g1: json::g1_from_json("vk_alpha_1", &key.vk_alpha_1)?,
            beta_g2: json::g2_from_json("vk_beta_2", &key.vk_beta_2)?,
            gamma_g2: json::g2_from_json("vk_gamma_2", &key.vk_gamma_2)?,
            delta_g2: json::g2_from_json("vk_delta_2", &key.vk_delta_2)?,
            ic: key.ic.iter().map(|point| json::g1_from_json("IC", point)).collect::<Result<_, _>>()?,
        })
    }

    /// Writes snarkjs's `verification_key.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(&WrittenKey {
            protocol: PROTOCOL,
            curve: CURVE,
            public: self.public_signals(),
            vk_alpha_1: json::g1_to_json(&self.alpha_g1),
            vk_beta_2: json::g2_to_json(&self.beta_g2),
            vk_gamma_2: json::g2_to_json(&self.gamma_g2),
            vk_delta_2: json::g2_to_json(&self.delta_g2),
            vk_alphabeta_12: json::fq12_to_json(&self.alpha_beta().0),
            ic: self.ic.iter().map(json::g1_to_json).collect(),
        })
    }

    /// The number of public signals of the circuit.
    #[must_use]
    pub fn public_signals(&self) -> usize {
        self.ic.len().saturating_sub(1)
    }

    /// Computes what all verifications share.
    #[must_use]
    pub fn prepare(&self) -> PreparedVerifyingKey {
        PreparedVerifyingKey {
            alpha_beta: self.alpha_beta(),
            minus_gamma: G2Prepared::from(-self.gamma_g2),
            minus_delta: G2Prepared::from(-self.delta_g2),
            ic: self.ic.clone(),
        }
    }

    fn alpha_beta(&self) -> PairingOutput<Bn254> {
        Bn254::pairing(self.alpha_g1, self.beta_g2)
    }
}

/// A verifying key, prepared for many verifications. One takes a millisecond.
///
/// ```no_run
/// use edgeprove_groth16::{Proof, PublicSignals, VerifyingKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = VerifyingKey::from_json(&std::fs::read("verification_key.json")?)?.prepare();
/// let proof = Proof::from_json(&std::fs::read("proof.json")?)?;
/// let signals = PublicSignals::from_json(&std::fs::read("public.json")?)?;
/// assert!(key.verify(&proof, &signals));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PreparedVerifyingKey {
    alpha_beta: PairingOutput<Bn254>,
    minus_gamma: G2Prepared,
    minus_delta: G2Prepared,
    ic: Vec<G1Affine>,
}

impl PreparedVerifyingKey {
    /// Whether the proof is valid for these public signals. A wrong number of signals is not valid. Each signal takes
    /// a tenth of a millisecond: for many, use [`Self::verify_on`].
    #[must_use]
    pub fn verify(&self, proof: &Proof, signals: &PublicSignals) -> bool {
        self.verify_with(proof, signals, |points, signals| {
            points.iter().zip(signals).map(|(point, signal)| *point * signal).sum()
        })
    }

    /// As [`Self::verify`], on these threads. Its time is bounded by the number of the key's public signals: a hundred
    /// thousand take less than a second.
    pub fn verify_on(
        &self,
        proof: &Proof,
        signals: &PublicSignals,
        threads: &Threads,
    ) -> Result<bool, Panicked> {
        threads.run(|| self.verify_with(proof, signals, msm_unchecked))
    }

    fn verify_with(
        &self,
        proof: &Proof,
        signals: &PublicSignals,
        sum: impl FnOnce(&[G1Affine], &[Fr]) -> G1Projective,
    ) -> bool {
        let Some((first, rest)) = self.ic.split_first() else { return false };
        if rest.len() != signals.len() {
            return false;
        }
        let signal_point = sum(rest, &signals.0) + first;
        let left = [proof.a, signal_point.into_affine(), proof.c];
        let right = [G2Prepared::from(proof.b), self.minus_gamma.clone(), self.minus_delta.clone()];
        let product = Bn254::final_exponentiation(Bn254::multi_miller_loop(left, right));
        product.map(|product| product.0) == Some::<Fq12>(self.alpha_beta.0)
    }
}
