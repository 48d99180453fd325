use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use futures_util::{FutureExt as _, poll};

use super::*;
use edgeprove_prover::{CapacityPermit, IdleMemory};

/// Idle provers that hold this much memory.
#[derive(Default)]
struct IdleHolders {
    bytes: AtomicU64,
    /// The memory of the prover that a proof would get.
    next_bytes: AtomicU64,
    reclaim: Mutex<Option<CapacityPermit>>,
}

impl IdleHolders {
    /// Returns the memory that was reclaimed.
    fn return_memory(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.next_bytes.store(0, Ordering::Relaxed);
        let reclaim = self.reclaim.lock().take();
        drop(reclaim.expect("the scheduler reclaimed it"));
    }
}

impl IdleProvers for IdleHolders {
    fn idle_memory(&self, system: ProofSystem, _width: usize) -> IdleMemory {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let next_bytes = self.next_bytes.load(Ordering::Relaxed);
        let idle = IdleMemory {
            next_bytes,
            others_bytes: bytes,
            next_reclaimable_bytes: next_bytes,
            others_reclaimable_bytes: bytes,
        };
        match system {
            ProofSystem::UltraHonk => idle,
            ProofSystem::Groth16 => idle.beside_the_proof(),
        }
    }

    fn reclaim_memory(&self, hold: CapacityPermit) {
        *self.reclaim.lock() = Some(hold);
    }
}

fn scheduler(cores: usize, waiting_max: usize, policy: WidthPolicy) -> Scheduler {
    let wait_max = Duration::from_hours(1);
    let limits = SchedulerLimits { cores, memory_max_bytes: 100, waiting_max, wait_max, policy };
    Scheduler::new(limits, Arc::new(IdleHolders::default()))
}

fn demand_of(bytes: u64) -> Demand {
    let measured = BTreeMap::from([(1, bytes)]);
    Demand { memory: Some(Arc::new(MemoryPeaks::stored(measured))), ..Demand::default() }
}

fn demand_with(priority: Priority) -> Demand {
    Demand { priority, ..Demand::default() }
}

#[tokio::test]
async fn an_idle_machine_proves_wide_and_a_busy_one_narrow() {
    let scheduler = scheduler(2, 8, WidthPolicy::Auto);
    let wide = scheduler.admit(Demand::default()).await.unwrap();
    assert_eq!(wide.width(), 2);
    let (a, b) = (scheduler.clone(), scheduler.clone());
    let waiters = async { tokio::join!(a.admit(Demand::default()), b.admit(Demand::default())) };
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
async fn only_a_proof_that_waits_learns_how_many_are_ahead() {
    let scheduler = scheduler(1, 8, WidthPolicy::Auto);
    let reported = Mutex::new(Vec::new());
    let note = |ahead| reported.lock().push(ahead);
    let held = scheduler.admit_reporting(Demand::default(), &note).await.unwrap();
    assert!(reported.lock().is_empty());
    let mut normal = [(); 2].map(|()| Box::pin(scheduler.admit_reporting(Demand::default(), &note)));
    for waiting in &mut normal {
        assert!(poll!(waiting.as_mut()).is_pending());
    }
    let mut urgent = Box::pin(scheduler.admit_reporting(demand_with(Priority::Critical), &note));
    assert!(poll!(urgent.as_mut()).is_pending());
    assert_eq!(*reported.lock(), [0, 1, 0]);
    drop(held);
    assert!(urgent.await.is_ok());
}

#[tokio::test]
async fn a_full_queue_refuses_until_a_waiter_leaves() {
    let scheduler = scheduler(1, 1, WidthPolicy::Auto);
    let held = scheduler.admit(Demand::default()).await.unwrap();
    let mut waiting = Box::pin(scheduler.admit(Demand::default()));
    assert!(poll!(waiting.as_mut()).is_pending());
    let refused = scheduler.admit(Demand::default()).await;
    assert!(matches!(refused, Err(AdmissionError::QueueFull { waiting: 1, .. })));
    drop(waiting);
    assert_eq!((scheduler.status().running, scheduler.status().waiting), (1, 0));
    drop(held);
    assert_eq!(scheduler.admit(Demand::default()).await.unwrap().width(), 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_is_bounded_in_time() {
    let scheduler = scheduler(1, 1, WidthPolicy::Auto);
    let _held = scheduler.admit(Demand::default()).await.unwrap();
    let refused = scheduler.admit(Demand::default()).await;
    assert!(matches!(refused, Err(AdmissionError::WaitedTooLong { .. })));
}

#[tokio::test]
async fn the_wide_policy_runs_one_proof_at_a_time() {
    let scheduler = scheduler(4, 8, WidthPolicy::Wide);
    let first = scheduler.admit(Demand::default()).await.unwrap();
    let mut second = Box::pin(scheduler.admit(Demand::default()));
    assert!(poll!(second.as_mut()).is_pending());
    drop(first);
    assert_eq!(second.await.unwrap().width(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_most_urgent_goes_first_and_age_adds_urgency() {
    const STEP: Duration =
        Duration::from_millis(edgeprove_job_rules::priority::AGEING_STEP_MS.unsigned_abs());
    let scheduler = scheduler(1, 8, WidthPolicy::Auto);
    let held = scheduler.admit(Demand::default()).await.unwrap();
    let wait_with = |priority| {
        let mut waiting = Box::pin(scheduler.admit(demand_with(priority)));
        assert!(waiting.as_mut().now_or_never().is_none());
        waiting
    };
    let old_low = wait_with(Priority::Low);
    tokio::time::advance(3 * STEP + Duration::from_millis(1)).await;
    let (low, normal, other_normal) =
        (wait_with(Priority::Low), wait_with(Priority::Normal), wait_with(Priority::Normal));
    let (critical, high) = (wait_with(Priority::Critical), wait_with(Priority::High));
    assert_eq!(scheduler.status().waiting_by_priority, [2, 2, 1, 1]);

    let order = Mutex::new(Vec::new());
    let finish = |name, waiting| {
        let order = &order;
        async move {
            let slot: Result<Slot, AdmissionError> = Box::pin(waiting).await;
            order.lock().push(name);
            drop(slot.unwrap());
        }
    };
    drop(held);
    tokio::join!(
        finish("low", low),
        finish("normal", normal),
        finish("other normal", other_normal),
        finish("critical", critical),
        finish("high", high),
        finish("old low", old_low),
    );
    let order = order.into_inner();
    assert_eq!(order, ["old low", "critical", "high", "normal", "other normal", "low"]);
}

#[tokio::test]
async fn a_job_that_waited_in_its_queue_goes_first() {
    let scheduler = scheduler(1, 8, WidthPolicy::Auto);
    let held = scheduler.admit(Demand::default()).await.unwrap();
    let mut fresh = Box::pin(scheduler.admit(Demand::default()));
    assert!(poll!(fresh.as_mut()).is_pending());
    let since = Some(scheduler.0.now().before(Duration::from_secs(5)));
    let mut job = Box::pin(scheduler.admit(Demand { since, ..Demand::default() }));
    assert!(poll!(job.as_mut()).is_pending());
    drop(held);
    let slot = job.await.unwrap();
    assert!(poll!(fresh.as_mut()).is_pending());
    drop(slot);
    fresh.await.unwrap();
}

#[tokio::test]
async fn a_proof_that_waits_for_memory_is_not_overtaken() {
    let scheduler = scheduler(4, 8, WidthPolicy::Narrow);
    let first = scheduler.admit(demand_of(60)).await.unwrap();
    let mut large = Box::pin(scheduler.admit(demand_of(70)));
    assert!(poll!(large.as_mut()).is_pending());
    let mut small = Box::pin(scheduler.admit(demand_of(10)));
    assert!(poll!(small.as_mut()).is_pending(), "otherwise the large one might wait for ever");
    assert_eq!(scheduler.status().memory_reserved_bytes, 60);
    drop(first);
    let (_large, _small) = tokio::join!(large, small);
    assert_eq!(scheduler.status().memory_reserved_bytes, 80);
}

#[tokio::test]
async fn a_proof_beyond_the_budget_is_refused_at_once() {
    let scheduler = scheduler(1, 8, WidthPolicy::Auto);
    let refused = scheduler.admit(demand_of(101)).await;
    let expected = AdmissionError::BeyondMemory { needed_bytes: 101, max_bytes: 100 };
    assert_eq!(refused.err(), Some(expected));
    assert_eq!(scheduler.admit(demand_of(100)).await.unwrap().width(), 1);
}

#[tokio::test]
async fn idle_provers_return_memory_before_a_proof_starts() {
    let provers = Arc::new(IdleHolders::default());
    let limits = scheduler(2, 8, WidthPolicy::Auto).limits().clone();
    let scheduler = Scheduler::new(limits, Arc::clone(&provers) as Arc<dyn IdleProvers>);
    provers.bytes.store(30, Ordering::Relaxed);
    drop(scheduler.admit(demand_of(60)).await.unwrap());
    let mut waiting = Box::pin(scheduler.admit(demand_of(80)));
    assert!(poll!(waiting.as_mut()).is_pending());
    let mut other = Box::pin(scheduler.admit(demand_of(10)));
    assert!(poll!(other.as_mut()).is_pending(), "memory is reclaimed for one proof at a time");
    provers.return_memory();
    assert_eq!(waiting.await.unwrap().width(), 2);
    other.await.unwrap();
}

#[tokio::test]
async fn a_proof_of_this_process_needs_memory_beside_idle_provers() {
    let provers = Arc::new(IdleHolders::default());
    let limits = scheduler(2, 8, WidthPolicy::Auto).limits().clone();
    let scheduler = Scheduler::new(limits, Arc::clone(&provers) as Arc<dyn IdleProvers>);
    provers.next_bytes.store(30, Ordering::Relaxed);
    let groth16 = |bytes| Demand { system: ProofSystem::Groth16, ..demand_of(bytes) };
    let fits = scheduler.admit(groth16(70)).await.unwrap();
    assert_eq!(scheduler.status().memory_reserved_bytes, 70, "the prover is not a part of it");
    drop(fits);
    // In the prover itself it would fit.
    drop(scheduler.admit(demand_of(71)).await.unwrap());
    let mut waiting = Box::pin(scheduler.admit(groth16(71)));
    assert!(poll!(waiting.as_mut()).is_pending(), "together they take more than there is");
    provers.return_memory();
    waiting.await.unwrap();
    assert_eq!(scheduler.status().memory_reserved_bytes, 0);
}

#[tokio::test]
async fn held_memory_is_not_given_to_proofs() {
    let scheduler = scheduler(2, 8, WidthPolicy::Narrow);
    let held = scheduler.held_memory().hold(30);
    let other = scheduler.held_memory().hold(10);
    let refused = scheduler.admit(demand_of(61)).await;
    assert_eq!(refused.err(), Some(AdmissionError::BeyondMemory { needed_bytes: 61, max_bytes: 60 }));
    let first = scheduler.admit(demand_of(40)).await.unwrap();
    let mut second = Box::pin(scheduler.admit(demand_of(30)));
    assert!(poll!(second.as_mut()).is_pending());
    drop((held, other));
    assert_eq!(scheduler.held_memory().bytes(), 0);
    drop(first);
    second.await.unwrap();
    assert!(scheduler.admit(demand_of(100)).await.is_ok());
}

fn demand_by(account: &str) -> Demand {
    Demand { account: Some(Arc::from(account)), ..Demand::default() }
}

#[tokio::test]
async fn callers_take_turns() {
    let scheduler = scheduler(1, 100, WidthPolicy::Auto);
    let mut slot = scheduler.admit(demand_by("alice")).await.unwrap();
    let mut waiting = Vec::new();
    for account in ["alice", "alice", "alice", "alice", "bob", "bob", "carol"] {
        let mut admission = Box::pin(scheduler.admit(demand_by(account)));
        assert!(admission.as_mut().now_or_never().is_none());
        waiting.push((account, admission));
    }
    let mut order = Vec::new();
    while !waiting.is_empty() {
        drop(slot);
        let next = waiting
            .iter_mut()
            .enumerate()
            .find_map(|(at, (_, admission))| Some((at, admission.as_mut().now_or_never()?)));
        let (at, admission) = next.unwrap();
        order.push(waiting.remove(at).0);
        slot = admission.unwrap();
    }
    assert_eq!(order, ["bob", "carol", "alice", "bob", "alice", "alice", "alice"]);
}

#[tokio::test]
async fn a_full_queue_displaces_the_caller_with_the_most() {
    let scheduler = scheduler(1, 4, WidthPolicy::Auto);
    let _held = scheduler.admit(demand_by("alice")).await.unwrap();
    let admit = |account| {
        let mut admission = Box::pin(scheduler.admit(demand_by(account)));
        let refused = admission.as_mut().now_or_never();
        (admission, refused)
    };
    let is_full = |refused| matches!(refused, Some(Err(AdmissionError::QueueFull { waiting: 4, .. })));
    let (of_alice, refused): (Vec<_>, Vec<_>) = (0..5).map(|_| admit("alice")).unzip();
    let refused: Vec<_> = refused.into_iter().map(is_full).collect();
    assert_eq!(refused, [false, false, false, false, true]);
    let of_bob = [admit("bob"), admit("bob")];
    assert!(of_bob.iter().all(|(_, refused)| refused.is_none()));
    assert!(is_full(admit("bob").1), "each has two");
    let lost: Vec<_> =
        of_alice.into_iter().take(4).map(|admission| is_full(admission.now_or_never())).collect();
    assert_eq!(lost, [false, false, true, true]);
    assert_eq!(scheduler.status().waiting, 2, "the callers of the others have gone");
}
