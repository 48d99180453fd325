//! Points in time as text: RFC 3339 in UTC, always with three digits of the second.
//!
//! Every timestamp on the wire is written here, so that all of them have one form and sort as text.

use jiff::Timestamp;

/// A point in time, given in milliseconds since 1970 UTC. A value outside the years -9999 to 9999 gives 1970.
///
/// ```
/// assert_eq!(edgeprove_telemetry::timestamp(1_764_000_000_000), "2025-11-24T16:00:00.000Z");
/// ```
#[must_use]
pub fn timestamp(unix_ms: i64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(unix_ms).unwrap_or_default())
}

/// The present, by the machine's clock.
#[must_use]
pub fn timestamp_now() -> String {
    timestamp(Timestamp::now().as_millisecond())
}

/// Reads a point in time in RFC 3339, with any offset, and writes it in the form of this module; `None` if it is none.
///
/// ```
/// let text = edgeprove_telemetry::utc_timestamp("2026-11-29T09:00:00+01:00");
/// assert_eq!(text.as_deref(), Some("2026-11-29T08:00:00.000Z"));
/// assert_eq!(edgeprove_telemetry::utc_timestamp("yesterday"), None);
/// ```
#[must_use]
pub fn utc_timestamp(text: &str) -> Option<String> {
    text.parse().ok().map(|time: Timestamp| timestamp(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timestamp_has_three_digits_of_the_second() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_500, "1970-01-01T00:00:01.500Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (i64::MAX, "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(unix_ms), text);
        }
        assert_eq!(timestamp_now().len(), "2026-11-29T17:30:23.123Z".len());
    }
}
