//! The time that an account may take for handling its requests while others are connected: half of the machine's.
//!
//! A client can send requests faster than the server handles them, on many connections. Each of them is cheap, and together
//! they would keep everybody else waiting. So each request takes its turn in the account's time: it is charged what earlier
//! ones cost, and corrected when it has been handled. An account that is ahead of its time waits before its next request.

use std::time::Duration;

use tokio::time::Instant;

/// How far an account may be ahead of its time: some hundred small requests at once.
const AHEAD_MAX: Duration = Duration::from_millis(250);
/// The most that one request is charged. Uploads take their time from the network rather than from other callers.
const CHARGE_MAX: Duration = Duration::from_millis(20);
/// The longest wait of one request, in which its connection stays open.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// What the first request is taken to cost.
const FIRST_CHARGE: Duration = Duration::from_millis(1);

/// The time of one account.
#[derive(Debug)]
pub(super) struct TimeShare {
    /// The time up to which the account has used its share.
    used_until: Instant,
    /// What its last request cost.
    last_cost: Duration,
}

/// A request that was charged in advance.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Charged(Duration);

impl TimeShare {
    pub(super) fn new(now: Instant) -> Self {
        Self { used_until: now, last_cost: FIRST_CHARGE }
    }

    /// Charges the next request. Returns the time when it may be handled.
    pub(super) fn charge(&mut self, now: Instant) -> (Instant, Charged) {
        let begins = self.used_until.max(now);
        self.used_until = (begins + self.last_cost).min(now + AHEAD_MAX + WAIT_MAX);
        (begins.checked_sub(AHEAD_MAX).map_or(now, |at| at.max(now)), Charged(self.last_cost))
    }

    /// Corrects the charge of a request that took this time to handle, on a server with this many threads.
    pub(super) fn correct(&mut self, Charged(charged): Charged, took: Duration, threads: usize) {
        let threads = u32::try_from(threads.max(1)).unwrap_or(u32::MAX);
        // Half of the threads: each unit of time of the account is worth as many halves.
        let cost = took.min(CHARGE_MAX) * 2 / threads;
        self.used_until = (self.used_until + cost).checked_sub(charged).unwrap_or(self.used_until);
        self.last_cost = cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Handles requests one after the other, each as soon as it may, and returns when the last one began.
    fn handle(requests: u32, took: Duration, start: Instant) -> Duration {
        let mut time_share = TimeShare::new(start);
        let mut now = start;
        for _ in 0..requests {
            let (at, charged) = time_share.charge(now);
            now = at;
            time_share.correct(charged, took, 2);
        }
        now - start
    }

    #[tokio::test]
    async fn a_flood_takes_half_of_the_threads_time() {
        let start = Instant::now() + Duration::from_hours(1);
        assert_eq!(handle(100, Duration::from_millis(1), start), Duration::ZERO, "a burst passes");
        // On two threads half of the time is one thread's.
        let flood = handle(3_000, Duration::from_millis(1), start);
        assert!((2_700..=2_760).contains(&flood.as_millis()), "{flood:?}");
        let uploads = handle(50, Duration::from_secs(3), start);
        assert!(uploads < Duration::from_secs(1), "a long upload is charged like a short one: {uploads:?}");
    }

    #[tokio::test]
    async fn many_waiting_requests_have_turns_of_their_own() {
        let now = Instant::now() + Duration::from_hours(1);
        let mut time_share = TimeShare::new(now);
        let turns: Vec<_> = (0..1_000).map(|_| time_share.charge(now).0 - now).collect();
        assert!(turns.is_sorted());
        assert_eq!(turns[250], Duration::ZERO);
        assert_eq!(turns[999], Duration::from_millis(749));
        let far = (0..100_000).map(|_| time_share.charge(now).0 - now).max().unwrap();
        assert!(far <= WAIT_MAX, "no connection waits for ever: {far:?}");
    }
}
