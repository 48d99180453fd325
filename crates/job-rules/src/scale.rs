//! How many provers a queue needs, for autoscalers.
//!
//! The work that is queued and the work that runs is divided by what one prover does within the drain window: the time in which
//! the queue should be empty. Work that runs counts, and there are never fewer provers than work at this moment: an autoscaler
//! that saw the queue alone would remove provers in the middle of their proofs.

use std::time::Duration;

/// The state of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// The number of queued jobs.
    pub queued: u64,
    /// The number of running jobs.
    pub running: u64,
    /// The number of provers that run at least one of them.
    pub busy: u64,
    /// The time that 95 of 100 jobs take at most; `None` where nothing is known of such jobs.
    pub p95: Option<Duration>,
}

/// The bounds of the number of provers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleBounds {
    /// The time in which the queue should be empty.
    pub drain: Duration,
    /// The fewest provers.
    pub min: u32,
    /// The most provers.
    pub max: u32,
}

/// The number of provers: `clamp(ceil((queued + running) × p95 / drain), min, max)`, and at least as many as are busy.
/// Where no duration is known, each job counts as a whole drain window.
///
/// ```
/// use std::time::Duration;
///
/// use edgeprove_job_rules::scale::{Demand, ScaleBounds, desired};
///
/// let bounds = ScaleBounds { drain: Duration::from_secs(60), min: 0, max: 100 };
/// let demand = Demand { queued: 110, running: 10, busy: 2, p95: Some(Duration::from_secs(3)) };
/// assert_eq!(desired(demand, bounds), 6);
/// ```
#[must_use]
pub fn desired(demand: Demand, bounds: ScaleBounds) -> u32 {
    let Demand { queued, running, busy, p95 } = demand;
    let drain_ms = bounds.drain.as_millis().max(1);
    let job_ms = p95.unwrap_or(bounds.drain).as_millis();
    let work_ms = u128::from(queued.saturating_add(running)).saturating_mul(job_ms);
    let needed = u32::try_from(work_ms.div_ceil(drain_ms)).unwrap_or(u32::MAX);
    let bounded = needed.clamp(bounds.min, bounds.max.max(bounds.min));
    // Scaling down must not end a proof, whatever the bounds are.
    bounded.max(u32::try_from(busy).unwrap_or(u32::MAX))
}

/// The duration that 95 of 100 of these do not exceed; `None` of none.
#[must_use]
pub fn p95(mut durations: Vec<Duration>) -> Option<Duration> {
    durations.sort_unstable();
    let rank = (durations.len() * 95).div_ceil(100);
    durations.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(queued: u64, running: u64, busy: u64, p95_s: Option<u64>) -> u32 {
        let bounds = ScaleBounds { drain: Duration::from_mins(1), min: 1, max: 8 };
        desired(Demand { queued, running, busy, p95: p95_s.map(Duration::from_secs) }, bounds)
    }

    #[test]
    fn the_number_follows_the_work_within_its_bounds() {
        assert_eq!(of(0, 0, 0, Some(10)), 1, "the minimum");
        assert_eq!(of(6, 0, 0, Some(10)), 1);
        assert_eq!(of(7, 0, 0, Some(10)), 2);
        assert_eq!(of(3, 4, 1, Some(10)), 2, "running work counts");
        assert_eq!(of(1_000, 0, 0, Some(10)), 8, "the maximum");
        assert_eq!(of(u64::MAX, u64::MAX, 0, Some(u64::MAX / 1_000)), 8, "nothing overflows");
    }

    #[test]
    fn busy_provers_are_never_too_many() {
        assert_eq!(of(0, 5, 5, Some(1)), 5);
        assert_eq!(of(0, 20, 20, Some(1)), 20, "also beyond a maximum that was lowered");
    }

    #[test]
    fn without_experience_each_job_gets_a_prover() {
        assert_eq!(of(3, 1, 1, None), 4);
    }

    #[test]
    fn the_percentile_is_one_of_the_durations() {
        let seconds =
            |range: std::ops::RangeInclusive<u64>| p95(range.rev().map(Duration::from_secs).collect());
        assert_eq!(p95(Vec::new()), None);
        assert_eq!(seconds(1..=1), Some(Duration::from_secs(1)));
        assert_eq!(seconds(1..=20), Some(Duration::from_secs(19)));
        assert_eq!(seconds(1..=100), Some(Duration::from_secs(95)));
    }
}
