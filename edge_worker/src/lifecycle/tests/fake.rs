//! A container that is made up, on a clock that jumps.

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

/// How the made-up container behaves.
#[derive(Debug, Clone)]
pub(super) struct Manners {
    /// From its start until `/readyz` is 200.
    pub(super) ready_after: Duration,
    /// From its start until it ends by itself.
    pub(super) dies_after: Option<(Duration, Exit)>,
    /// Whether it answers no request at all.
    pub(super) hangs: bool,
    /// Whether it ends when it is asked to.
    pub(super) obeys: bool,
    /// What the platform says instead of starting it.
    pub(super) start_fault: Option<StartFault>,
    /// Proofs at work.
    pub(super) work: u32,
    /// When its last job was over.
    pub(super) rested_at: Option<Instant>,
    /// What it is started with.
    pub(super) settings: &'static str,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            ready_after: Duration::from_secs(1),
            dies_after: None,
            hangs: false,
            obeys: true,
            start_fault: None,
            work: 0,
            rested_at: None,
            settings: "first",
        }
    }
}

#[derive(Clone)]
pub(super) struct Fake(pub(super) Rc<FakeInner>);

pub(super) struct FakeInner {
    began: Instant,
    pub(super) manners: RefCell<Manners>,
    /// When the container that runs was started.
    pub(super) running_since: Cell<Option<Instant>>,
    /// Tells how the container that runs ends; each has its own.
    pub(super) exits: RefCell<Rc<watch::Sender<Option<Exit>>>>,
    said: RefCell<Vec<String>>,
    kept: RefCell<Record>,
    pub(super) alarm_at: Cell<Option<u64>>,
}

impl Fake {
    pub(super) fn new(manners: Manners) -> Self {
        Self(Rc::new(FakeInner {
            began: Instant::now(),
            manners: RefCell::new(manners),
            running_since: Cell::new(None),
            exits: RefCell::new(Rc::new(watch::Sender::new(None))),
            said: RefCell::default(),
            kept: RefCell::default(),
            alarm_at: Cell::new(None),
        }))
    }

    pub(super) fn die(&self, exit: Exit) {
        self.0.running_since.set(None);
        self.0.exits.borrow().send_replace(Some(exit));
    }

    pub(super) fn said(&self, what: &str) -> usize {
        self.0.said.borrow().iter().filter(|said| said.as_str() == what).count()
    }

    /// What outlives the object.
    pub(super) fn kept(&self) -> Record {
        self.0.kept.borrow().clone()
    }

    fn say(&self, what: &str) {
        self.0.said.borrow_mut().push(what.to_owned());
    }
}

impl Platform for Fake {
    fn now(&self) -> u64 {
        1_000_000 + milliseconds(self.0.began.elapsed())
    }

    fn running(&self) -> bool {
        self.0.running_since.get().is_some()
    }

    fn fingerprint(&self) -> String {
        self.0.manners.borrow().settings.to_owned()
    }

    fn start(&self) -> Result<(), StartFault> {
        assert!(!self.running(), "the platform throws when a container that runs is started");
        self.say("start");
        let manners = self.0.manners.borrow().clone();
        if let Some(fault) = manners.start_fault {
            return Err(fault);
        }
        let since = Instant::now();
        *self.0.exits.borrow_mut() = Rc::new(watch::Sender::new(None));
        self.0.running_since.set(Some(since));
        if let Some((after, exit)) = manners.dies_after {
            let fake = self.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(after).await;
                if fake.0.running_since.get() == Some(since) {
                    fake.die(exit);
                }
            });
        }
        Ok(())
    }

    fn exit(&self) -> LocalBoxFuture<'static, Exit> {
        let mut exits = self.0.exits.borrow().subscribe();
        async move { exits.wait_for(Option::is_some).await.unwrap().clone().unwrap() }.boxed_local()
    }

    fn probe(&self, limit: Duration) -> LocalBoxFuture<'static, Probe> {
        let fake = self.clone();
        async move {
            fake.say("probe");
            let manners = fake.0.manners.borrow().clone();
            let Some(since) = fake.0.running_since.get() else {
                return Probe::NoAnswer("refused".to_owned());
            };
            if manners.hangs {
                tokio::time::sleep(limit).await;
                return Probe::NoAnswer("silent".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            if since.elapsed() >= manners.ready_after {
                Probe::Ready { work: manners.work, rested: manners.rested_at.map(|at| at.elapsed()) }
            } else {
                Probe::NotReady("loading".to_owned())
            }
        }
        .boxed_local()
    }

    fn ask_to_end(&self, _why: &'static str) {
        self.say("ask to end");
        if self.0.manners.borrow().obeys {
            let fake = self.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                fake.die(Exit::Code(0));
            });
        }
    }

    fn destroy(&self) -> LocalBoxFuture<'static, ()> {
        self.say("destroy");
        self.die(Exit::Code(137));
        future::ready(()).boxed_local()
    }

    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()> {
        tokio::time::sleep(time).boxed_local()
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        tokio::task::spawn_local(task);
    }

    fn wake_at(&self, at: u64) {
        assert!(at > self.now(), "an alarm in the past spins");
        self.say("alarm");
        self.0.alarm_at.set(Some(at));
    }

    fn keep(&self, record: &Record) {
        *self.0.kept.borrow_mut() = record.clone();
    }

    fn ended(&self, exit: &Exit) {
        self.say(&format!("ended: {exit}"));
    }
}

/// A container that sleeps, and what watches over it.
pub(super) fn asleep(manners: Manners) -> (Fake, Rc<Lifecycle<Fake>>) {
    let fake = Fake::new(manners);
    (fake.clone(), Lifecycle::take_over(fake, OPTIONS, Record::default()))
}

pub(super) fn on_jumping_clock(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Lets time pass, alarms included, as the platform would.
pub(super) async fn pass(fake: &Fake, lifecycle: &Rc<Lifecycle<Fake>>, time: Duration) {
    let until = fake.now() + milliseconds(time);
    while let Some(at) = fake.0.alarm_at.get().filter(|at| *at <= until) {
        tokio::time::sleep(Duration::from_millis(at.saturating_sub(fake.now()))).await;
        fake.0.alarm_at.set(None);
        lifecycle.alarm().await;
    }
    tokio::time::sleep(Duration::from_millis(until.saturating_sub(fake.now()))).await;
}
