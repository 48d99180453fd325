//! A container that is made up, on a clock that jumps.

use std::cell::{Cell, RefCell};

use futures_util::future;
use tokio::{sync::watch, task::LocalSet, time::Instant};

use super::*;

const OPTIONS: LifecycleOptions = LifecycleOptions {
    sleep_after: Duration::from_mins(5),
    start_timeout: Duration::from_mins(1),
    stop_timeout: Duration::from_secs(15),
    lease_max: Duration::from_secs(150),
};

/// How the made-up container behaves.
#[derive(Debug, Clone)]
struct Manners {
    /// From its start until `/readyz` is 200.
    ready_after: Duration,
    /// From its start until it ends by itself.
    dies_after: Option<(Duration, Exit)>,
    /// Whether it answers no request at all.
    hangs: bool,
    /// Whether it ends when it is asked to.
    obeys: bool,
    /// What the platform says instead of starting it.
    start_fault: Option<StartFault>,
    /// Proofs at work.
    work: u32,
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
        }
    }
}

#[derive(Clone)]
struct Fake(Rc<FakeInner>);

struct FakeInner {
    began: Instant,
    manners: RefCell<Manners>,
    /// When the container that runs was started.
    running_since: Cell<Option<Instant>>,
    /// Tells how the container that runs ends; each has its own.
    exits: RefCell<Rc<watch::Sender<Option<Exit>>>>,
    said: RefCell<Vec<String>>,
    alarm_at: Cell<Option<u64>>,
}

impl Fake {
    fn new(manners: Manners) -> Self {
        Self(Rc::new(FakeInner {
            began: Instant::now(),
            manners: RefCell::new(manners),
            running_since: Cell::new(None),
            exits: RefCell::new(Rc::new(watch::Sender::new(None))),
            said: RefCell::default(),
            alarm_at: Cell::new(None),
        }))
    }

    fn die(&self, exit: Exit) {
        self.0.running_since.set(None);
        self.0.exits.borrow().send_replace(Some(exit));
    }

    fn said(&self, what: &str) -> usize {
        self.0.said.borrow().iter().filter(|said| said.as_str() == what).count()
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
                Probe::Ready { work: manners.work }
            } else {
                Probe::NotReady("loading".to_owned())
            }
        }
        .boxed_local()
    }

    fn ask_to_end(&self) {
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
        self.0.alarm_at.set(Some(at));
    }

    fn keep(&self, _record: &Record) {
        self.say("keep");
    }

    fn ended(&self, exit: &Exit) {
        self.say(&format!("ended: {exit}"));
    }
}

/// A container that sleeps, and what watches over it.
fn asleep(manners: Manners) -> (Fake, Rc<Lifecycle<Fake>>) {
    let fake = Fake::new(manners);
    (fake.clone(), Lifecycle::take_over(fake, OPTIONS, Record::default()))
}

fn on_jumping_clock(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Lets time pass, alarms included, as the platform would.
async fn pass(fake: &Fake, lifecycle: &Rc<Lifecycle<Fake>>, time: Duration) {
    let until = fake.now() + milliseconds(time);
    while let Some(at) = fake.0.alarm_at.get().filter(|at| *at <= until) {
        tokio::time::sleep(Duration::from_millis(at.saturating_sub(fake.now()))).await;
        fake.0.alarm_at.set(None);
        lifecycle.alarm().await;
    }
    tokio::time::sleep(Duration::from_millis(until.saturating_sub(fake.now()))).await;
}

#[test]
fn a_request_starts_the_container_and_waits_until_it_is_ready() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        assert_eq!(lifecycle.status().state, "sleeping");
        let began = fake.now();
        assert_eq!(lifecycle.ready().await, Ok(()));
        let took = fake.now() - began;
        assert!((1000..1600).contains(&took), "{took} ms");
        assert_eq!((fake.said("start"), lifecycle.status().state.as_str()), (1, "ready"));
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!(fake.said("start"), 1);
    });
}

#[test]
fn however_many_ask_at_once_it_is_started_once() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        let all = future::join_all((0..50).map(|_| lifecycle.ready())).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!((fake.said("start"), lifecycle.status().record.starts), (1, 1));
    });
}

#[test]
fn a_start_goes_on_when_the_request_that_began_it_goes_away() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        drop(tokio::time::timeout(Duration::from_millis(10), lifecycle.ready()).await);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(lifecycle.status().state, "ready");
        assert_eq!(fake.said("start"), 1);
    });
}

#[test]
fn a_container_that_never_becomes_ready_is_given_up_on_time_and_destroyed() {
    for hangs in [false, true] {
        on_jumping_clock(async {
            let never = Duration::from_hours(1);
            let (fake, lifecycle) = asleep(Manners { ready_after: never, hangs, ..Manners::default() });
            let began = fake.now();
            let failure = lifecycle.ready().await.unwrap_err();
            let took = fake.now() - began;
            assert!((60_000..60_600).contains(&took), "{took} ms");
            assert!(matches!(failure, StartFailure::NotInTime { .. }), "{failure}");
            assert_eq!((fake.said("destroy"), lifecycle.status().state.as_str()), (1, "sleeping"));
            // The next request gets a fresh one.
            *fake.0.manners.borrow_mut() = Manners::default();
            assert_eq!(lifecycle.ready().await, Ok(()));
            assert_eq!(fake.said("start"), 2);
        });
    }
}

#[test]
fn a_look_that_is_never_answered_costs_little() {
    on_jumping_clock(async {
        let (fake, lifecycle) =
            asleep(Manners { hangs: true, ready_after: Duration::ZERO, ..Manners::default() });
        let boots = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            fake.0.manners.borrow_mut().hangs = false;
        };
        let began = fake.now();
        let (ready, ()) = tokio::join!(lifecycle.ready(), boots);
        let took = fake.now() - began;
        assert!(ready.is_ok() && took < 400, "{took} ms");
    });
}

#[test]
fn one_silent_look_does_not_use_up_the_time() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners { hangs: true, ..Manners::default() });
        let wakes = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            fake.0.manners.borrow_mut().hangs = false;
        };
        let began = fake.now();
        let (ready, ()) = tokio::join!(lifecycle.ready(), wakes);
        assert_eq!(ready, Ok(()));
        assert!(fake.now() - began < 8_000);
    });
}

#[test]
fn a_container_that_dies_while_it_starts_is_started_again_but_not_for_ever() {
    on_jumping_clock(async {
        let dies = Some((Duration::from_millis(200), Exit::Code(64)));
        let (fake, lifecycle) = asleep(Manners { dies_after: dies, ..Manners::default() });
        let failure = lifecycle.ready().await.unwrap_err();
        assert_eq!(failure, StartFailure::Died { starts: 3, exit: "exit status 64".to_owned() });
        assert_eq!(fake.said("start"), 3);
        assert_eq!(lifecycle.status().record.last_exit.unwrap().0, Exit::Code(64));
    });
    on_jumping_clock(async {
        let dies = Some((Duration::from_millis(200), Exit::Code(1)));
        let (fake, lifecycle) = asleep(Manners { dies_after: dies, ..Manners::default() });
        let mends = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            fake.0.manners.borrow_mut().dies_after = None;
        };
        let (ready, ()) = tokio::join!(lifecycle.ready(), mends);
        assert_eq!((ready, fake.said("start")), (Ok(()), 2));
    });
}

#[test]
fn a_platform_without_containers_is_told_apart_whichever_way_it_says_so() {
    on_jumping_clock(async {
        let none = || "no instance".to_owned();
        let fault = Some(StartFault::NoInstance(none()));
        let (_, lifecycle) = asleep(Manners { start_fault: fault, ..Manners::default() });
        assert_eq!(lifecycle.ready().await, Err(StartFailure::NoInstance(none())));
        assert_eq!(lifecycle.status().state, "sleeping");

        let dies = Some((Duration::from_millis(20), Exit::NoInstance(none())));
        let (fake, lifecycle) = asleep(Manners { dies_after: dies, ..Manners::default() });
        assert_eq!(lifecycle.ready().await, Err(StartFailure::NoInstance(none())));
        assert_eq!(fake.said("start"), 1, "asking again at once would not help");

        let fault = Some(StartFault::Other("bad image".to_owned()));
        let (_, lifecycle) = asleep(Manners { start_fault: fault, ..Manners::default() });
        assert_eq!(lifecycle.ready().await, Err(StartFailure::Refused("bad image".to_owned())));
    });
}

#[test]
fn after_a_crash_the_next_request_gets_a_fresh_container() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        fake.die(Exit::Code(139));
        tokio::task::yield_now().await;
        assert_eq!(lifecycle.status().state, "sleeping");
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!((fake.said("start"), fake.said("ended: exit status 139")), (2, 1));
    });
}

#[test]
fn who_waits_for_an_answer_hears_that_the_container_is_gone() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let gone = lifecycle.gone();
        assert!(tokio::time::timeout(Duration::from_mins(1), lifecycle.gone()).await.is_err());
        fake.die(Exit::Code(137));
        assert_eq!(gone.await, Exit::Code(137));
    });
}

#[test]
fn a_crash_that_is_not_noticed_yet_is_seen_by_the_next_request() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        // No word of the exit comes.
        fake.0.running_since.set(None);
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!(fake.said("start"), 2);
    });
}

#[test]
fn a_container_that_lost_a_request_is_looked_at_before_the_next() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let probes = fake.said("probe");
        lifecycle.doubt();
        assert_eq!(lifecycle.status().state, "unknown");
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!((fake.said("probe"), fake.said("start")), (probes + 1, 1));
    });
}

#[test]
fn late_word_of_an_earlier_container_does_not_touch_the_present_one() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let earlier = Rc::clone(&fake.0.exits.borrow());
        fake.0.running_since.set(None);
        lifecycle.ready().await.unwrap();
        earlier.send_replace(Some(Exit::Code(1)));
        tokio::task::yield_now().await;
        assert_eq!((fake.said("ended: exit status 1"), lifecycle.status().state.as_str()), (1, "ready"));
        lifecycle.ready().await.unwrap();
        assert_eq!(fake.said("start"), 2);
    });
}

#[test]
fn it_sleeps_when_nobody_needed_it_for_long_enough_and_wakes_again() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        drop(lifecycle.lease());
        pass(&fake, &lifecycle, Duration::from_secs(295)).await;
        assert_eq!(lifecycle.status().state, "ready");
        drop(lifecycle.lease());
        pass(&fake, &lifecycle, Duration::from_secs(295)).await;
        assert_eq!(lifecycle.status().state, "ready", "a request begins the idle time anew");
        pass(&fake, &lifecycle, Duration::from_secs(10)).await;
        assert_eq!(lifecycle.status().state, "sleeping");
        assert_eq!((fake.said("ask to end"), fake.said("destroy")), (1, 0));
        assert_eq!(lifecycle.ready().await, Ok(()));
        assert_eq!(fake.said("start"), 2);
    });
}

#[test]
fn a_container_that_nobody_ever_asked_sleeps_too() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        pass(&fake, &lifecycle, Duration::from_mins(6)).await;
        assert_eq!(lifecycle.status().state, "sleeping");
    });
}

#[test]
fn it_stays_awake_while_a_request_is_under_way_or_the_container_works() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        fake.0.manners.borrow_mut().work = 1;
        pass(&fake, &lifecycle, Duration::from_hours(1)).await;
        assert_eq!(lifecycle.status().state, "ready", "a job runs without a request");
        fake.0.manners.borrow_mut().work = 0;
        pass(&fake, &lifecycle, Duration::from_mins(11)).await;
        assert_eq!(lifecycle.status().state, "sleeping");
    });
    on_jumping_clock(async {
        let fake = Fake::new(Manners::default());
        let options = LifecycleOptions { sleep_after: Duration::from_secs(10), ..OPTIONS };
        let lifecycle = Lifecycle::take_over(fake.clone(), options, Record::default());
        lifecycle.ready().await.unwrap();
        let lease = lifecycle.lease();
        pass(&fake, &lifecycle, Duration::from_mins(2)).await;
        assert_eq!((lifecycle.status().state.as_str(), lifecycle.status().in_flight), ("ready", 1));
        drop(lease);
        pass(&fake, &lifecycle, Duration::from_secs(25)).await;
        assert_eq!(lifecycle.status().state, "sleeping");
    });
}

#[test]
fn a_caller_that_vanished_unnoticed_does_not_keep_it_awake_for_ever() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let forgotten = lifecycle.lease();
        pass(&fake, &lifecycle, Duration::from_mins(11)).await;
        assert_eq!((lifecycle.status().state.as_str(), lifecycle.status().in_flight), ("sleeping", 0));
        drop(forgotten);
    });
}

#[test]
fn one_that_does_not_end_when_asked_is_destroyed() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners { obeys: false, ..Manners::default() });
        lifecycle.ready().await.unwrap();
        pass(&fake, &lifecycle, Duration::from_mins(6)).await;
        assert_eq!((fake.said("ask to end"), fake.said("destroy")), (1, 1));
        assert_eq!(lifecycle.status().state, "sleeping");
    });
}

#[test]
fn a_request_that_comes_while_it_goes_to_sleep_waits_and_wakes_it() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        tokio::time::sleep(Duration::from_secs(301)).await;
        let alarm = tokio::task::spawn_local({
            let lifecycle = Rc::clone(&lifecycle);
            async move { lifecycle.alarm().await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(lifecycle.status().state, "stopping");
        assert_eq!(lifecycle.ready().await, Ok(()));
        alarm.await.unwrap();
        assert_eq!((fake.said("start"), lifecycle.status().state.as_str()), (2, "ready"));
    });
}

#[test]
fn a_request_that_comes_while_it_is_asked_whether_it_is_idle_keeps_it_awake() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        tokio::time::sleep(Duration::from_secs(301)).await;
        let (_lease, ()) = tokio::join!(async { lifecycle.lease() }, lifecycle.alarm());
        assert_eq!((fake.said("ask to end"), lifecycle.status().state.as_str()), (0, "ready"));
        assert!(fake.0.alarm_at.get().is_some());
    });
}

#[test]
fn an_evicted_object_takes_over_the_container_that_runs() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.ready().await.unwrap();
        let record = lifecycle.status().record;
        drop(lifecycle);

        let again = Lifecycle::take_over(fake.clone(), OPTIONS, record.clone());
        assert_eq!((again.status().state.as_str(), again.status().record), ("unknown", record));
        assert_eq!(again.ready().await, Ok(()));
        assert_eq!(fake.said("start"), 1);
        fake.die(Exit::Code(2));
        tokio::task::yield_now().await;
        assert_eq!(again.status().record.last_exit.unwrap().0, Exit::Code(2), "it is watched again");
        again.ready().await.unwrap();
        pass(&fake, &again, Duration::from_mins(6)).await;
        assert_eq!(again.status().state, "sleeping", "and its idle time runs");
    });
}

#[test]
fn an_alarm_without_a_container_sets_no_other() {
    on_jumping_clock(async {
        let (fake, lifecycle) = asleep(Manners::default());
        lifecycle.alarm().await;
        assert!(fake.0.alarm_at.get().is_none() && fake.said("probe") == 0);
    });
}
