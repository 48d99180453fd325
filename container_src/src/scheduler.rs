//! Decides when a proof may start and how many cores it gets.
//!
//! A [`Slot`] is a permit of a certain width. It lives as long as the work it was given for, not as long as the
//! connection that asked: whoever does the work holds it, and cores come back when it is dropped. Waiting is bounded
//! in number and in time.
//!
//! Width follows the queue. One proof on an idle machine gets all cores, because that is when it ends soonest. When
//! others wait as well, the free cores are divided among them, because narrow proofs side by side waste fewer cycles
//! on synchronisation: 1.2 to 1.5 times the proofs a second on two cores (`docs/BENCHMARKS.md`).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// How the scheduler chooses a proof's width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WidthPolicy {
    /// By the depth of the queue.
    Auto,
    /// All cores for every proof, one after the other.
    Wide,
    /// One core for every proof.
    Narrow,
}

/// What the scheduler has to share out.
#[derive(Debug, Clone)]
pub struct SchedulerLimits {
    /// Cores that proofs may use, at least 1.
    pub cores: usize,
    /// Most requests that may wait.
    pub waiting_max: usize,
    /// Longest a request may wait.
    pub wait_max: Duration,
    /// How a width is chosen.
    pub policy: WidthPolicy,
}

/// Why a request was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The queue is full.
    #[error("{waiting} requests wait already, which is all that may")]
    QueueFull {
        /// Requests in the queue.
        waiting: usize,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The request waited as long as one may.
    #[error("no prover became free within {} s", waited.as_secs())]
    WaitedTooLong {
        /// How long it waited.
        waited: Duration,
        /// When trying again makes sense.
        retry_after: Duration,
    },
}

/// The scheduler. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Scheduler(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: SchedulerLimits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    running: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
    /// Running mean of how long one core was held for one proof.
    core_time: Duration,
}

/// A permit to use some cores. Dropping it gives them back and starts whoever waits next.
#[derive(Debug)]
pub struct Slot {
    width: usize,
    since: Instant,
    shared: Arc<Shared>,
}

/// Numbers for health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerStatus {
    /// Proofs at work.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
}

impl SchedulerLimits {
    /// Every width that may be given out, ascending.
    #[must_use]
    pub fn widths(&self) -> Vec<usize> {
        match self.policy {
            WidthPolicy::Auto => widths(self.cores),
            WidthPolicy::Wide => vec![self.cores],
            WidthPolicy::Narrow => vec![1],
        }
    }
}

impl Scheduler {
    /// A scheduler with all cores free.
    #[must_use]
    pub fn new(limits: SchedulerLimits) -> Self {
        let state = State {
            free: limits.cores,
            running: 0,
            waiting: VecDeque::new(),
            core_time: Duration::from_millis(200),
        };
        Self(Arc::new(Shared { limits, state: Mutex::new(state) }))
    }

    /// Waits for cores. Dropping the future gives up the place in the queue.
    pub async fn admit(&self) -> Result<Slot, AdmissionError> {
        let asked = Instant::now();
        let receiver = {
            let mut state = self.0.lock();
            state.waiting.retain(|waiter| !waiter.is_closed());
            // The head of an idle queue is served at once, so it never counts against the bound.
            if state.free == 0 && state.waiting.len() >= self.0.limits.waiting_max {
                return Err(AdmissionError::QueueFull {
                    waiting: state.waiting.len(),
                    retry_after: self.0.expected_wait(&state),
                });
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(sender);
            receiver
        };
        self.0.dispatch();
        match tokio::time::timeout(self.0.limits.wait_max, receiver).await {
            Ok(Ok(slot)) => Ok(slot),
            // A waiter's sender is only dropped by sending through it, or with the scheduler itself.
            Ok(Err(_)) | Err(_) => Err(AdmissionError::WaitedTooLong {
                waited: asked.elapsed(),
                retry_after: self.0.expected_wait(&self.0.lock()),
            }),
        }
    }

    /// What runs and what waits at this moment.
    #[must_use]
    pub fn status(&self) -> SchedulerStatus {
        let mut state = self.0.lock();
        state.waiting.retain(|waiter| !waiter.is_closed());
        SchedulerStatus { running: state.running, waiting: state.waiting.len() }
    }

    /// The limits it was made with.
    #[must_use]
    pub fn limits(&self) -> &SchedulerLimits {
        &self.0.limits
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held; were it so, the numbers would still be consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dispatch(self: &Arc<Self>) {
        loop {
            let (waiter, slot) = {
                let mut state = self.lock();
                state.waiting.retain(|waiter| !waiter.is_closed());
                if state.free == 0 {
                    return;
                }
                let width = width(self.limits.policy, self.limits.cores, state.free, state.waiting.len());
                // A wide proof waits until all cores are free.
                if width > state.free {
                    return;
                }
                let Some(waiter) = state.waiting.pop_front() else { return };
                state.free -= width;
                state.running += 1;
                (waiter, Slot { width, since: Instant::now(), shared: Arc::clone(self) })
            };
            // Whoever gave up in this very moment gets the slot back to us by dropping it: outside the lock.
            drop(waiter.send(slot));
        }
    }

    fn expected_wait(&self, state: &State) -> Duration {
        let ahead = u32::try_from(state.waiting.len() + state.running).unwrap_or(u32::MAX);
        let cores = u32::try_from(self.limits.cores).unwrap_or(1).max(1);
        let wait = state.core_time.saturating_mul(ahead) / cores;
        wait.clamp(Duration::from_secs(1), Duration::from_mins(1))
    }
}

impl Slot {
    /// Cores the work may use.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.free += self.width;
            state.running -= 1;
            let used = self.since.elapsed().saturating_mul(u32::try_from(self.width).unwrap_or(1));
            state.core_time = (state.core_time * 7 + used) / 8;
        }
        self.shared.dispatch();
    }
}

/// Widths that [`WidthPolicy::Auto`] gives out: all cores, and the powers of two below.
fn widths(cores: usize) -> Vec<usize> {
    let mut widths: Vec<usize> =
        std::iter::successors(Some(1), |w| Some(w * 2)).take_while(|&w| w < cores).collect();
    widths.push(cores.max(1));
    widths
}

fn width(policy: WidthPolicy, cores: usize, free: usize, waiting: usize) -> usize {
    match policy {
        WidthPolicy::Wide => cores,
        WidthPolicy::Narrow => 1,
        WidthPolicy::Auto => {
            let share = (free / waiting.max(1)).max(1);
            widths(cores).into_iter().rev().find(|&w| w <= share).unwrap_or(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler(cores: usize, waiting_max: usize, policy: WidthPolicy) -> Scheduler {
        let wait_max = Duration::from_secs(5);
        Scheduler::new(SchedulerLimits { cores, waiting_max, wait_max, policy })
    }

    #[test]
    fn width_is_shared_out_by_the_queue() {
        for (cores, free, waiting, expected) in [
            (2, 2, 1, 2),
            (2, 2, 2, 1),
            (2, 1, 1, 1),
            (4, 4, 2, 2),
            (4, 4, 3, 1),
            (6, 6, 1, 6),
            (6, 5, 1, 4),
            (1, 1, 9, 1),
        ] {
            let got = width(WidthPolicy::Auto, cores, free, waiting);
            assert_eq!(got, expected, "{cores} cores, {free} free, {waiting} waiting");
        }
        assert_eq!(widths(1), [1]);
        assert_eq!(widths(6), [1, 2, 4, 6]);
    }

    #[tokio::test]
    async fn an_idle_machine_proves_wide_and_a_busy_one_narrow() {
        let scheduler = scheduler(2, 8, WidthPolicy::Auto);
        let wide = scheduler.admit().await.unwrap();
        assert_eq!(wide.width(), 2);
        let (a, b) = (scheduler.clone(), scheduler.clone());
        let waiters = async { tokio::join!(a.admit(), b.admit()) };
        let release = async {
            while scheduler.status().waiting < 2 {
                tokio::task::yield_now().await;
            }
            drop(wide);
        };
        let ((a, b), ()) = tokio::join!(waiters, release);
        let widths = [a.unwrap().width(), b.unwrap().width()];
        assert_eq!(widths, [1, 1]);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_waiter_that_gives_up_leaves_its_place() {
        let scheduler = scheduler(1, 1, WidthPolicy::Auto);
        let held = scheduler.admit().await.unwrap();
        let mut waiting = Box::pin(scheduler.admit());
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        assert!(matches!(scheduler.admit().await, Err(AdmissionError::QueueFull { waiting: 1, .. })));
        drop(waiting);
        assert_eq!(scheduler.status(), SchedulerStatus { running: 1, waiting: 0 });
        drop(held);
        assert_eq!(scheduler.admit().await.unwrap().width(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_is_bounded_in_time() {
        let scheduler = scheduler(1, 1, WidthPolicy::Auto);
        let _held = scheduler.admit().await.unwrap();
        assert!(matches!(scheduler.admit().await, Err(AdmissionError::WaitedTooLong { .. })));
    }

    #[tokio::test]
    async fn wide_only_proves_one_after_the_other() {
        let scheduler = scheduler(4, 8, WidthPolicy::Wide);
        let first = scheduler.admit().await.unwrap();
        let mut second = Box::pin(scheduler.admit());
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        drop(first);
        assert_eq!(second.await.unwrap().width(), 4);
    }
}
