//! Points in time. Callers pass them in; nothing in this crate reads a clock.
//!
//! There is one clock for each database. Where one host alone uses it (SQLite, a Durable Object), it is the host's clock. Where
//! several share it (PostgreSQL), it is the database's own clock ([`crate::sql::POSTGRES_NOW`]), so that hosts whose clocks
//! differ agree on the end of a lease.

use std::time::Duration;

/// Milliseconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The latest time. Every lease has ended by then.
    pub const MAX: Self = Self(i64::MAX);

    /// The time this much later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// The time this much earlier.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// The time from `earlier` until this; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// A duration in whole milliseconds, as the database holds it.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(UnixMillis(1_000).after(Duration::from_secs(2)), UnixMillis(3_000));
        assert_eq!(UnixMillis(1_000).before(Duration::from_secs(2)), UnixMillis(-1_000));
        assert_eq!(UnixMillis::MAX.after(Duration::MAX), UnixMillis::MAX);
        assert_eq!(UnixMillis(3_000).since(UnixMillis(1_000)), Duration::from_secs(2));
        assert_eq!(UnixMillis(1_000).since(UnixMillis(3_000)), Duration::ZERO);
    }
}
