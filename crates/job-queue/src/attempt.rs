//! One attempt at a job: it reports its progress, renews its lease, and can be stopped.

use std::time::Instant;

use edgeprove_job_rules::{
    job::Job,
    lease::{LeaseTerms, LeaseToken},
    prediction::Estimate,
    progress::StageEstimate,
    time::UnixMillis,
};
use edgeprove_protocol::JobId;
use tokio::{
    sync::{broadcast, watch},
    time::MissedTickBehavior,
};

use crate::{
    queue_types::{Change, LeaseStatus, QueueError, StageReport},
    sql_queue::SqlQueue,
};

/// One attempt at a job, as the job's kind uses it.
pub struct Attempt {
    id: JobId,
    token: LeaseToken,
    on_stage: OnStage,
    estimate: Option<Estimate>,
    now: Box<dyn Fn() -> UnixMillis + Send + Sync>,
    stage: watch::Sender<Option<StageReport>>,
    stop: watch::Sender<Option<StopReason>>,
}

/// Called when a stage starts, with the job and the token of its lease.
pub type OnStage = Box<dyn Fn(JobId, LeaseToken, StageReport) + Send + Sync>;

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
        job: &Job,
        estimate: Option<Estimate>,
        now: Box<dyn Fn() -> UnixMillis + Send + Sync>,
        on_stage: OnStage,
    ) -> Self {
        Self {
            id: job.id,
            token: job.lease_token,
            on_stage,
            estimate,
            now,
            stage: watch::Sender::new(None),
            stop: watch::Sender::new(None),
        }
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
        (self.on_stage)(self.id, self.token, report);
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

    /// Renews the lease and writes the stage to the database, until the attempt is stopped. A change of the job that others
    /// make leads to a renewal as well, since it may be a cancel request.
    pub(crate) async fn keep_lease(&self, queue: &SqlQueue, terms: LeaseTerms) {
        let mut changes = queue.subscribe();
        let mut stages = self.stage.subscribe();
        let mut beats = tokio::time::interval(terms.heartbeat_every());
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
                noticed = noticed(&mut changes, self.id) => match noticed {
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
                match queue.report_stage(self.id, self.token, &stage).await {
                    Ok(status) => {
                        unwritten = None;
                        own_changes += u32::from(status != LeaseStatus::Lost);
                        self.stop_unless_held(status);
                    }
                    Err(error) => self.warn("the stage of a job could not be written", &error),
                }
            }
            if renews {
                match queue.heartbeat(self.id, self.token).await {
                    Ok(LeaseStatus::Held) => renewed = Instant::now(),
                    Ok(status) => self.stop_unless_held(status),
                    Err(error) => {
                        self.warn("the lease of a job could not be renewed", &error);
                        // Only a failed renewal shows that the lease may be lost: after a pause of this process it is still
                        // held if nobody has ended it.
                        if renewed.elapsed() >= terms.length {
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

    fn warn(&self, message: &str, error: &QueueError) {
        tracing::warn!(job = %self.id, error = %edgeprove_telemetry::chain(error), "{message}");
    }
}

/// What a task learned of its job.
enum Noticed {
    /// The job changed.
    Change,
    /// Changes may have been missed.
    Unknown,
}

/// Waits until this job changes, or a change of it may have been missed.
async fn noticed(changes: &mut broadcast::Receiver<Change>, id: JobId) -> Noticed {
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
