//! The Lagrange polynomials of a domain at a secret value, and secret multiples of the generators.

use std::sync::atomic::{AtomicBool, Ordering};

use ark_bn254::Fr;
use ark_ec::scalar_mul::{BatchMulPreprocessing, ScalarMul};
use ark_ff::{FftField as _, Field as _, One as _, Zero as _, batch_inversion};
use rayon::{
    iter::ParallelIterator as _,
    slice::{ParallelSlice as _, ParallelSliceMut as _},
};
use zeroize::Zeroizing;

use crate::field::{self, RandomnessError};

/// Values of which one task takes care.
pub(crate) const TASK_VALUES: usize = 1 << 10;

/// Ends a computation between two steps.
#[derive(Clone, Copy)]
pub(crate) struct Steps<'a>(pub(crate) &'a AtomicBool);

/// The caller no longer needs the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cancelled;

impl Steps<'_> {
    pub(crate) fn next(self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    pub(crate) fn is_cancelled(self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A random number that is not 0.
pub(crate) fn random_nonzero() -> Result<Zeroizing<Fr>, RandomnessError> {
    loop {
        let value = field::random()?;
        if !value.is_zero() {
            return Ok(value);
        }
    }
}

/// A random number that is no value of a domain of this size.
pub(crate) fn random_outside_domain(size: u64) -> Result<Zeroizing<Fr>, RandomnessError> {
    loop {
        let value = random_nonzero()?;
        if !value.pow([size]).is_one() {
            return Ok(value);
        }
    }
}

/// The Lagrange polynomials of a domain at a value that is not in it: `(x^n - 1) / n * w^i / (x - w^i)`. `None`: the field
/// has no domain of this size.
pub(crate) fn lagrange_values(size: u64, at: &Fr) -> Option<Zeroizing<Vec<Fr>>> {
    let root = Fr::get_root_of_unity(size)?;
    let count = usize::try_from(size).ok()?;
    let mut values = Zeroizing::new(Vec::with_capacity(count));
    let mut power = Fr::one();
    for _ in 0..count {
        values.push(*at - power);
        power *= root;
    }
    values.par_chunks_mut(TASK_VALUES).for_each(batch_inversion);
    let size_inverse = Fr::from(size).inverse()?;
    let mut factor = Zeroizing::new((at.pow([size]) - Fr::one()) * size_inverse);
    for value in values.iter_mut() {
        *value *= *factor;
        *factor *= root;
    }
    Some(values)
}

/// A generator times each value, from the table of its multiples. Values are left out once the computation is cancelled.
pub(crate) fn batch_mul<T: ScalarMul>(
    table: &BatchMulPreprocessing<T>,
    values: &[T::ScalarField],
    steps: Steps<'_>,
) -> Vec<T::MulBase> {
    let multiply =
        |values: &[T::ScalarField]| if steps.is_cancelled() { Vec::new() } else { table.batch_mul(values) };
    values.par_chunks(TASK_VALUES).flat_map_iter(multiply).collect()
}

#[cfg(test)]
mod tests {
    use ark_bn254::G1Projective;
    use ark_ec::PrimeGroup as _;

    use super::*;

    #[test]
    fn lagrange_values_interpolate() {
        let at = Fr::from(12_345_u64);
        let root = Fr::get_root_of_unity(8).unwrap();
        // x^3 is interpolated from its values.
        let values = lagrange_values(8, &at).unwrap();
        let sum: Fr = (0_u64..).zip(values.iter()).map(|(index, value)| root.pow([3 * index]) * value).sum();
        assert_eq!(sum, at.pow([3]));
    }

    #[test]
    fn a_cancelled_computation_leaves_points_out() {
        let table = BatchMulPreprocessing::new(G1Projective::generator(), 1);
        for (is_cancelled, points) in [(false, 1), (true, 0)] {
            let is_cancelled = AtomicBool::new(is_cancelled);
            assert_eq!(batch_mul(&table, &[Fr::one()], Steps(&is_cancelled)).len(), points);
        }
    }
}
