//! Decides when a proof may start and how many cores it gets.
//!
//! A [`Slot`] is a permit of a certain width. It lives as long as the work it was given for, not as long as the
//! connection that asked: whoever does the work holds it, and cores and memory come back when it is dropped. Waiting is
//! bounded in number and in time.
//!
//! Width follows the queue. One proof on an idle machine gets all cores, because that is when it ends soonest. When
//! others wait as well, the free cores are divided among them, because narrow proofs side by side waste fewer cycles
//! on synchronisation: 1.2 to 1.5 times the proofs a second on two cores (`docs/BENCHMARKS.md`).
//!
//! Memory is promised before it is used: a proof that would not fit beside those at work waits for them, for otherwise
//! the kernel would kill one of them, or the server.
//!
//! - `queue`: who is next.
//! - `share`: whether the next one starts, and how wide.

mod queue;
mod share;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use edgeprove_job_rules::{priority::Rank, time::UnixMillis};
use edgeprove_protocol::{HasProblemType, Priority, ProblemType};
use queue::{Queue, Waiter};
use share::{Books, Decision};
use tokio::{sync::oneshot, time::Instant};

use edgeprove_prover::{IdleProvers, MemoryPeaks};

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
    /// Memory that proofs may take together, in bytes.
    pub memory_max_bytes: u64,
    /// Most requests that may wait.
    pub waiting_max: usize,
    /// Longest a request may wait.
    pub wait_max: Duration,
    /// How a width is chosen.
    pub policy: WidthPolicy,
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// How urgent it is.
    pub priority: Priority,
    /// Since when it waits, where that was before it came here.
    pub since: Option<UnixMillis>,
    /// What it takes; `None` for work that takes no memory worth counting.
    pub memory: Option<Arc<MemoryPeaks>>,
}

impl Demand {
    fn expected_bytes(&self, width: usize) -> u64 {
        self.memory.as_ref().map_or(0, |memory| memory.expected(width))
    }
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
    /// The proof takes more memory than there is, as earlier ones of its circuit showed.
    #[error("a proof of this circuit takes {}", beyond(*needed_bytes, *max_bytes))]
    BeyondMemory {
        /// What it takes, in bytes.
        needed_bytes: u64,
        /// What proofs may take, in bytes.
        max_bytes: u64,
    },
}

impl HasProblemType for AdmissionError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::QueueFull { .. } | Self::WaitedTooLong { .. } => ProblemType::ProverBusy,
            Self::BeyondMemory { .. } => ProblemType::CircuitUnavailable,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QueueFull { retry_after, .. } | Self::WaitedTooLong { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::BeyondMemory { .. } => None,
        }
    }
}

/// That so much memory is more than there is, in words.
#[must_use]
pub fn beyond(needed_bytes: u64, max_bytes: u64) -> String {
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    format!(
        "{} MiB of memory, and proofs may take {} MiB here (--memory-max): give the server more",
        mebibytes(needed_bytes),
        max_bytes >> 20
    )
}

type Admitted = Result<Slot, AdmissionError>;

/// The scheduler. Clones share one queue.
#[derive(Clone)]
pub struct Scheduler(Arc<Shared>);

struct Shared {
    limits: SchedulerLimits,
    provers: Arc<dyn IdleProvers>,
    /// The wall clock and the clock that never jumps, read at the same moment.
    epoch: (UnixMillis, Instant),
    state: Mutex<State>,
}

struct State {
    books: Books,
    queue: Queue,
    /// Whether provers without work are giving back memory.
    shedding: bool,
    /// Running mean of how long one core was held for one proof.
    core_time: Duration,
}

/// A permit to use some cores and some memory. Dropping it gives them back and starts whoever is next.
pub struct Slot {
    width: usize,
    bytes: u64,
    since: Instant,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("width", &self.width).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Lives until provers without work have given back what they hold.
struct Shedding(Arc<Shared>);

/// Numbers for health and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerStatus {
    /// Proofs at work.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that wait, by [`Priority::level`].
    pub waiting_by_priority: [usize; Priority::ALL.len()],
    /// Memory that proofs at work are expected to take at most, in bytes.
    pub memory_reserved_bytes: u64,
}

impl SchedulerLimits {
    /// Memory that proofs may take together, in bytes; `None` where nobody set a limit and the system tells none.
    #[must_use]
    pub fn memory_limit_bytes(&self) -> Option<u64> {
        Some(self.memory_max_bytes).filter(|&max| max < u64::MAX)
    }

    /// Every width that may be given out, ascending.
    #[must_use]
    pub fn widths(&self) -> Vec<usize> {
        share::widths(self.policy, self.cores)
    }
}

impl Scheduler {
    /// A scheduler with all cores and all memory free.
    #[must_use]
    pub fn new(limits: SchedulerLimits, provers: Arc<dyn IdleProvers>) -> Self {
        let books = Books {
            policy: limits.policy,
            cores: limits.cores,
            cores_free: limits.cores,
            memory_max: limits.memory_max_bytes,
            memory_reserved: 0,
            running: 0,
        };
        let core_time = Duration::from_millis(200);
        let state = State { books, queue: Queue::default(), shedding: false, core_time };
        let now = UnixMillis(jiff::Timestamp::now().as_millisecond());
        let epoch = (now, Instant::now());
        Self(Arc::new(Shared { limits, provers, epoch, state: Mutex::new(state) }))
    }

    /// Waits for cores and memory. Dropping the future gives up the place in the queue.
    pub async fn admit(&self, demand: Demand) -> Result<Slot, AdmissionError> {
        let asked = Instant::now();
        let receiver = {
            let mut state = self.0.lock();
            state.queue.prune();
            let waiting = state.queue.len();
            // Whoever comes to an idle queue is served at once, and never counts against the bound.
            if waiting >= self.0.limits.waiting_max {
                let retry_after = self.0.expected_wait(&state);
                return Err(AdmissionError::QueueFull { waiting, retry_after });
            }
            let rank = Rank::new(demand.priority, demand.since.unwrap_or_else(|| self.0.now()));
            let (answer, receiver) = oneshot::channel();
            state.queue.push(rank, Waiter { demand, answer });
            receiver
        };
        self.0.dispatch();
        match tokio::time::timeout(self.0.limits.wait_max, receiver).await {
            Ok(Ok(admitted)) => admitted,
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
        state.queue.prune();
        SchedulerStatus {
            running: state.books.running,
            waiting: state.queue.len(),
            waiting_by_priority: state.queue.by_priority(),
            memory_reserved_bytes: state.books.memory_reserved,
        }
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

    /// The time since 1970 by a clock that does not jump, so that nobody who waits is passed by because it did.
    fn now(&self) -> UnixMillis {
        self.epoch.0.after(self.epoch.1.elapsed())
    }

    fn dispatch(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            state.queue.prune();
            if state.shedding {
                return;
            }
            let Some(next) = state.queue.next() else { return };
            let decision = state.books.decide(
                state.queue.len(),
                |width| next.demand.expected_bytes(width),
                |width| self.provers.idle_memory(width),
            );
            let admitted = match decision {
                Decision::Wait => return,
                Decision::Shed => {
                    state.shedding = true;
                    drop(state);
                    self.provers.shed(Arc::new(Shedding(Arc::clone(self))));
                    return;
                }
                Decision::Grant { width, bytes } => {
                    state.books.cores_free -= width;
                    state.books.memory_reserved += bytes;
                    state.books.running += 1;
                    Ok(Slot { width, bytes, since: Instant::now(), shared: Arc::clone(self) })
                }
                Decision::Never { needed_bytes } => Err(AdmissionError::BeyondMemory {
                    needed_bytes,
                    max_bytes: self.limits.memory_max_bytes,
                }),
            };
            let Some(waiter) = state.queue.pop() else { return };
            // Whoever gave up in this very moment gets the slot back to us by dropping it: outside the lock.
            drop(state);
            drop(waiter.answer.send(admitted));
        }
    }

    fn expected_wait(&self, state: &State) -> Duration {
        let ahead = u32::try_from(state.queue.len() + state.books.running).unwrap_or(u32::MAX);
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
            state.books.cores_free += self.width;
            state.books.memory_reserved -= self.bytes;
            state.books.running -= 1;
            let used = self.since.elapsed().saturating_mul(u32::try_from(self.width).unwrap_or(1));
            state.core_time = (state.core_time * 7 + used) / 8;
        }
        self.shared.dispatch();
    }
}

impl Drop for Shedding {
    fn drop(&mut self) {
        self.0.lock().shedding = false;
        self.0.dispatch();
    }
}

#[cfg(test)]
mod tests;
