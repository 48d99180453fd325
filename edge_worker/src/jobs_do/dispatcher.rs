//! Runs the jobs of the queue: claims them, sends their bodies to containers, stores the proofs, and ends the attempts.
//!
//! 1. A job is claimed when a container has a free core ([`Fleet`]). The claim is a lease with a fencing token.
//! 2. The body streams from the bucket to the container. Meanwhile the lease is renewed, which also shows whether a caller
//!    cancelled the job.
//! 3. The proof is stored under a new name, and the attempt ends with its token. If the lease was lost meanwhile, nothing
//!    changes, and the stored proof is removed.
//!
//! The object can end at any moment. The next one finds the lease of an attempt that nobody makes any more, and repeats it.

mod attempt;
mod upkeep;

use std::{
    cell::{Cell, RefCell},
    num::NonZeroUsize,
    rc::Rc,
    time::Duration,
};

use edgeprove_job_rules::{job::Job, time::UnixMillis};
use edgeprove_protocol::{JobId, JobStatus};
use worker::{Date, Env, State, console_error, console_log};

use super::{
    changes::Changes,
    fleet::Fleet,
    queue::{AttemptEnd, Queue},
};
use crate::{artifacts::Artifacts, log, settings::Settings};

/// How much longer than a container's object the dispatcher waits.
const OBJECT_MARGIN: Duration = Duration::from_secs(2);

/// What the object has while it lives.
pub struct Core {
    pub(super) state: Rc<State>,
    pub(super) env: Env,
    pub(super) settings: Settings,
    pub(super) queue: Queue,
    pub(super) changes: Rc<Changes>,
    artifacts: Artifacts,
    fleet: RefCell<Fleet>,
    /// The attempts that run, each with what aborts its request.
    running: RefCell<Vec<(Job, web_sys::AbortController)>>,
    /// When the object's alarm is set, as far as it is known.
    alarm_at: Cell<Option<i64>>,
    /// Whether the alarm's handler runs: it looks at everything until nothing is left to do.
    is_alarmed: Cell<bool>,
    is_tidying: Cell<bool>,
    /// No artifact is removed before this time.
    tidy_paused_until: Cell<UnixMillis>,
}

/// A line of the log about a job.
#[derive(serde::Serialize)]
struct JobLine<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<u16>,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

/// The time now.
#[must_use]
pub fn now() -> UnixMillis {
    UnixMillis(i64::try_from(Date::now().as_millis()).unwrap_or(i64::MAX))
}

fn now_ms() -> u64 {
    Date::now().as_millis()
}

/// Logs a failure of the object itself.
pub fn log_error(event: &'static str, job_id: Option<JobId>, detail: &str) {
    console_error!("{}", log::text(&JobLine { event, job_id, instance: None, detail }));
}

fn log_event(event: &'static str, job_id: Option<JobId>, instance: u16, detail: &str) {
    console_log!("{}", log::text(&JobLine { event, job_id, instance: Some(instance), detail }));
}

impl Core {
    /// What an object has that starts now, in front of the containers or the server of these settings.
    #[must_use]
    pub fn new(state: Rc<State>, env: Env, settings: Settings, queue: Queue, artifacts: Artifacts) -> Self {
        let fleet = match settings.upstream {
            Some(_) => Fleet::of_server(),
            None => Fleet::of_containers(settings.max_instances, settings.lifecycle.sleep_after),
        };
        Self {
            state,
            env,
            settings,
            queue,
            changes: Rc::default(),
            artifacts,
            fleet: RefCell::new(fleet),
            running: RefCell::default(),
            alarm_at: Cell::new(None),
            is_alarmed: Cell::new(false),
            is_tidying: Cell::new(false),
            tidy_paused_until: Cell::new(UnixMillis(0)),
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.state.wait_until(task);
    }

    /// Starts all jobs that containers have free cores for, and wakes a container where that is worth it.
    pub fn pump(self: &Rc<Self>) {
        loop {
            let free = self.fleet.borrow_mut().free(now_ms());
            let Some(instance) = free else { return self.wake_if_worth_it() };
            match self.queue.claim(now()) {
                Ok(Some(job)) => self.start(job, instance),
                Ok(None) => return,
                Err(error) => return log_error("job_not_claimed", None, &error.to_string()),
            }
        }
    }

    fn start(self: &Rc<Self>, job: Job, instance: u16) {
        self.fleet.borrow_mut().assigned(instance, now_ms());
        let Ok(controller) = web_sys::AbortController::new() else {
            log_error("job_not_started", Some(job.id), "the runtime has no AbortController");
            self.fleet.borrow_mut().failed(instance, true, now_ms());
            return self.end(&job, &AttemptEnd::Released);
        };
        self.running.borrow_mut().push((job.clone(), controller.clone()));
        self.report(job.id);
        log_event("job_started", Some(job.id), instance, "");
        let core = Rc::clone(self);
        self.spawn(async move {
            let end = core.attempt(&job, instance, &controller).await;
            core.running
                .borrow_mut()
                .retain(|(other, _)| other.lease_token != job.lease_token || other.id != job.id);
            if let Some(end) = end {
                core.end(&job, &end);
            }
            core.pump();
            core.tidy().await;
            core.schedule().await;
        });
    }

    /// Ends an attempt.
    fn end(self: &Rc<Self>, job: &Job, end: &AttemptEnd) {
        let is_lost = match self.queue.finish(job, end, now()) {
            Ok(Some(status)) => {
                let detail = match end {
                    AttemptEnd::Failed(problem) | AttemptEnd::Retry(problem) => problem.code.as_str(),
                    AttemptEnd::Completed { .. } | AttemptEnd::Released => "",
                };
                let event = match status {
                    JobStatus::Completed => "job_completed",
                    JobStatus::Failed => "job_failed",
                    JobStatus::Cancelled => "job_cancelled",
                    JobStatus::Queued | JobStatus::Running | JobStatus::Expired => "job_queued_again",
                };
                console_log!(
                    "{}",
                    log::text(&JobLine { event, job_id: Some(job.id), instance: None, detail })
                );
                false
            }
            Ok(None) => true,
            // Its lease ends, and the job runs again.
            Err(error) => {
                log_error("job_not_ended", Some(job.id), &error.to_string());
                true
            }
        };
        self.report(job.id);
        if let (true, AttemptEnd::Completed { result, .. }) = (is_lost, end) {
            let (core, result, id) = (Rc::clone(self), result.clone(), job.id);
            self.spawn(async move {
                // If it stays, the sweep removes it.
                if let Err(error) = core.artifacts.delete(&result).await {
                    log_error("artifact_not_removed", Some(id), &error.detail());
                }
            });
        }
    }

    /// Stops the attempt at a job that a caller cancelled.
    pub fn stop(&self, id: JobId) {
        if let Some((_, controller)) = self.running.borrow().iter().find(|(job, _)| job.id == id) {
            controller.abort();
        }
    }

    fn wake_if_worth_it(self: &Rc<Self>) {
        let at = now();
        match self.queue.next(at) {
            Ok((Some(due), _)) if due <= at => {}
            Ok(_) => return,
            Err(error) => return log_error("queue_unreadable", None, &error.to_string()),
        }
        let workers = NonZeroUsize::new(self.fleet.borrow().workers()).unwrap_or(NonZeroUsize::MIN);
        self.queue.set_workers(workers);
        let backlog = self.queue.backlog(workers, at).unwrap_or_else(|error| {
            log_error("queue_unreadable", None, &error.to_string());
            None
        });
        let wake = self.fleet.borrow_mut().wake(backlog.map(|backlog| backlog.expected), now_ms());
        let Some(instance) = wake else { return };
        log_event("container_woken_for_jobs", None, instance, "");
        let core = Rc::clone(self);
        self.spawn(async move {
            match core.ready(instance).await {
                Ok(load) => core.fleet.borrow_mut().woken(instance, load, now_ms()),
                Err(reason) => {
                    core.fleet.borrow_mut().failed(instance, false, now_ms());
                    log_error("container_not_woken_for_jobs", None, &reason);
                }
            }
            core.pump();
            core.schedule().await;
        });
    }

    /// Reports a change of a job to its streams and sockets.
    pub fn report(&self, id: JobId) {
        self.changes.report(id);
        self.push(id);
    }
}
