//! Waits for conditions. A test never sleeps in the hope that something has happened by then.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Longest wait for anything that must happen. It is far beyond what anything takes, so that only a condition that is
/// never met reaches it, also on a busy machine.
pub const LIMIT: Duration = Duration::from_mins(2);

/// Longest wait for anything that takes many seconds on an idle machine, such as working off a queue of jobs.
pub const LONG_LIMIT: Duration = Duration::from_mins(6);

const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until a condition yields a value.
#[track_caller]
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, condition)
}

/// Waits until a condition yields a value, but not longer than the limit.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    try_within(limit, what, || condition().ok_or_else(String::new))
}

/// Waits until a condition holds. On failure, the panic message contains the last state that the condition reported.
#[track_caller]
pub fn try_eventually<T>(what: &str, condition: impl FnMut() -> Result<T, String>) -> T {
    try_within(LIMIT, what, condition)
}

#[track_caller]
fn try_within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let give_up = Instant::now() + limit;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(state) => {
                assert!(Instant::now() < give_up, "not within {} s: {what}. {state}", limit.as_secs());
            }
        }
        thread::sleep(INTERVAL);
    }
}
