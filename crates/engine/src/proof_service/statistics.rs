//! Statistics of recent proofs: how many wait and run, how many succeed, and how long they take; in all, by circuit and
//! by priority.
//!
//! The window slides in steps of [`STEP`]. Memory is bounded: a tally has one histogram of fixed size for each step, and
//! there is one tally for each circuit of the registry and for each priority. Of all proofs together, each minute is
//! remembered for an hour.

mod histogram;
mod minutes;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use edgeprove_protocol::{CircuitId, Priority};
use edgeprove_telemetry::metrics::Outcome;
use parking_lot::Mutex;

use histogram::Histogram;
use minutes::Minutes;
pub use minutes::{MINUTES, MinuteSummary, RecentProblem};

/// The time that the statistics look back.
pub const WINDOW: Duration = Duration::from_hours(1);
/// The window consists of steps of this length. The newest one is not complete.
pub const STEP: Duration = Duration::from_mins(5);
const STEPS: u64 = WINDOW.as_secs() / STEP.as_secs();

/// Statistics of the proofs of one server.
#[derive(Debug)]
pub struct ProofStatistics {
    started: Instant,
    tallies: Mutex<Tallies>,
}

#[derive(Debug, Default)]
struct Tallies {
    all: Tally,
    minutes: Minutes,
    circuits: BTreeMap<CircuitId, Tally>,
    priorities: [Tally; Priority::ALL.len()],
    /// When each running proof got its prover, with its circuit, by the number of the proof.
    running: BTreeMap<u64, (CircuitId, Instant)>,
    last_number: u64,
}

/// The counts of one circuit, of one priority, or of all proofs.
#[derive(Debug, Default)]
struct Tally {
    waiting: u64,
    active: u64,
    /// The steps in which a proof ended, the oldest first.
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    number: u64,
    outcomes: [u64; Outcome::LABELS.len()],
    durations: Histogram,
}

/// Numbers of the proofs of one circuit, of one priority, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Proofs that have a prover now.
    pub active: u64,
    /// Proofs that have none yet: their witness arrives, or they wait for a prover.
    pub waiting: u64,
    /// Ended proofs of the window, in the order of [`Outcome::LABELS`].
    pub outcomes: [u64; Outcome::LABELS.len()],
    /// The durations of successful proofs of the window; `None` if there was none.
    pub durations: Option<Durations>,
}

/// Quantiles of durations, each with an error of at most 4 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durations {
    /// Half of the proofs took at most this long.
    pub p50: Duration,
    /// 95 % of them took at most this long.
    pub p95: Duration,
    /// 99 % of them took at most this long.
    pub p99: Duration,
}

/// The statistics at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The time that the counts of ended proofs cover: at most [`WINDOW`].
    pub covers: Duration,
    /// All proofs.
    pub all: Summary,
    /// Proofs by circuit, of circuits with a proof since the start.
    pub circuits: BTreeMap<CircuitId, Summary>,
    /// Proofs by [`Priority::level`].
    pub priorities: [Summary; Priority::ALL.len()],
}

/// A proof that is counted as waiting or active. Pass it to [`ProofStatistics::end`].
#[derive(Debug)]
#[must_use]
pub struct OpenCount {
    number: u64,
    circuit: CircuitId,
    priority: Priority,
    opened: Instant,
    is_active: bool,
}

impl Default for ProofStatistics {
    fn default() -> Self {
        Self { started: Instant::now(), tallies: Mutex::default() }
    }
}

impl ProofStatistics {
    /// Counts a proof as waiting.
    pub fn open(&self, circuit: &CircuitId, priority: Priority) -> OpenCount {
        let mut tallies = self.tallies.lock();
        tallies.last_number += 1;
        let number = tallies.last_number;
        tallies.each(circuit, priority, |tally| tally.waiting += 1);
        OpenCount { number, circuit: circuit.clone(), priority, opened: Instant::now(), is_active: false }
    }

    /// Counts a proof as active: it has a prover. A second call changes nothing.
    pub fn activate(&self, open: &mut OpenCount) {
        if std::mem::replace(&mut open.is_active, true) {
            return;
        }
        let mut tallies = self.tallies.lock();
        tallies.running.insert(open.number, (open.circuit.clone(), Instant::now()));
        tallies.each(&open.circuit, open.priority, |tally| {
            tally.waiting -= 1;
            tally.active += 1;
        });
    }

    /// Counts a proof as ended with this outcome; `None` if it was not attempted after all. `is_new` is false for a proof
    /// from the cache, whose duration is none of a proof.
    pub fn end(&self, open: OpenCount, outcome: Option<Outcome>, is_new: bool) {
        let OpenCount { number, circuit, priority, opened, is_active } = open;
        let now = Instant::now();
        let step = self.step(now);
        let took = now.saturating_duration_since(opened);
        let duration_of = |outcome| Some(took).filter(|_| is_new && outcome == Outcome::Success);
        let mut tallies = self.tallies.lock();
        tallies.running.remove(&number);
        tallies.each(&circuit, priority, |tally| {
            if is_active {
                tally.active -= 1;
            } else {
                tally.waiting -= 1;
            }
            if let Some(outcome) = outcome {
                tally.record(step, outcome, duration_of(outcome));
            }
        });
        if let Some(outcome) = outcome {
            let at = now.saturating_duration_since(self.started);
            tallies.minutes.record(at, outcome, duration_of(outcome));
        }
    }

    /// The statistics now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let step = self.step(now);
        let tallies = self.tallies.lock();
        let since_start = now.saturating_duration_since(self.started);
        let of_step = Duration::from_secs(since_start.as_secs() % STEP.as_secs());
        Snapshot {
            covers: since_start.min(WINDOW.saturating_sub(STEP) + of_step),
            all: tallies.all.summary(step),
            circuits: tallies.circuits.iter().map(|(id, tally)| (id.clone(), tally.summary(step))).collect(),
            priorities: std::array::from_fn(|level| tallies.priorities[level].summary(step)),
        }
    }

    /// The minutes of the last hour in which proofs ended, the oldest first, and the age of the statistics.
    #[must_use]
    pub fn minutes(&self) -> (Vec<MinuteSummary>, Duration) {
        let age = self.started.elapsed();
        (self.tallies.lock().minutes.summaries(age), age)
    }

    /// The problems with which proofs failed within the last hour, the most frequent first.
    #[must_use]
    pub fn problems(&self) -> Vec<RecentProblem> {
        self.tallies.lock().minutes.problems(self.started.elapsed())
    }

    /// The circuit of each running proof, and the time that it has run.
    #[must_use]
    pub fn running(&self) -> Vec<(CircuitId, Duration)> {
        let now = Instant::now();
        let tallies = self.tallies.lock();
        let elapsed = |(circuit, since): &(CircuitId, Instant)| {
            (circuit.clone(), now.saturating_duration_since(*since))
        };
        tallies.running.values().map(elapsed).collect()
    }

    fn step(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs() / STEP.as_secs()
    }
}

impl Tallies {
    fn each(&mut self, circuit: &CircuitId, priority: Priority, mut change: impl FnMut(&mut Tally)) {
        change(&mut self.all);
        change(&mut self.priorities[usize::from(priority.level())]);
        if let Some(tally) = self.circuits.get_mut(circuit) {
            change(tally);
        } else {
            change(self.circuits.entry(circuit.clone()).or_default());
        }
    }
}

impl Tally {
    fn record(&mut self, step: u64, outcome: Outcome, duration: Option<Duration>) {
        self.steps.retain(|other| is_recent(other.number, step));
        if self.steps.last().is_none_or(|last| last.number != step) {
            self.steps.push(Step {
                number: step,
                outcomes: Default::default(),
                durations: Histogram::default(),
            });
        }
        if let Some(last) = self.steps.last_mut() {
            if let Some(index) = Outcome::LABELS.iter().position(|label| *label == outcome.as_str()) {
                last.outcomes[index] += 1;
            }
            if let Some(duration) = duration {
                last.durations.record(duration);
            }
        }
    }

    fn summary(&self, now: u64) -> Summary {
        let mut outcomes = [0; Outcome::LABELS.len()];
        let mut durations = Histogram::default();
        for step in self.steps.iter().filter(|step| is_recent(step.number, now)) {
            for (sum, count) in outcomes.iter_mut().zip(step.outcomes) {
                *sum += count;
            }
            durations.add(&step.durations);
        }
        Summary { active: self.active, waiting: self.waiting, outcomes, durations: durations.durations() }
    }
}

fn is_recent(step: u64, now: u64) -> bool {
    step + STEPS > now
}

impl Summary {
    /// Successful proofs of those that did not fail by their callers' fault, from 0 to 1; `None` if there was none.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "the last digit of a share of 2^52 proofs does not matter"
    )]
    pub fn success_rate(&self) -> Option<f64> {
        let [success, _, server_error, _] = self.outcomes;
        let counted = success + server_error;
        (counted > 0).then(|| success as f64 / counted as f64)
    }
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::ProblemType;

    use super::*;

    #[test]
    fn callers_faults_do_not_lower_the_success_rate() {
        let mut tally = Tally::default();
        tally.record(0, Outcome::Success, Some(Duration::from_millis(100)));
        tally.record(0, Outcome::Problem(ProblemType::WitnessUnsatisfied), None);
        tally.record(0, Outcome::Abandoned, None);
        assert_eq!(tally.summary(0).success_rate(), Some(1.0));
        tally.record(0, Outcome::Problem(ProblemType::ProverCrashed), None);
        let summary = tally.summary(0);
        assert_eq!((summary.success_rate(), summary.outcomes), (Some(0.5), [1, 1, 1, 1]));
    }

    #[test]
    fn a_step_leaves_the_window_and_the_memory() {
        let mut tally = Tally::default();
        for step in 0..100 {
            tally.record(step, Outcome::Success, Some(Duration::from_secs(step)));
        }
        assert_eq!(tally.steps.len() as u64, STEPS);
        assert_eq!(tally.summary(99).outcomes[0], STEPS);
        assert_eq!(tally.summary(99 + STEPS - 1).outcomes[0], 1);
        let empty = tally.summary(99 + STEPS);
        assert_eq!((empty.success_rate(), empty.durations), (None, None));
    }

    #[test]
    fn a_proof_is_waiting_then_active_then_ended() {
        let statistics = ProofStatistics::default();
        let circuit: CircuitId = "maze".parse().unwrap();
        let counts = || {
            let snapshot = statistics.snapshot();
            let high = snapshot.priorities[usize::from(Priority::High.level())];
            assert_eq!((snapshot.all, snapshot.circuits[&circuit]), (high, high));
            (high.waiting, high.active, high.outcomes[0], high.durations.is_some())
        };
        let mut open = statistics.open(&circuit, Priority::High);
        assert_eq!(counts(), (1, 0, 0, false));
        statistics.activate(&mut open);
        statistics.activate(&mut open);
        assert_eq!((counts(), statistics.running().len()), ((0, 1, 0, false), 1));
        statistics.end(open, Some(Outcome::Success), true);
        assert_eq!((counts(), statistics.running().len()), ((0, 0, 1, true), 0));
        let released = statistics.open(&circuit, Priority::High);
        statistics.end(released, None, true);
        assert_eq!(counts(), (0, 0, 1, true));
    }
}
