//! The values by which a proof shows that every constraint holds.
//!
//! A, B and C are the polynomials that have the products of the matrices with the wires as their values on a domain. The
//! constraints hold if A * B - C is a multiple of the polynomial that is zero on the domain. snarkjs's keys have a point
//! for each value of A * B - C on the other half of the domain of twice the size. There that polynomial is a constant,
//! which is part of the points, so that nothing is divided.

use ark_bn254::Fr;
use ark_ff::FftField as _;
use rayon::iter::{
    IndexedParallelIterator as _, IntoParallelRefIterator as _, IntoParallelRefMutIterator as _,
    ParallelIterator as _,
};
use taceo_ark_algebra::fft::{Domain, bit_reverse, powers};
use zeroize::Zeroizing;

use crate::matrix::Matrix;

/// Values that one task multiplies at least.
const MIN_VALUES: usize = 512;

/// What all proofs with one key share.
#[derive(Debug)]
pub(crate) struct Quotient {
    domain: Domain<Fr>,
    /// The powers of the factor between the two halves, in the order in which coefficients are between two transforms.
    shifts: Vec<Fr>,
}

impl Quotient {
    /// `None`: the size is no power of two, or the field has too few roots of unity.
    pub(crate) fn new(domain_size: u32) -> Option<Self> {
        let size = usize::try_from(domain_size).ok().filter(|size| size.is_power_of_two())?;
        let shift = Fr::get_root_of_unity(2 * u64::from(domain_size))?;
        let domain = Domain::new(size)?;
        let mut shifts = powers(shift, size);
        bit_reverse(&mut shifts);
        Some(Self { domain, shifts })
    }

    /// The values of A * B - C. C follows from A, B and the wires; `public` are the first wires, which have a constraint
    /// each after those of the matrices. `None`: the proof was cancelled, which is looked at before each step.
    pub(crate) fn values(
        &self,
        a: &Matrix,
        b: &Matrix,
        wires: &[Fr],
        public: &[Fr],
        is_cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Option<Zeroizing<Vec<Fr>>> {
        let proceed = || (!is_cancelled()).then_some(());
        proceed()?;
        let zeros = || Zeroizing::new(vec![Fr::default(); self.domain.size()]);
        let (mut of_a, mut of_b) = (zeros(), zeros());
        rayon::join(|| a.multiply(wires, &mut of_a), || b.multiply(wires, &mut of_b));
        for (value, wire) in of_a.iter_mut().skip(a.rows()).zip(public) {
            *value = *wire;
        }
        let mut of_c = of_a.clone();
        multiply(&mut of_c, &of_b);
        let moved = |values: &mut [Fr]| self.move_to_other_half(values, &proceed);
        let (a, (b, c)) =
            rayon::join(|| moved(&mut of_a), || rayon::join(|| moved(&mut of_b), || moved(&mut of_c)));
        a.and(b).and(c)?;
        let factors = of_b.par_iter().zip_eq(of_c.par_iter());
        of_a.par_iter_mut().zip_eq(factors).with_min_len(MIN_VALUES).for_each(|(a, (b, c))| *a = *a * b - c);
        Some(of_a)
    }

    /// Replaces the values of a polynomial on the domain by those on the other half. The coefficients are in between, in
    /// the order that needs no sorting. `None`: the proof was cancelled.
    fn move_to_other_half(&self, values: &mut [Fr], proceed: &impl Fn() -> Option<()>) -> Option<()> {
        proceed()?;
        self.domain.ifft_in_to_out(values);
        proceed()?;
        multiply(values, &self.shifts);
        self.domain.fft_out_to_in(values);
        Some(())
    }
}

fn multiply(values: &mut [Fr], factors: &[Fr]) {
    let pairs = values.par_iter_mut().zip_eq(factors.par_iter());
    pairs.with_min_len(MIN_VALUES).for_each(|(value, factor)| *value *= factor);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use ark_ff::Field as _;

    use super::*;
    use crate::matrix::Term;

    #[test]
    fn a_cancelled_proof_has_no_further_transform() {
        let matrix = Matrix::from_terms(1, vec![(0, Term { wire: 0, coefficient: Fr::from(1_u64) })]);
        let wires = [Fr::from(1_u64), Fr::from(2_u64)];
        let quotient = Quotient::new(4).unwrap();
        let looks = AtomicUsize::new(0);
        let has_values = |cancelled_at: usize| {
            looks.store(0, Ordering::Relaxed);
            let is_cancelled = || looks.fetch_add(1, Ordering::Relaxed) >= cancelled_at;
            quotient.values(&matrix, &matrix, &wires, &wires[..1], &is_cancelled).is_some()
        };
        assert!(has_values(usize::MAX));
        assert_eq!(looks.load(Ordering::Relaxed), 7, "at the start, and before each of six transforms");
        for cancelled_at in 0..7 {
            assert!(!has_values(cancelled_at), "{cancelled_at}");
            // Each of the three polynomials looks once more at most.
            assert!(looks.load(Ordering::Relaxed) <= cancelled_at + 3, "{cancelled_at}");
        }
    }

    #[test]
    fn values_are_those_of_the_polynomials_on_the_other_half() {
        let value = |value: u64| Fr::from(value);
        let row = |row: u32, wire: u32| (row, Term { wire, coefficient: value(1) });
        // Two constraints, wire 1 * wire 2 and wire 2 * wire 2, and two public wires: a domain of four values.
        let a = Matrix::from_terms(2, vec![row(0, 1), row(1, 2)]);
        let b = Matrix::from_terms(2, vec![row(0, 2), row(1, 2)]);
        let wires = [value(1), value(3), value(5)];
        let values = Quotient::new(4).unwrap().values(&a, &b, &wires, &wires[..2], &|| false).unwrap();

        // By the definition: interpolate by Lagrange's formula, and evaluate.
        let root = Fr::get_root_of_unity(4).unwrap();
        let shift = Fr::get_root_of_unity(8).unwrap();
        let interpolated = |on_domain: [u64; 4], at: Fr| -> Fr {
            (0..4)
                .map(|i| {
                    let factors = (0..4).filter(|j| *j != i).map(|j| {
                        let (x, other) = (root.pow([i]), root.pow([j]));
                        (at - other) * (x - other).inverse().unwrap()
                    });
                    factors.product::<Fr>() * value(on_domain[usize::try_from(i).unwrap()])
                })
                .sum()
        };
        for (index, found) in (0_u64..).zip(values.iter()) {
            let at = shift * root.pow([index]);
            let product = interpolated([3, 5, 1, 3], at) * interpolated([5, 5, 0, 0], at);
            assert_eq!(*found, product - interpolated([15, 25, 0, 0], at), "{index}");
        }
    }

    #[test]
    fn impossible_domains_are_refused() {
        assert!([0, 3, 1 << 28, 1 << 31].into_iter().all(|size| Quotient::new(size).is_none()));
    }
}
