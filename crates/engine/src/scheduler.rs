//! Decides when a proof starts and how many cores it gets.
//!
//! A [`Slot`] is a permit of a certain width. It lives as long as the work it was given for, not as long as the
//! connection of its caller: the prover at work holds it, and cores and memory are free again when it is dropped.
//! Waiting is bounded in number and in time.
//!
//! Width follows the queue. One proof on an idle machine gets all cores, because then it ends soonest. If others wait as
//! well, the free cores are divided among them, because narrow proofs side by side waste fewer cycles on
//! synchronisation: 1.2 to 1.5 times the proofs a second on two cores (`docs/BENCHMARKS.md`).
//!
//! Memory is reserved before it is used: a proof that does not fit beside the running ones waits for them. Otherwise the
//! kernel would kill one of them, or the server.
//!
//! - `order`: which proof is next.
//! - `allocation`: whether the next proof starts, and with how many cores.

mod allocation;
mod order;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use edgeprove_job_rules::time::UnixMillis;
use edgeprove_protocol::{HasProblemType, Priority, ProblemType, ProofSystem};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use allocation::{Allocation, Decision};
use edgeprove_prover::{IdleProvers, MemoryPeaks};
use order::{Waiter, WaitingOrder};

/// How the scheduler chooses a proof's number of cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WidthPolicy {
    /// By the number of waiting proofs.
    Auto,
    /// All cores for every proof, one after the other.
    Wide,
    /// One core for every proof.
    Narrow,
}

/// The resources that the scheduler gives to proofs, and the bounds of the wait.
#[derive(Debug, Clone)]
pub struct SchedulerLimits {
    /// Cores that proofs may use, at least 1.
    pub cores: usize,
    /// The memory budget of all proofs together, in bytes.
    pub memory_max_bytes: u64,
    /// Most proofs that may wait. In a full queue, the caller who has the most waiting proofs loses its last one to a caller
    /// who has fewer.
    pub waiting_max: usize,
    /// Longest wait of a proof.
    pub wait_max: Duration,
    /// How the number of cores is chosen.
    pub policy: WidthPolicy,
}

/// What a proof needs.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// The account of its caller, which takes turns with others. Proofs without one share a turn.
    pub account: Option<Arc<str>>,
    /// Its priority.
    pub priority: Priority,
    /// When it began to wait, if that was before it came here.
    pub since: Option<UnixMillis>,
    /// The memory it needs; `None` for work that needs no memory worth counting.
    pub memory: Option<Arc<MemoryPeaks>>,
    /// The proof system, which decides whether the proof takes an idle prover or is made beside all of them.
    pub system: ProofSystem,
}

impl Demand {
    fn expected_bytes(&self, width: usize) -> u64 {
        self.memory.as_ref().map_or(0, |memory| memory.expected(width))
    }
}

/// Why a proof was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// As many proofs wait as may.
    #[error("the prover queue is full: {waiting} requests wait")]
    QueueFull {
        /// The number of proofs that wait.
        waiting: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// The proof waited as long as it may.
    #[error("no prover became free within {} s", waited.as_secs())]
    WaitedTooLong {
        /// How long it waited.
        waited: Duration,
        /// When to try again.
        retry_after: Duration,
    },
    /// The proof needs more memory than its budget, as earlier proofs of its circuit showed.
    #[error("a proof of this circuit takes {}", beyond_budget(*needed_bytes, *max_bytes))]
    BeyondMemory {
        /// The memory it needs, in bytes.
        needed_bytes: u64,
        /// The memory budget, in bytes.
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

/// The words for memory beyond the budget, as the end of a sentence that anybody may read.
#[must_use]
pub fn beyond_budget(needed_bytes: u64, max_bytes: u64) -> String {
    format!(
        "{} MiB of memory, but the budget of all proofs is {} MiB",
        mebibytes(needed_bytes),
        max_bytes >> 20
    )
}

/// The bytes in MiB, rounded up.
#[must_use]
pub fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Memory of this process that no proof can use, such as that of loaded circuits. Clones count the same memory.
#[derive(Debug, Clone, Default)]
pub struct HeldMemory(Arc<AtomicU64>);

impl HeldMemory {
    /// Counts memory until the result is dropped.
    #[must_use]
    pub fn hold(&self, bytes: u64) -> MemoryHold {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        MemoryHold { bytes, of: self.clone() }
    }

    /// The memory that is held at this moment, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Memory that is held until this is dropped.
#[derive(Debug, Default)]
pub struct MemoryHold {
    bytes: u64,
    of: HeldMemory,
}

impl Drop for MemoryHold {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

type Admission = Result<Slot, AdmissionError>;

/// The scheduler. Clones share one queue.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use edgeprove_engine::scheduler::{Demand, Scheduler, SchedulerLimits, WidthPolicy};
/// use edgeprove_prover::IdleProvers;
///
/// # async fn prove(provers: Arc<dyn IdleProvers>) -> Result<(), edgeprove_engine::scheduler::AdmissionError> {
/// let limits = SchedulerLimits {
///     cores: 2,
///     memory_max_bytes: 1 << 30,
///     waiting_max: 100,
///     wait_max: Duration::from_secs(60),
///     policy: WidthPolicy::Auto,
/// };
/// let scheduler = Scheduler::new(limits, provers);
/// let slot = scheduler.admit(Demand::default()).await?;
/// assert_eq!(slot.width(), 2, "the only proof gets all cores");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Scheduler(Arc<Shared>);

struct Shared {
    limits: SchedulerLimits,
    provers: Arc<dyn IdleProvers>,
    held: HeldMemory,
    /// The wall clock and the monotonic clock, read at the same moment.
    epoch: (UnixMillis, Instant),
    state: Mutex<State>,
}

struct State {
    allocation: Allocation,
    waiting: WaitingOrder,
    /// Whether idle provers are returning memory.
    is_reclaiming: bool,
    /// Running mean of the time that one proof held one core.
    core_time: Duration,
}

/// A permit to use some cores and some memory. Dropping it frees them and starts the next proof.
pub struct Slot {
    width: usize,
    bytes: u64,
    since: Instant,
    number: u64,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("width", &self.width).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Lives until idle provers have returned memory.
struct MemoryReclaim(Arc<Shared>);

/// The state of the scheduler, for health and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerStatus {
    /// Running proofs.
    pub running: usize,
    /// Waiting proofs.
    pub waiting: usize,
    /// Waiting proofs, by [`Priority::level`].
    pub waiting_by_priority: [usize; Priority::ALL.len()],
    /// The memory that running proofs are expected to use at most, in bytes.
    pub memory_reserved_bytes: u64,
    /// Cores that no proof uses.
    pub cores_free: usize,
}

impl SchedulerLimits {
    /// The memory budget of all proofs together, in bytes; `None` if neither a setting nor the system limits it.
    #[must_use]
    pub fn memory_limit_bytes(&self) -> Option<u64> {
        Some(self.memory_max_bytes).filter(|&max| max < u64::MAX)
    }

    /// Every number of cores that a proof may get, ascending.
    #[must_use]
    pub fn widths(&self) -> Vec<usize> {
        allocation::widths(self.policy, self.cores)
    }
}

impl Scheduler {
    /// A scheduler with all cores and all memory free.
    #[must_use]
    pub fn new(limits: SchedulerLimits, provers: Arc<dyn IdleProvers>) -> Self {
        let allocation = Allocation {
            policy: limits.policy,
            cores: limits.cores,
            cores_free: limits.cores,
            memory_max: limits.memory_max_bytes,
            memory_reserved: 0,
            running: 0,
        };
        let core_time = Duration::from_millis(200);
        let state = State { allocation, waiting: WaitingOrder::default(), is_reclaiming: false, core_time };
        let now = UnixMillis(jiff::Timestamp::now().as_millisecond());
        let epoch = (now, Instant::now());
        let held = HeldMemory::default();
        Self(Arc::new(Shared { limits, provers, held, epoch, state: Mutex::new(state) }))
    }

    /// Waits for cores and memory. Dropping the future leaves the queue.
    pub async fn admit(&self, demand: Demand) -> Result<Slot, AdmissionError> {
        self.admit_reporting(demand, &|_| {}).await
    }

    /// As [`Self::admit`]. If the proof has to wait, `on_wait` gets the number of proofs that wait ahead of it.
    pub async fn admit_reporting(
        &self,
        demand: Demand,
        on_wait: &(dyn Fn(usize) + Send + Sync),
    ) -> Result<Slot, AdmissionError> {
        let requested = Instant::now();
        let (place, receiver) = {
            let mut state = self.0.state.lock();
            state.waiting.prune();
            let waiting = state.waiting.len();
            // A proof that can start at once never counts against the bound.
            if waiting >= self.0.limits.waiting_max {
                let retry_after = self.0.expected_wait(&state);
                let full = || Err(AdmissionError::QueueFull { waiting, retry_after });
                match state.waiting.displace_for(demand.account.as_deref()) {
                    // Nobody is notified if its caller stopped waiting at this moment.
                    Some(displaced) => drop(displaced.response.send(full())),
                    None => return full(),
                }
            }
            let since = demand.since.unwrap_or_else(|| self.0.now());
            let (response, receiver) = oneshot::channel();
            (state.waiting.push(since, Waiter { demand, response }), receiver)
        };
        self.0.dispatch();
        let ahead = self.0.state.lock().waiting.ahead_of(place);
        if let Some(ahead) = ahead {
            on_wait(ahead);
        }
        match tokio::time::timeout(self.0.limits.wait_max, receiver).await {
            Ok(Ok(admission)) => admission,
            // A waiter's sender is dropped only by sending through it, or with the scheduler itself.
            Ok(Err(_)) | Err(_) => Err(AdmissionError::WaitedTooLong {
                waited: requested.elapsed(),
                retry_after: self.0.expected_wait(&self.0.state.lock()),
            }),
        }
    }

    /// The state at this moment.
    #[must_use]
    pub fn status(&self) -> SchedulerStatus {
        let mut state = self.0.state.lock();
        state.waiting.prune();
        SchedulerStatus {
            running: state.allocation.running,
            waiting: state.waiting.len(),
            waiting_by_priority: state.waiting.by_priority(),
            memory_reserved_bytes: state.allocation.memory_reserved,
            cores_free: state.allocation.cores_free,
        }
    }

    /// The memory that proofs cannot use. It lowers the memory budget.
    #[must_use]
    pub fn held_memory(&self) -> &HeldMemory {
        &self.0.held
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &SchedulerLimits {
        &self.0.limits
    }
}

impl Shared {
    /// The time since 1970 by the monotonic clock, so that a clock that is set changes no order.
    fn now(&self) -> UnixMillis {
        self.epoch.0.after(self.epoch.1.elapsed())
    }

    fn dispatch(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            state.waiting.prune();
            if state.is_reclaiming {
                return;
            }
            state.allocation.memory_max = self.limits.memory_max_bytes.saturating_sub(self.held.bytes());
            let Some((entrant, next)) = state.waiting.next() else { return };
            let decision = state.allocation.decide(
                state.waiting.len(),
                |width| next.demand.expected_bytes(width),
                |width| self.provers.idle_memory(next.demand.system, width),
            );
            let admission = match decision {
                Decision::Wait => return,
                Decision::ReclaimMemory => {
                    state.is_reclaiming = true;
                    drop(state);
                    self.provers.reclaim_memory(Arc::new(MemoryReclaim(Arc::clone(self))));
                    return;
                }
                Decision::Start { width, bytes } => {
                    state.allocation.cores_free -= width;
                    state.allocation.memory_reserved += bytes;
                    state.allocation.running += 1;
                    let number = state.waiting.started(entrant);
                    Ok(Slot { width, bytes, since: Instant::now(), number, shared: Arc::clone(self) })
                }
                Decision::Never { needed_bytes } => {
                    Err(AdmissionError::BeyondMemory { needed_bytes, max_bytes: state.allocation.memory_max })
                }
            };
            let Some(waiter) = state.waiting.pop() else { return };
            // A caller that stopped waiting at this moment drops the slot, which locks the state again.
            drop(state);
            drop(waiter.response.send(admission));
        }
    }

    fn expected_wait(&self, state: &State) -> Duration {
        let ahead = u32::try_from(state.waiting.len() + state.allocation.running).unwrap_or(u32::MAX);
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

    /// Memory that is reserved for the work.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            state.allocation.cores_free += self.width;
            state.allocation.memory_reserved -= self.bytes;
            state.allocation.running -= 1;
            state.waiting.ended(self.number);
            let used = self.since.elapsed().saturating_mul(u32::try_from(self.width).unwrap_or(1));
            state.core_time = (state.core_time * 7 + used) / 8;
        }
        self.shared.dispatch();
    }
}

impl Drop for MemoryReclaim {
    fn drop(&mut self) {
        self.0.state.lock().is_reclaiming = false;
        self.0.dispatch();
    }
}

#[cfg(test)]
mod tests;
