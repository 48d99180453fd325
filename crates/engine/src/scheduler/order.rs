//! The order of waiting proofs.
//!
//! The most urgent goes first, age makes every proof as urgent as any other, and callers take turns: a caller's first proof
//! goes ahead of the further ones of another caller. Jobs in the database have the same order:
//! [`edgeprove_job_rules::priority`] and [`edgeprove_job_rules::turn`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use edgeprove_job_rules::{
    priority::Rank,
    time::UnixMillis,
    turn::{Turn, Turns, TurnsOfPriority},
};
use edgeprove_protocol::Priority;
use tokio::sync::oneshot;

use super::{Admission, Demand};

/// A proof that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub demand: Demand,
    pub response: oneshot::Sender<Admission>,
}

/// A proof that takes its turn, waiting or running.
#[derive(Debug, Clone)]
pub(super) struct Entrant {
    account: Option<Arc<str>>,
    priority: Priority,
    turn: Turn,
    arrival: u64,
}

/// The place of a waiting proof.
pub(super) type Key = (Rank, Turn, u64);

/// The proofs that wait, the next one first, and the turns of those that run. A caller that has stopped waiting does not
/// count.
#[derive(Debug, Default)]
pub(super) struct WaitingOrder {
    waiting: BTreeMap<Key, Waiter>,
    running: HashMap<u64, Entrant>,
    arrivals: u64,
}

impl WaitingOrder {
    /// Adds a proof that has waited since this time. Returns its place.
    pub(super) fn push(&mut self, since: UnixMillis, waiter: Waiter) -> Key {
        let turns =
            Turns::new(waiter.demand.priority, Priority::ALL.map(|of| self.turns(of, &waiter.demand)));
        let after = turns.after();
        let place = turns.place(since, Priority::ALL.map(|of| self.follower(of, after)));
        self.arrivals += 1;
        let key = (place.rank, place.turn, self.arrivals);
        self.waiting.insert(key, waiter);
        key
    }

    /// The number of proofs ahead of this one; `None` if it does not wait.
    pub(super) fn ahead_of(&self, key: Key) -> Option<usize> {
        self.waiting.contains_key(&key).then(|| self.waiting.range(..key).count())
    }

    fn of_priority(&self, priority: Priority) -> impl Iterator<Item = (&Key, &Waiter)> {
        self.waiting.iter().filter(move |(_, waiter)| waiter.demand.priority == priority)
    }

    fn turns(&self, priority: Priority, demand: &Demand) -> TurnsOfPriority {
        let running = || self.running.values().filter(move |running| running.priority == priority);
        let own = self.of_priority(priority).filter(|(_, waiter)| waiter.demand.account == demand.account);
        let own_running = running().filter(|running| running.account == demand.account);
        let queued = self.of_priority(priority).map(|((_, turn, _), _)| *turn);
        TurnsOfPriority {
            own: own.map(|((_, turn, _), _)| *turn).chain(own_running.map(|running| running.turn)).max(),
            running: running().map(|running| running.turn).max(),
            queued: queued.min(),
        }
    }

    /// The rank of the first waiting proof of this priority after a turn.
    fn follower(&self, priority: Priority, after: [Turn; Priority::ALL.len()]) -> Option<Rank> {
        let after = after.get(usize::from(priority.level())).copied()?;
        let later = self.of_priority(priority).map(|(key, _)| key).filter(|(_, turn, _)| *turn > after);
        later.min_by_key(|(_, turn, arrival)| (*turn, *arrival)).map(|(rank, ..)| *rank)
    }

    /// Displaces a waiter for a proof of this account in a full queue: the last one of the account that has the most, if
    /// that still leaves it more than this one would have.
    pub(super) fn displace_for(&mut self, account: Option<&str>) -> Option<Waiter> {
        let mut waiters = HashMap::<Option<&str>, (usize, Key)>::new();
        for (key, waiter) in &self.waiting {
            let (count, last) = waiters.entry(waiter.demand.account.as_deref()).or_insert((0, *key));
            *count += 1;
            *last = *key;
        }
        let own = waiters.get(&account).map_or(0, |(count, _)| *count);
        let (most, last) = waiters.into_values().max()?;
        if most > own + 1 { self.waiting.remove(&last) } else { None }
    }

    /// Removes every waiter whose caller has stopped waiting.
    pub(super) fn prune(&mut self) {
        self.waiting.retain(|_, waiter| !waiter.response.is_closed());
    }

    pub(super) fn next(&self) -> Option<(Entrant, &Waiter)> {
        let ((_, turn, arrival), waiter) = self.waiting.first_key_value()?;
        let Demand { account, priority, .. } = &waiter.demand;
        let entrant =
            Entrant { account: account.clone(), priority: *priority, turn: *turn, arrival: *arrival };
        Some((entrant, waiter))
    }

    pub(super) fn pop(&mut self) -> Option<Waiter> {
        self.waiting.pop_first().map(|(_, waiter)| waiter)
    }

    /// Counts a proof as running until [`Self::ended`]. Returns its number.
    pub(super) fn started(&mut self, entrant: Entrant) -> u64 {
        let arrival = entrant.arrival;
        self.running.insert(arrival, entrant);
        arrival
    }

    /// Ends a running proof.
    pub(super) fn ended(&mut self, arrival: u64) {
        self.running.remove(&arrival);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The number of waiters of each priority, by [`Priority::level`].
    pub(super) fn by_priority(&self) -> [usize; Priority::ALL.len()] {
        let mut count = [0; Priority::ALL.len()];
        for waiter in self.waiting.values() {
            count[usize::from(waiter.demand.priority.level())] += 1;
        }
        count
    }
}
