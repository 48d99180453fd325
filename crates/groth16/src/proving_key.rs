//! Proves.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use ark_bn254::{Fr, G1Affine, G1Projective};
use ark_ec::{
    CurveGroup as _,
    short_weierstrass::{Affine, Projective, SWCurveConfig},
};
use ark_ff::Zero as _;
use taceo_ark_algebra::msm::msm_unchecked;

use crate::{
    field::{self, RandomnessError},
    proof::{Proof, PublicSignals},
    quotient::Quotient,
    r1cs::{Constraint, R1cs},
    sections::FormatError,
    threads::{Panicked, Threads},
    verifying_key::{PreparedVerifyingKey, VerifyingKey},
    witness::WitnessValues,
    zkey::{self, Trust, Zkey, ZkeyInfo},
};

/// Points that a sum adds before it looks again whether its proof is still wanted: a tenth of a second on one core.
const POINTS_AT_ONCE: usize = 1 << 16;

/// The key of a circuit, read once and used for many proofs.
///
/// ```no_run
/// use std::num::NonZeroUsize;
///
/// use edgeprove_groth16::{ProvingKey, Threads, Trust, WitnessValues};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let threads = Threads::of_width(NonZeroUsize::new(2).unwrap())?;
/// let key = ProvingKey::read(&std::fs::read("circuit.zkey")?, Trust::Checked, &threads)?;
/// let witness = WitnessValues::read(&std::fs::read("witness.wtns")?)?;
/// let proved = key.prove(&witness, &threads)?;
/// std::fs::write("proof.json", proved.proof.to_json())?;
/// std::fs::write("public.json", proved.signals.to_json())?;
/// # Ok(())
/// # }
/// ```
pub struct ProvingKey {
    zkey: Zkey,
    quotient: Quotient,
    prepared: PreparedVerifyingKey,
}

impl fmt::Debug for ProvingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ProvingKey").field("info", &self.zkey.info).finish_non_exhaustive()
    }
}

/// A key that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The file is damaged, or not a key of Groth16 over BN254.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A library panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// A proof with its public signals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofWithSignals {
    /// The proof.
    pub proof: Proof,
    /// The public signals for which it is valid.
    pub signals: PublicSignals,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The witness is one of another circuit.
    #[error("the witness has {actual} values, but the key is one for {expected}")]
    WitnessLength {
        /// The number of the circuit's wires.
        expected: usize,
        /// The number of values in the witness.
        actual: usize,
    },
    /// The proof does not verify: the witness does not satisfy the circuit, or the key is damaged.
    #[error("the witness does not satisfy the circuit of this key")]
    Unsatisfied,
    /// The caller no longer needs the proof.
    #[error("the proof was cancelled")]
    Cancelled,
    /// No random numbers.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// A library panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl ProvingKey {
    /// Reads a `.zkey` file.
    pub fn read(bytes: &[u8], trust: Trust, threads: &Threads) -> Result<Self, KeyError> {
        threads.run(|| {
            let zkey = Zkey::read(bytes, trust)?;
            // The reader has checked the domain.
            let quotient = Quotient::new(zkey.info.domain_size).ok_or_else(zkey::domain_error)?;
            let prepared = zkey.verifying_key.prepare();
            Ok(Self { zkey, quotient, prepared })
        })?
    }

    /// The numbers that describe the key.
    #[must_use]
    pub fn info(&self) -> ZkeyInfo {
        self.zkey.info
    }

    /// The part of the key that a verifier needs.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.zkey.verifying_key
    }

    /// The same, prepared for many verifications.
    #[must_use]
    pub fn prepared_verifying_key(&self) -> &PreparedVerifyingKey {
        &self.prepared
    }

    /// The first constraint of which the key has other coefficients, counted from 0. `None`: the key may be one of this
    /// circuit. A key has two of the three sides of a constraint, and no way to check the points of all of them: only
    /// `snarkjs zkey verify` does, with a powers-of-tau file.
    #[must_use]
    pub fn first_difference(&self, circuit: &R1cs) -> Option<usize> {
        let Zkey { a, b, .. } = &self.zkey;
        let constraints = circuit.constraints();
        let other = constraints.iter().enumerate().position(|(row, Constraint { a: of_a, b: of_b, .. })| {
            !a.has_row(row, of_a) || !b.has_row(row, of_b)
        });
        // Rows beyond the constraints of the circuit.
        other.or_else(|| (a.rows() != constraints.len()).then_some(constraints.len()))
    }

    /// Proves, and verifies the proof. The call blocks its thread.
    ///
    /// The library for sums of points copies values of the witness into vectors that it frees without overwriting them.
    /// The server's allocator overwrites freed memory.
    pub fn prove(&self, witness: &WitnessValues, threads: &Threads) -> Result<ProofWithSignals, ProveError> {
        let proved = self.prove_unverified(witness, threads, &AtomicBool::new(false))?;
        let is_valid = self.prepared.verify_on(&proved.proof, &proved.signals, threads)?;
        if is_valid { Ok(proved) } else { Err(ProveError::Unsatisfied) }
    }

    /// Proves without verifying: for a witness that does not satisfy the circuit, the proof is invalid. Another thread may
    /// set `is_cancelled`, at which this ends before its next step. A step is a transform of all values, or a part of a
    /// sum of points.
    pub fn prove_unverified(
        &self,
        witness: &WitnessValues,
        threads: &Threads,
        is_cancelled: &AtomicBool,
    ) -> Result<ProofWithSignals, ProveError> {
        let (expected, actual) = (self.zkey.info.wires as usize, witness.len());
        if actual != expected {
            return Err(ProveError::WitnessLength { expected, actual });
        }
        let (r, s) = (field::random()?, field::random()?);
        threads.run(|| {
            let is_cancelled = || is_cancelled.load(Ordering::Relaxed);
            let proof = self.randomised(witness.values(), &r, &s, &is_cancelled);
            // A step that was left out made the proof invalid.
            if is_cancelled() {
                return Err(ProveError::Cancelled);
            }
            let signals = PublicSignals(self.public_wires(witness.values())[1..].to_vec());
            Ok(ProofWithSignals { proof, signals })
        })?
    }

    /// The constant 1 and the public signals.
    fn public_wires<'a>(&self, wires: &'a [Fr]) -> &'a [Fr] {
        &wires[..=self.zkey.info.public_signals as usize]
    }

    /// The proof of section 3.2 of <https://eprint.iacr.org/2016/260>. The random `r` and `s` hide the witness.
    /// Steps are left out once the proof is cancelled.
    fn randomised(&self, wires: &[Fr], r: &Fr, s: &Fr, is_cancelled: &(dyn Fn() -> bool + Sync)) -> Proof {
        let Zkey { verifying_key, beta_g1, delta_g1, a: matrix_a, b: matrix_b, .. } = &self.zkey;
        let Zkey { a_query, b_g1_query, b_g2_query, c_query, h_query, .. } = &self.zkey;
        let VerifyingKey { alpha_g1, beta_g2, delta_g2, .. } = verifying_key;
        let public = self.public_wires(wires);
        let sum_g1 = |points: &[G1Affine], scalars: &[Fr]| sum(points, scalars, POINTS_AT_ONCE, is_cancelled);
        let for_a = || sum_g1(a_query, wires) + alpha_g1 + *delta_g1 * r;
        let for_b_g1 = || sum_g1(b_g1_query, wires) + beta_g1 + *delta_g1 * s;
        let for_b_g2 = || sum(b_g2_query, wires, POINTS_AT_ONCE, is_cancelled) + beta_g2 + *delta_g2 * s;
        let for_private = || sum_g1(c_query, &wires[public.len()..]);
        let for_quotient = || {
            let values = self.quotient.values(matrix_a, matrix_b, wires, public, is_cancelled);
            values.map_or_else(G1Projective::default, |values| sum_g1(h_query, &values))
        };
        let ((a, b_g1), (b_g2, (private, quotient))) = rayon::join(
            || rayon::join(for_a, for_b_g1),
            || rayon::join(for_b_g2, || rayon::join(for_private, for_quotient)),
        );
        let c = private + quotient + a * s + b_g1 * r - *delta_g1 * (*r * s);
        Proof { a: a.into_affine(), b: b_g2.into_affine(), c: c.into_affine() }
    }
}

/// The sum of all points, each times its scalar. It stops at the next part once the proof is cancelled. Runs on the threads
/// of the current pool.
fn sum<P: SWCurveConfig<ScalarField = Fr>>(
    points: &[Affine<P>],
    scalars: &[Fr],
    at_once: usize,
    is_cancelled: &(dyn Fn() -> bool + Sync),
) -> Projective<P> {
    let mut parts = points.chunks(at_once).zip(scalars.chunks(at_once));
    let sum = parts.try_fold(Projective::zero(), |sum, (points, scalars)| {
        (!is_cancelled()).then(|| sum + msm_unchecked(points, scalars))
    });
    sum.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use ark_ec::AffineRepr as _;

    use super::*;

    #[test]
    fn a_sum_looks_at_the_flag_between_its_parts() {
        let points = vec![G1Affine::generator(); 10];
        let scalars: Vec<Fr> = (1..=10_u64).map(Fr::from).collect();
        let looks = AtomicUsize::new(0);
        let cancelled_at = |last: usize| {
            looks.store(0, Ordering::Relaxed);
            let is_cancelled = || looks.fetch_add(1, Ordering::Relaxed) >= last;
            let threads = Threads::of_width(std::num::NonZeroUsize::MIN).unwrap();
            let sum: G1Projective = threads.run(|| sum(&points, &scalars, 3, &is_cancelled)).unwrap();
            (sum, looks.load(Ordering::Relaxed))
        };
        let whole = G1Affine::generator() * Fr::from(55_u64);
        assert_eq!(cancelled_at(usize::MAX), (whole, 4), "each of the four parts is announced");
        assert_eq!(cancelled_at(2), (G1Projective::default(), 3), "nothing is added after the third look");
    }
}
