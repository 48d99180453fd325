//! Keys from powers of tau, as `snarkjs groth16 setup` and `snarkjs zkey contribute` make them.
//!
//! The powers are the first phase of a setup. The second one is a number delta for each circuit, which is drawn here and
//! forgotten. Whoever knows it can prove anything under the key, however the powers were made; whoever knows tau can as
//! well. The key records who contributed, so that `snarkjs zkey verify` accepts it with the circuit and the powers, and
//! others can contribute to it.

use std::sync::atomic::AtomicBool;

use ark_bn254::{Fr, G1Affine, G2Affine};
use ark_ec::{AffineRepr as _, CurveGroup as _};
use ark_ff::{Field as _, One as _};
use zeroize::Zeroizing;

use super::{
    SetupError,
    sums::{ByWire, differences, of_wires, times},
};
use crate::{
    blake2b::{Blake2b, DIGEST_BYTES},
    curve::PointBytes as _,
    lagrange::{Steps, random_nonzero},
    matrix::Matrix,
    powers::{
        ALPHA_G1, BETA_G1, BETA_G2, KnowledgeProof, LAGRANGE_ALPHA_G1, LAGRANGE_BETA_G1, LAGRANGE_TAU_G1,
        LAGRANGE_TAU_G2, Points, PowersFile, TAU_G1, write_parameters,
    },
    r1cs::{Constraint, R1cs, Terms},
    threads::Threads,
    verifying_key::VerifyingKey,
    zkey::{Zkey, ZkeyInfo},
    zkey_writer::{self, Record},
};

/// The name of a contribution that this program makes.
const CONTRIBUTOR: &str = "edgeprove";

/// Points of H that snarkjs hashes at once, and always all of them.
const HASHED_AT_ONCE: u64 = 1 << 14;

/// Makes the key of a circuit from powers of tau, as the bytes of a `.zkey` file. The points that it needs must be on the
/// curve; that they are what they should be was checked before ([`PowersFile::check`]).
///
/// Another thread may set `is_cancelled`, at which this ends before its next step, of which one takes a small part of the
/// whole. Some 10 seconds for 30,000 constraints on a core, and 1 KiB of memory for each constraint and wire.
pub fn setup_from_powers(
    circuit: &R1cs,
    powers: &PowersFile,
    threads: &Threads,
    is_cancelled: &AtomicBool,
) -> Result<Vec<u8>, SetupError> {
    let info = circuit.info();
    if info.constraints == 0 {
        return Err(SetupError::NoConstraints);
    }
    let (domain_size, power) = (info.domain_size(), powers.info().power);
    if domain_size > powers.info().domain_size() {
        return Err(SetupError::DoesNotFit {
            constraints: info.constraints,
            public_signals: info.public_signals(),
            needed: domain_size.trailing_zeros(),
            power,
        });
    }
    let steps = Steps(is_cancelled);
    steps.next()?;
    powers.check_unchanged()?;
    let (key, record) = threads.run(|| Setup { circuit, powers, domain_size, steps }.make_key())??;
    powers.check_unchanged()?;
    steps.next()?;
    Ok(zkey_writer::write(circuit, &key, &record))
}

struct Setup<'a> {
    circuit: &'a R1cs,
    powers: &'a PowersFile,
    domain_size: u64,
    steps: Steps<'a>,
}

/// The points of a key before anybody contributed to it.
struct FirstPhase {
    alpha_g1: G1Affine,
    beta_g1: G1Affine,
    beta_g2: G2Affine,
    a: Vec<G1Affine>,
    b_g1: Vec<G1Affine>,
    b_g2: Vec<G2Affine>,
    /// Of public wires, then of the others.
    combined: Vec<G1Affine>,
}

impl Setup<'_> {
    fn make_key(&self) -> Result<(Zkey, Record), SetupError> {
        let info = self.circuit.info();
        let first = self.first_phase()?;
        let (public, private) = first.combined.split_at(info.public_signals() as usize + 1);
        let circuit_hash = self.circuit_hash(&first, public, private)?;

        let delta = random_nonzero()?;
        let delta_inverse = Zeroizing::new(delta.inverse().ok_or(SetupError::TooLarge)?);
        let delta_g1 = (G1Affine::generator() * *delta).into_affine();
        let delta_g2 = (G2Affine::generator() * *delta).into_affine();
        let record = Self::record(circuit_hash, &delta, delta_g1)?;
        let c_query = times(private, &delta_inverse, self.steps)?;
        let h_query = self.h(&delta_inverse)?;
        let key = Zkey {
            info: ZkeyInfo {
                wires: info.wires,
                public_signals: info.public_signals(),
                constraints: info.constraints,
                domain_size: u32::try_from(self.domain_size).map_err(|_| SetupError::TooLarge)?,
            },
            verifying_key: VerifyingKey {
                alpha_g1: first.alpha_g1,
                beta_g2: first.beta_g2,
                gamma_g2: G2Affine::generator(),
                delta_g2,
                ic: public.to_vec(),
            },
            beta_g1: first.beta_g1,
            delta_g1,
            // The file gets the matrices from the circuit.
            a: Matrix::default(),
            b: Matrix::default(),
            a_query: first.a,
            b_g1_query: first.b_g1,
            b_g2_query: first.b_g2,
            c_query,
            h_query,
        };
        Ok((key, record))
    }

    fn first_phase(&self) -> Result<FirstPhase, SetupError> {
        let info = self.circuit.info();
        let one = Fr::one();
        // One constraint for each public wire, after those of the circuit.
        let public = || (0..=info.public_signals()).map(|wire| (info.constraints + wire, wire, &one));
        let a = self.by_wire(|constraint| &constraint.a, public);
        let b = self.by_wire(|constraint| &constraint.b, std::iter::empty);
        let c = self.by_wire(|constraint| &constraint.c, std::iter::empty);
        self.steps.next()?;

        let tau = self.lagrange_g1(LAGRANGE_TAU_G1)?;
        let combined = {
            let (alpha, beta) = (self.lagrange_g1(LAGRANGE_ALPHA_G1)?, self.lagrange_g1(LAGRANGE_BETA_G1)?);
            of_wires(&[(&a, &beta), (&b, &alpha), (&c, &tau)], self.steps)?
        };
        let (in_a, b_g1) = (of_wires(&[(&a, &tau)], self.steps)?, of_wires(&[(&b, &tau)], self.steps)?);
        drop(tau);
        let range = self.domain_size - 1..2 * self.domain_size - 1;
        let tau_g2: Vec<G2Affine> = self.powers.points(LAGRANGE_TAU_G2, range, Points::OnCurve)?;
        Ok(FirstPhase {
            alpha_g1: self.powers.point(ALPHA_G1, 0, Points::Checked)?,
            beta_g1: self.powers.point(BETA_G1, 0, Points::Checked)?,
            beta_g2: self.powers.point(BETA_G2, 0, Points::Checked)?,
            a: in_a,
            b_g1,
            b_g2: of_wires(&[(&b, &tau_g2)], self.steps)?,
            combined,
        })
    }

    fn by_wire<'a, I>(&'a self, of: impl Fn(&Constraint) -> &Terms, more: impl Fn() -> I) -> ByWire
    where
        I: Iterator<Item = (u32, u32, &'a Fr)>,
    {
        ByWire::new(self.circuit.info().wires as usize, || {
            let constraints = (0..).zip(self.circuit.constraints());
            let terms = constraints.flat_map(|(index, constraint)| {
                of(constraint).iter().map(move |(wire, value)| (index, *wire, value))
            });
            terms.chain(more())
        })
    }

    /// The Lagrange polynomials of the circuit's domain. Those of smaller ones come first.
    fn lagrange_g1(&self, section: u32) -> Result<Vec<G1Affine>, SetupError> {
        self.steps.next()?;
        let range = self.domain_size - 1..2 * self.domain_size - 1;
        Ok(self.powers.points(section, range, Points::OnCurve)?)
    }

    /// The quotient is evaluated where the domain of twice the size has values that the domain has not.
    fn h(&self, delta_inverse: &Fr) -> Result<Vec<G1Affine>, SetupError> {
        self.steps.next()?;
        let range = 2 * self.domain_size - 1..4 * self.domain_size - 1;
        let points: Vec<G1Affine> = self.powers.points(LAGRANGE_TAU_G1, range, Points::OnCurve)?;
        let odd: Vec<G1Affine> = points.into_iter().skip(1).step_by(2).collect();
        Ok(times(&odd, delta_inverse, self.steps)?)
    }

    /// The digest of the key before anybody contributed to it, as snarkjs computes it.
    fn circuit_hash(
        &self,
        first: &FirstPhase,
        public: &[G1Affine],
        private: &[G1Affine],
    ) -> Result<[u8; DIGEST_BYTES], SetupError> {
        let (g1, g2) = (G1Affine::generator(), G2Affine::generator());
        let mut hasher = Blake2b::new();
        hasher.points([&first.alpha_g1, &first.beta_g1]);
        // Gamma and delta are 1.
        hasher.points([&first.beta_g2, &g2]);
        hasher.points([&g1]);
        hasher.points([&g2]);
        hash_list(&mut hasher, public);
        self.hash_h(&mut hasher)?;
        hash_list(&mut hasher, private);
        hash_list(&mut hasher, &first.a);
        hash_list(&mut hasher, &first.b_g1);
        hasher.update(&length(&first.b_g2));
        hasher.points(&first.b_g2);
        self.steps.next()?;
        Ok(hasher.finish())
    }

    /// Hashes the points of H in the form `tau^(i+n) - tau^i`. There are `n - 1`. snarkjs hashes whole pieces of 16,384 if there
    /// are more than that, and so one point more. It has one only where the powers are for larger circuits.
    fn hash_h(&self, hasher: &mut Blake2b) -> Result<(), SetupError> {
        let size = self.domain_size;
        let count = u32::try_from(size - 1).map_err(|_| SetupError::TooLarge)?;
        hasher.update(&count.to_be_bytes());
        let points =
            if size > HASHED_AT_ONCE && size < self.powers.info().domain_size() { size } else { size - 1 };
        for start in (0..points).step_by(1 << 14) {
            self.steps.next()?;
            let end = points.min(start + HASHED_AT_ONCE);
            let later: Vec<G1Affine> =
                self.powers.points(TAU_G1, start + size..end + size, Points::OnCurve)?;
            let earlier: Vec<G1Affine> = self.powers.points(TAU_G1, start..end, Points::OnCurve)?;
            hasher.points(&differences(&later, &earlier));
        }
        Ok(())
    }

    /// The record of our contribution, which is the first one.
    fn record(
        circuit_hash: [u8; DIGEST_BYTES],
        delta: &Fr,
        delta_g1: G1Affine,
    ) -> Result<Record, SetupError> {
        let mut transcript = [0; DIGEST_BYTES];
        let proof = KnowledgeProof::new(delta, |s, s_times| {
            let mut hasher = Blake2b::new();
            hasher.update(&circuit_hash);
            hasher.points([s, s_times]);
            transcript = hasher.finish();
            transcript
        })?;
        let mut published = Vec::new();
        for point in [delta_g1, proof.s, proof.s_times] {
            published.extend(point.to_bytes());
        }
        published.extend(proof.hashed_times.to_bytes());
        published.extend(transcript);
        write_parameters(&mut published, CONTRIBUTOR);
        Ok(Record { circuit_hash, contributions: 1, published })
    }
}

fn hash_list(hasher: &mut Blake2b, points: &[G1Affine]) {
    hasher.update(&length(points));
    hasher.points(points);
}

/// The length of a list as hashes have it.
fn length<T>(list: &[T]) -> [u8; 4] {
    // A key has fewer wires than 2^32.
    u32::try_from(list.len()).unwrap_or(u32::MAX).to_be_bytes()
}
