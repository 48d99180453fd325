//! The headers `RateLimit-Policy` and `RateLimit`: the limits of a caller, and what is left of them.
//!
//! Their syntax is that of draft-ietf-httpapi-ratelimit-headers-10: a list with an item for each limit. Parameters: `q` is
//! the quota, `w` its window in seconds, `qu` its unit, `r` what is left of it, and `t` the seconds until it is whole again.

use std::{fmt::Write as _, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::access::remaining_quota::{Allowance, LimitName};

/// Which limits there are.
pub const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of them.
pub const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Adds the headers to an answer. Without limits, it gets none.
pub fn add(headers: &mut HeaderMap, allowances: &[Allowance]) {
    if allowances.is_empty() {
        return;
    }
    let (policy, left) = values(allowances);
    for (name, value) in [(POLICY, policy), (LEFT, left)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

fn values(allowances: &[Allowance]) -> (String, String) {
    let (mut policies, mut left) = (Vec::new(), Vec::new());
    for Allowance { limit, quota, window, remaining, reset } in allowances {
        let name = match limit {
            LimitName::Requests => "requests",
            LimitName::ProofsPerDay => "proofs-per-day",
            LimitName::Unfinished => "unfinished",
        };
        let mut policy = format!("\"{name}\";q={quota}");
        let mut now = format!("\"{name}\";r={remaining}");
        // Writing to a string cannot fail.
        let _ = match window {
            Some(window) => write!(policy, ";w={}", seconds(*window).max(1)),
            None => write!(policy, ";qu=\"concurrent-requests\""),
        };
        if let Some(reset) = reset {
            let _ = write!(now, ";t={}", seconds(*reset));
        }
        policies.push(policy);
        left.push(now);
    }
    (policies.join(", "), left.join(", "))
}

/// Rounded up: a caller must not come back too early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_an_item_of_both_lists() {
        let requests = Allowance {
            limit: LimitName::Requests,
            quota: 10,
            window: Some(Duration::from_millis(9_500)),
            remaining: 9,
            reset: Some(Duration::from_millis(950)),
        };
        let unfinished =
            Allowance { limit: LimitName::Unfinished, quota: 4, window: None, remaining: 3, reset: None };
        let (policy, left) = values(&[requests, unfinished]);
        assert_eq!(policy, r#""requests";q=10;w=10, "unfinished";q=4;qu="concurrent-requests""#);
        assert_eq!(left, r#""requests";r=9;t=1, "unfinished";r=3"#);
        let mut headers = HeaderMap::new();
        add(&mut headers, &[]);
        assert!(headers.is_empty());
    }
}
