//! The life of one container: started when it is needed, once however many ask; watched while it runs; put to sleep when
//! nobody needs it.
//!
//! The rules are here, and the platform they act upon is a trait, so that every one of them is tested natively with
//! time under control. `docs/EDGE.md` holds them against those of Cloudflare's own container class.
//!
//! ```text
//!            ready()            /readyz is 2xx
//!  Stopped ───────────▶ Starting ───────────▶ Ready ◀──┐
//!     ▲                    │                   │  │    │ ready()
//!     │  gave up, or died  │      a request    │  └▶ Unknown
//!     ├────────────────────┘      was lost     │
//!     │                                        │ idle
//!     └──────────────── Stopping ◀─────────────┘
//! ```

mod platform;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use futures_util::{
    FutureExt as _,
    future::{self, LocalBoxFuture, Shared},
};
use serde::{Deserialize, Serialize};

pub use platform::{Exit, Platform, Probe, StartFault};

/// First pause between two looks at a container that is not ready yet; each is twice the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long the first look may take; each may take twice as long as the one before. A fetch that is sent while a
/// container boots may never be answered, so patience costs the first request of the day just that time.
const PROBE_FIRST: Duration = Duration::from_millis(250);
/// How long any look may take.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// How often a container that dies while it starts is started again for the same requests.
const STARTS_MAX: u32 = 3;
/// How long one that seems idle may take to say so: on a fraction of a core with a proof at work it takes its time, and
/// nobody waits for the answer.
const IDLE_LOOK: Duration = Duration::from_secs(10);
/// For how long it may say nothing before it is ended all the same, where it had nothing to do when it last spoke.
const SILENCE_AT_REST: Duration = Duration::from_secs(30);
/// The same where it may be at work: what it has accepted is worth more than the minutes that a dead one costs.
const SILENCE_AT_WORK: Duration = Duration::from_mins(10);
/// How soon the alarm may go off, however short the idle time: one that is due at once would go off without end.
const ALARM_MIN: Duration = Duration::from_secs(1);
/// How often a container that was asked to end is looked at.
const STOP_PAUSE: Duration = Duration::from_millis(100);

/// When a container starts and sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifecycleOptions {
    /// How long it stays awake without work.
    pub sleep_after: Duration,
    /// How long it may take to become ready.
    pub start_timeout: Duration,
    /// How long it may take to end once it was asked to.
    pub stop_timeout: Duration,
    /// How long one request can keep it awake at most: a caller that vanishes unnoticed must not do so for ever.
    pub lease_max: Duration,
}

/// Why a container is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartFailure {
    /// The platform has none to spare.
    #[error("the platform has no container to spare: {0}")]
    NoInstance(String),
    /// The platform refuses to start it.
    #[error("the platform does not start the container: {0}")]
    Refused(String),
    /// It ended each time before it was ready.
    #[error("the container ended {starts} times while it started, the last time with {exit}")]
    Died {
        /// How often it was started.
        starts: u32,
        /// How it ended.
        exit: String,
    },
    /// It took too long.
    #[error("the container was not ready within {} s; {last}", limit.as_secs())]
    NotInTime {
        /// How long it may take.
        limit: Duration,
        /// What the last look at it showed.
        last: String,
    },
}

/// What outlives the object's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When the container was last started, in milliseconds since 1970.
    pub started_at: Option<u64>,
    /// How often it was started.
    pub starts: u64,
    /// How it last ended, and when.
    pub last_exit: Option<(Exit, u64)>,
    /// What it was last started with: [`Platform::fingerprint`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_with: Option<String>,
}

/// What can be told of a container without waking it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `sleeping`, `starting`, `ready`, `unknown` or `stopping`.
    pub state: String,
    /// Requests it works on, as far as the edge knows.
    pub in_flight: usize,
    /// The rest.
    pub record: Record,
}

/// The life of one container.
pub struct Lifecycle<P> {
    platform: P,
    options: LifecycleOptions,
    inner: RefCell<Inner>,
}

struct Inner {
    phase: Phase,
    /// Counts the containers that were watched, so that the end of an earlier one is not taken for that of the present.
    generation: u64,
    /// The end of the container of this generation, for those who wait for it.
    exit: Option<ExitWatch>,
    /// How it ended.
    ended: Option<Exit>,
    /// When each request began, by its number.
    leases: BTreeMap<u64, u64>,
    leases_given: u64,
    last_activity: u64,
    /// Since when it says nothing when it is asked whether it is idle.
    silent_since: Option<u64>,
    /// It said that it has nothing to do, and was asked for nothing since.
    is_at_rest: bool,
    alarm_at: Option<u64>,
    record: Record,
}

enum Phase {
    /// It may run, and may be ready: not looked at yet, or a request to it was lost.
    Unknown,
    Stopped,
    Starting(Start),
    Ready,
    Stopping(Stop),
}

type Start = Shared<LocalBoxFuture<'static, Result<(), StartFailure>>>;
type ExitWatch = Shared<LocalBoxFuture<'static, Exit>>;
type Stop = Shared<LocalBoxFuture<'static, ()>>;

/// What a request has to wait for.
enum Step {
    Done,
    AwaitStart(Start),
    AwaitStop(Stop),
}

/// Keeps the container awake while a request is under way. Dropping it begins the idle time.
pub struct Lease<P: Platform> {
    number: u64,
    lifecycle: Rc<Lifecycle<P>>,
}

impl<P: Platform> Lifecycle<P> {
    /// Takes over a container as it is found: this object may have been evicted while it ran. One that was started with
    /// other settings than those of now is replaced: it would not know the edge's new secret, for one.
    pub fn take_over(platform: P, options: LifecycleOptions, record: Record) -> Rc<Self> {
        let inner = Inner {
            phase: if platform.running() { Phase::Unknown } else { Phase::Stopped },
            generation: 0,
            exit: None,
            ended: None,
            leases: BTreeMap::new(),
            leases_given: 0,
            last_activity: platform.now(),
            silent_since: None,
            is_at_rest: false,
            alarm_at: None,
            record,
        };
        let lifecycle = Rc::new(Self { platform, options, inner: RefCell::new(inner) });
        if lifecycle.platform.running() {
            lifecycle.watch();
            if lifecycle.is_outdated() {
                let stop = lifecycle.begin_stop("started with other settings");
                lifecycle.platform.spawn(stop.boxed_local());
            } else {
                lifecycle.arm();
            }
        }
        lifecycle
    }

    /// Waits until the container takes requests, starting it if need be. Whoever asks meanwhile waits for the same start.
    pub async fn ready(self: &Rc<Self>) -> Result<(), StartFailure> {
        loop {
            match self.next_step() {
                Step::Done => return Ok(()),
                Step::AwaitStart(start) => return start.await,
                Step::AwaitStop(stop) => stop.await,
            }
        }
    }

    fn next_step(self: &Rc<Self>) -> Step {
        let mut inner = self.inner.borrow_mut();
        match &inner.phase {
            Phase::Ready if self.platform.running() => Step::Done,
            Phase::Starting(start) => Step::AwaitStart(start.clone()),
            Phase::Stopping(stop) => Step::AwaitStop(stop.clone()),
            Phase::Ready | Phase::Unknown | Phase::Stopped => {
                let start = Rc::clone(self).start().boxed_local().shared();
                inner.phase = Phase::Starting(start.clone());
                drop(inner);
                // On its own, so that it does not end with the request that began it.
                self.platform.spawn(start.clone().map(drop).boxed_local());
                Step::AwaitStart(start)
            }
        }
    }

    /// A request to the container was lost, or it says that it takes none: before the next one, it is looked at.
    pub fn doubt(&self) {
        let mut inner = self.inner.borrow_mut();
        if matches!(inner.phase, Phase::Ready) {
            inner.phase = Phase::Unknown;
        }
    }

    /// Ends with the container that runs now: whoever waits for its answer would wait in vain.
    pub fn gone(&self) -> impl Future<Output = Exit> + use<P> {
        let exit = self.inner.borrow().exit.clone();
        async move {
            match exit {
                Some(exit) => exit.await,
                None => future::pending().await,
            }
        }
    }

    /// A request is under way until the lease is dropped.
    pub fn lease(self: &Rc<Self>) -> Lease<P> {
        let now = self.platform.now();
        let mut inner = self.inner.borrow_mut();
        inner.leases_given += 1;
        let number = inner.leases_given;
        inner.leases.insert(number, now);
        inner.last_activity = now;
        (inner.silent_since, inner.is_at_rest) = (None, false);
        drop(inner);
        self.arm();
        Lease { number, lifecycle: Rc::clone(self) }
    }

    /// The alarm went off: puts the container to sleep if nobody needs it, or sets the alarm anew.
    pub async fn alarm(self: &Rc<Self>) {
        self.inner.borrow_mut().alarm_at = None;
        if !self.platform.running() {
            return;
        }
        if !self.is_idle() {
            self.arm();
            return;
        }
        let asked_at = self.platform.now();
        let word = self.platform.probe(IDLE_LOOK).await;
        let is_in_doubt = self.note(&word, asked_at);
        // A request may have come while the container was asked.
        if self.is_idle() && !is_in_doubt {
            self.begin_stop("idle").await;
        } else {
            self.arm();
        }
    }

    /// Notes what a container that seems idle said of it. Whether it may be at work all the same.
    fn note(&self, word: &Probe, asked_at: u64) -> bool {
        let now = self.platform.now();
        let mut inner = self.inner.borrow_mut();
        let (is_done, worked) = match word {
            Probe::Ready { work: 1.., .. } => (false, Some(Duration::ZERO)),
            // What came of a job is to be had for as long as after a request.
            Probe::Ready { work: 0, rested } => (true, *rested),
            // It may be busy with jobs that nobody waits for.
            Probe::NotReady(_) | Probe::NoAnswer(_) => {
                let silent_since = *inner.silent_since.get_or_insert(asked_at);
                let patience = if inner.is_at_rest { SILENCE_AT_REST } else { SILENCE_AT_WORK };
                return now < silent_since + milliseconds(patience);
            }
        };
        inner.silent_since = None;
        let was_asked_meanwhile = inner.last_activity >= asked_at;
        inner.is_at_rest = is_done && !was_asked_meanwhile;
        let worked_at = worked.map(|ago| now.saturating_sub(milliseconds(ago)));
        inner.last_activity = inner.last_activity.max(worked_at.unwrap_or(0));
        false
    }

    /// What can be told without waking the container.
    pub fn status(&self) -> Status {
        let inner = self.inner.borrow();
        let state = match inner.phase {
            Phase::Stopping(_) => "stopping",
            Phase::Starting(_) => "starting",
            _ if !self.platform.running() => "sleeping",
            Phase::Ready => "ready",
            Phase::Unknown | Phase::Stopped => "unknown",
        };
        // The settings are nobody's business, not even by their digest.
        let record = Record { started_with: None, ..inner.record.clone() };
        Status { state: state.to_owned(), in_flight: inner.leases.len(), record }
    }

    /// The platform it acts upon.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    async fn start(self: Rc<Self>) -> Result<(), StartFailure> {
        let outcome = self.bring_up().await;
        if outcome.is_err() && self.platform.running() {
            // One that does not become ready costs money and helps nobody; the next request gets a fresh one.
            self.platform.destroy().await;
        }
        let phase = match outcome {
            Ok(()) => Phase::Ready,
            Err(_) => Phase::Stopped,
        };
        self.inner.borrow_mut().phase = phase;
        outcome
    }

    async fn bring_up(self: &Rc<Self>) -> Result<(), StartFailure> {
        let limit = self.options.start_timeout;
        let deadline = self.platform.now() + milliseconds(limit);
        let (mut starts, mut pause, mut patience) = (0, PAUSE_FIRST, PROBE_FIRST);
        let mut last = "it was not asked yet".to_owned();
        loop {
            if !self.platform.running() {
                self.start_again(&mut starts)?;
            } else if self.inner.borrow().ended.is_some() {
                // It runs on although its end was told of: nobody is to wait for an end that has come already.
                self.watch();
            }
            let left = Duration::from_millis(deadline.saturating_sub(self.platform.now()));
            if left.is_zero() {
                return Err(StartFailure::NotInTime { limit, last });
            }
            match self.platform.probe(left.min(patience)).await {
                Probe::Ready { .. } => return Ok(()),
                Probe::NotReady(why) | Probe::NoAnswer(why) => last = why,
            }
            self.platform.sleep(pause.min(left)).await;
            (pause, patience) = ((pause * 2).min(PAUSE_MAX), (patience * 2).min(PROBE_MAX));
        }
    }

    fn start_again(self: &Rc<Self>, starts: &mut u32) -> Result<(), StartFailure> {
        let ended = self.inner.borrow_mut().ended.take().filter(|_| *starts > 0);
        match ended {
            Some(Exit::NoInstance(why)) => return Err(StartFailure::NoInstance(why)),
            ended if *starts == STARTS_MAX => {
                let exit = ended.map_or_else(|| "no word".to_owned(), |exit| exit.to_string());
                return Err(StartFailure::Died { starts: *starts, exit });
            }
            _ => {}
        }
        self.platform.start().map_err(|fault| match fault {
            StartFault::NoInstance(why) => StartFailure::NoInstance(why),
            StartFault::Other(why) => StartFailure::Refused(why),
        })?;
        *starts += 1;
        {
            let mut inner = self.inner.borrow_mut();
            inner.record.starts += 1;
            inner.record.started_at = Some(self.platform.now());
            inner.record.started_with = Some(self.platform.fingerprint());
            inner.last_activity = self.platform.now();
            self.platform.keep(&inner.record);
        }
        self.watch();
        self.arm();
        Ok(())
    }

    /// Notes the end of the container that runs now.
    fn watch(self: &Rc<Self>) {
        let exit = self.platform.exit().shared();
        let generation = {
            let mut inner = self.inner.borrow_mut();
            inner.generation += 1;
            inner.exit = Some(exit.clone());
            inner.ended = None;
            inner.generation
        };
        let lifecycle = Rc::clone(self);
        let task = async move {
            let exit = exit.await;
            let mut inner = lifecycle.inner.borrow_mut();
            inner.record.last_exit = Some((exit.clone(), lifecycle.platform.now()));
            lifecycle.platform.keep(&inner.record);
            lifecycle.platform.ended(&exit);
            if inner.generation != generation {
                return;
            }
            inner.ended = Some(exit);
            // A start or a stop that is under way sees for itself.
            if matches!(inner.phase, Phase::Ready | Phase::Unknown) {
                inner.phase = Phase::Stopped;
            }
        };
        self.platform.spawn(task.boxed_local());
    }

    /// Whether no request is under way and none was for long enough. Leases that are too old no longer count.
    fn is_idle(&self) -> bool {
        let now = self.platform.now();
        let mut inner = self.inner.borrow_mut();
        inner.leases.retain(|_, since| now < *since + milliseconds(self.options.lease_max));
        let at_work =
            matches!(inner.phase, Phase::Starting(_) | Phase::Stopping(_)) || !inner.leases.is_empty();
        !at_work && now >= inner.last_activity + milliseconds(self.options.sleep_after)
    }

    /// Sets the alarm for when the container may be idle, unless one is set.
    fn arm(&self) {
        let now = self.platform.now();
        let mut inner = self.inner.borrow_mut();
        if inner.alarm_at.is_some() {
            return;
        }
        let since = if inner.leases.is_empty() { inner.last_activity } else { now };
        let at = (since + milliseconds(self.options.sleep_after)).max(now + milliseconds(ALARM_MIN));
        inner.alarm_at = Some(at);
        self.platform.wake_at(at);
    }

    fn is_outdated(&self) -> bool {
        self.inner.borrow().record.started_with != Some(self.platform.fingerprint())
    }

    /// Whoever asks from now on waits for the end.
    fn begin_stop(self: &Rc<Self>, why: &'static str) -> Stop {
        let stop = Rc::clone(self).end(why).boxed_local().shared();
        self.inner.borrow_mut().phase = Phase::Stopping(stop.clone());
        stop
    }

    async fn end(self: Rc<Self>, why: &'static str) {
        self.platform.ask_to_end(why);
        let deadline = self.platform.now() + milliseconds(self.options.stop_timeout);
        while self.platform.running() && self.platform.now() < deadline {
            self.platform.sleep(STOP_PAUSE).await;
        }
        if self.platform.running() {
            self.platform.destroy().await;
        }
        self.inner.borrow_mut().phase = Phase::Stopped;
    }
}

impl<P: Platform> Lease<P> {
    /// The request is seen to be alive: its lease is as good as new.
    pub fn renew(&self) {
        let now = self.lifecycle.platform.now();
        self.lifecycle.inner.borrow_mut().leases.insert(self.number, now);
    }
}

impl<P: Platform> Drop for Lease<P> {
    fn drop(&mut self) {
        let mut inner = self.lifecycle.inner.borrow_mut();
        inner.leases.remove(&self.number);
        inner.last_activity = self.lifecycle.platform.now();
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests;
