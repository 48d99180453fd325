//! Counts requests, proofs of the day and unfinished proofs of each caller, and compares them with the limits.
//!
//! The current time is a parameter. Memory is bounded: a caller without recent requests needs no counter, because a new
//! counter has the same values. If too many callers are active at once, the additional ones share one counter.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Excess, Limits, Rate, Work};

/// Most callers with a counter of their own.
const ACCOUNTS_MAX: usize = 16_384;
/// Shortest time between two removals of idle counters.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
/// The shared account of all callers above [`ACCOUNTS_MAX`]. No caller has this name.
const SHARED_ACCOUNT: &str = "the rest";

/// A point in time, in the forms that counting needs.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the monotonic clock.
    pub at: Instant,
    /// The day, by UTC, since 1970.
    pub day: i64,
    /// The time until the end of that day.
    pub left_of_day: Duration,
}

impl Moment {
    /// The present, by the machine's clocks.
    #[must_use]
    pub fn now() -> Self {
        let (second, day_s) = (jiff::Timestamp::now().as_second(), 86_400);
        let gone = Duration::from_secs(second.rem_euclid(day_s).unsigned_abs());
        Self { at: Instant::now(), day: second.div_euclid(day_s), left_of_day: DAY.saturating_sub(gone) }
    }
}

/// The counts of one caller.
#[derive(Debug, Clone, Copy)]
struct Account {
    /// When the bucket is full again. This one value describes a bucket (the generic cell rate algorithm): each request
    /// moves it by the time in which one request is refilled.
    full_at: Instant,
    /// The day of `proofs`.
    day: i64,
    proofs: u32,
    unfinished: u32,
}

impl Account {
    fn fresh(now: Moment) -> Self {
        Self { full_at: now.at, day: now.day, proofs: 0, unfinished: 0 }
    }

    fn is_idle(&self, now: Moment) -> bool {
        self.full_at <= now.at && self.unfinished == 0 && (self.proofs == 0 || self.day != now.day)
    }
}

/// The counts of all callers.
#[derive(Debug, Default)]
pub struct UsageCounters {
    accounts: HashMap<String, Account>,
    swept: Option<Instant>,
}

impl UsageCounters {
    /// Counts a request. Fails without counting it if the rate is exceeded.
    pub fn count_request(&mut self, account: &str, rate: Option<Rate>, now: Moment) -> Result<(), Excess> {
        let Some(rate) = rate else { return Ok(()) };
        let account = self.open(account, now);
        let per_request = Duration::from_mins(1) / rate.per_minute.max(1);
        let full_at = account.full_at.max(now.at) + per_request;
        let early = (full_at - now.at).saturating_sub(per_request * rate.burst.max(1));
        if !early.is_zero() {
            return Err(Excess::Rate { rate, retry_after: early });
        }
        account.full_at = full_at;
        Ok(())
    }

    /// Reserves one proof of the day for a caller, and counts it as unfinished if the caller waits for it. Returns the
    /// account to pass to [`Self::release`].
    pub fn reserve(
        &mut self,
        account: &str,
        limits: &Limits,
        work: Work,
        now: Moment,
    ) -> Result<String, Excess> {
        let name = self.find_account(account, now).to_owned();
        let account = self.open(&name, now);
        if account.day != now.day {
            (account.day, account.proofs) = (now.day, 0);
        }
        if let Some(max) = limits.unfinished_max
            && work == Work::Waited
            && account.unfinished >= max
        {
            return Err(Excess::Unfinished { max });
        }
        if let Some(per_day) = limits.proofs_per_day
            && account.proofs >= per_day
        {
            return Err(Excess::Quota { per_day, retry_after: now.left_of_day });
        }
        account.proofs = account.proofs.saturating_add(1);
        account.unfinished += u32::from(work == Work::Waited);
        Ok(name)
    }

    /// Ends a reservation of this day. Unless it was spent, the proof returns to the day's quota.
    pub fn release(&mut self, account: &str, work: Work, day: i64, spent: bool) {
        if let Some(account) = self.accounts.get_mut(account) {
            account.unfinished = account.unfinished.saturating_sub(u32::from(work == Work::Waited));
            if !spent && account.day == day {
                account.proofs = account.proofs.saturating_sub(1);
            }
        }
    }

    fn open(&mut self, name: &str, now: Moment) -> &mut Account {
        let name = self.find_account(name, now).to_owned();
        self.accounts.entry(name).or_insert_with(|| Account::fresh(now))
    }

    /// The account of a caller: its own, or the shared one if there are too many.
    fn find_account<'name>(&mut self, name: &'name str, now: Moment) -> &'name str {
        if self.accounts.contains_key(name) {
            return name;
        }
        let is_due = self.swept.is_none_or(|swept| now.at.saturating_duration_since(swept) >= SWEEP_EVERY);
        if self.accounts.len() >= ACCOUNTS_MAX && is_due {
            self.accounts.retain(|_, account| !account.is_idle(now));
            self.swept = Some(now.at);
        }
        if self.accounts.len() < ACCOUNTS_MAX { name } else { SHARED_ACCOUNT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Option<Rate> = Some(Rate { per_minute: 60, burst: 3 });

    fn start() -> Moment {
        Moment { at: Instant::now(), day: 20_000, left_of_day: Duration::from_hours(10) }
    }

    fn later(moment: Moment, by_ms: u64) -> Moment {
        Moment { at: moment.at + Duration::from_millis(by_ms), ..moment }
    }

    fn limits(proofs_per_day: u32, unfinished_max: u32) -> Limits {
        Limits { rate: None, proofs_per_day: Some(proofs_per_day), unfinished_max: Some(unfinished_max) }
    }

    #[test]
    fn a_bucket_allows_a_burst_and_then_its_rate() {
        let (mut counters, now) = (UsageCounters::default(), start());
        for _ in 0..3 {
            assert!(counters.count_request("a", RATE, now).is_ok());
        }
        let refused = counters.count_request("a", RATE, later(now, 250)).unwrap_err();
        assert_eq!(
            refused,
            Excess::Rate { rate: RATE.unwrap(), retry_after: Duration::from_millis(750) },
            "the error has the time to wait"
        );
        assert!(counters.count_request("b", RATE, now).is_ok(), "other callers have their own buckets");
        assert!(
            counters.count_request("a", RATE, later(now, 1_000)).is_ok(),
            "it is allowed after the time to wait"
        );
        assert!(counters.count_request("a", RATE, later(now, 1_900)).is_err());
        // A refused request uses nothing up, and no pause allows more than a burst.
        let much_later = later(now, 3_600_000);
        for _ in 0..3 {
            assert!(counters.count_request("a", RATE, much_later).is_ok());
        }
        assert!(counters.count_request("a", RATE, much_later).is_err());
        assert!(counters.count_request("a", None, much_later).is_ok(), "a removed limit no longer applies");
    }

    #[test]
    fn a_quota_is_for_a_day_and_failed_proofs_return_to_it() {
        let (mut counters, now, limits) = (UsageCounters::default(), start(), limits(2, 10));
        let reserve =
            |counters: &mut UsageCounters, now| counters.reserve("a", &limits, Work::Waited, now).map(|_| ());
        assert!(reserve(&mut counters, now).is_ok() && reserve(&mut counters, now).is_ok());
        let used = Excess::Quota { per_day: 2, retry_after: Duration::from_hours(10) };
        assert_eq!(reserve(&mut counters, now), Err(used.clone()));
        counters.release("a", Work::Waited, now.day, false);
        assert!(reserve(&mut counters, now).is_ok(), "the first proof was returned");
        counters.release("a", Work::Waited, now.day, true);
        assert_eq!(reserve(&mut counters, now), Err(used));

        let tomorrow = Moment { day: now.day + 1, ..later(now, 36_000_000) };
        assert!(reserve(&mut counters, tomorrow).is_ok());
        // A reservation of yesterday does not return to the quota of today.
        counters.release("a", Work::Waited, now.day, false);
        assert!(reserve(&mut counters, tomorrow).is_ok());
        assert!(reserve(&mut counters, tomorrow).is_err());
    }

    #[test]
    fn unfinished_proofs_are_limited_for_callers_that_wait() {
        let (mut counters, now, limits) = (UsageCounters::default(), start(), limits(100, 1));
        assert!(counters.reserve("a", &limits, Work::Waited, now).is_ok());
        assert_eq!(counters.reserve("a", &limits, Work::Waited, now), Err(Excess::Unfinished { max: 1 }));
        assert!(counters.reserve("a", &limits, Work::Queued, now).is_ok(), "the queue counts its own jobs");
        counters.release("a", Work::Queued, now.day, true);
        assert!(counters.reserve("a", &limits, Work::Waited, now).is_err());
        counters.release("a", Work::Waited, now.day, true);
        assert!(counters.reserve("a", &limits, Work::Waited, now).is_ok());
    }

    #[test]
    fn idle_accounts_are_removed_and_others_share_one() {
        let (mut counters, now) = (UsageCounters::default(), start());
        for number in 0..ACCOUNTS_MAX {
            assert!(counters.count_request(&number.to_string(), RATE, now).is_ok());
        }
        // No account is idle: all other callers share one bucket.
        for newcomer in ["x", "y", "z"] {
            assert!(counters.count_request(newcomer, RATE, later(now, 1)).is_ok());
        }
        assert!(counters.count_request("w", RATE, later(now, 1)).is_err());
        assert!(
            counters.count_request("7", RATE, later(now, 1)).is_ok(),
            "an earlier caller still has its own bucket"
        );
        assert_eq!(counters.accounts.len(), ACCOUNTS_MAX + 1);

        let limits = limits(9, 9);
        let account = counters.reserve("w", &limits, Work::Waited, later(now, 1)).unwrap();
        assert_eq!(counters.accounts[SHARED_ACCOUNT].unfinished, 1);
        counters.release(&account, Work::Waited, now.day, false);
        assert_eq!(counters.accounts[SHARED_ACCOUNT].unfinished, 0);

        assert!(counters.count_request("w", RATE, later(now, 60_000)).is_ok());
        assert_eq!(counters.accounts.len(), 1, "a minute later all accounts but one are idle");
    }
}
