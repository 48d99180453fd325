//! How long a job is remembered once it is over.
//!
//! First its result can be fetched. Then the result goes and the job is `expired`, which answers 410: it was there.
//! At last its row goes as well, and nobody knows of it any more, which answers 404.

use std::time::Duration;

use crate::time::UnixMillis;

/// How long a job is remembered once it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long its result, or why it failed, can be fetched.
    pub results: Duration,
    /// How long it is known after that to have expired.
    pub tombstones: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { results: Duration::from_hours(1), tombstones: Duration::from_hours(24) }
    }
}

impl Retention {
    /// When a job that is over now expires.
    #[must_use]
    pub fn expires_at(self, now: UnixMillis) -> UnixMillis {
        now.after(self.results)
    }

    /// Rows of jobs that expired at this time or before may go.
    #[must_use]
    pub fn rows_until(self, now: UnixMillis) -> UnixMillis {
        now.before(self.tombstones)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_go_first_and_rows_later() {
        let retention = Retention { results: Duration::from_secs(1), tombstones: Duration::from_secs(2) };
        let expires_at = retention.expires_at(UnixMillis(10_000));
        assert_eq!(expires_at, UnixMillis(11_000));
        assert!(retention.rows_until(UnixMillis(12_999)) < expires_at);
        assert_eq!(retention.rows_until(UnixMillis(13_000)), expires_at);
    }
}
