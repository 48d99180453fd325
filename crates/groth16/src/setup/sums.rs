//! Sums of points with public coefficients, most of which are small.

use ark_bn254::Fr;
use ark_ec::{
    AdditiveGroup as _, CurveGroup as _,
    short_weierstrass::{Affine, Projective, SWCurveConfig},
};
use ark_ff::{BigInteger as _, One as _, PrimeField as _, Zero as _};
use rayon::{
    iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _},
    slice::ParallelSlice as _,
};
use taceo_ark_algebra::msm::msm_unchecked;

use crate::lagrange::{Cancelled, Steps};

/// Wires of which one task takes care.
const TASK_WIRES: usize = 256;
/// Terms from which on Pippenger's algorithm is the faster one.
const MANY_TERMS: usize = 64;

/// The coefficients of one matrix by wire: of each wire, the constraints that it is in.
pub(super) struct ByWire {
    /// Where the terms of each wire start, and where those of the last one end.
    starts: Vec<usize>,
    terms: Vec<(u32, Fr)>,
}

impl ByWire {
    /// Sorts terms, each with its constraint and its wire. `terms` is called twice.
    pub(super) fn new<'a, I>(wires: usize, terms: impl Fn() -> I) -> Self
    where
        I: Iterator<Item = (u32, u32, &'a Fr)>,
    {
        let mut starts = vec![0_usize; wires + 1];
        for (_, wire, _) in terms() {
            if let Some(count) = starts.get_mut(wire as usize + 1) {
                *count += 1;
            }
        }
        for wire in 0..wires {
            starts[wire + 1] += starts[wire];
        }
        let mut next = starts.clone();
        let mut sorted = vec![(0, Fr::zero()); starts[wires]];
        for (constraint, wire, value) in terms() {
            // The reader has checked the wires.
            if let Some(next) = next.get_mut(wire as usize).filter(|next| **next < sorted.len()) {
                sorted[*next] = (constraint, *value);
                *next += 1;
            }
        }
        Self { starts, terms: sorted }
    }

    fn of(&self, wire: usize) -> &[(u32, Fr)] {
        &self.terms[self.starts[wire]..self.starts[wire + 1]]
    }

    fn wires(&self) -> usize {
        self.starts.len() - 1
    }
}

/// For each wire the sum over matrices of its coefficients times the points of the constraints. There are as many matrices
/// as lists of points.
pub(super) fn of_wires<P: SWCurveConfig<ScalarField = Fr>>(
    matrices: &[(&ByWire, &[Affine<P>])],
    steps: Steps<'_>,
) -> Result<Vec<Affine<P>>, Cancelled> {
    let wires: Vec<usize> = (0..matrices.first().map_or(0, |(matrix, _)| matrix.wires())).collect();
    let sum_task = |wires: &[usize]| {
        if steps.is_cancelled() {
            return Vec::new();
        }
        let sum = |wire: &usize| {
            matrices
                .iter()
                .map(|(matrix, points)| sum(matrix.of(*wire), points))
                .fold(Projective::<P>::zero(), |sum, other| sum + other)
        };
        let sums: Vec<Projective<P>> = wires.iter().map(sum).collect();
        Projective::normalize_batch(&sums)
    };
    let sums = wires.par_chunks(TASK_WIRES).flat_map_iter(sum_task).collect();
    // Points were left out.
    steps.next()?;
    Ok(sums)
}

/// The sum of coefficients times the points at their indices.
fn sum<P: SWCurveConfig<ScalarField = Fr>>(terms: &[(u32, Fr)], points: &[Affine<P>]) -> Projective<P> {
    let mut sum = Projective::<P>::zero();
    let (mut others, mut factors) = (Vec::new(), Vec::new());
    for (index, coefficient) in terms {
        let Some(point) = points.get(*index as usize) else { continue };
        if coefficient.is_one() {
            sum += point;
        } else if (-*coefficient).is_one() {
            sum -= point;
        } else {
            others.push(*point);
            factors.push(*coefficient);
        }
    }
    if others.len() > MANY_TERMS {
        return sum + msm_unchecked(&others, &factors);
    }
    sum + sum_of_few(&mut others, &factors)
}

/// Doubles the sum once for each bit of the longest coefficient, and adds the points whose coefficients have that bit.
fn sum_of_few<P: SWCurveConfig<ScalarField = Fr>>(points: &mut [Affine<P>], factors: &[Fr]) -> Projective<P> {
    let factors: Vec<_> = points
        .iter_mut()
        .zip(factors)
        .map(|(point, factor)| {
            // Small negative coefficients are large numbers.
            let (positive, negative) = (factor.into_bigint(), (-*factor).into_bigint());
            if negative < positive {
                *point = -*point;
                negative
            } else {
                positive
            }
        })
        .collect();
    let bits = factors.iter().map(|factor| factor.num_bits() as usize).max().unwrap_or(0);
    let mut sum = Projective::<P>::zero();
    for bit in (0..bits).rev() {
        sum.double_in_place();
        for (point, factor) in points.iter().zip(&factors) {
            if factor.get_bit(bit) {
                sum += *point;
            }
        }
    }
    sum
}

/// Each point times one factor.
pub(super) fn times<P: SWCurveConfig<ScalarField = Fr>>(
    points: &[Affine<P>],
    factor: &Fr,
    steps: Steps<'_>,
) -> Result<Vec<Affine<P>>, Cancelled> {
    let multiply = |points: &[Affine<P>]| {
        if steps.is_cancelled() {
            return Vec::new();
        }
        let products: Vec<Projective<P>> =
            points.iter().map(|point| Projective::<P>::from(*point) * factor).collect();
        Projective::normalize_batch(&products)
    };
    let products = points.par_chunks(TASK_WIRES).flat_map_iter(multiply).collect();
    steps.next()?;
    Ok(products)
}

/// The differences of points at the same place.
pub(super) fn differences<P: SWCurveConfig<ScalarField = Fr>>(
    minuends: &[Affine<P>],
    subtrahends: &[Affine<P>],
) -> Vec<Affine<P>> {
    let subtract = |index: usize| -> Vec<Affine<P>> {
        let range = index * TASK_WIRES..minuends.len().min((index + 1) * TASK_WIRES);
        let differences: Vec<Projective<P>> = minuends[range.clone()]
            .iter()
            .zip(&subtrahends[range])
            .map(|(minuend, subtrahend)| Projective::from(*minuend) - *subtrahend)
            .collect();
        Projective::normalize_batch(&differences)
    };
    let tasks = minuends.len().min(subtrahends.len()).div_ceil(TASK_WIRES);
    (0..tasks).into_par_iter().with_min_len(1).flat_map_iter(subtract).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use ark_bn254::G1Affine;
    use ark_ec::AffineRepr as _;

    use super::*;
    use crate::field;

    #[test]
    fn sums_are_those_of_the_definition() {
        let coefficients = |count: usize| -> Vec<Fr> {
            let small = [1_i64, -1, 0, 2, -7, 1 << 40].map(Fr::from);
            let large = (0..count).map(|_| *field::random().unwrap());
            small.into_iter().chain(large).take(count).collect()
        };
        for count in [0, 1, 6, 20, 200] {
            let coefficients = coefficients(count);
            let multiples: Vec<Fr> = (1..=count as u64).map(|value| Fr::from(value * value)).collect();
            let points: Vec<G1Affine> =
                multiples.iter().map(|value| (G1Affine::generator() * value).into_affine()).collect();
            let terms = || (0..).zip(&coefficients).map(|(index, value)| (index, 1, value));
            let by_wire = ByWire::new(3, terms);
            let found = of_wires(&[(&by_wire, &points), (&by_wire, &points)], Steps(&AtomicBool::new(false)))
                .unwrap();
            let expected: Fr = coefficients.iter().zip(&multiples).map(|(a, b)| *a * b).sum();
            let expected = (G1Affine::generator() * (expected + expected)).into_affine();
            assert_eq!(found, [G1Affine::zero(), expected, G1Affine::zero()], "{count}");
        }
    }

    #[test]
    fn products_and_differences_keep_their_order() {
        let point = |value: u64| (G1Affine::generator() * Fr::from(value)).into_affine();
        let points: Vec<G1Affine> = (1..=600).map(point).collect();
        let doubled = times(&points, &Fr::from(2_u64), Steps(&AtomicBool::new(false))).unwrap();
        assert_eq!(doubled[599], point(1200));
        assert_eq!(differences(&doubled, &points), points);
        assert!(times(&points, &Fr::from(2_u64), Steps(&AtomicBool::new(true))).is_err());
    }
}
