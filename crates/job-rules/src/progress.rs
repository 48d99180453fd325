//! The progress of an attempt: percent and remaining time, computed from what the database stores.
//!
//! The row of a job stores only the stage of the attempt and the time when the stage began. Percent and remaining time
//! follow from these, the current time and the estimate. They are computed whenever the job is read, so that every
//! server computes them in the same way and nothing has to be written while a stage lasts.

use std::time::Duration;

use crate::prediction::Estimate;

/// The part of a timed stage after which the percentage slows down, so that it still rises when the work takes longer than
/// expected.
const ON_TIME: f64 = 0.9;
/// The time of work without an estimate at which half of it is shown as done.
const HALF_WITHOUT_ESTIMATE: Duration = Duration::from_secs(30);

/// A stage of the attempts of a job kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Its name, as the row of a job stores it.
    pub name: &'static str,
    /// The percentage of an attempt that is done when the stage begins, 0 to 100.
    pub percent: u8,
    /// Whether the estimate of the kind is for the work of this stage. The percentage rises while such a stage lasts.
    pub is_timed: bool,
}

/// How far a running attempt is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The percentage that is done, 0 to 99.
    pub percent: u8,
    /// The time that is left; `None` where there is no estimate.
    pub remaining: Option<Estimate>,
}

/// The progress of an attempt whose stage of this name began so long ago.
///
/// `stages` are those of the job's kind, in order. `stage` is `None` before the attempt reports its first stage.
/// `estimate` is the total time of the work of the timed stage.
///
/// ```
/// use std::time::Duration;
/// use edgeprove_job_rules::{prediction::History, progress::{Stage, of_attempt}};
///
/// let stages = [
///     Stage { name: "loading", percent: 2, is_timed: false },
///     Stage { name: "proving", percent: 10, is_timed: true },
///     Stage { name: "verifying", percent: 90, is_timed: false },
/// ];
/// let history: History = [Duration::from_secs(2)].into_iter().collect();
/// let progress = of_attempt(&stages, Some("proving"), Duration::from_secs(1), history.estimate());
/// assert_eq!(progress.percent, 50);
/// ```
#[must_use]
pub fn of_attempt(
    stages: &[Stage],
    stage: Option<&str>,
    elapsed: Duration,
    estimate: Option<Estimate>,
) -> Progress {
    let index = stage.and_then(|name| stages.iter().position(|stage| stage.name == name));
    let Some((index, stage)) = index.and_then(|index| Some((index, stages.get(index)?))) else {
        return Progress { percent: 0, remaining: estimate };
    };
    let next = stages.get(index + 1).map_or(100, |next| next.percent);
    let done = if stage.is_timed { done(elapsed, estimate) } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the product is 0 to 100")]
    let within = (f64::from(next.saturating_sub(stage.percent)) * done) as u8;
    let is_later = stages[..index].iter().any(|earlier| earlier.is_timed);
    let remaining = estimate.map(|estimate| {
        if is_later {
            estimate.remaining(estimate.expected.saturating_add(elapsed))
        } else if stage.is_timed {
            estimate.remaining(elapsed)
        } else {
            estimate
        }
    });
    Progress { percent: stage.percent.saturating_add(within).min(99), remaining }
}

/// The part of a timed stage that is shown as done, below 1. It rises as long as the stage lasts.
fn done(elapsed: Duration, estimate: Option<Estimate>) -> f64 {
    let elapsed = elapsed.as_secs_f64();
    let Some(estimate) = estimate else { return elapsed / (elapsed + HALF_WITHOUT_ESTIMATE.as_secs_f64()) };
    let part = elapsed / estimate.expected.as_secs_f64().max(f64::EPSILON);
    if part <= ON_TIME { part } else { 1.0 - ON_TIME * (1.0 - ON_TIME) / part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prediction::History;

    const STAGES: [Stage; 3] = [
        Stage { name: "loading", percent: 2, is_timed: false },
        Stage { name: "proving", percent: 10, is_timed: true },
        Stage { name: "verifying", percent: 90, is_timed: false },
    ];

    fn estimate() -> Option<Estimate> {
        [Duration::from_secs(2); 8].into_iter().collect::<History>().estimate()
    }

    fn percent(stage: &str, ms: u64) -> u8 {
        of_attempt(&STAGES, Some(stage), Duration::from_millis(ms), estimate()).percent
    }

    #[test]
    fn percent_rises_within_the_timed_stage_only() {
        let percents = [0, 1_000, 1_800, 2_000, 4_000, 60_000].map(|ms| percent("proving", ms));
        assert_eq!(percents, [10, 50, 82, 82, 86, 89], "it still rises when the work is overdue");
        assert_eq!([0, 60_000].map(|ms| percent("loading", ms)), [2, 2]);
        assert_eq!([0, 60_000].map(|ms| percent("verifying", ms)), [90, 90]);
    }

    #[test]
    fn percent_rises_without_an_estimate_too() {
        let progress = |s| of_attempt(&STAGES, Some("proving"), Duration::from_secs(s), None);
        let percents = [0, 10, 30, 600].map(|s| progress(s).percent);
        assert_eq!(percents, [10, 30, 50, 86]);
        assert_eq!(progress(30).remaining, None);
        let first = of_attempt(&STAGES, None, Duration::from_secs(9), None);
        assert_eq!(first, Progress { percent: 0, remaining: None });
    }

    #[test]
    fn the_estimate_counts_from_the_timed_stage() {
        let remaining = |stage, s| {
            let progress = of_attempt(&STAGES, Some(stage), Duration::from_secs(s), estimate());
            progress.remaining.unwrap().expected
        };
        assert_eq!(remaining("loading", 9), Duration::from_secs(2));
        assert_eq!(remaining("proving", 1), Duration::from_secs(1));
        assert!(remaining("verifying", 0) < Duration::from_secs(1));
    }
}
