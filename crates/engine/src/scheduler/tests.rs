use std::{collections::BTreeMap, sync::atomic::AtomicU64, sync::atomic::Ordering};

use futures_util::{FutureExt as _, poll};

use super::*;
use edgeprove_prover::{IdleMemory, backend::CapacityPermit};

/// Provers that hold this much while they have no work.
#[derive(Default)]
struct Holding {
    bytes: AtomicU64,
    hold: Mutex<Option<CapacityPermit>>,
}

impl Holding {
    /// What was asked of them is done.
    fn give_back(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        let hold = self.hold.lock().unwrap().take();
        drop(hold.expect("they were asked to"));
    }
}

impl IdleProvers for Holding {
    fn idle_memory(&self, _width: usize) -> IdleMemory {
        let bytes = self.bytes.load(Ordering::Relaxed);
        IdleMemory { others_bytes: bytes, others_reclaimable_bytes: bytes, ..IdleMemory::default() }
    }

    fn shed(&self, hold: CapacityPermit) {
        *self.hold.lock().unwrap() = Some(hold);
    }
}

fn scheduler(cores: usize, waiting_max: usize, policy: WidthPolicy) -> Scheduler {
    let wait_max = Duration::from_hours(1);
    let limits = SchedulerLimits { cores, memory_max_bytes: 100, waiting_max, wait_max, policy };
    Scheduler::new(limits, Arc::new(Holding::default()))
}

fn takes(bytes: u64) -> Demand {
    let measured = BTreeMap::from([(1, bytes)]);
    Demand { memory: Some(Arc::new(MemoryPeaks::kept(measured))), ..Demand::default() }
}

fn of(priority: Priority) -> Demand {
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
async fn a_full_queue_refuses_and_a_waiter_that_gives_up_leaves_its_place() {
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
async fn wide_only_proves_one_after_the_other() {
    let scheduler = scheduler(4, 8, WidthPolicy::Wide);
    let first = scheduler.admit(Demand::default()).await.unwrap();
    let mut second = Box::pin(scheduler.admit(Demand::default()));
    assert!(poll!(second.as_mut()).is_pending());
    drop(first);
    assert_eq!(second.await.unwrap().width(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_most_urgent_goes_first_and_with_age_everybody_becomes_urgent() {
    const STEP: Duration =
        Duration::from_millis(edgeprove_job_rules::priority::AGEING_STEP_MS.unsigned_abs());
    let scheduler = scheduler(1, 8, WidthPolicy::Auto);
    let held = scheduler.admit(Demand::default()).await.unwrap();
    let ask = |priority| {
        let mut waiting = Box::pin(scheduler.admit(of(priority)));
        assert!(waiting.as_mut().now_or_never().is_none());
        waiting
    };
    let old_low = ask(Priority::Low);
    tokio::time::advance(3 * STEP + Duration::from_millis(1)).await;
    let (low, normal, other_normal) = (ask(Priority::Low), ask(Priority::Normal), ask(Priority::Normal));
    let (critical, high) = (ask(Priority::Critical), ask(Priority::High));
    assert_eq!(scheduler.status().waiting_by_priority, [2, 2, 1, 1]);

    let order = Mutex::new(Vec::new());
    let served = |name, waiting| {
        let order = &order;
        async move {
            let slot: Result<Slot, AdmissionError> = Box::pin(waiting).await;
            order.lock().unwrap().push(name);
            drop(slot.unwrap());
        }
    };
    drop(held);
    tokio::join!(
        served("low", low),
        served("normal", normal),
        served("other normal", other_normal),
        served("critical", critical),
        served("high", high),
        served("old low", old_low),
    );
    let order = order.into_inner().unwrap();
    assert_eq!(order, ["old low", "critical", "high", "normal", "other normal", "low"]);
}

#[tokio::test]
async fn a_job_that_waited_elsewhere_keeps_its_place() {
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
async fn a_proof_waits_for_memory_and_none_passes_it() {
    let scheduler = scheduler(4, 8, WidthPolicy::Narrow);
    let first = scheduler.admit(takes(60)).await.unwrap();
    let mut large = Box::pin(scheduler.admit(takes(70)));
    assert!(poll!(large.as_mut()).is_pending());
    let mut small = Box::pin(scheduler.admit(takes(10)));
    assert!(poll!(small.as_mut()).is_pending(), "else the large one might wait for ever");
    assert_eq!(scheduler.status().memory_reserved_bytes, 60);
    drop(first);
    let (_large, _small) = tokio::join!(large, small);
    assert_eq!(scheduler.status().memory_reserved_bytes, 80);
}

#[tokio::test]
async fn a_proof_beyond_all_memory_is_refused_and_holds_nobody_up() {
    let scheduler = scheduler(1, 8, WidthPolicy::Auto);
    let refused = scheduler.admit(takes(101)).await;
    let right = AdmissionError::BeyondMemory { needed_bytes: 101, max_bytes: 100 };
    assert_eq!(refused.err(), Some(right));
    assert_eq!(scheduler.admit(takes(100)).await.unwrap().width(), 1);
}

#[tokio::test]
async fn idle_provers_give_memory_back_before_the_proof_starts() {
    let provers = Arc::new(Holding::default());
    let limits = scheduler(2, 8, WidthPolicy::Auto).limits().clone();
    let scheduler = Scheduler::new(limits, Arc::clone(&provers) as Arc<dyn IdleProvers>);
    provers.bytes.store(30, Ordering::Relaxed);
    drop(scheduler.admit(takes(60)).await.unwrap());
    let mut waiting = Box::pin(scheduler.admit(takes(80)));
    assert!(poll!(waiting.as_mut()).is_pending());
    let mut other = Box::pin(scheduler.admit(takes(10)));
    assert!(poll!(other.as_mut()).is_pending(), "one thing after the other");
    provers.give_back();
    assert_eq!(waiting.await.unwrap().width(), 1);
    other.await.unwrap();
}
