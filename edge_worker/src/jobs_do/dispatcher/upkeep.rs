//! The alarm of the object, and what is done when it fires.

use std::{rc::Rc, time::Duration};

use edgeprove_job_rules::time::UnixMillis;
use wasm_bindgen::JsValue;
use worker::{Delay, ScheduledTime, js_sys};

use super::{Core, log_error, now, now_ms};
use crate::jobs_do::{
    protocol::{PROOF_PREFIX, SEALED_PREFIX, WITNESS_PREFIX},
    queue::{LeaseStatus, Tidied},
};

/// How long the handler of an alarm runs at most. Cloudflare ends it after 15 minutes.
const HANDLER_MAX: Duration = Duration::from_mins(10);
/// The interval at which it looks while jobs run.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon the alarm fires where jobs wait for a running one.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// How often artifacts are looked for that no job names.
const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// The age of artifacts that are looked for. An upload is shorter.
const SWEEP_AGE: Duration = Duration::from_hours(1);
/// The age of marks of sealed bodies, which are valid for two minutes.
const SEALED_AGE: Duration = Duration::from_mins(10);
/// Most artifacts of a page of the sweep, and most pages of one.
const SWEEP_PAGE: u32 = 500;
const SWEEP_PAGES: u32 = 20;
/// When artifacts are removed again after the bucket failed.
const TIDY_PAUSE: Duration = Duration::from_secs(30);
/// The name of the mark of the last sweep.
const SWEEP: &str = "sweep";
/// Most artifacts that are removed in one step.
const DOOMED_STEP: u32 = 50;

impl Core {
    /// Sets the object's alarm for the next time at which something is due. An alarm that fires earlier is left: it finds out
    /// the rest.
    pub async fn schedule(&self) {
        if self.is_alarmed.get() {
            return;
        }
        let at = now();
        let target = match self.target(at) {
            Ok(target) => target.0.max(at.0),
            Err(error) => {
                log_error("queue_unreadable", None, &error.to_string());
                at.after(BUSY_PAUSE).0
            }
        };
        if self.alarm_at.get().is_some_and(|set| at.0 <= set && set <= target) {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a time in milliseconds is far below 2^53")]
        let date = js_sys::Date::new(&JsValue::from_f64(target as f64));
        self.alarm_at.set(Some(target));
        if let Err(error) = self.state.storage().set_alarm(ScheduledTime::new(date)).await {
            self.alarm_at.set(None);
            log_error("alarm_not_set", None, &error.to_string());
        }
    }

    fn target(&self, at: UnixMillis) -> Result<UnixMillis, crate::jobs_do::error::QueueError> {
        let (due, upkeep) = self.queue.next(at)?;
        let due = due.map(|due| {
            let is_busy = !self.running.borrow().is_empty() || self.fleet.borrow().is_waking();
            let paused = self.fleet.borrow().paused_until(now_ms());
            match (due <= at, is_busy, paused) {
                (false, _, _) => due,
                (true, true, _) => at.after(BUSY_PAUSE),
                (true, false, Some(until)) => UnixMillis(i64::try_from(until).unwrap_or(i64::MAX)),
                (true, false, None) => at.after(LOOK_EVERY),
            }
        });
        let paused = self.tidy_paused_until.get();
        let upkeep = upkeep.map(|upkeep| upkeep.max(paused));
        let sweep = self.queue.mark(SWEEP)?.map_or(at, |last| last.after(SWEEP_EVERY));
        Ok([due, upkeep, Some(sweep)].into_iter().flatten().min().unwrap_or(sweep))
    }

    /// Handles an alarm: does all that is due, and stays until no job runs. The object is not evicted meanwhile.
    pub async fn alarm(self: &Rc<Self>) {
        self.alarm_at.set(None);
        if self.is_alarmed.replace(true) {
            return;
        }
        let until = now().after(HANDLER_MAX);
        loop {
            self.keep_up();
            self.pump();
            self.tidy().await;
            self.sweep().await;
            let is_busy = !self.running.borrow().is_empty() || self.fleet.borrow().is_waking();
            if !is_busy || now() > until {
                break;
            }
            Delay::from(LOOK_EVERY).await;
        }
        self.is_alarmed.set(false);
        self.schedule().await;
    }

    /// Renews the leases of this object, ends others that are over, and expires jobs.
    fn keep_up(&self) {
        let at = now();
        // If the clock was set forwards, all leases seem to be over, also those of running attempts.
        for (job, controller) in self.running.borrow().iter() {
            if let Ok(LeaseStatus::CancelRequested | LeaseStatus::Lost) = self.queue.heartbeat(job, at) {
                controller.abort();
            }
        }
        loop {
            let tidied = self.queue.reap(at, at).and_then(|lost| {
                let Tidied { mut changed, has_more } = self.queue.expire(at)?;
                changed.extend(lost.changed);
                Ok(Tidied { changed, has_more })
            });
            match tidied {
                Ok(Tidied { changed, has_more }) => {
                    for id in changed {
                        self.report(id);
                    }
                    if !has_more {
                        return;
                    }
                }
                Err(error) => return log_error("upkeep_failed", None, &error.to_string()),
            }
        }
    }

    /// Removes the artifacts that nobody needs any more.
    pub async fn tidy(&self) {
        if now() < self.tidy_paused_until.get() || self.is_tidying.replace(true) {
            return;
        }
        loop {
            let doomed = match self.queue.doomed(DOOMED_STEP, now()) {
                Ok(doomed) => doomed,
                Err(error) => {
                    log_error("queue_unreadable", None, &error.to_string());
                    break;
                }
            };
            let mut has_failed = doomed.is_empty();
            for doomed in doomed {
                if let Err(error) = self.artifacts.delete(&doomed.artifact).await {
                    log_error("artifact_not_removed", None, &error.cause().unwrap_or(error.detail()));
                    self.tidy_paused_until.set(now().after(TIDY_PAUSE));
                    has_failed = true;
                } else if let Err(error) = self.queue.forget(&doomed) {
                    log_error("artifact_not_forgotten", None, &error.to_string());
                    has_failed = true;
                }
            }
            if has_failed {
                break;
            }
        }
        self.is_tidying.set(false);
    }

    /// Removes artifacts that no job names: an object ended before it accepted the job, or after it lost the lease.
    async fn sweep(&self) {
        let at = now();
        match self.queue.mark(SWEEP) {
            Ok(Some(last)) if at < last.after(SWEEP_EVERY) => return,
            Ok(_) => {}
            Err(error) => return log_error("queue_unreadable", None, &error.to_string()),
        }
        if let Err(error) = self.queue.set_mark(SWEEP, at) {
            return log_error("sweep_not_started", None, &error.to_string());
        }
        for (prefix, age) in
            [(WITNESS_PREFIX, SWEEP_AGE), (PROOF_PREFIX, SWEEP_AGE), (SEALED_PREFIX, SEALED_AGE)]
        {
            let mut after: Option<String> = None;
            for _ in 0..SWEEP_PAGES {
                let page = self.artifacts.older_than(prefix, age, after.as_deref(), SWEEP_PAGE).await;
                let page = match page {
                    Ok(page) => page,
                    Err(error) => {
                        return log_error("sweep_failed", None, &error.cause().unwrap_or(error.detail()));
                    }
                };
                let orphans = match self.queue.orphans(page.names) {
                    Ok(orphans) => orphans,
                    Err(error) => return log_error("queue_unreadable", None, &error.to_string()),
                };
                for orphan in orphans {
                    if let Err(error) = self.artifacts.delete(&orphan).await {
                        return log_error("sweep_failed", None, &error.cause().unwrap_or(error.detail()));
                    }
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
    }
}
