//! Watchers: everybody who follows a job gets each new view of it.
//!
//! A watched job is read once after each change, however many watchers it has. Between changes only the percentage is
//! recomputed, and only while a timed stage runs. A slow watcher misses intermediate views and never the last one.

use std::{
    collections::{HashMap, HashSet},
    mem,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use edgeprove_job_rules::{lease::LeaseToken, progress::Stage, queue_position::QueuePosition};
use edgeprove_protocol::{JobId, JobStatus};
use parking_lot::Mutex;
use tokio::{
    sync::{broadcast, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    job_view::{JobView, JobViews},
    queue_types::{Change, QueueError, StageReport},
    sql_queue::SqlQueue,
};

/// The shortest time between two updates of positions: every job that starts changes the positions of all others.
const POSITIONS_PAUSE: Duration = Duration::from_millis(250);
/// The pause between two updates of percentages.
const TICK: Duration = Duration::from_millis(250);
/// The pause before jobs that could not be read are read again.
const RETRY: Duration = Duration::from_secs(1);
/// The pause between two removals of jobs that nobody watches any more.
const SWEEP: Duration = Duration::from_secs(30);
/// Positions beyond this one are not updated.
const POSITION_MAX: u32 = 10_000;

/// Receives the view of a job as it is, and each new one. `None` before the first.
pub type Watcher = watch::Receiver<Option<Arc<JobView>>>;

type Watched = HashMap<JobId, watch::Sender<Option<Arc<JobView>>>>;

/// Notifies watchers of jobs.
pub struct JobWatchers {
    queue: SqlQueue,
    views: Arc<JobViews>,
    watched: Mutex<Watched>,
    /// Jobs whose last change could not be read. Their watchers still wait for it.
    unread: Mutex<HashSet<JobId>>,
}

impl JobWatchers {
    /// Watchers of the jobs of this queue; at first there are none.
    #[must_use]
    pub fn new(queue: SqlQueue, views: Arc<JobViews>) -> Self {
        Self { queue, views, watched: Mutex::default(), unread: Mutex::default() }
    }

    /// Watches a job; `None` if there is no such job. The first view is there already.
    pub async fn watch(&self, id: JobId) -> Result<Option<Watcher>, QueueError> {
        // The watcher subscribes before the job is read, so that it misses no change in between.
        let watcher = self.watched.lock().entry(id).or_insert_with(|| watch::Sender::new(None)).subscribe();
        let Some(view) = self.views.find(id).await? else { return Ok(None) };
        self.show(id, view);
        Ok(Some(watcher))
    }

    /// The views that watchers get.
    #[must_use]
    pub fn views(&self) -> &Arc<JobViews> {
        &self.views
    }

    /// The number of watched jobs.
    #[must_use]
    pub fn watched_jobs(&self) -> usize {
        self.watched.lock().values().filter(|sender| sender.receiver_count() > 0).count()
    }

    /// Shows a stage that a worker of this server reports, before the database has it.
    pub fn stage_reported(&self, id: JobId, token: LeaseToken, stage: StageReport) {
        let watched = self.watched.lock();
        let Some(sender) = watched.get(&id) else { return };
        sender.send_if_modified(|shown| {
            let Some(view) = shown else { return false };
            if !view.job.is_held_by(token) || view.job.stage.as_deref() == Some(stage.name) {
                return false;
            }
            let mut job = view.job.clone();
            (job.stage, job.stage_started_at) = (Some(stage.name.to_owned()), Some(stage.at));
            job.stage_estimate = stage.estimate.map(|estimate| estimate.encode());
            let next = self.views.compute(job, None);
            if next.percent < view.percent {
                return false;
            }
            *shown = Some(Arc::new(next));
            true
        });
    }

    /// Notifies watchers until the server stops.
    pub async fn run(&self, stop: &CancellationToken) {
        // While the database does not answer, a round takes long.
        stop.run_until_cancelled(self.notify_watchers()).await;
    }

    async fn notify_watchers(&self) {
        let mut changes = self.queue.subscribe();
        let mut positions_due = pin!(tokio::time::sleep(Duration::ZERO));
        let mut positions_changed = false;
        let mut sweep = tokio::time::interval(SWEEP);
        let mut tick = tokio::time::interval(TICK);
        let mut retry = tokio::time::interval(RETRY);
        // A round that takes long is followed by a pause, not by the rounds that it missed.
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = sweep.tick() => self.watched.lock().retain(|_, sender| sender.receiver_count() > 0),
                _ = tick.tick() => self.update_percentages(),
                _ = retry.tick() => {
                    let unread = mem::take(&mut *self.unread.lock());
                    self.refresh(unread).await;
                }
                change = changes.recv() => {
                    match change {
                        Ok(Change::Work) => {}
                        Ok(Change::Job(id)) => self.refresh([id]).await,
                        Ok(Change::Unknown) | Err(broadcast::error::RecvError::Lagged(_)) => {
                            let all: Vec<_> = self.watched.lock().keys().copied().collect();
                            self.refresh(all).await;
                        }
                        Err(broadcast::error::RecvError::Closed) => return,
                    }
                    if !positions_changed && self.watched.lock().values().any(is_queued) {
                        positions_changed = true;
                        positions_due.as_mut().reset(tokio::time::Instant::now() + POSITIONS_PAUSE);
                    }
                }
                () = &mut positions_due, if positions_changed => {
                    positions_changed = false;
                    self.update_positions().await;
                }
            }
        }
    }

    async fn refresh(&self, jobs: impl IntoIterator<Item = JobId>) {
        let mut jobs = jobs.into_iter();
        while let Some(id) = jobs.next() {
            if !self.watched.lock().contains_key(&id) {
                continue;
            }
            match self.views.find(id).await {
                Ok(Some(view)) => self.show(id, view),
                // Its row was deleted. Its watchers have seen it expire.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(job = %id, error = %edgeprove_telemetry::chain(&error), "a watched job could not be read");
                    // The others would wait as long for the same answer, one after the other.
                    self.unread.lock().extend([id].into_iter().chain(jobs));
                    return;
                }
            }
        }
    }

    /// Recomputes the views of running jobs.
    fn update_percentages(&self) {
        for sender in self.watched.lock().values() {
            sender.send_if_modified(|shown| {
                let Some(view) = shown.as_ref().filter(|view| view.job.status == JobStatus::Running) else {
                    return false;
                };
                let next = self.views.compute(view.job.clone(), None);
                if next.percent <= view.percent {
                    return false;
                }
                *shown = Some(Arc::new(next));
                true
            });
        }
    }

    /// Updates the positions of all queued jobs that are watched. The queue is read once for all of them.
    async fn update_positions(&self) {
        let queue = match self.views.queued(POSITION_MAX).await {
            Ok(queue) => queue,
            Err(error) => {
                tracing::warn!(error = %edgeprove_telemetry::chain(&error), "the queue could not be read");
                return;
            }
        };
        let waiting: HashSet<JobId> =
            self.watched.lock().iter().filter(|(_, sender)| is_queued(sender)).map(|(id, _)| *id).collect();
        for (id, position) in self.views.positions(&queue, &waiting) {
            let watched = self.watched.lock();
            let Some(sender) = watched.get(&id) else { continue };
            sender.send_if_modified(|shown| {
                let number = |view: &JobView| view.position.as_ref().map(QueuePosition::number);
                let Some(view) = shown.as_ref().filter(|view| {
                    view.job.status == JobStatus::Queued && number(view) != Some(position.number())
                }) else {
                    return false;
                };
                *shown = Some(Arc::new(self.views.compute(view.job.clone(), Some(position))));
                true
            });
        }
    }

    /// Shows a view that was read from the database, unless a later one is shown: a new watcher reads the job beside the task
    /// that follows its changes, and may be the slower one.
    fn show(&self, id: JobId, view: JobView) {
        let watched = self.watched.lock();
        let Some(sender) = watched.get(&id) else { return };
        sender.send_if_modified(|shown| {
            let next = match shown {
                Some(shown) if shown.job.step() > view.job.step() => return false,
                Some(shown) => merge(shown, view, self.views.stages(&shown.job)),
                None => view,
            };
            if shown.as_deref() == Some(&next) {
                return false;
            }
            *shown = Some(Arc::new(next));
            true
        });
    }
}

/// The view to show after this one. Within an attempt neither stage nor percentage falls: a worker of this server reports a
/// stage here before the database has it.
fn merge(shown: &JobView, mut next: JobView, stages: &[Stage]) -> JobView {
    let is_same_attempt = shown.job.status == JobStatus::Running
        && next.job.status != JobStatus::Queued
        && shown.job.lease_token == next.job.lease_token;
    if !is_same_attempt {
        return next;
    }
    let rank = |view: &JobView| stages.iter().position(|stage| Some(stage.name) == view.job.stage.as_deref());
    if next.job.status == JobStatus::Running && rank(&next) < rank(shown) {
        next.job.stage.clone_from(&shown.job.stage);
        next.job.stage_started_at = shown.job.stage_started_at;
        next.job.stage_estimate.clone_from(&shown.job.stage_estimate);
        next.remaining = shown.remaining;
    }
    next.percent = next.percent.max(shown.percent);
    next
}

fn is_queued(watched: &watch::Sender<Option<Arc<JobView>>>) -> bool {
    watched.borrow().as_ref().is_some_and(|view| view.job.status == JobStatus::Queued)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use edgeprove_job_rules::{
        capability::Capability, estimator::DurationEstimator, job::NewJob, queue_bounds::Bounds,
        transition::Rules,
    };
    use edgeprove_protocol::Priority;

    use super::*;
    use crate::{
        kind::JobKinds,
        queue_types::{Enqueued, JobOutcome},
        store::{Database, DatabaseLocation},
    };

    fn new_job() -> NewJob {
        NewJob {
            id: JobId::new(None, [7; 16]).unwrap(),
            kind: "prove".to_owned(),
            subject: "maze".to_owned(),
            version: "1".to_owned(),
            owner: "alice".to_owned(),
            account: "key:alice".to_owned(),
            priority: Priority::Normal,
            max_attempts: 2,
            idempotency: None,
            payload: "{}".to_owned(),
            input: None,
        }
    }

    /// A new watcher that read the job before a change and shows it after the change.
    #[tokio::test]
    async fn a_slow_reader_shows_no_older_view() {
        let database = Database::open(&DatabaseLocation::Memory).await.unwrap();
        let queue = SqlQueue::new(database, Rules::default(), Bounds::default()).await.unwrap();
        let estimator = Arc::new(DurationEstimator::new(NonZeroUsize::MIN));
        let views = Arc::new(JobViews::new(queue.clone(), JobKinds::new([]), estimator));
        let watchers = JobWatchers::new(queue.clone(), views);
        let Enqueued::Accepted(job) = queue.enqueue(new_job(), None).await.unwrap() else {
            panic!("it is new")
        };
        let watcher = watchers.watch(job.id).await.unwrap().unwrap();
        let status = || watcher.borrow().as_ref().map(|view| view.job.status);

        // The views of each step of its life, with a failed attempt.
        let mut steps = vec![watchers.views.find(job.id).await.unwrap().unwrap()];
        let capabilities = [Capability::all_of("prove")];
        for outcome in [JobOutcome::Released, JobOutcome::completed(None, "done").unwrap()] {
            let claimed = queue.claim("worker", &capabilities).await.unwrap().unwrap();
            steps.push(watchers.views.find(job.id).await.unwrap().unwrap());
            queue.finish(job.id, claimed.lease_token, &outcome).await.unwrap();
            steps.push(watchers.views.find(job.id).await.unwrap().unwrap());
        }
        for (at, step) in steps.iter().enumerate() {
            watchers.show(job.id, step.clone());
            for older in &steps[..at] {
                watchers.show(job.id, older.clone());
                assert_eq!(status(), Some(step.job.status), "step {at}");
            }
        }
        assert_eq!(status(), Some(JobStatus::Completed));
    }
}
