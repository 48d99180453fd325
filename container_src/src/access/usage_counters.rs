//! Counts requests, proofs of the day and unfinished proofs of each caller, and compares them with the limits.
//!
//! The current time is a parameter. Memory is bounded: a caller without recent requests needs no counter, because a new
//! counter has the same values. If too many callers are active at once, the additional ones share one counter.
//!
//! Callers with a name have counters of their own: callers without a name never make one share a counter. An IPv6 address counts
//! by several prefixes, because one caller can have very many addresses. A wider prefix has a multiple of the limits, and a
//! request must be within all of them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    Excess, Limits, Rate, Work,
    remaining_quota::{Allowance, LimitName},
};

/// Most callers of one class with a counter of their own.
const ACCOUNTS_MAX: usize = 16_384;
/// Shortest time between two removals of idle counters.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
/// The shared account of all callers of a class above [`ACCOUNTS_MAX`]. No caller has this name.
const SHARED_ACCOUNT: &str = "the rest";
/// Prefix of the account of requests with the token of a link.
pub(super) const LINK: &str = "link:";
/// The wider prefixes of an IPv6 address: the bits of the 64 that an account names, and the multiple of the limits.
const WIDER_PREFIXES: [(u32, u32); 3] = [(56, 4), (48, 16), (32, 256)];

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

/// Callers that share no counter with those of another class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    Named,
    /// By link and address.
    Link,
    /// By address: an IPv4 address, or the first 64 bits of an IPv6 address.
    Address,
    /// By the first bits of an IPv6 address.
    Prefix(u32),
}

/// The name of a counter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    class: Class,
    name: String,
    /// The multiple of the caller's limits.
    multiple: u32,
}

/// The counters of one class.
#[derive(Debug, Default)]
struct Table {
    accounts: HashMap<String, Account>,
    swept: Option<Instant>,
}

/// The counters in which a proof is reserved.
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation(Vec<Key>);

impl Account {
    fn fresh(now: Moment) -> Self {
        Self { full_at: now.at, day: now.day, proofs: 0, unfinished: 0 }
    }

    fn is_idle(&self, now: Moment) -> bool {
        self.full_at <= now.at && self.unfinished == 0 && (self.proofs == 0 || self.day != now.day)
    }

    /// When the bucket is full again after one more request. Fails if the rate is exceeded.
    fn after_request(&self, rate: Rate, multiple: u32, now: Moment) -> Result<Instant, Duration> {
        let per_request = Duration::from_mins(1) / rate.per_minute.max(1).saturating_mul(multiple);
        let full_at = self.full_at.max(now.at) + per_request;
        let burst = per_request * rate.burst.max(1).saturating_mul(multiple);
        let early = (full_at - now.at).saturating_sub(burst);
        if early.is_zero() { Ok(full_at) } else { Err(early) }
    }

    fn proofs_on(&self, day: i64) -> u32 {
        if self.day == day { self.proofs } else { 0 }
    }
}

impl Table {
    /// The name of the counter of a caller: its own, or the shared one if there are too many.
    fn find(&mut self, name: String, now: Moment) -> String {
        if self.accounts.contains_key(&name) {
            return name;
        }
        let is_due = self.swept.is_none_or(|swept| now.at.saturating_duration_since(swept) >= SWEEP_EVERY);
        if self.accounts.len() >= ACCOUNTS_MAX && is_due {
            self.accounts.retain(|_, account| !account.is_idle(now));
            self.swept = Some(now.at);
        }
        if self.accounts.len() < ACCOUNTS_MAX { name } else { SHARED_ACCOUNT.to_owned() }
    }
}

/// The counters of an account, the widest first.
fn keys_of(account: &str) -> Vec<Key> {
    let own = |class| Key { class, name: account.to_owned(), multiple: 1 };
    if account.starts_with(LINK) {
        return vec![own(Class::Link)];
    }
    let Some(address) = account.strip_prefix("ip:") else { return vec![own(Class::Named)] };
    let mut keys = Vec::with_capacity(WIDER_PREFIXES.len() + 1);
    // An IPv4 address has dots, and is no hexadecimal number.
    if let Ok(bits) = u64::from_str_radix(address, 16) {
        keys.extend(WIDER_PREFIXES.iter().rev().map(|&(width, multiple)| Key {
            class: Class::Prefix(width),
            name: format!("{:x}", bits >> (64 - width)),
            multiple,
        }));
    }
    keys.push(own(Class::Address));
    keys
}

/// The counts of all callers.
#[derive(Debug, Default)]
pub struct UsageCounters {
    tables: HashMap<Class, Table>,
}

impl UsageCounters {
    /// Counts a request. Fails without counting it if the rate is exceeded.
    pub fn count_request(&mut self, account: &str, rate: Option<Rate>, now: Moment) -> Result<(), Excess> {
        let Some(rate) = rate else { return Ok(()) };
        let keys = self.find(account, now);
        let mut counted = Vec::with_capacity(keys.len());
        for key in keys {
            let full_at = self.get(&key, now).after_request(rate, key.multiple, now);
            let full_at = full_at.map_err(|retry_after| Excess::Rate { rate, retry_after })?;
            counted.push((key, full_at));
        }
        for (key, full_at) in counted {
            self.open(&key, now).full_at = full_at;
        }
        Ok(())
    }

    /// Reserves one proof of the day for a caller, and counts it as unfinished if the caller waits for it. Returns the
    /// counters to pass to [`Self::release`].
    pub fn reserve(
        &mut self,
        account: &str,
        limits: &Limits,
        work: Work,
        now: Moment,
    ) -> Result<Reservation, Excess> {
        let keys = self.find(account, now);
        for key in &keys {
            let account = self.get(key, now);
            if let Some(max) = limits.unfinished_max
                && work == Work::Waited
                && account.unfinished >= max.saturating_mul(key.multiple)
            {
                return Err(Excess::Unfinished { max });
            }
            if let Some(per_day) = limits.proofs_per_day
                && account.proofs_on(now.day) >= per_day.saturating_mul(key.multiple)
            {
                return Err(Excess::Quota { per_day, retry_after: now.left_of_day });
            }
        }
        for key in &keys {
            let account = self.open(key, now);
            (account.day, account.proofs) = (now.day, account.proofs_on(now.day).saturating_add(1));
            account.unfinished += u32::from(work == Work::Waited);
        }
        Ok(Reservation(keys))
    }

    /// Ends a reservation of this day. Unless it was spent, the proof returns to the day's quota.
    pub fn release(&mut self, reservation: &Reservation, work: Work, day: i64, spent: bool) {
        self.end_waiting(reservation, work);
        if !spent {
            self.return_proof(reservation, day);
        }
    }

    /// Returns a proof to the quota of this day, if the day has not ended.
    pub fn return_proof(&mut self, reservation: &Reservation, day: i64) {
        for key in &reservation.0 {
            if let Some(account) = self.existing(key).filter(|account| account.day == day) {
                account.proofs = account.proofs.saturating_sub(1);
            }
        }
    }

    fn end_waiting(&mut self, reservation: &Reservation, work: Work) {
        for key in &reservation.0 {
            if let Some(account) = self.existing(key) {
                account.unfinished = account.unfinished.saturating_sub(u32::from(work == Work::Waited));
            }
        }
    }

    /// What is left of the limits of a caller. Nothing is counted.
    #[must_use]
    pub fn allowances(&self, account: &str, limits: &Limits, now: Moment) -> Vec<Allowance> {
        let keys = keys_of(account);
        let counted: Vec<(Account, u32)> =
            keys.iter().map(|key| (self.get(&self.existing_key(key), now), key.multiple)).collect();
        let least = |left: &dyn Fn(&Account, u32) -> u32| {
            counted.iter().map(|(account, multiple)| left(account, *multiple)).min().unwrap_or_default()
        };
        let requests = limits.rate.map(|rate| {
            let quota = rate.burst.max(1);
            let left = |account: &Account, multiple: u32| {
                let per_request = Duration::from_mins(1) / rate.per_minute.max(1).saturating_mul(multiple);
                let used = account.full_at.saturating_duration_since(now.at).as_nanos();
                let used = used.div_ceil(per_request.as_nanos().max(1));
                quota.saturating_mul(multiple).saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
            };
            let full_at = counted.iter().map(|(account, _)| account.full_at).max();
            Allowance {
                limit: LimitName::Requests,
                quota,
                window: Some(Duration::from_mins(1) / rate.per_minute.max(1) * quota),
                remaining: least(&left).min(quota),
                reset: full_at.map(|full_at| full_at.saturating_duration_since(now.at)),
            }
        });
        let proofs = limits.proofs_per_day.map(|quota| Allowance {
            limit: LimitName::ProofsPerDay,
            quota,
            window: Some(DAY),
            remaining: least(&|account, multiple| {
                quota.saturating_mul(multiple).saturating_sub(account.proofs_on(now.day))
            })
            .min(quota),
            reset: Some(now.left_of_day),
        });
        let unfinished = limits.unfinished_max.map(|quota| Allowance {
            limit: LimitName::Unfinished,
            quota,
            window: None,
            remaining: least(&|account, multiple| {
                quota.saturating_mul(multiple).saturating_sub(account.unfinished)
            })
            .min(quota),
            reset: None,
        });
        [requests, proofs, unfinished].into_iter().flatten().collect()
    }

    /// The counter that a key has now: its own, or the shared one if there are too many.
    fn existing_key(&self, key: &Key) -> Key {
        let is_shared = self.tables.get(&key.class).is_some_and(|table| {
            table.accounts.len() >= ACCOUNTS_MAX && !table.accounts.contains_key(&key.name)
        });
        let name = if is_shared { SHARED_ACCOUNT.to_owned() } else { key.name.clone() };
        Key { name, ..key.clone() }
    }

    /// The counters of an account. None is created.
    fn find(&mut self, account: &str, now: Moment) -> Vec<Key> {
        let found = keys_of(account).into_iter().map(|key| {
            let name = self.tables.entry(key.class).or_default().find(key.name, now);
            Key { name, ..key }
        });
        found.collect()
    }

    fn existing(&mut self, key: &Key) -> Option<&mut Account> {
        self.tables.get_mut(&key.class)?.accounts.get_mut(&key.name)
    }

    fn get(&self, key: &Key, now: Moment) -> Account {
        let account = self.tables.get(&key.class).and_then(|table| table.accounts.get(&key.name));
        account.copied().unwrap_or_else(|| Account::fresh(now))
    }

    fn open(&mut self, key: &Key, now: Moment) -> &mut Account {
        let table = self.tables.entry(key.class).or_default();
        table.accounts.entry(key.name.clone()).or_insert_with(|| Account::fresh(now))
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

    fn of(account: &str) -> Reservation {
        Reservation(keys_of(account))
    }

    fn named(counters: &UsageCounters) -> &HashMap<String, Account> {
        &counters.tables[&Class::Named].accounts
    }

    #[test]
    fn what_is_left_falls_with_requests_and_rises_with_time() {
        let (mut counters, now) = (UsageCounters::default(), start());
        let all = Limits { rate: RATE, ..limits(2, 1) };
        let left = |counters: &UsageCounters, now| {
            let left = counters.allowances("a", &all, now);
            left.iter().map(|allowance| allowance.remaining).collect::<Vec<_>>()
        };
        assert_eq!(left(&counters, now), [3, 2, 1]);
        assert_eq!(counters.tables.len(), 0, "reading counts nothing");
        counters.count_request("a", RATE, now).unwrap();
        let account = counters.reserve("a", &all, Work::Waited, now).unwrap();
        assert_eq!(left(&counters, now), [2, 1, 0]);
        let requests = counters.allowances("a", &all, now)[0];
        let second = Duration::from_secs(1);
        assert_eq!((requests.quota, requests.window, requests.reset), (3, Some(3 * second), Some(second)));
        counters.release(&account, Work::Waited, now.day, true);
        assert_eq!(left(&counters, later(now, 1_000)), [3, 1, 1]);
        let tomorrow = Moment { day: now.day + 1, ..now };
        assert_eq!(left(&counters, tomorrow)[1], 2);
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
        counters.release(&of("a"), Work::Waited, now.day, false);
        assert!(reserve(&mut counters, now).is_ok(), "the first proof was returned");
        counters.release(&of("a"), Work::Waited, now.day, true);
        assert_eq!(reserve(&mut counters, now), Err(used));

        let tomorrow = Moment { day: now.day + 1, ..later(now, 36_000_000) };
        assert!(reserve(&mut counters, tomorrow).is_ok());
        // A reservation of yesterday does not return to the quota of today.
        counters.release(&of("a"), Work::Waited, now.day, false);
        assert!(reserve(&mut counters, tomorrow).is_ok());
        assert!(reserve(&mut counters, tomorrow).is_err());
    }

    #[test]
    fn unfinished_proofs_are_limited_for_callers_that_wait() {
        let (mut counters, now, limits) = (UsageCounters::default(), start(), limits(100, 1));
        assert!(counters.reserve("a", &limits, Work::Waited, now).is_ok());
        assert_eq!(counters.reserve("a", &limits, Work::Waited, now), Err(Excess::Unfinished { max: 1 }));
        assert!(counters.reserve("a", &limits, Work::Queued, now).is_ok(), "the queue counts its own jobs");
        counters.release(&of("a"), Work::Queued, now.day, true);
        assert!(counters.reserve("a", &limits, Work::Waited, now).is_err());
        counters.release(&of("a"), Work::Waited, now.day, true);
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
        assert_eq!(named(&counters).len(), ACCOUNTS_MAX + 1);

        let limits = limits(9, 9);
        let account = counters.reserve("w", &limits, Work::Waited, later(now, 1)).unwrap();
        assert_eq!(named(&counters)[SHARED_ACCOUNT].unfinished, 1);
        counters.release(&account, Work::Waited, now.day, false);
        assert_eq!(named(&counters)[SHARED_ACCOUNT].unfinished, 0);

        assert!(counters.count_request("w", RATE, later(now, 60_000)).is_ok());
        assert_eq!(named(&counters).len(), 1, "a minute later all accounts but one are idle");
    }

    #[test]
    fn addresses_never_share_a_counter_with_a_name() {
        let (mut counters, now) = (UsageCounters::default(), start());
        for number in 0..ACCOUNTS_MAX + 100 {
            let address = std::net::Ipv4Addr::from_bits(u32::try_from(number).unwrap());
            let _ = counters.count_request(&format!("ip:{address}"), RATE, now);
        }
        assert_eq!(counters.tables[&Class::Address].accounts.len(), ACCOUNTS_MAX + 1);
        assert!(counters.count_request("ip:198.51.100.1", RATE, now).is_err(), "newcomers share a counter");
        for _ in 0..3 {
            assert!(counters.count_request("key:alice", RATE, now).is_ok());
        }
    }

    #[test]
    fn addresses_of_a_wider_prefix_have_a_multiple_of_the_rate() {
        let accepted = |accounts: &mut dyn Iterator<Item = u64>| {
            let (mut counters, now) = (UsageCounters::default(), start());
            let requests = accounts.map(|bits| counters.count_request(&format!("ip:{bits:x}"), RATE, now));
            let accepted = requests.flatten().count();
            let sizes: usize = counters.tables.values().map(|table| table.accounts.len()).sum();
            assert!(sizes <= 4 * accepted, "refused requests create no counter: {sizes}");
            accepted
        };
        let base = 0x2001_0db8_0000_0000;
        assert_eq!(accepted(&mut (0..20).map(|_| base)), 3);
        assert_eq!(accepted(&mut (0..256).map(|at| base | at)), 12);
        assert_eq!(accepted(&mut (0..65_536).map(|at| base | at)), 48);
        assert_eq!(accepted(&mut (0..65_536).map(|at| base | at << 16)), 768);

        let (mut counters, now) = (UsageCounters::default(), start());
        let reserve =
            |bits: u64| counters.reserve(&format!("ip:{bits:x}"), &limits(1, 9), Work::Waited, now).is_ok();
        assert_eq!((0..256).map(|at| base | at).map(reserve).filter(|reserved| *reserved).count(), 4);
    }

    #[test]
    fn a_returned_proof_counts_in_no_prefix() {
        let (mut counters, now, limits) = (UsageCounters::default(), start(), limits(1, 9));
        let reserved = counters.reserve("ip:20010db800000000", &limits, Work::Queued, now).unwrap();
        assert!(counters.reserve("ip:20010db800000000", &limits, Work::Queued, now).is_err());
        counters.release(&reserved, Work::Queued, now.day, true);
        counters.return_proof(&reserved, now.day);
        let proofs = counters.tables.values().flat_map(|table| table.accounts.values());
        assert_eq!(proofs.map(|account| account.proofs).sum::<u32>(), 0);
        assert!(counters.reserve("ip:20010db800000000", &limits, Work::Queued, now).is_ok());
    }
}
