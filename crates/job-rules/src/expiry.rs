//! How long finished jobs are retained.
//!
//! At first the result can be fetched. Then the result is removed and the job is `expired`; requests for it get 410. Finally
//! the row is deleted; requests get 404.

use std::time::Duration;

use crate::time::UnixMillis;

/// How long finished jobs are retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long the result, or the reason of the failure, can be fetched.
    pub results: Duration,
    /// How long the row stays after that.
    pub tombstones: Duration,
    /// How long the input of a failed job stays, so that the job can be queued again. The inputs of other finished jobs are
    /// removed at once.
    pub failed_inputs: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            results: Duration::from_hours(1),
            tombstones: Duration::from_hours(24),
            failed_inputs: Duration::ZERO,
        }
    }
}

impl Retention {
    /// The expiry of a job that finishes now.
    #[must_use]
    pub fn expires_at(self, now: UnixMillis) -> UnixMillis {
        now.after(self.results)
    }

    /// The latest expiry of jobs whose rows may be deleted now.
    #[must_use]
    pub fn rows_until(self, now: UnixMillis) -> UnixMillis {
        now.before(self.tombstones)
    }

    /// The latest end of failed jobs whose inputs may be removed now. Jobs that failed later may be queued again.
    #[must_use]
    pub fn failed_inputs_until(self, now: UnixMillis) -> UnixMillis {
        now.before(self.failed_inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_removed_before_rows() {
        let retention = Retention {
            results: Duration::from_secs(1),
            tombstones: Duration::from_secs(2),
            ..Retention::default()
        };
        let expires_at = retention.expires_at(UnixMillis(10_000));
        assert_eq!(expires_at, UnixMillis(11_000));
        assert!(retention.rows_until(UnixMillis(12_999)) < expires_at);
        assert_eq!(retention.rows_until(UnixMillis(13_000)), expires_at);
    }
}
