//! Polling with a deadline. No test sleeps and hopes.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Longest wait for anything that must happen: far beyond what it takes, for machines that do other work as well.
pub const PATIENCE: Duration = Duration::from_mins(1);

const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until a condition gives a value.
#[track_caller]
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, condition)
}

/// Waits until a condition gives a value, but no longer than this.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < give_up, "waited {} s in vain: {what}", limit.as_secs());
        thread::sleep(INTERVAL);
    }
}
