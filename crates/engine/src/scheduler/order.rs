//! The order of waiting proofs.
//!
//! The most urgent goes first, age makes every proof as urgent as any other, and the order of arrival decides between
//! equals. Jobs in the database have the same order: [`edgeprove_job_rules::priority`].

use std::collections::BTreeMap;

use edgeprove_job_rules::priority::Rank;
use edgeprove_protocol::Priority;
use tokio::sync::oneshot;

use super::{Admission, Demand};

/// A proof that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub demand: Demand,
    pub response: oneshot::Sender<Admission>,
}

/// The proofs that wait, the next one first. A caller that has stopped waiting does not count.
#[derive(Debug, Default)]
pub(super) struct WaitingOrder {
    waiting: BTreeMap<(Rank, u64), Waiter>,
    arrivals: u64,
}

impl WaitingOrder {
    pub(super) fn push(&mut self, rank: Rank, waiter: Waiter) {
        self.arrivals += 1;
        self.waiting.insert((rank, self.arrivals), waiter);
    }

    /// Removes every waiter whose caller has stopped waiting.
    pub(super) fn prune(&mut self) {
        self.waiting.retain(|_, waiter| !waiter.response.is_closed());
    }

    pub(super) fn next(&self) -> Option<&Waiter> {
        self.waiting.first_key_value().map(|(_, waiter)| waiter)
    }

    pub(super) fn pop(&mut self) -> Option<Waiter> {
        self.waiting.pop_first().map(|(_, waiter)| waiter)
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
