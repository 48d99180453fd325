//! A simulated container on a simulated clock.

use std::cell::{Cell, RefCell};

use futures_util::future;
use tokio::{sync::watch, task::LocalSet, time::Instant};

use super::super::*;

pub(super) const OPTIONS: LifecycleOptions = LifecycleOptions {
    sleep_after: Duration::from_mins(5),
    start_timeout: Duration::from_mins(1),
    stop_timeout: Duration::from_secs(15),
    lease_max: Duration::from_secs(150),
};

/// How the simulated container behaves.
#[derive(Debug, Clone)]
pub(super) struct Behaviour {
    /// Time from its start until `/readyz` is 200.
    pub(super) ready_after: Duration,
    /// Time from its start until it ends by itself, and how it ends.
    pub(super) exits_after: Option<(Duration, ContainerExit)>,
    /// Whether it responds to no request.
    pub(super) hangs: bool,
    /// Whether it ends at SIGTERM.
    pub(super) obeys: bool,
    /// The error of the platform instead of a start.
    pub(super) start_error: Option<StartError>,
    /// How many proofs run or wait.
    pub(super) work: u32,
    /// When its last job finished.
    pub(super) idle_since: Option<Instant>,
    /// The settings that it is started with.
    pub(super) settings: &'static str,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            ready_after: Duration::from_secs(1),
            exits_after: None,
            hangs: false,
            obeys: true,
            start_error: None,
            work: 0,
            idle_since: None,
            settings: "first",
        }
    }
}

#[derive(Clone)]
pub(super) struct Fake(pub(super) Rc<FakeInner>);

pub(super) struct FakeInner {
    began: Instant,
    pub(super) behaviour: RefCell<Behaviour>,
    /// When the running container was started.
    pub(super) running_since: Cell<Option<Instant>>,
    /// Reports how the running container ends. Each container has its own channel.
    pub(super) exits: RefCell<Rc<watch::Sender<Option<ContainerExit>>>>,
    calls: RefCell<Vec<String>>,
    stored: RefCell<Record>,
    pub(super) alarm_at: Cell<Option<u64>>,
}

impl Fake {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self(Rc::new(FakeInner {
            began: Instant::now(),
            behaviour: RefCell::new(behaviour),
            running_since: Cell::new(None),
            exits: RefCell::new(Rc::new(watch::Sender::new(None))),
            calls: RefCell::default(),
            stored: RefCell::default(),
            alarm_at: Cell::new(None),
        }))
    }

    pub(super) fn end_with(&self, exit: ContainerExit) {
        self.0.running_since.set(None);
        self.0.exits.borrow().send_replace(Some(exit));
    }

    /// How often the platform got this call.
    pub(super) fn count(&self, call: &str) -> usize {
        self.0.calls.borrow().iter().filter(|other| other.as_str() == call).count()
    }

    /// The record in the object's storage.
    pub(super) fn stored(&self) -> Record {
        self.0.stored.borrow().clone()
    }

    fn note(&self, call: &str) {
        self.0.calls.borrow_mut().push(call.to_owned());
    }
}

impl Platform for Fake {
    fn now(&self) -> u64 {
        1_000_000 + milliseconds(self.0.began.elapsed())
    }

    fn is_running(&self) -> bool {
        self.0.running_since.get().is_some()
    }

    fn fingerprint(&self) -> String {
        self.0.behaviour.borrow().settings.to_owned()
    }

    fn start(&self) -> Result<(), StartError> {
        assert!(!self.is_running(), "the platform throws when a running container is started");
        self.note("start");
        let behaviour = self.0.behaviour.borrow().clone();
        if let Some(error) = behaviour.start_error {
            return Err(error);
        }
        let since = Instant::now();
        *self.0.exits.borrow_mut() = Rc::new(watch::Sender::new(None));
        self.0.running_since.set(Some(since));
        if let Some((after, exit)) = behaviour.exits_after {
            let fake = self.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(after).await;
                if fake.0.running_since.get() == Some(since) {
                    fake.end_with(exit);
                }
            });
        }
        Ok(())
    }

    fn exit(&self) -> LocalBoxFuture<'static, ContainerExit> {
        let mut exits = self.0.exits.borrow().subscribe();
        async move { exits.wait_for(Option::is_some).await.unwrap().clone().unwrap() }.boxed_local()
    }

    fn probe(&self, limit: Duration) -> LocalBoxFuture<'static, Probe> {
        let fake = self.clone();
        async move {
            fake.note("probe");
            let behaviour = fake.0.behaviour.borrow().clone();
            let Some(since) = fake.0.running_since.get() else {
                return Probe::NoResponse("refused".to_owned());
            };
            if behaviour.hangs {
                tokio::time::sleep(limit).await;
                return Probe::NoResponse("silent".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            if since.elapsed() >= behaviour.ready_after {
                Probe::Ready { work: behaviour.work, idle_for: behaviour.idle_since.map(|at| at.elapsed()) }
            } else {
                Probe::NotReady("loading".to_owned())
            }
        }
        .boxed_local()
    }

    fn request_stop(&self, _reason: &'static str) {
        self.note("request stop");
        if self.0.behaviour.borrow().obeys {
            let fake = self.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                fake.end_with(ContainerExit::Code(0));
            });
        }
    }

    fn destroy(&self) -> LocalBoxFuture<'static, ()> {
        self.note("destroy");
        self.end_with(ContainerExit::Code(137));
        future::ready(()).boxed_local()
    }

    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()> {
        tokio::time::sleep(time).boxed_local()
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        tokio::task::spawn_local(task);
    }

    fn set_alarm(&self, at: u64) {
        assert!(at > self.now(), "an alarm in the past repeats without a pause");
        self.note("alarm");
        self.0.alarm_at.set(Some(at));
    }

    fn store(&self, record: &Record) {
        *self.0.stored.borrow_mut() = record.clone();
    }

    fn log_exit(&self, exit: &ContainerExit) {
        self.note(&format!("ended: {exit}"));
    }
}

/// A container that sleeps, and its lifecycle.
pub(super) fn sleeping(behaviour: Behaviour) -> (Fake, Rc<Lifecycle<Fake>>) {
    let fake = Fake::new(behaviour);
    (fake.clone(), Lifecycle::take_over(fake, OPTIONS, Record::default()))
}

/// Runs a test on a clock that jumps to the next event when all tasks wait.
pub(super) fn on_simulated_clock(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Advances the clock and calls the alarms that become due, as the platform does.
pub(super) async fn advance(fake: &Fake, lifecycle: &Rc<Lifecycle<Fake>>, time: Duration) {
    let until = fake.now() + milliseconds(time);
    while let Some(at) = fake.0.alarm_at.get().filter(|at| *at <= until) {
        tokio::time::sleep(Duration::from_millis(at.saturating_sub(fake.now()))).await;
        fake.0.alarm_at.set(None);
        lifecycle.alarm().await;
    }
    tokio::time::sleep(Duration::from_millis(until.saturating_sub(fake.now()))).await;
}
