//! The proofs of each minute of the last hour, and the problems of the last hour: what a chart and a list of faults need.
//! Memory is bounded: one histogram of fixed size for each minute, and one count for each type of problem.

use std::{cmp::Reverse, collections::HashMap, time::Duration};

use edgeprove_protocol::ProblemType;
use edgeprove_telemetry::metrics::Outcome;

use super::{Durations, histogram::Histogram};

/// Minutes that are remembered.
pub const MINUTES: u64 = 60;

/// Recent minutes.
#[derive(Debug, Default)]
pub(super) struct Minutes(Vec<Minute>);

/// One minute in which a proof ended.
#[derive(Debug)]
struct Minute {
    number: u64,
    outcomes: [u64; Outcome::LABELS.len()],
    problems: HashMap<ProblemType, ProblemCount>,
    durations: Histogram,
}

#[derive(Debug, Clone, Copy)]
struct ProblemCount {
    proofs: u64,
    /// The time of the last one, since the start of the statistics.
    last: Duration,
}

/// The proofs that ended in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinuteSummary {
    /// The number of the minute since the start of the statistics.
    pub number: u64,
    /// Ended proofs, in the order of [`Outcome::LABELS`].
    pub outcomes: [u64; Outcome::LABELS.len()],
    /// The durations of successful proofs; `None` if there was none.
    pub durations: Option<Durations>,
}

/// How often proofs failed with a problem within the last hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentProblem {
    /// The problem.
    pub problem: ProblemType,
    /// The number of proofs.
    pub proofs: u64,
    /// The time since the last one.
    pub since_last: Duration,
}

impl Minutes {
    /// Counts a proof that ended so long after the start of the statistics.
    pub(super) fn record(&mut self, at: Duration, outcome: Outcome, duration: Option<Duration>) {
        let number = at.as_secs() / 60;
        self.0.retain(|other| other.number + MINUTES > number);
        if self.0.last().is_none_or(|last| last.number != number) {
            self.0.push(Minute {
                number,
                outcomes: Default::default(),
                problems: HashMap::new(),
                durations: Histogram::default(),
            });
        }
        let Some(minute) = self.0.last_mut() else { return };
        if let Some(index) = Outcome::LABELS.iter().position(|label| *label == outcome.as_str()) {
            minute.outcomes[index] += 1;
        }
        if let Outcome::Problem(problem) | Outcome::CallersLimit(problem) = outcome {
            let count = minute.problems.entry(problem).or_insert(ProblemCount { proofs: 0, last: at });
            count.proofs += 1;
            count.last = at;
        }
        if let Some(duration) = duration {
            minute.durations.record(duration);
        }
    }

    /// The minutes in which proofs ended, the oldest first.
    pub(super) fn summaries(&self, now: Duration) -> Vec<MinuteSummary> {
        let summary = |minute: &Minute| MinuteSummary {
            number: minute.number,
            outcomes: minute.outcomes,
            durations: minute.durations.durations(),
        };
        self.recent(now).map(summary).collect()
    }

    /// The problems, the most frequent first.
    pub(super) fn problems(&self, now: Duration) -> Vec<RecentProblem> {
        let mut all = HashMap::<ProblemType, RecentProblem>::new();
        for (&problem, count) in self.recent(now).flat_map(|minute| &minute.problems) {
            let since_last = now.saturating_sub(count.last);
            let sum = all.entry(problem).or_insert(RecentProblem { problem, proofs: 0, since_last });
            sum.proofs += count.proofs;
            sum.since_last = sum.since_last.min(since_last);
        }
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_by_key(|recent| (Reverse(recent.proofs), recent.problem.code()));
        all
    }

    fn recent(&self, now: Duration) -> impl Iterator<Item = &Minute> {
        let now = now.as_secs() / 60;
        self.0.iter().filter(move |minute| minute.number + MINUTES > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_minutes_is_remembered() {
        let mut minutes = Minutes::default();
        let at = |minute: u64| Duration::from_secs(minute * 60 + 59);
        let slow = Outcome::Problem(ProblemType::ProofTimeout);
        for minute in 0..200 {
            minutes.record(at(minute), Outcome::Success, Some(Duration::from_millis(minute)));
            minutes.record(at(minute), slow, None);
        }
        let limit = Outcome::CallersLimit(ProblemType::ProofTimeout);
        minutes.record(at(199), limit, None);
        minutes.record(at(199), Outcome::Problem(ProblemType::OutOfMemory), None);
        let shown = minutes.summaries(at(199));
        assert_eq!((minutes.0.len() as u64, shown.len() as u64, shown[0].number), (MINUTES, MINUTES, 140));
        assert_eq!(shown[0].outcomes[0], 1);
        let p50 = shown[59].durations.unwrap().p50;
        assert!(p50.abs_diff(Duration::from_millis(199)) < Duration::from_millis(9), "{p50:?}");
        let problems: Vec<_> =
            minutes.problems(at(201)).iter().map(|recent| (recent.problem, recent.proofs)).collect();
        assert_eq!(problems, [(ProblemType::ProofTimeout, 59), (ProblemType::OutOfMemory, 1)]);
        assert_eq!(minutes.problems(at(201))[0].since_last, Duration::from_mins(2));
        assert!(minutes.summaries(at(300)).is_empty() && minutes.problems(at(300)).is_empty());
    }
}
