//! The turns of computations: how many run at once, how many may wait, and which is next.
//!
//! A caller has as many permits as would still be free after it: one caller alone has half of them, and a further caller
//! gets one until the last is taken. Of those that wait, the caller with the fewest running computations is next.

use std::{collections::HashMap, sync::Arc};

use edgeprove_spool::Bound;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The turns of all callers.
#[derive(Debug)]
pub struct Turns {
    running_max: usize,
    /// Most computations that run or wait.
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: HashMap<Arc<str>, usize>,
    /// In the order of arrival.
    waiting: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    owner: Arc<str>,
    turn: oneshot::Sender<Running>,
}

/// A computation that may run until this is dropped.
#[derive(Debug)]
pub struct Running {
    owner: Arc<str>,
    turns: Arc<Turns>,
}

impl Turns {
    /// Turns for this many running computations, and for so many that run or wait.
    #[must_use]
    pub fn new(running_max: usize, max: usize) -> Arc<Self> {
        Arc::new(Self { running_max, max, state: Mutex::default() })
    }

    /// Waits for a turn. Dropping the future gives the permit back. Fails at once where the caller or all callers together
    /// have as many as they may.
    pub async fn take(self: &Arc<Self>, owner: &str) -> Result<Running, Bound> {
        let receiver = {
            let mut state = self.state.lock();
            state.prune();
            state.check(owner, self.max)?;
            let (turn, receiver) = oneshot::channel();
            state.waiting.push(Waiter { owner: Arc::from(owner), turn });
            receiver
        };
        self.dispatch();
        // A sender is dropped only when its waiter has left.
        receiver.await.map_err(|_| Bound::All)
    }

    /// Starts waiting computations as long as more may run.
    fn dispatch(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            state.prune();
            if state.running.values().sum::<usize>() >= self.running_max {
                return;
            }
            let Some(Waiter { owner, turn }) = state.next() else { return };
            *state.running.entry(Arc::clone(&owner)).or_default() += 1;
            drop(state);
            // If the caller left at this moment, the turn is dropped here, which locks the state again.
            drop(turn.send(Running { owner, turns: Arc::clone(self) }));
        }
    }
}

impl State {
    /// Removes those that do not wait any more.
    fn prune(&mut self) {
        self.waiting.retain(|waiter| !waiter.turn.is_closed());
    }

    fn running_of(&self, owner: &str) -> usize {
        self.running.get(owner).copied().unwrap_or_default()
    }

    /// Fails if there is no permit for one more computation of this owner.
    fn check(&self, owner: &str, max: usize) -> Result<(), Bound> {
        let all = self.running.values().sum::<usize>() + self.waiting.len() + 1;
        let Some(free) = max.checked_sub(all) else { return Err(Bound::All) };
        let waiting = self.waiting.iter().filter(|waiter| &*waiter.owner == owner).count();
        if self.running_of(owner) + waiting + 1 > free { Err(Bound::Owner) } else { Ok(()) }
    }

    fn next(&mut self) -> Option<Waiter> {
        let waiting = self.waiting.iter().enumerate();
        let (next, _) = waiting.min_by_key(|(arrival, waiter)| (self.running_of(&waiter.owner), *arrival))?;
        Some(self.waiting.remove(next))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        {
            let mut state = self.turns.state.lock();
            if let Some(running) = state.running.get_mut(&self.owner) {
                *running -= 1;
                if *running == 0 {
                    state.running.remove(&self.owner);
                }
            }
        }
        self.turns.dispatch();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::{FutureExt as _, poll};

    use super::*;

    type Turn<'p> = Pin<Box<dyn Future<Output = Result<Running, Bound>> + 'p>>;

    async fn waiting<'p>(turns: &'p Arc<Turns>, owner: &'p str) -> Turn<'p> {
        let mut turn: Turn<'p> = Box::pin(turns.take(owner));
        assert!(poll!(turn.as_mut()).is_pending(), "{owner}");
        turn
    }

    #[tokio::test]
    async fn one_caller_has_half_and_another_gets_one() {
        let turns = Turns::new(1, 8);
        let refused = |owner| turns.take(owner).now_or_never().unwrap().unwrap_err();
        let _running = turns.take("a").await.unwrap();
        let mut queued = Vec::new();
        for owner in ["a", "a", "a", "b", "c", "d"] {
            assert!(owner != "b" || refused("a") == Bound::Owner, "half of them");
            assert!(owner != "d" || refused("b") == Bound::Owner, "the last one is for another caller");
            queued.push(waiting(&turns, owner).await);
        }
        assert_eq!(refused("e"), Bound::Owner);
        // Whoever leaves gives the permit back.
        drop(queued);
        let _queued = [waiting(&turns, "b").await, waiting(&turns, "b").await];
    }

    #[tokio::test]
    async fn all_permits_together_are_bounded() {
        let turns = Turns::new(2, 2);
        let _running = turns.take("a").await.unwrap();
        assert_eq!(turns.take("b").await.unwrap_err(), Bound::Owner, "none would be free");
        assert_eq!(Turns::new(1, 0).take("a").await.unwrap_err(), Bound::All);
    }

    #[tokio::test]
    async fn callers_take_turns() {
        let turns = Turns::new(2, 64);
        let (first, other) = (turns.take("a").await.unwrap(), turns.take("a").await.unwrap());
        let (mut second, mut third) = (waiting(&turns, "a").await, waiting(&turns, "a").await);
        let (mut first_b, mut second_b) = (waiting(&turns, "b").await, waiting(&turns, "b").await);
        drop(first);
        let b = first_b.as_mut().now_or_never().unwrap().unwrap();
        assert!(poll!(second.as_mut()).is_pending() && poll!(second_b.as_mut()).is_pending());
        drop(other);
        let a = second.as_mut().now_or_never().unwrap().unwrap();
        // Whoever has left gets no turn.
        drop(second_b);
        drop(b);
        let _last = third.as_mut().now_or_never().unwrap().unwrap();
        drop(a);
        let c = turns.take("c").now_or_never().unwrap().unwrap();
        assert_eq!(turns.state.lock().running.len(), 2);
        drop(c);
        assert_eq!(turns.state.lock().running.len(), 1, "callers without a computation take no memory");
    }

    #[tokio::test]
    async fn a_turn_that_nobody_takes_goes_to_the_next() {
        let turns = Turns::new(1, 8);
        let running = turns.take("a").await.unwrap();
        let left = waiting(&turns, "b").await;
        let mut next = waiting(&turns, "c").await;
        drop(running);
        drop(left);
        assert!(next.as_mut().now_or_never().unwrap().is_ok());
    }
}
