//! Which container gets a request that any container can answer.
//!
//! The choice sends no request to a container. Each isolate of the Worker remembers the load that the containers
//! reported with their responses, and counts its own requests in flight. It takes two awake containers at random and
//! chooses the less busy one. That is nearly as good as full knowledge, and isolates do not all choose the same
//! container.
//!
//! An awake container costs money, so a sleeping one is used only if all awake ones have work for every core. Then the
//! next one is woken, one at a time, and gets requests once it is ready.

use std::{collections::BTreeMap, time::Duration};

use edgeprove_protocol::{Load, ProblemType};
use sha2::{Digest as _, Sha256};

/// How long a reported load is used. A proof of a small circuit takes a tenth of a second.
const LOAD_TTL: Duration = Duration::from_secs(5);
/// How long a container that failed gets no requests while others are available.
const FAILED_FOR: Duration = Duration::from_secs(10);
/// Time between two attempts to wake a container.
const WAKING_FOR: Duration = Duration::from_secs(20);
/// How long a request counts as in flight. The end of a request may go unnoticed when its caller disconnects.
const IN_FLIGHT_MAX: Duration = Duration::from_mins(3);
/// Cores of a container that has not reported its load.
const UNKNOWN_CORES: u32 = 1;

/// What this isolate knows of the containers. Times are milliseconds of any one clock.
#[derive(Debug, Default)]
pub struct Pool {
    containers: BTreeMap<u16, ContainerView>,
    last_ticket: u64,
}

/// A request in flight to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    instance: u16,
    number: u64,
}

#[derive(Debug, Clone, Default)]
struct ContainerView {
    /// The load that it last reported, and when.
    reported: Option<(Load, u64)>,
    /// When this isolate sent each request that is in flight, by ticket.
    in_flight: BTreeMap<u64, u64>,
    failed_at: Option<u64>,
    waking_since: Option<u64>,
}

/// The container for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its number.
    pub instance: u16,
    /// Another container to wake, because the awake ones are busy.
    pub wake: Option<u16>,
}

impl Pool {
    /// Chooses one of `instances` containers. `awake_for` is how long a container stays awake after its last response;
    /// `random` returns numbers from 0 to below 1.
    pub fn choose(
        &mut self,
        instances: u16,
        now: u64,
        awake_for: Duration,
        mut random: impl FnMut() -> f64,
    ) -> Choice {
        for container in self.containers.values_mut() {
            container.in_flight.retain(|_, sent| !has_passed(*sent, now, IN_FLIGHT_MAX));
        }
        let has_not_failed =
            |container: &ContainerView| container.failed_at.is_none_or(|at| has_passed(at, now, FAILED_FOR));
        let is_usable = |instance: &u16| self.containers.get(instance).is_none_or(has_not_failed);
        let is_awake =
            |instance: &u16| self.containers.get(instance).is_some_and(|view| view.is_awake(now, awake_for));
        let awake: Vec<u16> =
            (0..instances).filter(|instance| is_awake(instance) && is_usable(instance)).collect();
        let instance = match awake.as_slice() {
            [] => (0..instances).find(is_usable).unwrap_or(0),
            [only] => *only,
            several => {
                let first = pick(several, &mut random);
                let others: Vec<u16> = several.iter().copied().filter(|other| *other != first).collect();
                let second = pick(&others, &mut random);
                if self.pressure(second, now) < self.pressure(first, now) { second } else { first }
            }
        };
        let all_are_busy = !awake.is_empty() && awake.iter().all(|awake| self.pressure(*awake, now) >= 1.0);
        let is_waking =
            |view: &ContainerView| view.waking_since.is_some_and(|at| !has_passed(at, now, WAKING_FOR));
        let is_asleep = |other: &u16| *other != instance && !awake.contains(other) && is_usable(other);
        let may_wake = all_are_busy && !self.containers.values().any(is_waking);
        let wake = if may_wake { (0..instances).find(is_asleep) } else { None };
        if let Some(wake) = wake {
            self.containers.entry(wake).or_default().waking_since = Some(now);
        }
        Choice { instance, wake }
    }

    /// Up to `max` of the containers: first those that are awake as far as this isolate knows, then those with the lowest
    /// numbers, which are woken first.
    #[must_use]
    pub fn awake_first(&self, instances: u16, max: usize, now: u64, awake_for: Duration) -> Vec<u16> {
        let is_awake =
            |instance: &u16| self.containers.get(instance).is_some_and(|view| view.is_awake(now, awake_for));
        let (awake, others): (Vec<u16>, Vec<u16>) = (0..instances).partition(is_awake);
        awake.into_iter().chain(others).take(max).collect()
    }

    /// Notes that a request was sent to a container.
    pub fn sent(&mut self, instance: u16, now: u64) -> Ticket {
        self.last_ticket += 1;
        self.containers.entry(instance).or_default().in_flight.insert(self.last_ticket, now);
        Ticket { instance, number: self.last_ticket }
    }

    /// Notes that the container responded, and its load if it reported one.
    pub fn responded(&mut self, ticket: Ticket, load: Option<Load>, now: u64) {
        self.complete(ticket);
        if let Some(load) = load {
            self.reported(ticket.instance, load, now);
        }
    }

    /// Notes that the container is awake and reported its load.
    pub fn reported(&mut self, instance: u16, load: Load, now: u64) {
        let container = self.containers.entry(instance).or_default();
        container.reported = Some((load, now));
        container.failed_at = None;
        container.waking_since = None;
    }

    /// Notes that the container could not be reached or started, or that it accepts no requests.
    pub fn failed(&mut self, ticket: Ticket, now: u64) {
        self.complete(ticket);
        let container = self.containers.entry(ticket.instance).or_default();
        container.failed_at = Some(now);
        container.reported = None;
    }

    fn complete(&mut self, ticket: Ticket) {
        if let Some(container) = self.containers.get_mut(&ticket.instance) {
            container.in_flight.remove(&ticket.number);
        }
    }

    /// Requests for each core of a container: 1 means that every core has work.
    fn pressure(&self, instance: u16, now: u64) -> f64 {
        let Some(container) = self.containers.get(&instance) else { return 0.0 };
        let fresh = container.reported.filter(|(_, at)| !has_passed(*at, now, LOAD_TTL));
        let cores = container.reported.map_or(UNKNOWN_CORES, |(load, _)| load.cores.max(1));
        // The reported load includes this isolate's requests of that moment. The larger number is either newer or
        // includes requests of other isolates.
        let own = u32::try_from(container.in_flight.len()).unwrap_or(u32::MAX);
        let requests = fresh.map_or(0, |(load, _)| load.running.saturating_add(load.waiting)).max(own);
        f64::from(requests) / f64::from(cores)
    }
}

impl ContainerView {
    fn is_awake(&self, now: u64, awake_for: Duration) -> bool {
        !self.in_flight.is_empty() || self.reported.is_some_and(|(_, at)| !has_passed(at, now, awake_for))
    }
}

/// The container of a request with an `Idempotency-Key`, where each container has jobs of its own. The same request
/// always goes to the same container: the number depends only on the caller, the key and the number of containers.
#[must_use]
pub fn of_idempotency_key(caller: &str, key: &str, instances: u16) -> u16 {
    let mut digest = Sha256::new();
    digest.update(caller.len().to_le_bytes());
    digest.update(caller);
    digest.update(key);
    let digest = digest.finalize();
    let number = u64::from_le_bytes(std::array::from_fn(|at| digest[at]));
    u16::try_from(number % u64::from(instances.max(1))).unwrap_or(0)
}

/// Whether a response is that of a server that accepts no requests, for example because it shuts down. Such responses
/// have no load. A 503 with a load is that of a busy server.
#[must_use]
pub fn is_not_ready(status: u16, has_load: bool) -> bool {
    status == ProblemType::NotReady.status() && !has_load
}

fn has_passed(since: u64, now: u64, time: Duration) -> bool {
    u128::from(now.saturating_sub(since)) >= time.as_millis()
}

fn pick(from: &[u16], random: &mut impl FnMut() -> f64) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of a list's length"
    )]
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

    /// Numbers from a small generator, the same in every run.
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
    fn one_container_is_used_while_it_has_idle_cores() {
        let mut pool = Pool::default();
        for now in (0..60_000).step_by(1000) {
            let choice = choose(&mut pool, now);
            assert_eq!(choice, Choice { instance: 0, wake: None });
            let ticket = pool.sent(0, now);
            pool.responded(ticket, Some(load(1, 0)), now + 100);
        }
    }

    #[test]
    fn the_next_is_woken_once_while_all_awake_ones_are_busy() {
        let mut pool = Pool::default();
        pool.reported(0, load(2, 3), 0);
        assert_eq!(choose(&mut pool, 1), Choice { instance: 0, wake: Some(1) });
        assert_eq!(choose(&mut pool, 2), Choice { instance: 0, wake: None }, "one at a time");
        pool.reported(0, load(2, 3), 20_001);
        assert_eq!(choose(&mut pool, 20_002).wake, Some(1), "the first attempt failed");
        pool.reported(0, load(2, 9), 20_003);
        pool.reported(1, load(0, 0), 20_003);
        for _ in 0..20 {
            assert_eq!(choose(&mut pool, 20_004), Choice { instance: 1, wake: None });
        }
        pool.reported(1, load(2, 0), 20_005);
        assert_eq!(choose(&mut pool, 20_006).wake, Some(2));
    }

    #[test]
    fn the_less_busy_of_two_is_chosen_and_all_get_requests() {
        let mut pool = Pool::default();
        for instance in 0..4 {
            pool.reported(instance, load(0, 0), 0);
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
    fn a_container_that_failed_gets_no_requests_for_a_while() {
        let mut pool = Pool::default();
        pool.reported(0, load(0, 0), 0);
        pool.reported(1, load(2, 0), 0);
        let ticket = pool.sent(0, 0);
        pool.failed(ticket, 1);
        let choice = choose(&mut pool, 2);
        assert_eq!(
            choice,
            Choice { instance: 1, wake: Some(2) },
            "the failed one is neither chosen nor woken"
        );
        pool.reported(1, load(0, 0), 400_000);
        pool.reported(0, load(0, 0), 400_000);
        let mut random = random();
        let both: std::collections::BTreeSet<u16> =
            (0..20).map(|_| pool.choose(4, 400_001, AWAKE, &mut random).instance).collect();
        assert_eq!(both.into_iter().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn the_first_is_chosen_if_all_have_failed() {
        let mut pool = Pool::default();
        for instance in 0..4 {
            let ticket = pool.sent(instance, 0);
            pool.failed(ticket, 0);
        }
        assert_eq!(choose(&mut pool, 1), Choice { instance: 0, wake: None });
        assert_eq!(choose(&mut pool, 11_000), Choice { instance: 0, wake: None });
    }

    #[test]
    fn an_old_load_expires_and_a_silent_container_is_asleep() {
        let mut pool = Pool::default();
        pool.reported(0, load(2, 9), 0);
        assert_eq!(choose(&mut pool, 5_000), Choice { instance: 0, wake: None });
        pool.reported(3, load(0, 0), 0);
        pool.reported(0, load(2, 0), 299_000);
        assert_eq!(choose(&mut pool, 300_001).instance, 0, "3 sleeps by now");
    }

    #[test]
    fn containers_that_are_awake_come_first() {
        let mut pool = Pool::default();
        assert_eq!(pool.awake_first(9, 3, 0, AWAKE), [0, 1, 2]);
        pool.reported(4, load(0, 0), 1000);
        assert_eq!(pool.awake_first(9, 3, 2000, AWAKE), [4, 0, 1]);
        assert_eq!(pool.awake_first(3, 9, 2000, AWAKE), [0, 1, 2]);
        let asleep = 1000 + u64::try_from(AWAKE.as_millis()).unwrap();
        assert_eq!(pool.awake_first(9, 3, asleep, AWAKE), [0, 1, 2]);
    }

    #[test]
    fn an_idempotency_key_always_selects_the_same_container() {
        let mut counts = [0_u32; 4];
        for number in 0..400 {
            let key = format!("order-{number}");
            let instance = of_idempotency_key("key:alice", &key, 4);
            assert_eq!(of_idempotency_key("key:alice", &key, 4), instance);
            counts[usize::from(instance)] += 1;
        }
        assert!(counts.iter().all(|count| (70..=130).contains(count)), "{counts:?}");
        assert_eq!(of_idempotency_key("key:alice", "order-1", 1), 0);
        let of = |caller: &str, key: &str| of_idempotency_key(caller, key, u16::MAX);
        assert_ne!(of("key:a", "b"), of("key:ab", ""), "caller and key are not simply joined");
    }

    #[test]
    fn requests_in_flight_count_at_once_but_not_forever() {
        let mut pool = Pool::default();
        let ticket = pool.sent(0, 0);
        assert_eq!(choose(&mut pool, 1).wake, Some(1), "the cores are not known yet");
        pool.responded(ticket, None, 2);
        pool.responded(ticket, None, 2);
        assert_eq!(choose(&mut pool, 3).wake, None);
        pool.sent(0, 30_000);
        assert_eq!(choose(&mut pool, 30_001).wake, Some(1));
        assert_eq!(choose(&mut pool, 300_000).wake, None, "its end was not noticed");
    }
}
