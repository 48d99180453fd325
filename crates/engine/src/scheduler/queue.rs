//! Who is next: the most urgent first, with age every request becomes as urgent as any, and among equals the order of
//! arrival decides. It is the order of jobs in the database as well: [`edgeprove_job_rules::priority`].

use std::collections::BTreeMap;

use edgeprove_job_rules::priority::Rank;
use edgeprove_protocol::Priority;
use tokio::sync::oneshot;

use super::{Admitted, Demand};

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub demand: Demand,
    pub answer: oneshot::Sender<Admitted>,
}

/// Those who wait. One that has given up takes no place.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<(Rank, u64), Waiter>,
    arrivals: u64,
}

impl Queue {
    pub(super) fn push(&mut self, rank: Rank, waiter: Waiter) {
        self.arrivals += 1;
        self.waiting.insert((rank, self.arrivals), waiter);
    }

    /// Lets go of all who have given up.
    pub(super) fn prune(&mut self) {
        self.waiting.retain(|_, waiter| !waiter.answer.is_closed());
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

    /// How many wait, by priority.
    pub(super) fn by_priority(&self) -> [usize; Priority::ALL.len()] {
        let mut count = [0; Priority::ALL.len()];
        for waiter in self.waiting.values() {
            count[usize::from(waiter.demand.priority.level())] += 1;
        }
        count
    }
}
