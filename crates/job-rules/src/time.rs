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

impl UnixMillis {
    /// The time as RFC 3339 in UTC, with three digits of the second: `2026-11-21T18:48:40.356Z`. Times before 1970 or after
    /// the year 9999 are the nearest of these.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let unix_ms = u64::try_from(self.0).unwrap_or(0).min(253_402_300_799_999);
        let (days, ms_of_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
        let (year, month, day) = date(days);
        let (hours, minutes) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60);
        let (seconds, ms) = (ms_of_day / 1000 % 60, ms_of_day % 1000);
        format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
    }
}

/// Year, month and day of a number of days since 1970-01-01. Source: "chrono-Compatible Low-Level Date Algorithms" by
/// Howard Hinnant, `civil_from_days`, for days that are not negative.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Counted from March, so that the leap day is the last day of the year.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// A duration in whole milliseconds, as the database holds it.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_of_the_second() {
        for (unix_ms, text) in [
            (-1, "1970-01-01T00:00:00.000Z"),
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_007, "2000-02-29T00:00:00.007Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_795_276_042_347, "2026-11-21T15:47:22.347Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(UnixMillis(unix_ms).rfc3339(), text);
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(UnixMillis(1_000).after(Duration::from_secs(2)), UnixMillis(3_000));
        assert_eq!(UnixMillis(1_000).before(Duration::from_secs(2)), UnixMillis(-1_000));
        assert_eq!(UnixMillis::MAX.after(Duration::MAX), UnixMillis::MAX);
        assert_eq!(UnixMillis(3_000).since(UnixMillis(1_000)), Duration::from_secs(2));
        assert_eq!(UnixMillis(1_000).since(UnixMillis(3_000)), Duration::ZERO);
    }
}
