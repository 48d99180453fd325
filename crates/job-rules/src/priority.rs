//! In which order jobs are worked on: by urgency, and with age every job becomes as urgent as any.
//!
//! Ageing needs no clock and no rewriting of rows. A job's rank is fixed when it arrives:
//!
//! ```text
//! rank = enqueued_at_ms - level * AGEING_STEP_MS        LOW 0, NORMAL 1, HIGH 2, CRITICAL 3
//! ```
//!
//! and the lowest rank goes first, the order of arrival deciding between equals. One level is thus worth one step of
//! waiting: a LOW job goes before every CRITICAL one that arrives more than three steps after it, whatever else comes.
//! No job is passed by one that arrived more than `3 * AGEING_STEP_MS` later, so none starves, and an index on the rank
//! gives the order to whoever claims.
//!
//! A job that is tried again keeps its rank: it waited already, and only has to wait for its `run_at` besides.

use edgeprove_protocol::Priority;

use crate::time::UnixMillis;

/// How long a job waits until it is as urgent as a new one of the next level, in milliseconds.
///
/// A minute: about the time in which a full queue of 100 small proofs is worked off, so that a CRITICAL job passes
/// whatever it finds on a day like any other, and a LOW one is late by three minutes at worst on a bad one.
pub const AGEING_STEP_MS: i64 = 60_000;

/// Where a job stands in the order of work. Lower goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rank(pub i64);

impl Rank {
    /// The rank of a job that arrives now.
    #[must_use]
    pub fn new(priority: Priority, enqueued_at: UnixMillis) -> Self {
        Self(enqueued_at.0.saturating_sub(i64::from(priority.level()) * AGEING_STEP_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    #[test]
    fn the_more_urgent_of_two_that_arrive_together_goes_first() {
        let ranks = Priority::ALL.map(|priority| Rank::new(priority, NOW));
        assert!(ranks.is_sorted_by(|less, more| less > more), "{ranks:?}");
    }

    #[test]
    fn low_goes_before_what_is_critical_three_steps_later() {
        let low = Rank::new(Priority::Low, NOW);
        let critical = |later_ms| Rank::new(Priority::Critical, UnixMillis(NOW.0 + later_ms));
        assert!(critical(3 * AGEING_STEP_MS - 1) < low);
        assert_eq!(critical(3 * AGEING_STEP_MS), low, "the order of arrival decides");
        assert!(critical(3 * AGEING_STEP_MS + 1) > low);
    }
}
