//! Counts refused requests by caller and reason, so that a client cannot fill the log with them.
//!
//! The first refusal of a caller for a reason is written at once. Those of the next second are counted and become one entry
//! at its end. The current time is a parameter. Memory is bounded.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use edgeprove_job_rules::audit::{Actor, Entry, Outcome};

/// At most one entry is written in this time for each caller and reason.
pub(crate) const REFUSALS_EVERY: Duration = Duration::from_secs(1);
/// Most pairs of caller and reason that are counted at the same time. With more, the counted ones are written early.
const COUNTED_MAX: usize = 256;

/// Refusals of one caller for one reason since the last entry about them.
#[derive(Debug)]
struct Counted {
    /// The latest refusal and their number; `None` if there was none.
    pending: Option<(Entry, u64)>,
    written_at: Instant,
}

/// The counts of all callers.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counted: HashMap<(Actor, Option<Outcome>), Counted>,
    /// Whether a task writes the counted refusals when their second is over.
    pub(crate) has_writer: bool,
}

impl Refusals {
    /// Counts a refusal. Returns the entries to write now.
    pub(crate) fn count(&mut self, entry: Entry, now: Instant) -> Vec<Entry> {
        let key = (entry.actor.clone(), entry.outcome);
        if let Some(counted) = self.counted.get_mut(&key) {
            let times = counted.pending.as_ref().map_or(0, |(_, times)| *times) + 1;
            counted.pending = Some((entry, times));
            return Vec::new();
        }
        let mut entries = if self.counted.len() < COUNTED_MAX { Vec::new() } else { self.take_all() };
        self.counted.insert(key, Counted { pending: None, written_at: now });
        entries.push(entry);
        entries
    }

    /// The counted refusals whose second is over, one entry for each caller and reason.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.counted.retain(|_, counted| {
            if now.saturating_duration_since(counted.written_at) < REFUSALS_EVERY {
                return true;
            }
            let Some((entry, times)) = counted.pending.take() else { return false };
            counted.written_at = now;
            entries.push(with_times(entry, times));
            true
        });
        entries
    }

    /// All counted refusals.
    pub(crate) fn take_all(&mut self) -> Vec<Entry> {
        let counted = std::mem::take(&mut self.counted).into_values();
        counted.filter_map(|counted| counted.pending).map(|(entry, times)| with_times(entry, times)).collect()
    }

    /// Makes everything that is counted older.
    #[cfg(test)]
    pub(crate) fn age(&mut self, by: Duration) {
        for counted in self.counted.values_mut() {
            counted.written_at = counted.written_at.checked_sub(by).unwrap_or(counted.written_at);
        }
    }

    /// Whether nothing is counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }
}

fn with_times(entry: Entry, times: u64) -> Entry {
    Entry { times: (times > 1).then_some(times), ..entry }
}

#[cfg(test)]
mod tests {
    use edgeprove_job_rules::audit::Action;
    use edgeprove_protocol::ProblemType;

    use super::*;

    fn refusal(actor: Actor, problem: ProblemType) -> Entry {
        Entry {
            outcome: Some(Outcome::Failed(problem)),
            ..Entry::new(String::new(), actor, Action::KeyRefused)
        }
    }

    fn named(number: usize) -> Entry {
        refusal(Actor::Key(format!("user-{number}")), ProblemType::NotAllowed)
    }

    #[test]
    fn each_caller_and_reason_is_counted_by_itself() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let unknown = || refusal(Actor::Anonymous, ProblemType::ApiKeyRequired);
        assert_eq!(refusals.count(unknown(), now), [unknown()]);
        for _ in 0..3 {
            assert_eq!(refusals.count(unknown(), now), []);
        }
        assert_eq!(refusals.count(named(1), now), [named(1)]);
        assert_eq!(refusals.count(named(1), now), []);
        let other_reason = refusal(Actor::Key("user-1".to_owned()), ProblemType::ApiKeyRequired);
        assert_eq!(refusals.count(other_reason.clone(), now), [other_reason]);

        assert_eq!(refusals.take_due(now), [], "the second is not over");
        let mut due = refusals.take_due(now + REFUSALS_EVERY);
        due.sort_by_key(|entry| entry.times);
        assert_eq!(due, [named(1), Entry { times: Some(3), ..unknown() }]);
        assert_eq!(refusals.take_due(now + REFUSALS_EVERY * 2), []);
        assert!(refusals.is_empty());
    }

    #[test]
    fn more_callers_than_are_counted_lose_no_refusal() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let mut written = 0;
        for number in 0..3 * COUNTED_MAX {
            for _ in 0..3 {
                written +=
                    refusals.count(named(number), now).iter().map(|e| e.times.unwrap_or(1)).sum::<u64>();
            }
            assert!(refusals.counted.len() <= COUNTED_MAX);
        }
        written += refusals.take_all().iter().map(|entry| entry.times.unwrap_or(1)).sum::<u64>();
        assert_eq!(written, 9 * COUNTED_MAX as u64);
    }
}
