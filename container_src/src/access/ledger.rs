//! How much each caller has asked for: requests, proofs of the day, proofs at a time.
//!
//! Pure but for its own memory: the time is given. What is kept is bounded. A caller who has asked for nothing lately
//! needs no entry, since a fresh one says the same; should there be too many others nonetheless, those beyond share one.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Excess, Limits, Rate, Work};

/// Most callers that are counted one by one.
const ACCOUNTS_MAX: usize = 16_384;
/// How often idle ones are looked for, once there are that many.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
/// Whom all are counted as for whom there is no room. No caller has this account.
const THE_REST: &str = "the rest";

/// A point in time, as counting needs it.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By a clock that only runs forwards.
    pub at: Instant,
    /// The day, by UTC, since 1970.
    pub day: i64,
    /// How much of that day is left.
    pub left_of_day: Duration,
}

impl Moment {
    /// Now, by the machine's clocks.
    #[must_use]
    pub fn now() -> Self {
        let (second, day_s) = (jiff::Timestamp::now().as_second(), 86_400);
        let gone = Duration::from_secs(second.rem_euclid(day_s).unsigned_abs());
        Self { at: Instant::now(), day: second.div_euclid(day_s), left_of_day: DAY.saturating_sub(gone) }
    }
}

/// What one caller has asked for.
#[derive(Debug, Clone, Copy)]
struct Account {
    /// When its bucket is full again. A bucket is told by this one moment (the generic cell rate algorithm): each turn
    /// moves it on by the time in which one turn comes back.
    full_at: Instant,
    /// The day that `proofs` are of.
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

/// What all callers have asked for.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: HashMap<String, Account>,
    swept: Option<Instant>,
}

impl Ledger {
    /// One request, if the rate allows it.
    pub fn take_turn(&mut self, account: &str, rate: Option<Rate>, now: Moment) -> Result<(), Excess> {
        let Some(rate) = rate else { return Ok(()) };
        let account = self.open(account, now);
        let per_turn = Duration::from_mins(1) / rate.per_minute.max(1);
        let full_at = account.full_at.max(now.at) + per_turn;
        let early = (full_at - now.at).saturating_sub(per_turn * rate.burst.max(1));
        if !early.is_zero() {
            return Err(Excess::Rate { rate, retry_after: early });
        }
        account.full_at = full_at;
        Ok(())
    }

    /// Keeps one proof of the day for a caller, and counts it as unfinished where somebody waits for it. Returns the
    /// account to [`Self::release`] it from.
    pub fn reserve(
        &mut self,
        account: &str,
        limits: &Limits,
        work: Work,
        now: Moment,
    ) -> Result<String, Excess> {
        let name = self.make_room(account, now).to_owned();
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

    /// The end of what was reserved on this day.
    pub fn release(&mut self, account: &str, work: Work, day: i64, spent: bool) {
        if let Some(account) = self.accounts.get_mut(account) {
            account.unfinished = account.unfinished.saturating_sub(u32::from(work == Work::Waited));
            if !spent && account.day == day {
                account.proofs = account.proofs.saturating_sub(1);
            }
        }
    }

    fn open(&mut self, name: &str, now: Moment) -> &mut Account {
        let name = self.make_room(name, now).to_owned();
        self.accounts.entry(name).or_insert_with(|| Account::fresh(now))
    }

    /// The account that a caller is counted by.
    fn make_room<'name>(&mut self, name: &'name str, now: Moment) -> &'name str {
        if self.accounts.contains_key(name) {
            return name;
        }
        let is_due = self.swept.is_none_or(|swept| now.at.saturating_duration_since(swept) >= SWEEP_EVERY);
        if self.accounts.len() >= ACCOUNTS_MAX && is_due {
            self.accounts.retain(|_, account| !account.is_idle(now));
            self.swept = Some(now.at);
        }
        if self.accounts.len() < ACCOUNTS_MAX { name } else { THE_REST }
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
    fn a_bucket_gives_a_burst_and_then_its_rate() {
        let (mut ledger, now) = (Ledger::default(), start());
        for _ in 0..3 {
            assert!(ledger.take_turn("a", RATE, now).is_ok());
        }
        let refused = ledger.take_turn("a", RATE, later(now, 250)).unwrap_err();
        assert_eq!(
            refused,
            Excess::Rate { rate: RATE.unwrap(), retry_after: Duration::from_millis(750) },
            "it says when to come back"
        );
        assert!(ledger.take_turn("b", RATE, now).is_ok(), "others have buckets of their own");
        assert!(ledger.take_turn("a", RATE, later(now, 1_000)).is_ok(), "it comes back when it was told to");
        assert!(ledger.take_turn("a", RATE, later(now, 1_900)).is_err());
        // A refused turn takes nothing, and no pause gives more than a burst.
        let much_later = later(now, 3_600_000);
        for _ in 0..3 {
            assert!(ledger.take_turn("a", RATE, much_later).is_ok());
        }
        assert!(ledger.take_turn("a", RATE, much_later).is_err());
        assert!(ledger.take_turn("a", None, much_later).is_ok(), "a limit that was lifted is lifted");
    }

    #[test]
    fn a_quota_lasts_for_a_day_and_gives_back_what_came_to_nothing() {
        let (mut ledger, now, limits) = (Ledger::default(), start(), limits(2, 10));
        let reserve = |ledger: &mut Ledger, now| ledger.reserve("a", &limits, Work::Waited, now).map(|_| ());
        assert!(reserve(&mut ledger, now).is_ok() && reserve(&mut ledger, now).is_ok());
        let used = Excess::Quota { per_day: 2, retry_after: Duration::from_hours(10) };
        assert_eq!(reserve(&mut ledger, now), Err(used.clone()));
        ledger.release("a", Work::Waited, now.day, false);
        assert!(reserve(&mut ledger, now).is_ok(), "the first came to nothing");
        ledger.release("a", Work::Waited, now.day, true);
        assert_eq!(reserve(&mut ledger, now), Err(used));

        let tomorrow = Moment { day: now.day + 1, ..later(now, 36_000_000) };
        assert!(reserve(&mut ledger, tomorrow).is_ok());
        // What was reserved yesterday is not given back to today.
        ledger.release("a", Work::Waited, now.day, false);
        assert!(reserve(&mut ledger, tomorrow).is_ok());
        assert!(reserve(&mut ledger, tomorrow).is_err());
    }

    #[test]
    fn what_is_unfinished_is_bounded_where_somebody_waits() {
        let (mut ledger, now, limits) = (Ledger::default(), start(), limits(100, 1));
        assert!(ledger.reserve("a", &limits, Work::Waited, now).is_ok());
        assert_eq!(ledger.reserve("a", &limits, Work::Waited, now), Err(Excess::Unfinished { max: 1 }));
        assert!(ledger.reserve("a", &limits, Work::Queued, now).is_ok(), "the queue counts its own");
        ledger.release("a", Work::Queued, now.day, true);
        assert!(ledger.reserve("a", &limits, Work::Waited, now).is_err());
        ledger.release("a", Work::Waited, now.day, true);
        assert!(ledger.reserve("a", &limits, Work::Waited, now).is_ok());
    }

    #[test]
    fn the_idle_make_room_and_the_busy_share_what_is_left() {
        let (mut ledger, now) = (Ledger::default(), start());
        for number in 0..ACCOUNTS_MAX {
            assert!(ledger.take_turn(&number.to_string(), RATE, now).is_ok());
        }
        // Nobody is idle yet: all others have one bucket together.
        for stranger in ["x", "y", "z"] {
            assert!(ledger.take_turn(stranger, RATE, later(now, 1)).is_ok());
        }
        assert!(ledger.take_turn("w", RATE, later(now, 1)).is_err());
        assert!(ledger.take_turn("7", RATE, later(now, 1)).is_ok(), "who was there keeps its own");
        assert_eq!(ledger.accounts.len(), ACCOUNTS_MAX + 1);

        let limits = limits(9, 9);
        let account = ledger.reserve("w", &limits, Work::Waited, later(now, 1)).unwrap();
        assert_eq!(ledger.accounts[THE_REST].unfinished, 1);
        ledger.release(&account, Work::Waited, now.day, false);
        assert_eq!(ledger.accounts[THE_REST].unfinished, 0);

        assert!(ledger.take_turn("w", RATE, later(now, 60_000)).is_ok());
        assert_eq!(ledger.accounts.len(), 1, "a minute later all are idle but the one");
    }
}
