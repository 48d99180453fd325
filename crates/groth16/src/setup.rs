//! Keys, with a powers-of-tau file ([`setup_from_powers`]) or without one.
//!
//! Without one, the setup draws four random numbers. Anybody who knows them can prove anything to the key's verifiers. So everybody
//! must trust the one machine that ran the setup: it must forget them. A key from a ceremony, in which one of many
//! contributors must be honest, is better where value depends on proofs. snarkjs can add contributions to the key
//! (`snarkjs zkey contribute`), but they change one of the four numbers only.
//!
//! The random numbers, and all vectors here that are derived from them, are overwritten. Not overwritten are copies on
//! the stack and in registers, and vectors that the library for field arithmetic frees during a computation. The server's
//! allocator overwrites freed memory; the stack is reused at once by the computations that follow.

mod from_powers;
mod sums;

use std::sync::atomic::AtomicBool;

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};
use ark_ec::{AffineRepr as _, CurveGroup as _, PrimeGroup as _, scalar_mul::BatchMulPreprocessing};
use ark_ff::{Field as _, Zero as _};
use zeroize::Zeroizing;

use crate::{
    field::RandomnessError,
    lagrange::{Cancelled, Steps, batch_mul, lagrange_values, random_nonzero, random_outside_domain},
    matrix::Matrix,
    powers::PowersError,
    r1cs::{R1cs, Terms},
    threads::{Panicked, Threads},
    verifying_key::VerifyingKey,
    zkey::{Zkey, ZkeyInfo},
    zkey_writer::{self, Record},
};

pub use from_powers::setup_from_powers;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is nothing to prove.
    #[error("the circuit has no constraints")]
    NoConstraints,
    /// The field has too few roots of unity for the circuit.
    #[error("the circuit is too large for BN254")]
    TooLarge,
    /// The caller no longer needs the key.
    #[error("the setup was cancelled")]
    Cancelled,
    /// No random numbers.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// A library panicked.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The powers of tau cannot be read.
    #[error("the powers of tau cannot be used")]
    Powers(#[source] PowersError),
    /// The powers of tau are for smaller circuits.
    #[error(
        "the circuit has {constraints} constraints and {public_signals} public signals, which need powers of tau of power \
         {needed}; the file has power {power}"
    )]
    DoesNotFit {
        /// Constraints of the circuit.
        constraints: u32,
        /// Its public signals.
        public_signals: u32,
        /// The smallest power of two that is enough.
        needed: u32,
        /// That of the file.
        power: u32,
    },
}

impl From<Cancelled> for SetupError {
    fn from(Cancelled: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<PowersError> for SetupError {
    fn from(error: PowersError) -> Self {
        match error {
            PowersError::Cancelled => Self::Cancelled,
            PowersError::Randomness(error) => Self::Randomness(error),
            PowersError::Panicked(error) => Self::Panicked(error),
            error => Self::Powers(error),
        }
    }
}

/// Makes the key of a circuit, as the bytes of a `.zkey` file. One second for 30,000 constraints.
///
/// ```no_run
/// use std::num::NonZeroUsize;
///
/// use edgeprove_groth16::{ProvingKey, R1cs, Threads, Trust, setup};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let threads = Threads::of_width(NonZeroUsize::new(2).unwrap())?;
/// let circuit = R1cs::read(&std::fs::read("circuit.r1cs")?)?;
/// let zkey = setup(&circuit, &threads)?;
/// let key = ProvingKey::read(&zkey, Trust::OwnSetup, &threads)?;
/// assert_eq!(key.info().constraints, circuit.info().constraints);
/// # Ok(())
/// # }
/// ```
pub fn setup(circuit: &R1cs, threads: &Threads) -> Result<Vec<u8>, SetupError> {
    setup_cancellable(circuit, threads, &AtomicBool::new(false))
}

/// Makes the key of a circuit as [`setup`] does. Another thread may set `is_cancelled`, at which this ends before its next
/// step, of which one takes a small part of the whole.
pub fn setup_cancellable(
    circuit: &R1cs,
    threads: &Threads,
    is_cancelled: &AtomicBool,
) -> Result<Vec<u8>, SetupError> {
    if circuit.info().constraints == 0 {
        return Err(SetupError::NoConstraints);
    }
    let domain_size = circuit.info().domain_size();
    let steps = Steps(is_cancelled);
    steps.next()?;
    let secrets = Secrets::draw(domain_size)?;
    let key = threads.run(|| secrets.make_key(circuit, steps))??;
    steps.next()?;
    Ok(zkey_writer::write(circuit, &key, &Record::NONE))
}

/// The random numbers. snarkjs's keys have a gamma of 1, which is as secure.
struct Secrets {
    tau: Zeroizing<Fr>,
    alpha: Zeroizing<Fr>,
    beta: Zeroizing<Fr>,
    delta: Zeroizing<Fr>,
}

impl Secrets {
    fn draw(domain_size: u64) -> Result<Self, RandomnessError> {
        // Neither a value of the domain nor one of the domain of H.
        let tau = random_outside_domain(2 * domain_size)?;
        Ok(Self { tau, alpha: random_nonzero()?, beta: random_nonzero()?, delta: random_nonzero()? })
    }

    fn make_key(&self, circuit: &R1cs, steps: Steps<'_>) -> Result<Zkey, SetupError> {
        let info = circuit.info();
        let Evaluations { a, b, c } = self.evaluate(circuit)?;
        steps.next()?;
        let delta_inverse = Zeroizing::new(self.delta.inverse().ok_or(SetupError::TooLarge)?);
        let mut combined = Zeroizing::new(Vec::with_capacity(a.len()));
        combined.extend(
            a.iter().zip(b.iter()).zip(c.iter()).map(|((a, b), c)| *self.beta * a + *self.alpha * b + c),
        );
        let (public, private) = combined.split_at_mut(info.public_signals() as usize + 1);
        for value in private.iter_mut() {
            *value *= *delta_inverse;
        }
        let h = self.evaluate_h(info.domain_size(), &delta_inverse)?;
        steps.next()?;

        let g1_count = a.len() + b.len() + public.len() + private.len() + h.len();
        let g1 = BatchMulPreprocessing::new(G1Projective::generator(), g1_count);
        let g2 = BatchMulPreprocessing::new(G2Projective::generator(), b.len());
        let in_g1 = |value: &Fr| (G1Affine::generator() * value).into_affine();
        let in_g2 = |value: &Fr| (G2Affine::generator() * value).into_affine();
        let key = Zkey {
            info: ZkeyInfo {
                wires: info.wires,
                public_signals: info.public_signals(),
                constraints: info.constraints,
                domain_size: u32::try_from(info.domain_size()).map_err(|_| SetupError::TooLarge)?,
            },
            verifying_key: VerifyingKey {
                alpha_g1: in_g1(&self.alpha),
                beta_g2: in_g2(&self.beta),
                gamma_g2: G2Affine::generator(),
                delta_g2: in_g2(&self.delta),
                ic: batch_mul(&g1, public, steps),
            },
            beta_g1: in_g1(&self.beta),
            delta_g1: in_g1(&self.delta),
            // The file gets the matrices from the circuit.
            a: Matrix::default(),
            b: Matrix::default(),
            a_query: batch_mul(&g1, &a, steps),
            b_g1_query: batch_mul(&g1, &b, steps),
            b_g2_query: batch_mul(&g2, &b, steps),
            c_query: batch_mul(&g1, private, steps),
            h_query: batch_mul(&g1, &h, steps),
        };
        // Points were left out.
        steps.next()?;
        Ok(key)
    }

    /// The polynomials of each wire at tau.
    fn evaluate(&self, circuit: &R1cs) -> Result<Evaluations, SetupError> {
        let info = circuit.info();
        let lagrange = lagrange_values(info.domain_size(), &self.tau).ok_or(SetupError::TooLarge)?;
        let zeros = || Zeroizing::new(vec![Fr::zero(); info.wires as usize]);
        let (mut a, mut b, mut c) = (zeros(), zeros(), zeros());
        for (constraint, value) in circuit.constraints().iter().zip(lagrange.iter()) {
            add(&mut a, &constraint.a, value);
            add(&mut b, &constraint.b, value);
            add(&mut c, &constraint.c, value);
        }
        // One constraint for each public wire, after those of the circuit.
        let for_public = lagrange.iter().skip(info.constraints as usize);
        for (wire, value) in a.iter_mut().take(info.public_signals() as usize + 1).zip(for_public) {
            *wire += value;
        }
        Ok(Evaluations { a, b, c })
    }

    /// The quotient is evaluated where the domain of twice the size has values that the domain has not.
    fn evaluate_h(&self, domain_size: u64, delta_inverse: &Fr) -> Result<Zeroizing<Vec<Fr>>, SetupError> {
        let lagrange = lagrange_values(2 * domain_size, &self.tau).ok_or(SetupError::TooLarge)?;
        let mut h = Zeroizing::new(Vec::with_capacity(lagrange.len() / 2));
        h.extend(lagrange.iter().skip(1).step_by(2).map(|value| *value * delta_inverse));
        Ok(h)
    }
}

/// Values for each wire.
struct Evaluations {
    a: Zeroizing<Vec<Fr>>,
    b: Zeroizing<Vec<Fr>>,
    c: Zeroizing<Vec<Fr>>,
}

fn add(values: &mut [Fr], terms: &Terms, factor: &Fr) {
    for (wire, coefficient) in terms {
        // The reader has checked the wires.
        if let Some(value) = values.get_mut(*wire as usize) {
            *value += *coefficient * factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::{r1cs, zkey::Trust};

    #[test]
    fn the_key_passes_its_own_checks_and_differs_each_time() {
        let threads = Threads::of_width(NonZeroUsize::MIN).unwrap();
        let circuit = R1cs::read(&r1cs::tests::square()).unwrap();
        let [first, second] = [(); 2].map(|()| setup(&circuit, &threads).unwrap());
        assert_ne!(first, second);
        let zkey = Zkey::read(&first, Trust::Checked).unwrap();
        let info = ZkeyInfo { wires: 3, public_signals: 1, constraints: 1, domain_size: 4 };
        assert_eq!(zkey.info, info);
        assert_eq!(ZkeyInfo::read(&first).unwrap(), info);
    }

    #[test]
    fn a_cancelled_setup_ends_at_its_next_step() {
        let threads = Threads::of_width(NonZeroUsize::MIN).unwrap();
        let circuit = R1cs::read(&r1cs::tests::square()).unwrap();
        let is_cancelled = AtomicBool::new(true);
        let cancelled = |result| matches!(result, Err(SetupError::Cancelled));
        assert!(cancelled(setup_cancellable(&circuit, &threads, &is_cancelled)));
        // Also where it was cancelled in a later step.
        let secrets = Secrets::draw(circuit.info().domain_size()).unwrap();
        let key = threads.run(|| secrets.make_key(&circuit, Steps(&is_cancelled))).unwrap();
        assert!(matches!(key, Err(SetupError::Cancelled)));
    }
}
