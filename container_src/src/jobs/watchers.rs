//! Tells watchers what happens to jobs.
//!
//! Each watched job is looked at once whenever something happened to it, however many watch it, and not at all while
//! nothing does. A watcher that is slow misses steps in between and never the last one.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use edgeprove_job_rules::{estimator::DurationEstimator, job::Job, queue_position};
use edgeprove_protocol::{JobDocument, JobId, JobStage, JobStatus};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::document;
use edgeprove_job_queue::queue::{Change, JobQueue, QueueError};

/// Places in the queue are told no more often than this: with every job that is begun, all of them change.
const PLACES_PAUSE: Duration = Duration::from_millis(250);
/// How often what nobody watches any more is forgotten.
const SWEEP: Duration = Duration::from_secs(30);
/// How far into the queue places are told.
const PLACES_MAX: u32 = 10_000;

/// What a watcher sees: the job as it is, and each time that it has become different.
pub type Watcher = watch::Receiver<Option<Arc<JobDocument>>>;

type Watched = HashMap<JobId, watch::Sender<Option<Arc<JobDocument>>>>;

/// See the module.
pub struct JobWatchers {
    queue: Arc<dyn JobQueue>,
    estimator: Arc<DurationEstimator>,
    watched: Mutex<Watched>,
}

impl JobWatchers {
    /// Nobody watches anything yet.
    #[must_use]
    pub fn new(queue: Arc<dyn JobQueue>, estimator: Arc<DurationEstimator>) -> Self {
        Self { queue, estimator, watched: Mutex::default() }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        // Nothing panics while the lock is held; were it so, the map would still be whole.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job as it is now; `None` if there is none of this name.
    pub async fn look(&self, id: JobId) -> Result<Option<JobDocument>, QueueError> {
        match self.queue.get(id).await? {
            Some(job) => self.describe(&job).await,
            None => Ok(None),
        }
    }

    /// A job that was read just now, with its place and what is foreseen of it.
    pub async fn describe(&self, job: &Job) -> Result<Option<JobDocument>, QueueError> {
        let place = if job.status == JobStatus::Queued { self.queue.place(job.id).await? } else { None };
        super::load_durations(&self.estimator, self.queue.as_ref(), &job.kind, &job.subject).await?;
        Ok(document::of(job, place.as_ref(), &self.estimator, document::now()))
    }

    /// Watches a job; `None` if there is none of this name. The first thing to be seen is there already.
    pub async fn watch(&self, id: JobId) -> Result<Option<Watcher>, QueueError> {
        // Watched before it is looked at, so that nothing between the two is missed.
        let watcher = self.watched().entry(id).or_insert_with(|| watch::Sender::new(None)).subscribe();
        let seen = self.look(id).await?.map(Arc::new);
        if seen.is_none() {
            return Ok(None);
        }
        self.show(id, seen.as_ref());
        Ok(Some(watcher))
    }

    /// How many jobs are watched.
    #[must_use]
    pub fn watched_jobs(&self) -> usize {
        self.watched().len()
    }

    /// A worker of this server says how far a job is.
    pub fn progress(&self, id: JobId, stage: JobStage, percent: u8) {
        let watched = self.watched();
        let Some(sender) = watched.get(&id) else { return };
        sender.send_if_modified(|seen| {
            let Some(document) = seen else { return false };
            let goes_on = document.status == JobStatus::Running
                && (document.stage, document.progress) != (stage, percent);
            if goes_on && percent >= document.progress {
                let document = Arc::make_mut(document);
                (document.stage, document.progress) = (stage, percent);
                return true;
            }
            false
        });
    }

    /// Tells watchers what happens, until the server stops.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut changes = self.queue.changes();
        let mut places_due = pin!(tokio::time::sleep(Duration::ZERO));
        let mut places_changed = false;
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = sweep.tick() => self.watched().retain(|_, sender| sender.receiver_count() > 0),
                change = changes.recv() => {
                    match change {
                        Ok(Change::Work) => {}
                        Ok(Change::Job(id)) => self.refresh(&[id]).await,
                        Ok(Change::Unknown) | Err(broadcast::error::RecvError::Lagged(_)) => {
                            let all: Vec<_> = self.watched().keys().copied().collect();
                            self.refresh(&all).await;
                        }
                        Err(broadcast::error::RecvError::Closed) => return,
                    }
                    if !places_changed && self.some_are_queued() {
                        places_changed = true;
                        places_due.as_mut().reset(tokio::time::Instant::now() + PLACES_PAUSE);
                    }
                }
                () = &mut places_due, if places_changed => {
                    places_changed = false;
                    self.tell_places().await;
                }
            }
        }
    }

    fn some_are_queued(&self) -> bool {
        self.watched().values().any(is_queued)
    }

    async fn refresh(&self, jobs: &[JobId]) {
        for &id in jobs {
            if !self.watched().contains_key(&id) {
                continue;
            }
            match self.look(id).await {
                Ok(seen) => self.show(id, seen.map(Arc::new).as_ref()),
                Err(error) => {
                    tracing::warn!(job = %id, error = %edgeprove_telemetry::chain(&error), "watchers could not be told");
                }
            }
        }
    }

    /// One look at the queue serves everybody who waits in it.
    async fn tell_places(&self) {
        let order = match self.queue.order(PLACES_MAX).await {
            Ok(order) => order,
            Err(error) => {
                tracing::warn!(error = %edgeprove_telemetry::chain(&error), "places in the queue could not be told");
                return;
            }
        };
        let waiting: HashSet<JobId> =
            self.watched().iter().filter(|(_, sender)| is_queued(sender)).map(|(id, _)| *id).collect();
        for (queued, place) in queue_position::positions(&order, |id| waiting.contains(&id)) {
            let watched = self.watched();
            let Some(sender) = watched.get(&queued.id) else { continue };
            sender.send_if_modified(|seen| {
                let number = Some(place.number());
                let Some(document) = seen.as_mut().filter(|document| {
                    document.status == JobStatus::Queued && document.queue_position != number
                }) else {
                    return false;
                };
                let document = Arc::make_mut(document);
                let left =
                    self.estimator.wait_and_work(&place, &queued.kind, &queued.subject, Instant::now());
                document.queue_position = number;
                document.estimated_remaining_ms = left.map(|left| edgeprove_telemetry::millis(left.expected));
                true
            });
        }
    }

    fn show(&self, id: JobId, seen: Option<&Arc<JobDocument>>) {
        let watched = self.watched();
        let Some(sender) = watched.get(&id) else { return };
        sender.send_if_modified(|shown| {
            // A worker of this server may have told more than is in the queue yet.
            let is_behind = match (seen, &*shown) {
                (Some(seen), Some(shown)) => {
                    (seen.status, seen.attempts) == (shown.status, shown.attempts)
                        && seen.progress < shown.progress
                }
                _ => false,
            };
            if is_behind || shown.as_ref() == seen {
                return false;
            }
            *shown = seen.cloned();
            true
        });
    }
}

fn is_queued(watched: &watch::Sender<Option<Arc<JobDocument>>>) -> bool {
    watched.borrow().as_ref().is_some_and(|document| document.status == JobStatus::Queued)
}
