//! Which container a request goes to.
//!
//! Nobody is asked: each isolate of the Worker remembers what the containers' answers told it of their load, and
//! counts what it has under way itself. From that it takes the less busy one of two at random, which is nearly as good as
//! knowing all and cannot send every isolate to the same container at once.
//!
//! Containers cost money while they are awake, so a sleeping one is used only when those awake are busy: while all of
//! them have work for every core the next one is woken, one at a time, and gets requests once it is ready.

use std::{collections::BTreeMap, time::Duration};

use edgeprove_protocol::{Load, ProblemType};
use sha2::{Digest as _, Sha256};

/// How long a container's word on its load is believed. A proof of a small circuit takes a tenth of a second.
const LOAD_TTL: Duration = Duration::from_secs(5);
/// How long a container that failed to answer is left out, while others are to be had.
const FAILED_FOR: Duration = Duration::from_secs(10);
/// How long after one attempt to wake a container another is made.
const WAKING_FOR: Duration = Duration::from_secs(20);
/// How long a request counts as under way at most: one whose caller went away may end without anybody being told.
const UNDER_WAY_MAX: Duration = Duration::from_mins(3);
/// What is assumed of a container that has not told yet.
const UNKNOWN_CORES: u32 = 1;

/// What this isolate knows of the containers. Times are milliseconds of whatever clock the caller keeps to.
#[derive(Debug, Default)]
pub struct Pool {
    known: BTreeMap<u16, Known>,
    tickets: u64,
}

/// A request that was sent to a container, until it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    instance: u16,
    number: u64,
}

#[derive(Debug, Clone, Default)]
struct Known {
    /// What it told last, and when.
    told: Option<(Load, u64)>,
    /// Requests of this isolate that it has not answered yet, by ticket, with when they were sent.
    under_way: BTreeMap<u64, u64>,
    failed_at: Option<u64>,
    waking_since: Option<u64>,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The container's number.
    pub instance: u16,
    /// Another one to wake meanwhile, since those awake are busy.
    pub wake: Option<u16>,
}

impl Pool {
    /// Chooses a container of `instances`. `awake_for` is how long one stays awake after its last answer; `random` gives
    /// numbers from 0 up to 1.
    pub fn choose(
        &mut self,
        instances: u16,
        now: u64,
        awake_for: Duration,
        mut random: impl FnMut() -> f64,
    ) -> Choice {
        for known in self.known.values_mut() {
            known.under_way.retain(|_, sent| !later(*sent, now, UNDER_WAY_MAX));
        }
        let sound = |known: &Known| known.failed_at.is_none_or(|at| later(at, now, FAILED_FOR));
        let awake: Vec<u16> = (0..instances)
            .filter(|instance| {
                self.known.get(instance).is_some_and(|known| known.is_awake(now, awake_for) && sound(known))
            })
            .collect();
        let instance = match awake.as_slice() {
            // No one is known to be awake: the first that is not known to be broken.
            [] => (0..instances).find(|instance| self.known.get(instance).is_none_or(sound)).unwrap_or(0),
            [only] => *only,
            several => {
                let first = pick(several, &mut random);
                let others: Vec<u16> = several.iter().copied().filter(|other| *other != first).collect();
                let second = pick(&others, &mut random);
                if self.pressure(second, now) < self.pressure(first, now) { second } else { first }
            }
        };
        let all_busy = !awake.is_empty() && awake.iter().all(|awake| self.pressure(*awake, now) >= 1.0);
        let is_waking = |known: &Known| known.waking_since.is_some_and(|at| !later(at, now, WAKING_FOR));
        let asleep = |other: &u16| {
            *other != instance && !awake.contains(other) && self.known.get(other).is_none_or(sound)
        };
        let wake =
            if all_busy && !self.known.values().any(is_waking) { (0..instances).find(asleep) } else { None };
        if let Some(wake) = wake {
            self.known.entry(wake).or_default().waking_since = Some(now);
        }
        Choice { instance, wake }
    }

    /// A request goes to a container.
    pub fn sent(&mut self, instance: u16, now: u64) -> Ticket {
        self.tickets += 1;
        self.known.entry(instance).or_default().under_way.insert(self.tickets, now);
        Ticket { instance, number: self.tickets }
    }

    /// The container answered, and told its load where it is awake and ready.
    pub fn answered(&mut self, ticket: Ticket, load: Option<Load>, now: u64) {
        self.ended(ticket);
        if let Some(load) = load {
            self.woke(ticket.instance, load, now);
        }
    }

    /// The container is awake and told its load.
    pub fn woke(&mut self, instance: u16, load: Load, now: u64) {
        let known = self.known.entry(instance).or_default();
        known.told = Some((load, now));
        known.failed_at = None;
        known.waking_since = None;
    }

    /// The container could not be reached, or not be started, or takes no requests.
    pub fn failed(&mut self, ticket: Ticket, now: u64) {
        self.ended(ticket);
        let known = self.known.entry(ticket.instance).or_default();
        known.failed_at = Some(now);
        known.told = None;
    }

    fn ended(&mut self, ticket: Ticket) {
        if let Some(known) = self.known.get_mut(&ticket.instance) {
            known.under_way.remove(&ticket.number);
        }
    }

    /// Requests for each core: 1 means that every core has work.
    fn pressure(&self, instance: u16, now: u64) -> f64 {
        let Some(known) = self.known.get(&instance) else { return 0.0 };
        let told = known.told.filter(|(_, at)| !later(*at, now, LOAD_TTL));
        let cores = known.told.map_or(UNKNOWN_CORES, |(load, _)| load.cores.max(1));
        // What it told counts this isolate's own requests as well, as they were then; the larger number is the newer one
        // or the one that knows of others.
        let own = u32::try_from(known.under_way.len()).unwrap_or(u32::MAX);
        let requests = told.map_or(0, |(load, _)| load.running.saturating_add(load.waiting)).max(own);
        f64::from(requests) / f64::from(cores)
    }
}

impl Known {
    fn is_awake(&self, now: u64, awake_for: Duration) -> bool {
        !self.under_way.is_empty() || self.told.is_some_and(|(_, at)| !later(at, now, awake_for))
    }
}

/// The container of a request that its caller named, where each keeps jobs of its own: sent again, it comes to the one
/// that knows it. Which that is depends on nothing but the names and on how many containers there are.
#[must_use]
pub fn of_named_request(caller: &str, name: &str, instances: u16) -> u16 {
    let mut digest = Sha256::new();
    digest.update(caller.len().to_le_bytes());
    digest.update(caller);
    digest.update(name);
    let digest = digest.finalize();
    let number = u64::from_le_bytes(std::array::from_fn(|at| digest[at]));
    u16::try_from(number % u64::from(instances.max(1))).unwrap_or(0)
}

/// Whether an answer is that of a server which takes no requests at the moment, because it shuts down for one. Of all
/// answers only such bear no load; one of 503 that does is a busy server's.
#[must_use]
pub fn is_not_ready(status: u16, tells_load: bool) -> bool {
    status == ProblemType::NotReady.status() && !tells_load
}

fn later(at: u64, now: u64, by: Duration) -> bool {
    u128::from(now.saturating_sub(at)) >= by.as_millis()
}

fn pick(from: &[u16], random: &mut impl FnMut() -> f64) -> u16 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a list's length")]
    let at = (random() * f64::from(u32::try_from(from.len()).unwrap_or(u32::MAX))) as usize;
    from.get(at).or(from.last()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAKE: Duration = Duration::from_mins(5);

    fn load(running: u32, waiting: u32) -> Load {
        Load { running, waiting, cores: 2 }
    }

    /// Numbers from a small generator: the same at every run.
    fn random() -> impl FnMut() -> f64 {
        let mut state = 0x2545_f491_u32;
        move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            f64::from(state) / f64::from(u32::MAX)
        }
    }

    fn choose(pool: &mut Pool, now: u64) -> Choice {
        pool.choose(4, now, AWAKE, random())
    }

    #[test]
    fn one_container_does_while_it_has_cores_to_spare() {
        let mut pool = Pool::default();
        for now in (0..60_000).step_by(1000) {
            let choice = choose(&mut pool, now);
            assert_eq!(choice, Choice { instance: 0, wake: None });
            let ticket = pool.sent(0, now);
            pool.answered(ticket, Some(load(1, 0)), now + 100);
        }
    }

    #[test]
    fn the_next_is_woken_once_when_all_are_busy_and_used_when_it_is_ready() {
        let mut pool = Pool::default();
        pool.woke(0, load(2, 3), 0);
        assert_eq!(choose(&mut pool, 1), Choice { instance: 0, wake: Some(1) });
        assert_eq!(choose(&mut pool, 2), Choice { instance: 0, wake: None }, "one at a time");
        pool.woke(0, load(2, 3), 20_001);
        assert_eq!(choose(&mut pool, 20_002).wake, Some(1), "the first attempt came to nothing");
        pool.woke(0, load(2, 9), 20_003);
        pool.woke(1, load(0, 0), 20_003);
        for _ in 0..20 {
            assert_eq!(choose(&mut pool, 20_004), Choice { instance: 1, wake: None });
        }
        pool.woke(1, load(2, 0), 20_005);
        assert_eq!(choose(&mut pool, 20_006).wake, Some(2));
    }

    #[test]
    fn of_two_the_less_busy_is_taken_and_none_is_starved() {
        let mut pool = Pool::default();
        for instance in 0..4 {
            pool.woke(instance, load(0, 0), 0);
        }
        let mut random = random();
        let mut counts = [0_u32; 4];
        for _ in 0..400 {
            let Choice { instance, .. } = pool.choose(4, 1, AWAKE, &mut random);
            pool.sent(instance, 1);
            counts[usize::from(instance)] += 1;
        }
        assert!(counts.iter().all(|count| (95..=105).contains(count)), "{counts:?}");
    }

    #[test]
    fn one_that_failed_is_left_out_for_a_while() {
        let mut pool = Pool::default();
        pool.woke(0, load(0, 0), 0);
        pool.woke(1, load(2, 0), 0);
        let ticket = pool.sent(0, 0);
        pool.failed(ticket, 1);
        let choice = choose(&mut pool, 2);
        assert_eq!(
            choice,
            Choice { instance: 1, wake: Some(2) },
            "the broken one is neither taken nor woken"
        );
        pool.woke(1, load(0, 0), 400_000);
        pool.woke(0, load(0, 0), 400_000);
        let mut random = random();
        let both: std::collections::BTreeSet<u16> =
            (0..20).map(|_| pool.choose(4, 400_001, AWAKE, &mut random).instance).collect();
        assert_eq!(both.into_iter().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn when_all_have_failed_the_first_is_tried_all_the_same() {
        let mut pool = Pool::default();
        for instance in 0..4 {
            let ticket = pool.sent(instance, 0);
            pool.failed(ticket, 0);
        }
        assert_eq!(choose(&mut pool, 1), Choice { instance: 0, wake: None });
        assert_eq!(choose(&mut pool, 11_000), Choice { instance: 0, wake: None });
    }

    #[test]
    fn old_word_of_a_load_is_forgotten_and_a_long_silent_container_is_asleep() {
        let mut pool = Pool::default();
        pool.woke(0, load(2, 9), 0);
        assert_eq!(choose(&mut pool, 5_000), Choice { instance: 0, wake: None });
        pool.woke(3, load(0, 0), 0);
        pool.woke(0, load(2, 0), 299_000);
        assert_eq!(choose(&mut pool, 300_001).instance, 0, "3 has gone to sleep by now");
    }

    #[test]
    fn a_named_request_always_comes_to_the_same_container_and_others_to_others() {
        let mut counts = [0_u32; 4];
        for number in 0..400 {
            let name = format!("order-{number}");
            let instance = of_named_request("key:alice", &name, 4);
            assert_eq!(of_named_request("key:alice", &name, 4), instance);
            counts[usize::from(instance)] += 1;
        }
        assert!(counts.iter().all(|count| (70..=130).contains(count)), "{counts:?}");
        assert_eq!(of_named_request("key:alice", "order-1", 1), 0);
        let of = |caller: &str, name: &str| of_named_request(caller, name, u16::MAX);
        assert_ne!(of("key:a", "b"), of("key:ab", ""), "a caller's name and a request's do not run together");
    }

    #[test]
    fn requests_under_way_count_at_once_but_not_for_ever() {
        let mut pool = Pool::default();
        let ticket = pool.sent(0, 0);
        assert_eq!(choose(&mut pool, 1).wake, Some(1), "nothing is known of the cores yet");
        pool.answered(ticket, None, 2);
        pool.answered(ticket, None, 2);
        assert_eq!(choose(&mut pool, 3).wake, None);
        pool.sent(0, 30_000);
        assert_eq!(choose(&mut pool, 30_001).wake, Some(1));
        assert_eq!(choose(&mut pool, 300_000).wake, None, "nobody told that it was over");
    }
}
