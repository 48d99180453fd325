//! The lifecycle of one container: one start however many requests wait for it, a watch while it runs, and a stop when
//! it is idle.
//!
//! The platform that these rules act on is a trait, so each rule is tested natively on a simulated clock.
//! `docs/EDGE.md` compares them with those of Cloudflare's own container class.
//!
//! ```text
//!            ready()              /readyz is 2xx
//!  Stopped ───────────▶ Starting ───────────────▶ Ready ◀──┐
//!     ▲                    │                       │  │    │ ready()
//!     │  failed to start   │     a request failed  │  └▶ Unknown
//!     ├────────────────────┘                       │
//!     │                                            │ idle
//!     └────────────────── Stopping ◀───────────────┘
//! ```

mod platform;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use futures_util::{
    FutureExt as _,
    future::{self, LocalBoxFuture, Shared},
};
use serde::{Deserialize, Serialize};

pub use platform::{ContainerExit, Platform, Probe, StartError};

/// First pause between two probes of a container that is not ready. Each pause is twice the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Time limit of the first probe. Each limit is twice the one before. The container may never respond to a probe that
/// is sent while it boots, so a long first limit would delay every cold start.
const PROBE_LIMIT_FIRST: Duration = Duration::from_millis(250);
/// Longest time limit of a probe.
const PROBE_LIMIT_MAX: Duration = Duration::from_secs(2);
/// How often a container that ends while it starts is started for the same requests.
const STARTS_MAX: u32 = 3;
/// Time limit of the probe before a stop. A container with a fraction of a core and a running proof responds slowly,
/// and no request waits for this probe.
const IDLE_PROBE_LIMIT: Duration = Duration::from_secs(10);
/// How long a container without work may fail to respond before it is stopped anyway.
const SILENT_MAX_WITHOUT_WORK: Duration = Duration::from_secs(30);
/// The same for a container that may have work: accepted jobs are worth more than the minutes that a dead container
/// costs.
const SILENT_MAX_WITH_WORK: Duration = Duration::from_mins(10);
/// Shortest time until the alarm. An alarm that is due at once would repeat without a pause.
const ALARM_MIN: Duration = Duration::from_secs(1);
/// Pause between two checks of a container after SIGTERM.
const STOP_PAUSE: Duration = Duration::from_millis(100);

/// Times of a container's lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifecycleOptions {
    /// How long a container without work stays awake.
    pub sleep_after: Duration,
    /// How long a container may take to become ready.
    pub start_timeout: Duration,
    /// How long a container may take to end after SIGTERM.
    pub stop_timeout: Duration,
    /// How long one request can keep a container awake. A caller may disappear without the edge noticing it.
    pub lease_max: Duration,
}

/// Why no container is ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartFailure {
    /// The platform has no free container.
    #[error("the platform has no free container: {message}")]
    NoInstance {
        /// The platform's message.
        message: String,
    },
    /// The platform refused to start it.
    #[error("the platform does not start the container: {message}")]
    Refused {
        /// The platform's message.
        message: String,
    },
    /// It ended each time before it was ready.
    #[error("the container ended {starts} times while it started, the last time with {}", last_exit(exit.as_ref()))]
    Exited {
        /// How often it was started.
        starts: u32,
        /// How it last ended; `None` if the platform did not report it.
        exit: Option<ContainerExit>,
    },
    /// It was not ready in time.
    #[error("the container was not ready within {} s; {last_probe}", limit.as_secs())]
    TimedOut {
        /// The time limit.
        limit: Duration,
        /// The result of the last probe.
        last_probe: String,
    },
}

fn last_exit(exit: Option<&ContainerExit>) -> String {
    exit.map_or_else(|| "no reported reason".to_owned(), ToString::to_string)
}

/// What an object stores of its container, so that it outlives the object's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When the container was last started, in milliseconds since 1970.
    pub started_at: Option<u64>,
    /// How often it was started.
    pub starts: u64,
    /// How it last ended.
    pub last_exit: Option<LastExit>,
    /// What it was last started with: [`Platform::fingerprint`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_with: Option<String>,
}

/// How and when a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// How.
    pub exit: ContainerExit,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// The state of a container, as its object reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// It does not run and costs nothing.
    Sleeping,
    /// It runs and is not ready yet.
    Starting,
    /// It accepts requests.
    Ready,
    /// It runs; the next request probes it first.
    Unknown,
    /// It got SIGTERM and has not ended.
    Stopping,
}

/// What an object reports of its container without waking it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its state.
    pub state: ContainerState,
    /// Requests that wait for its response, as far as the edge knows.
    pub in_flight: usize,
    /// Its starts and ends.
    pub record: Record,
}

/// The lifecycle of one container.
pub struct Lifecycle<P> {
    platform: P,
    options: LifecycleOptions,
    inner: RefCell<Inner>,
}

struct Inner {
    phase: Phase,
    /// Counts the containers that were watched, so that a late exit of an earlier one does not change the present one.
    generation: u64,
    /// Completes when the container of this generation ends.
    exit: Option<ExitWatch>,
    /// How the container of this generation ended.
    ended: Option<ContainerExit>,
    /// When each lease began or was renewed, by its number.
    leases: BTreeMap<u64, u64>,
    last_lease: u64,
    last_activity: u64,
    /// Since when the container does not respond to the probes before a stop.
    silent_since: Option<u64>,
    /// The container reported that it has no work, and got no request since.
    is_without_work: bool,
    alarm_at: Option<u64>,
    record: Record,
}

enum Phase {
    /// It may run and may be ready: it was not probed yet, or a request to it failed.
    Unknown,
    Stopped,
    Starting(Start),
    Ready,
    Stopping(Stop),
}

type Start = Shared<LocalBoxFuture<'static, Result<(), StartFailure>>>;
type ExitWatch = Shared<LocalBoxFuture<'static, ContainerExit>>;
type Stop = Shared<LocalBoxFuture<'static, ()>>;

/// What a request waits for before it is sent to the container.
enum Step {
    Done,
    AwaitStart(Start),
    AwaitStop(Stop),
}

/// What a probe means for a container that seems idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdleVerdict {
    /// It responded, or did not respond for so long that it counts as dead.
    Known,
    /// It does not respond and may have work: it is probed another time.
    MayHaveWork,
}

/// Keeps the container awake during a request. Dropping it starts the idle time.
pub struct Lease<P: Platform> {
    number: u64,
    lifecycle: Rc<Lifecycle<P>>,
}

impl<P: Platform> Lifecycle<P> {
    /// Takes over a container as it is: the object may have been evicted while the container ran. A container that was
    /// started with other settings than the present ones is replaced: it would not know a new secret of the edge.
    pub fn take_over(platform: P, options: LifecycleOptions, record: Record) -> Rc<Self> {
        let inner = Inner {
            phase: if platform.is_running() { Phase::Unknown } else { Phase::Stopped },
            generation: 0,
            exit: None,
            ended: None,
            leases: BTreeMap::new(),
            last_lease: 0,
            last_activity: platform.now(),
            silent_since: None,
            is_without_work: false,
            alarm_at: None,
            record,
        };
        let lifecycle = Rc::new(Self { platform, options, inner: RefCell::new(inner) });
        if lifecycle.platform.is_running() {
            lifecycle.watch();
            if lifecycle.is_outdated() {
                let stop = lifecycle.begin_stop("started with other settings");
                lifecycle.platform.spawn(stop.boxed_local());
            } else {
                lifecycle.schedule_alarm();
            }
        }
        lifecycle
    }

    /// Waits until the container accepts requests, and starts it if necessary. All requests wait for the same start.
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
            Phase::Ready if self.platform.is_running() => Step::Done,
            Phase::Starting(start) => Step::AwaitStart(start.clone()),
            Phase::Stopping(stop) => Step::AwaitStop(stop.clone()),
            Phase::Ready | Phase::Unknown | Phase::Stopped => {
                let start = Rc::clone(self).start().boxed_local().shared();
                inner.phase = Phase::Starting(start.clone());
                drop(inner);
                // A task of its own, so that the start goes on when the request that began it ends.
                self.platform.spawn(start.clone().map(drop).boxed_local());
                Step::AwaitStart(start)
            }
        }
    }

    /// Notes that a request to the container failed, or that it accepts none. The next request probes it first.
    pub fn mark_unknown(&self) {
        let mut inner = self.inner.borrow_mut();
        if matches!(inner.phase, Phase::Ready) {
            inner.phase = Phase::Unknown;
        }
    }

    /// Completes when the container that runs now ends. A request to it then gets no response any more.
    pub fn exit(&self) -> impl Future<Output = ContainerExit> + use<P> {
        let exit = self.inner.borrow().exit.clone();
        async move {
            match exit {
                Some(exit) => exit.await,
                None => future::pending().await,
            }
        }
    }

    /// Keeps the container awake until the lease is dropped.
    pub fn lease(self: &Rc<Self>) -> Lease<P> {
        let now = self.platform.now();
        let mut inner = self.inner.borrow_mut();
        inner.last_lease += 1;
        let number = inner.last_lease;
        inner.leases.insert(number, now);
        inner.last_activity = now;
        (inner.silent_since, inner.is_without_work) = (None, false);
        drop(inner);
        self.schedule_alarm();
        Lease { number, lifecycle: Rc::clone(self) }
    }

    /// Stops the container if it is idle, else schedules the next alarm. The platform calls this when the alarm is due.
    pub async fn alarm(self: &Rc<Self>) {
        self.inner.borrow_mut().alarm_at = None;
        if !self.platform.is_running() {
            return;
        }
        if !self.is_idle() {
            self.schedule_alarm();
            return;
        }
        let probed_at = self.platform.now();
        let probe = self.platform.probe(IDLE_PROBE_LIMIT).await;
        let verdict = self.note_idle_probe(&probe, probed_at);
        // A request may have arrived during the probe.
        if self.is_idle() && verdict == IdleVerdict::Known {
            self.begin_stop("idle").await;
        } else {
            self.schedule_alarm();
        }
    }

    fn note_idle_probe(&self, probe: &Probe, probed_at: u64) -> IdleVerdict {
        let now = self.platform.now();
        let mut inner = self.inner.borrow_mut();
        let (is_done, worked) = match probe {
            Probe::Ready { work: 1.., .. } => (false, Some(Duration::ZERO)),
            // The result of a job stays available as long as the container would stay awake after a request.
            Probe::Ready { work: 0, idle_for } => (true, *idle_for),
            // It may be busy with jobs that no request waits for.
            Probe::NotReady(_) | Probe::NoResponse(_) => {
                let silent_since = *inner.silent_since.get_or_insert(probed_at);
                let silent_max =
                    if inner.is_without_work { SILENT_MAX_WITHOUT_WORK } else { SILENT_MAX_WITH_WORK };
                let may_have_work = now < silent_since + milliseconds(silent_max);
                return if may_have_work { IdleVerdict::MayHaveWork } else { IdleVerdict::Known };
            }
        };
        inner.silent_since = None;
        let got_request_meanwhile = inner.last_activity >= probed_at;
        inner.is_without_work = is_done && !got_request_meanwhile;
        let worked_at = worked.map(|ago| now.saturating_sub(milliseconds(ago)));
        inner.last_activity = inner.last_activity.max(worked_at.unwrap_or(0));
        IdleVerdict::Known
    }

    /// The status of the container. It does not wake it.
    pub fn status(&self) -> Status {
        let inner = self.inner.borrow();
        let is_running = self.platform.is_running();
        let state = match inner.phase {
            Phase::Stopping(_) => ContainerState::Stopping,
            Phase::Starting(_) => ContainerState::Starting,
            Phase::Ready | Phase::Unknown | Phase::Stopped if !is_running => ContainerState::Sleeping,
            Phase::Ready => ContainerState::Ready,
            Phase::Unknown | Phase::Stopped => ContainerState::Unknown,
        };
        // The digest of the settings stays inside the object.
        let record = Record { started_with: None, ..inner.record.clone() };
        Status { state, in_flight: inner.leases.len(), record }
    }

    /// Whether the container runs and accepted requests when it was last probed, so that a request may be sent to it
    /// without waking it.
    pub fn is_awake(&self) -> bool {
        let accepts_requests = matches!(self.inner.borrow().phase, Phase::Ready | Phase::Unknown);
        accepts_requests && self.platform.is_running()
    }

    /// The platform of the container.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    async fn start(self: Rc<Self>) -> Result<(), StartFailure> {
        let outcome = self.start_until_ready().await;
        if outcome.is_err() && self.platform.is_running() {
            // A container that does not become ready only costs money; the next request starts a new one.
            self.platform.destroy().await;
        }
        self.inner.borrow_mut().phase = if outcome.is_ok() { Phase::Ready } else { Phase::Stopped };
        outcome
    }

    async fn start_until_ready(self: &Rc<Self>) -> Result<(), StartFailure> {
        let limit = self.options.start_timeout;
        let deadline = self.platform.now() + milliseconds(limit);
        let (mut starts, mut pause, mut probe_limit) = (0, PAUSE_FIRST, PROBE_LIMIT_FIRST);
        let mut last_probe = "it was not probed yet".to_owned();
        loop {
            if !self.platform.is_running() {
                self.start_once(&mut starts)?;
            } else if self.inner.borrow().ended.is_some() {
                // It runs although its end was reported: requests must not wait for an end that already came.
                self.watch();
            }
            let left = Duration::from_millis(deadline.saturating_sub(self.platform.now()));
            if left.is_zero() {
                return Err(StartFailure::TimedOut { limit, last_probe });
            }
            match self.platform.probe(left.min(probe_limit)).await {
                Probe::Ready { .. } => return Ok(()),
                Probe::NotReady(reason) | Probe::NoResponse(reason) => last_probe = reason,
            }
            self.platform.sleep(pause.min(left)).await;
            (pause, probe_limit) = ((pause * 2).min(PAUSE_MAX), (probe_limit * 2).min(PROBE_LIMIT_MAX));
        }
    }

    fn start_once(self: &Rc<Self>, starts: &mut u32) -> Result<(), StartFailure> {
        let exit = self.inner.borrow_mut().ended.take().filter(|_| *starts > 0);
        if let Some(ContainerExit::NoInstance(message)) = exit {
            return Err(StartFailure::NoInstance { message });
        }
        if *starts == STARTS_MAX {
            return Err(StartFailure::Exited { starts: *starts, exit });
        }
        self.platform.start().map_err(|error| match error {
            StartError::NoInstance(message) => StartFailure::NoInstance { message },
            StartError::Refused(message) => StartFailure::Refused { message },
        })?;
        *starts += 1;
        {
            let mut inner = self.inner.borrow_mut();
            inner.record.starts += 1;
            inner.record.started_at = Some(self.platform.now());
            inner.record.started_with = Some(self.platform.fingerprint());
            inner.last_activity = self.platform.now();
            self.platform.store(&inner.record);
        }
        self.watch();
        self.schedule_alarm();
        Ok(())
    }

    /// Watches the container that runs now, and records its end.
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
            inner.record.last_exit = Some(LastExit { exit: exit.clone(), at: lifecycle.platform.now() });
            lifecycle.platform.store(&inner.record);
            lifecycle.platform.log_exit(&exit);
            if inner.generation != generation {
                return;
            }
            inner.ended = Some(exit);
            // A running start or stop notices the end itself.
            if matches!(inner.phase, Phase::Ready | Phase::Unknown) {
                inner.phase = Phase::Stopped;
            }
        };
        self.platform.spawn(task.boxed_local());
    }

    /// Whether no request is in flight and none was for `sleep_after`. Leases that are too old do not count.
    fn is_idle(&self) -> bool {
        let now = self.platform.now();
        let mut inner = self.inner.borrow_mut();
        inner.leases.retain(|_, since| now < *since + milliseconds(self.options.lease_max));
        let is_changing = matches!(inner.phase, Phase::Starting(_) | Phase::Stopping(_));
        let is_unused = inner.leases.is_empty() && !is_changing;
        is_unused && now >= inner.last_activity + milliseconds(self.options.sleep_after)
    }

    /// Sets the alarm to the end of the idle time, unless an alarm is set.
    fn schedule_alarm(&self) {
        let now = self.platform.now();
        let mut inner = self.inner.borrow_mut();
        if inner.alarm_at.is_some() {
            return;
        }
        let since = if inner.leases.is_empty() { inner.last_activity } else { now };
        let at = (since + milliseconds(self.options.sleep_after)).max(now + milliseconds(ALARM_MIN));
        inner.alarm_at = Some(at);
        self.platform.set_alarm(at);
    }

    fn is_outdated(&self) -> bool {
        self.inner.borrow().record.started_with != Some(self.platform.fingerprint())
    }

    /// Stops the container. Requests that arrive from now on wait for its end.
    fn begin_stop(self: &Rc<Self>, reason: &'static str) -> Stop {
        let stop = Rc::clone(self).stop(reason).boxed_local().shared();
        self.inner.borrow_mut().phase = Phase::Stopping(stop.clone());
        stop
    }

    async fn stop(self: Rc<Self>, reason: &'static str) {
        self.platform.request_stop(reason);
        let deadline = self.platform.now() + milliseconds(self.options.stop_timeout);
        while self.platform.is_running() && self.platform.now() < deadline {
            self.platform.sleep(STOP_PAUSE).await;
        }
        if self.platform.is_running() {
            self.platform.destroy().await;
        }
        self.inner.borrow_mut().phase = Phase::Stopped;
    }
}

impl<P: Platform> Lease<P> {
    /// Restarts the age of the lease: its request is active.
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
