//! The part of the machine's time in which an account's requests may be handled while others have requests: half of it,
//! and a tenth for its probes.
//!
//! A client can send requests faster than the server handles them, on many connections. Each of them is cheap, and together
//! they would keep everybody else waiting. So each request takes its turn in the account's time: it is charged what earlier
//! ones cost, and corrected when it ends. An account that is ahead of its time waits before its next request.
//!
//! An account without others never waits. As soon as there are others, it has its share from then on: it does not wait for
//! the time that it used alone.

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
    /// The share is one of this many equal parts of the time of all threads.
    parts: u32,
    /// The time up to which the account has used its share.
    used_until: Instant,
    /// What its last request cost.
    last_cost: Duration,
}

/// The time that a request was charged in advance.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub(super) struct Charged(Duration);

impl TimeShare {
    pub(super) fn new(parts: u32, now: Instant) -> Self {
        Self { parts, used_until: now, last_cost: FIRST_CHARGE }
    }

    /// The time up to which the account has used its share. If it has passed, the share is like a new one.
    pub(super) fn used_until(&self) -> Instant {
        self.used_until
    }

    /// Charges the next request. Returns the time when it may be handled.
    pub(super) fn charge(&mut self, now: Instant, is_alone: bool) -> (Instant, Charged) {
        let begins = self.used_until.max(now);
        let turn = begins.checked_sub(AHEAD_MAX).filter(|&turn| turn > now && !is_alone).unwrap_or(now);
        self.used_until = (begins + self.last_cost).min(latest(now, is_alone));
        // At the limit, less is charged than it costs. Only that may be given back.
        (turn, Charged(self.used_until.saturating_duration_since(begins)))
    }

    /// Corrects the charge of a request that used this time of its thread, on a server with this many. `None`: it was not
    /// handled, because its client left before its turn.
    pub(super) fn correct(
        &mut self,
        Charged(charged): Charged,
        used: Option<Duration>,
        threads: u32,
        (now, is_alone): (Instant, bool),
    ) {
        let cost = used.map(|used| used.min(CHARGE_MAX) * self.parts / threads.max(1));
        let corrected = (self.used_until + cost.unwrap_or_default()).checked_sub(charged);
        self.used_until = corrected.unwrap_or(self.used_until).min(latest(now, is_alone));
        self.last_cost = cost.unwrap_or(self.last_cost);
    }
}

/// The latest time up to which an account may have used its share. It bounds the wait of its next request.
fn latest(now: Instant, is_alone: bool) -> Instant {
    now + AHEAD_MAX + if is_alone { Duration::ZERO } else { WAIT_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn start() -> Instant {
        Instant::now() + Duration::from_hours(1)
    }

    /// Handles requests one after the other, each as soon as it may, and returns when the last one began.
    fn handle(requests: u32, took: Duration) -> Duration {
        let mut time_share = TimeShare::new(2, start());
        let start = time_share.used_until;
        let mut now = start;
        for _ in 0..requests {
            let (turn, charged) = time_share.charge(now, false);
            now = turn;
            time_share.correct(charged, Some(took), 2, (now, false));
        }
        now - start
    }

    #[tokio::test]
    async fn a_flood_takes_half_of_the_threads_time() {
        assert_eq!(handle(100, MILLISECOND), Duration::ZERO, "a burst passes");
        // On two threads half of the time is one thread's.
        let flood = handle(3_000, MILLISECOND);
        assert!((2_700..=2_760).contains(&flood.as_millis()), "{flood:?}");
        let uploads = handle(50, Duration::from_secs(3));
        assert!(uploads < Duration::from_secs(1), "a long upload is charged like a short one: {uploads:?}");
    }

    #[tokio::test]
    async fn many_waiting_requests_have_turns_of_their_own() {
        let now = start();
        let mut time_share = TimeShare::new(2, now);
        let turns: Vec<_> = (0..1_000).map(|_| time_share.charge(now, false).0 - now).collect();
        assert!(turns.is_sorted());
        assert_eq!(turns[250], Duration::ZERO);
        assert_eq!(turns[999], Duration::from_millis(749));
        let far = (0..100_000).map(|_| time_share.charge(now, false).0 - now).max().unwrap();
        assert!(far <= WAIT_MAX, "no connection waits for ever: {far:?}");
    }

    #[tokio::test]
    async fn time_used_alone_is_not_waited_for() {
        let now = start();
        let mut time_share = TimeShare::new(2, now);
        // More than the limit, both in charges and in corrections.
        let charged: Vec<_> = (0..5_000).map(|_| time_share.charge(now, true)).collect();
        for (turn, charged) in charged {
            assert_eq!(turn, now);
            time_share.correct(charged, Some(CHARGE_MAX), 2, (now, true));
        }
        assert_eq!(time_share.charge(now, false).0, now);
        // From now on it has its share.
        assert!(time_share.charge(now, false).0 > now);
    }

    #[tokio::test]
    async fn requests_at_the_limit_are_charged_in_full() {
        let now = start();
        let mut time_share = TimeShare::new(2, now);
        let charged: Vec<_> = (0..10_000).map(|_| time_share.charge(now, false).1).collect();
        assert_eq!(time_share.used_until, latest(now, false));
        // Those at the limit were charged nothing, so no time is given back for them.
        for charged in charged {
            time_share.correct(charged, Some(MILLISECOND), 2, (now, false));
        }
        assert_eq!(time_share.used_until, latest(now, false));
    }

    #[tokio::test]
    async fn a_request_that_was_not_handled_costs_nothing() {
        let now = start();
        let mut time_share = TimeShare::new(2, now);
        for _ in 0..1_000 {
            let (turn, charged) = time_share.charge(now, false);
            assert_eq!(turn, now);
            time_share.correct(charged, None, 2, (now, false));
        }
        assert_eq!((time_share.used_until, time_share.last_cost), (now, FIRST_CHARGE));
    }
}
