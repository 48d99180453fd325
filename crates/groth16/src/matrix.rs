//! Sparse matrices: the coefficients of a circuit's constraints.

use std::collections::BTreeMap;

use ark_bn254::Fr;
use ark_ff::Zero as _;
use rayon::iter::{IndexedParallelIterator as _, IntoParallelRefMutIterator as _, ParallelIterator as _};

/// Rows that one task multiplies at least.
const MIN_ROWS: usize = 256;

/// A coefficient and its wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) wire: u32,
    pub(crate) coefficient: Fr,
}

/// A matrix with a row for each constraint. The terms of all rows lie one after the other.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    /// Where each row ends in the terms.
    ends: Vec<usize>,
    terms: Vec<Term>,
}

impl Matrix {
    /// A matrix of these terms, each with its row, in any order. Terms of other rows are left out.
    pub(crate) fn from_terms(rows: usize, mut terms: Vec<(u32, Term)>) -> Self {
        // snarkjs writes them in this order.
        terms.sort_by_key(|(row, _)| *row);
        let mut ends = Vec::with_capacity(rows);
        let mut end = 0;
        for row in (0..).take(rows) {
            end += terms.iter().skip(end).take_while(|(of, _)| *of == row).count();
            ends.push(end);
        }
        Self { ends, terms: terms.into_iter().take(end).map(|(_, term)| term).collect() }
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Sets each value to its row times the values of the wires. Runs on the threads of the current pool.
    pub(crate) fn multiply(&self, wires: &[Fr], products: &mut [Fr]) {
        products.par_iter_mut().with_min_len(MIN_ROWS).enumerate().for_each(|(row, product)| {
            *product = self.row(row).iter().fold(Fr::zero(), |sum, Term { wire, coefficient }| {
                // The reader of the key has checked that each wire exists.
                wires.get(*wire as usize).map_or(sum, |value| sum + *coefficient * value)
            });
        });
    }

    /// Whether a row has these wires with these coefficients, in any order. Terms of one wire are added, and a coefficient of
    /// zero is no term.
    pub(crate) fn has_row(&self, row: usize, terms: &[(u32, Fr)]) -> bool {
        let of_key = self.row(row).iter().map(|Term { wire, coefficient }| (*wire, *coefficient));
        // Both come from the same compiler as a rule.
        of_key.clone().eq(terms.iter().copied()) || canonical(of_key) == canonical(terms.iter().copied())
    }

    /// The terms of a row; none where the matrix has no such row.
    fn row(&self, row: usize) -> &[Term] {
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(row).and_then(|end| self.terms.get(start..*end)).unwrap_or_default()
    }
}

/// The terms of a row by wire, each wire once.
fn canonical(terms: impl Iterator<Item = (u32, Fr)>) -> BTreeMap<u32, Fr> {
    let mut sums = BTreeMap::new();
    for (wire, coefficient) in terms {
        *sums.entry(wire).or_insert_with(Fr::zero) += coefficient;
    }
    sums.retain(|_, sum| !sum.is_zero());
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_multiplied_whatever_the_order_of_their_terms() {
        let value = |value: u64| Fr::from(value);
        let term =
            |row: u32, wire: u32, coefficient: u64| (row, Term { wire, coefficient: value(coefficient) });
        // Row 1 is empty, and row 3 is not part of the matrix.
        let terms = vec![term(2, 0, 7), term(0, 1, 2), term(3, 0, 1), term(0, 2, 3)];
        let matrix = Matrix::from_terms(3, terms);
        assert_eq!(matrix.rows(), 3);
        let mut products = [Fr::from(9_u64); 4];
        matrix.multiply(&[value(1), value(10), value(100)], &mut products);
        assert_eq!(products, [320, 0, 7, 0].map(value));
    }

    #[test]
    fn a_row_is_compared_by_the_sums_of_its_wires() {
        let value = |value: u64| Fr::from(value);
        let term = |wire: u32, coefficient: u64| (0, Term { wire, coefficient: value(coefficient) });
        let matrix = Matrix::from_terms(1, vec![term(1, 2), term(2, 3)]);
        let has = |terms: &[(u32, u64)]| {
            let terms: Vec<_> =
                terms.iter().map(|(wire, coefficient)| (*wire, value(*coefficient))).collect();
            matrix.has_row(0, &terms)
        };
        assert!(has(&[(1, 2), (2, 3)]));
        assert!(has(&[(2, 1), (1, 2), (2, 2), (3, 0)]));
        for other in [&[(1, 2)][..], &[(1, 2), (2, 4)], &[(1, 2), (2, 3), (3, 1)], &[]] {
            assert!(!has(other), "{other:?}");
        }
    }
}
