//! The order of work: by priority, and every job gains priority with age.
//!
//! Ageing needs no clock and no rewriting of rows. A job's rank is fixed when it arrives:
//!
//! ```text
//! rank = enqueued_at_ms - level * AGEING_STEP_MS        LOW 0, NORMAL 1, HIGH 2, CRITICAL 3
//! ```
//!
//! and the lowest rank is first; between equal ranks the order of arrival decides. One level is worth one step of waiting:
//! a LOW job is before every CRITICAL one that arrives more than three steps later. No job is passed by one that arrived more
//! than `3 * AGEING_STEP_MS` later, so none starves. An index on the rank gives the order to the statement that claims.
//!
//! A job that is retried keeps its rank, and waits for its `run_at` as well.

use edgeprove_protocol::Priority;

use crate::time::UnixMillis;

/// The time after which a waiting job has the rank of a new job of the next level, in milliseconds.
///
/// A minute is about the time that a full queue of 100 small jobs takes. A CRITICAL job therefore usually passes all jobs that
/// it finds in the queue, and a LOW job is delayed by three minutes at most.
pub const AGEING_STEP_MS: i64 = 60_000;

/// The place of a job in the order of work. Lower is earlier.
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
    fn the_higher_of_two_priorities_is_first() {
        let ranks = Priority::ALL.map(|priority| Rank::new(priority, NOW));
        assert!(ranks.is_sorted_by(|less, more| less > more), "{ranks:?}");
    }

    #[test]
    fn low_passes_critical_jobs_three_steps_later() {
        let low = Rank::new(Priority::Low, NOW);
        let critical = |later_ms| Rank::new(Priority::Critical, UnixMillis(NOW.0 + later_ms));
        assert!(critical(3 * AGEING_STEP_MS - 1) < low);
        assert_eq!(critical(3 * AGEING_STEP_MS), low, "the order of arrival decides");
        assert!(critical(3 * AGEING_STEP_MS + 1) > low);
    }
}
