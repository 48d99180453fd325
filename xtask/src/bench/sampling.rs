//! Takes samples of several contenders in turn, and summarises them.
//!
//! The machine is never quite idle, so absolute times mean little. All contenders run in each round, each round gives
//! one ratio, and the median of the ratios is the result.

use serde::Serialize;

use crate::interrupt;

/// A function that is measured once in each round.
pub(super) type Contender<'a, T> = &'a mut dyn FnMut() -> anyhow::Result<T>;

/// A summary of samples, in their unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// Runs all contenders once in each round, and discards the first round. Each round begins with another contender: a
/// slow moment of the machine then affects all of them, and none always runs after the same other one.
pub(super) fn in_turn<T, const N: usize>(
    rounds: usize,
    contenders: &mut [Contender<'_, T>; N],
) -> anyhow::Result<[Vec<T>; N]> {
    let mut samples = std::array::from_fn(|_| Vec::with_capacity(rounds));
    for round in 0..=rounds {
        for step in 0..N {
            let turn = (round + step) % N;
            let sample = run(contenders[turn])?;
            if round > 0 {
                samples[turn].push(sample);
            }
        }
    }
    Ok(samples)
}

/// Takes `times` samples of one contender, the first included.
pub(super) fn repeated<T>(
    times: usize,
    mut contender: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    (0..times).map(|_| run(&mut contender)).collect()
}

fn run<T>(contender: Contender<'_, T>) -> anyhow::Result<T> {
    interrupt::check()?;
    contender()
}

/// The ratio of a sample to its baseline, for each round.
pub(super) fn ratios(samples: &[f64], baseline: &[f64]) -> Vec<f64> {
    samples.iter().zip(baseline).map(|(sample, base)| sample / base).collect()
}

impl Summary {
    /// Summarises one or more samples.
    pub(super) fn of(samples: &[f64]) -> Self {
        let sorted = sorted(samples);
        Self { median: quantile(&sorted, 0.5), min: quantile(&sorted, 0.0), max: quantile(&sorted, 1.0) }
    }
}

/// The samples in ascending order.
pub(super) fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value below which this share (0 to 1) of the sorted samples lies, interpolated; NaN without samples.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions in a list of at most some thousand samples"
)]
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (position.floor(), position.ceil());
    match (sorted.get(low as usize), sorted.get(high as usize)) {
        (Some(below), Some(above)) => below + (above - below) * (position - low),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn contenders_run_once_a_round_and_take_turns() {
        let order = std::cell::RefCell::new(String::new());
        let record = |name| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                Ok(order.borrow().len())
            }
        };
        let (mut a, mut b, mut c) = (record('a'), record('b'), record('c'));
        let [a, _, c] = in_turn(3, &mut [&mut a, &mut b, &mut c]).unwrap();
        assert_eq!(*order.borrow(), "abcbcacababc");
        // The first round is not among the samples.
        assert_eq!((a, c), (vec![6, 8, 10], vec![5, 7, 12]));
    }

    #[test]
    fn a_failed_sample_ends_the_measurement() {
        let mut fails = || bail!("no");
        assert!(in_turn::<(), 1>(3, &mut [&mut fails]).is_err());
    }

    #[test]
    fn medians_and_quantiles_are_interpolated() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(summary, Summary { median: 2.5, min: 1.0, max: 4.0 });
        assert!((quantile(&[0.0, 10.0], 0.95) - 9.5).abs() < 1e-12);
        assert!(Summary::of(&[]).median.is_nan());
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        assert_eq!(ratios(&[1.0, 9.0], &[2.0, 3.0]), [0.5, 3.0]);
    }
}
