//! Times of day as text.

use edgeprove_job_rules::time::UnixMillis;

/// Formats milliseconds since 1970 as RFC 3339 in UTC, with three digits of the second: `2026-11-21T18:48:40.356Z`.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> String {
    UnixMillis(i64::try_from(unix_ms).unwrap_or(i64::MAX)).rfc3339()
}
