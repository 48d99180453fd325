//! The progress of an attempt: percent and remaining time, computed from what the database stores.
//!
//! The row of a job stores only the stage of the attempt, the time when the stage began, and the estimates that were known
//! then ([`StageEstimate`]). Percent and remaining time follow from these and the current time. They are computed whenever
//! the job is read, so that every server computes them in the same way and nothing has to be written while a stage lasts.

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

/// The estimates that are stored with a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StageEstimate {
    /// The total time of the work of the timed stage.
    pub work: Estimate,
    /// The time from the beginning of this stage until that work begins, such as the wait for a core. It counts in stages
    /// before the timed one.
    pub wait: Estimate,
}

/// How far a running attempt is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The percentage that is done, 0 to 99.
    pub percent: u8,
    /// The time that is left; `None` where there is no estimate.
    pub remaining: Option<Estimate>,
}

impl From<Estimate> for StageEstimate {
    /// The work begins without a wait.
    fn from(work: Estimate) -> Self {
        Self { work, wait: Estimate::NOTHING }
    }
}

impl StageEstimate {
    /// The estimates as text, for the row of a job. Without a wait it is the text of the work.
    #[must_use]
    pub fn encode(&self) -> String {
        let work = self.work.encode();
        if self.wait == Estimate::NOTHING { work } else { format!("{work} {}", self.wait.encode()) }
    }

    /// Reads the estimates back; `None` if this version did not write them.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let wait = text.splitn(Estimate::PARTS + 1, ' ').nth(Estimate::PARTS).and_then(Estimate::decode);
        Some(Self { work: Estimate::decode(text)?, wait: wait.unwrap_or(Estimate::NOTHING) })
    }

    /// The time that is left before the timed stage, so long after the beginning of an earlier one.
    fn before_work(self, elapsed: Duration) -> Estimate {
        if self.wait == Estimate::NOTHING { self.work } else { self.wait.remaining(elapsed).then(self.work) }
    }
}

/// The progress of an attempt whose stage of this name began so long ago.
///
/// `stages` are those of the job's kind, in order. `stage` is `None` before the attempt reports its first stage.
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
/// let estimate = history.estimate().map(Into::into);
/// let progress = of_attempt(&stages, Some("proving"), Duration::from_secs(1), estimate);
/// assert_eq!(progress.percent, 50);
/// ```
#[must_use]
pub fn of_attempt(
    stages: &[Stage],
    stage: Option<&str>,
    elapsed: Duration,
    estimate: Option<StageEstimate>,
) -> Progress {
    let work = estimate.map(|estimate| estimate.work);
    let index = stage.and_then(|name| stages.iter().position(|stage| stage.name == name));
    let Some((index, stage)) = index.and_then(|index| Some((index, stages.get(index)?))) else {
        return Progress { percent: 0, remaining: work };
    };
    let next = stages.get(index + 1).map_or(100, |next| next.percent);
    let done = if stage.is_timed { done(elapsed, work) } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the product is 0 to 100")]
    let within = (f64::from(next.saturating_sub(stage.percent)) * done) as u8;
    let is_later = stages[..index].iter().any(|earlier| earlier.is_timed);
    let remaining = estimate.map(|estimate| {
        let StageEstimate { work, .. } = estimate;
        if is_later {
            work.remaining(work.expected.saturating_add(elapsed))
        } else if stage.is_timed {
            work.remaining(elapsed)
        } else {
            estimate.before_work(elapsed)
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

    const STAGES: [Stage; 4] = [
        Stage { name: "loading", percent: 2, is_timed: false },
        Stage { name: "waiting", percent: 4, is_timed: false },
        Stage { name: "proving", percent: 10, is_timed: true },
        Stage { name: "verifying", percent: 90, is_timed: false },
    ];

    fn estimate() -> Option<Estimate> {
        [Duration::from_secs(2); 8].into_iter().collect::<History>().estimate()
    }

    fn at_once() -> Option<StageEstimate> {
        estimate().map(StageEstimate::from)
    }

    fn percent(stage: &str, ms: u64) -> u8 {
        of_attempt(&STAGES, Some(stage), Duration::from_millis(ms), at_once()).percent
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
            let progress = of_attempt(&STAGES, Some(stage), Duration::from_secs(s), at_once());
            progress.remaining.unwrap().expected
        };
        assert_eq!(remaining("loading", 9), Duration::from_secs(2));
        assert_eq!(remaining("proving", 1), Duration::from_secs(1));
        assert!(remaining("verifying", 0) < Duration::from_secs(1));
    }

    #[test]
    fn the_wait_before_the_work_is_part_of_the_remaining_time() {
        let wait: History = [Duration::from_secs(10); 8].into_iter().collect();
        let behind = estimate().map(|work| StageEstimate { work, wait: wait.estimate().unwrap() });
        let remaining = |stage, s| {
            of_attempt(&STAGES, Some(stage), Duration::from_secs(s), behind).remaining.unwrap().expected
        };
        assert_eq!([0, 4].map(|s| remaining("waiting", s)), [12, 8].map(Duration::from_secs));
        let overdue = remaining("waiting", 60);
        assert!(overdue > Duration::from_secs(2) && overdue < Duration::from_secs(3), "{overdue:?}");
        assert_eq!(remaining("proving", 1), Duration::from_secs(1), "it has waited");
    }

    #[test]
    fn estimates_survive_a_round_trip() {
        let work = estimate().unwrap();
        let wait = Estimate { confidence: 0.5, ..work };
        for estimate in [work.into(), StageEstimate { work, wait }] {
            let text = estimate.encode();
            let read = StageEstimate::decode(&text).unwrap();
            assert_eq!((read.work.expected, read.wait.expected), (work.expected, estimate.wait.expected));
            // An earlier version reads the time of the work.
            assert_eq!(Estimate::decode(&text).unwrap().expected, work.expected);
        }
        assert_eq!(StageEstimate::decode("soon"), None);
        assert_eq!(
            StageEstimate::decode(&format!("{} soon", work.encode())).unwrap().wait,
            Estimate::NOTHING
        );
    }
}
