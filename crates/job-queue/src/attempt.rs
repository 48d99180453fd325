//! One attempt at a job: it reports its progress, renews its lease, and can be stopped.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use edgeprove_job_rules::{prediction::Estimate, progress::StageEstimate, time::UnixMillis};
use edgeprove_protocol::{JobId, Problem, ProblemType};
use futures_util::FutureExt as _;
use tokio::{
    sync::{broadcast, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    lease::{Lease, LeaseError},
    queue_types::{Change, JobOutcome, LeaseStatus, StageReport},
};

/// One attempt at a job, as the job's kind uses it.
pub struct Attempt {
    id: JobId,
    on_stage: OnStage,
    estimate: Option<Estimate>,
    now: Box<dyn Fn() -> UnixMillis + Send + Sync>,
    stage: watch::Sender<Option<StageReport>>,
    stop: watch::Sender<Option<StopReason>>,
}

/// Called when a stage starts.
pub type OnStage = Box<dyn Fn(StageReport) + Send + Sync>;

/// How a lease is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// The interval of renewals.
    pub every: Duration,
    /// The attempt ends when no renewal has succeeded for so long.
    pub give_up_after: Duration,
}

/// Why an attempt is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// A caller cancelled the job.
    CancelRequested,
    /// The lease is lost. Another worker may have the job.
    LeaseLost,
    /// The server stops.
    ShuttingDown,
}

impl Attempt {
    /// An attempt at a job that was claimed just now. `estimate` is for its work, `now` is the time by the queue's clock, and
    /// `on_stage` notifies the watchers on this server.
    #[must_use]
    pub fn new(
        id: JobId,
        estimate: Option<Estimate>,
        now: Box<dyn Fn() -> UnixMillis + Send + Sync>,
        on_stage: OnStage,
    ) -> Self {
        Self { id, on_stage, estimate, now, stage: watch::Sender::new(None), stop: watch::Sender::new(None) }
    }

    /// The id of the job.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Reports the start of a stage, one of the kind's [`stages`](crate::kind::JobKind::stages). Watchers on this server see
    /// it at once. The task that renews the lease writes it to the database soon after; until then a newer stage replaces it.
    pub fn report_stage(&self, stage: &'static str) {
        self.report_waiting_stage(stage, Estimate::NOTHING);
    }

    /// As [`Self::report_stage`], for a stage in which the attempt waits this long before its work begins.
    pub fn report_waiting_stage(&self, stage: &'static str, wait: Estimate) {
        let estimate = self.estimate.map(|work| StageEstimate { work, wait });
        let report = StageReport { name: stage, at: (self.now)(), estimate };
        (self.on_stage)(report);
        self.stage.send_replace(Some(report));
    }

    /// Waits until the attempt is stopped.
    pub async fn stopped(&self) -> StopReason {
        let mut stop = self.stop.subscribe();
        let reason = stop.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
        match reason {
            Some(reason) => reason,
            // The sender is a field of this attempt and outlives the borrow.
            None => std::future::pending().await,
        }
    }

    /// Waits until the lease is lost.
    pub async fn lease_lost(&self) {
        if self.stopped().await != StopReason::LeaseLost {
            std::future::pending::<()>().await;
        }
    }

    /// Stops the attempt. The first reason counts.
    pub(crate) fn stop(&self, reason: StopReason) {
        self.stop.send_if_modified(|stop| {
            let is_first = stop.is_none();
            stop.get_or_insert(reason);
            is_first
        });
    }

    /// Why the attempt was stopped, if it was.
    pub(crate) fn stop_reason(&self) -> Option<StopReason> {
        *self.stop.borrow()
    }

    /// Runs the work of the attempt until it ends or the attempt is stopped; `None` if the lease was lost. Work that panics fails,
    /// and another attempt may succeed.
    pub async fn run(
        &self,
        work: impl Future<Output = JobOutcome>,
        shutting_down: &CancellationToken,
    ) -> Option<JobOutcome> {
        let reason = tokio::select! {
            outcome = AssertUnwindSafe(work).catch_unwind() => {
                return Some(outcome.unwrap_or_else(|_| {
                    tracing::error!(job = %self.id, "a job panicked");
                    let detail = "the server failed while it ran this job";
                    JobOutcome::Retry(Box::new(Problem::new(ProblemType::Internal, detail, None)))
                }));
            }
            reason = self.stopped() => reason,
            () = shutting_down.cancelled() => {
                self.stop(StopReason::ShuttingDown);
                StopReason::ShuttingDown
            }
        };
        match reason {
            StopReason::CancelRequested | StopReason::ShuttingDown => Some(JobOutcome::Released),
            StopReason::LeaseLost => None,
        }
    }

    /// Renews the lease and writes the stage, until the attempt is stopped. A change of the job that others make leads to a renewal
    /// as well, since it may be a cancel request.
    pub async fn keep_lease(&self, lease: &dyn Lease, renewal: Renewal) {
        let mut changes = lease.changes();
        let mut stages = self.stage.subscribe();
        let mut beats = tokio::time::interval(renewal.every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.tick().await;
        if stages.borrow().is_some() {
            // It was reported before this task subscribed.
            stages.mark_changed();
        }
        let mut renewed = Instant::now();
        let mut unwritten = None;
        // The notifications of this task's own writes that it has not received yet.
        let mut own_changes = 0_u32;
        while self.stop_reason().is_none() {
            let renews = tokio::select! {
                _ = beats.tick() => true,
                noticed = noticed(changes.as_mut(), self.id) => match noticed {
                    Noticed::Change if own_changes > 0 => {
                        own_changes -= 1;
                        false
                    }
                    Noticed::Change => true,
                    Noticed::Unknown => {
                        own_changes = 0;
                        true
                    }
                },
                Ok(()) = stages.changed() => {
                    unwritten = *stages.borrow_and_update();
                    false
                }
            };
            if let Some(stage) = unwritten {
                match lease.report_stage(&stage).await {
                    Ok(status) => {
                        unwritten = None;
                        own_changes += u32::from(status != LeaseStatus::Lost);
                        self.stop_unless_held(status);
                    }
                    Err(error) => self.warn("the stage of a job could not be written", &error),
                }
            }
            if renews {
                match lease.renew().await {
                    Ok(LeaseStatus::Held) => renewed = Instant::now(),
                    Ok(status) => self.stop_unless_held(status),
                    Err(error) => {
                        self.warn("the lease of a job could not be renewed", &error);
                        // Only a failed renewal shows that the lease may be lost: after a pause of this process it is still
                        // held if nobody has ended it.
                        if renewed.elapsed() >= renewal.give_up_after {
                            self.stop(StopReason::LeaseLost);
                        }
                    }
                }
            }
        }
    }

    fn stop_unless_held(&self, status: LeaseStatus) {
        match status {
            LeaseStatus::Held => {}
            LeaseStatus::CancelRequested => self.stop(StopReason::CancelRequested),
            LeaseStatus::Lost => self.stop(StopReason::LeaseLost),
        }
    }

    fn warn(&self, message: &str, error: &LeaseError) {
        tracing::warn!(job = %self.id, error = %edgeprove_telemetry::chain(&**error), "{message}");
    }
}

/// What a task learned of its job.
enum Noticed {
    /// The job changed.
    Change,
    /// Changes may have been missed.
    Unknown,
}

/// Waits until this job changes, or a change of it may have been missed. `None`: changes are not reported here.
async fn noticed(changes: Option<&mut broadcast::Receiver<Change>>, id: JobId) -> Noticed {
    let Some(changes) = changes else { return std::future::pending().await };
    loop {
        match changes.recv().await {
            Ok(Change::Job(other)) if other != id => {}
            Ok(Change::Work) => {}
            Ok(Change::Job(_)) => return Noticed::Change,
            Ok(Change::Unknown) | Err(broadcast::error::RecvError::Lagged(_)) => return Noticed::Unknown,
            // No more changes will come.
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}
