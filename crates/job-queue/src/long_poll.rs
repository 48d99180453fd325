//! Claims of provers elsewhere, which wait until there is a job.
//!
//! Those that take the same jobs wait in one line. A task serves the line: it claims for all that wait there at once, so a thousand
//! provers cost the database as little as one. It ends when nobody is left.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
    thread,
    time::Duration,
};

use edgeprove_job_rules::{
    capability::{self, Capability},
    job::Job,
};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, broadcast, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    queue_types::{Change, JobOutcome, QueueError},
    sql_queue::SqlQueue,
};

/// The longest pause between two claims for a line. A notification may be lost.
const FALLBACK: Duration = Duration::from_secs(1);
/// The shortest pause, for a job that is due at once and that this line does not take.
const SHORTEST: Duration = Duration::from_millis(10);
/// The most jobs of one statement.
const BATCH: usize = 64;
/// While there are jobs, a short line waits this many times as long as its last claim took, so that several who come meanwhile share
/// the next one.
const GATHER: u32 = 4;
/// The longest such pause.
const GATHER_MAX: Duration = Duration::from_millis(20);

/// Claims that wait.
#[derive(Debug)]
pub struct LongPolls {
    queue: SqlQueue,
    lines: Arc<Lines>,
}

/// The lines, by the capabilities of those who wait in them. A line is here as long as its task runs.
type Lines = Mutex<HashMap<String, Line>>;

/// Those who wait for the same jobs, the first in front.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// Notified when somebody joins.
    joined: Arc<Notify>,
}

#[derive(Debug)]
struct Waiting {
    holder: String,
    max: usize,
    answer: oneshot::Sender<Result<HandedOut, QueueError>>,
}

/// Jobs on their way to who claimed them. Those that nobody takes are queued again: the prover has left.
#[derive(Debug)]
struct HandedOut {
    jobs: Vec<Job>,
    queue: SqlQueue,
}

impl HandedOut {
    fn take(mut self) -> Vec<Job> {
        mem::take(&mut self.jobs)
    }
}

impl Drop for HandedOut {
    fn drop(&mut self) {
        // Without a runtime the process ends, and the leases with it.
        if !self.jobs.is_empty()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(release(self.queue.clone(), mem::take(&mut self.jobs)));
        }
    }
}

/// Queues jobs again as if they had not been claimed. A lease that cannot be given back expires.
async fn release(queue: SqlQueue, jobs: Vec<Job>) {
    for job in jobs {
        let released = queue.finish(job.id, job.lease_token, &JobOutcome::Released).await;
        if let Err(error) = released {
            tracing::debug!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "a job could not be released");
        }
    }
}

/// A claim that may wait.
#[derive(Debug, Clone, Copy)]
pub struct WaitingClaim<'a> {
    /// Who claims.
    pub holder: &'a str,
    /// What is claimed.
    pub capabilities: &'a [Capability],
    /// The most jobs.
    pub max: u32,
    /// Until when the claim waits.
    pub until: Instant,
}

impl LongPolls {
    /// Claims of this queue.
    #[must_use]
    pub fn new(queue: SqlQueue) -> Self {
        Self { queue, lines: Arc::default() }
    }

    /// Claims jobs as soon as there is at least one; none if there is none in time, or when `stop` is cancelled. It asks the queue
    /// at least once. Where the future is dropped, the jobs that were claimed for it are released.
    pub async fn claim(
        &self,
        claim: WaitingClaim<'_>,
        stop: &CancellationToken,
    ) -> Result<Vec<Job>, QueueError> {
        let WaitingClaim { holder, capabilities, max, until } = claim;
        if max == 0 {
            return Ok(Vec::new());
        }
        if until <= Instant::now() || stop.is_cancelled() {
            let holders = vec![holder; (max as usize).min(BATCH)];
            return self.queue.claim_several(&holders, capabilities).await;
        }
        let (answer, mut answered) = oneshot::channel();
        self.join(capabilities, Waiting { holder: holder.to_owned(), max: max as usize, answer });
        tokio::select! {
            answer = &mut answered => return answer.map_or_else(|_| Ok(Vec::new()), taken),
            () = tokio::time::sleep_until(until) => {}
            () = stop.cancelled() => {}
        }
        // What has arrived counts. From now on nothing arrives.
        answered.close();
        answered.try_recv().map_or_else(|_| Ok(Vec::new()), taken)
    }

    /// Joins the line, and starts its task where there is none.
    fn join(&self, capabilities: &[Capability], waiting: Waiting) {
        let name = capability::json(capabilities);
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get_mut(&name) {
            line.waiting.push_back(waiting);
            line.joined.notify_one();
            return;
        }
        let mut line = Line::default();
        line.waiting.push_back(waiting);
        let server = Server {
            queue: self.queue.clone(),
            lines: Arc::clone(&self.lines),
            name: name.clone(),
            capabilities: capabilities.to_vec(),
            joined: Arc::clone(&line.joined),
        };
        lines.insert(name, line);
        server.start();
    }
}

fn taken(answer: Result<HandedOut, QueueError>) -> Result<Vec<Job>, QueueError> {
    answer.map(HandedOut::take)
}

/// The task of a line.
struct Server {
    queue: SqlQueue,
    lines: Arc<Lines>,
    name: String,
    capabilities: Vec<Capability>,
    joined: Arc<Notify>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody would serve those who wait, nor those who join later.
        if thread::panicking() {
            self.lines.lock().remove(&self.name);
        }
    }
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "it ends when nobody waits, and its callers wait for it")]
    fn start(self) {
        tokio::spawn(self.run());
    }

    async fn run(self) {
        let mut changes = self.queue.subscribe();
        while let Some(batch) = self.next_batch() {
            // The claim covers every change until now.
            while let Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) = changes.try_recv() {}
            let holders: Vec<_> = slots(&batch).map(|waiting| waiting.holder.as_str()).collect();
            let began = Instant::now();
            let claimed = self.queue.claim_several(&holders, &self.capabilities).await;
            let took = began.elapsed();
            let jobs = match claimed {
                Ok(jobs) => jobs,
                Err(error) => {
                    for waiting in batch {
                        // Who has left needs no error.
                        let _ = waiting.answer.send(Err(error.clone()));
                    }
                    continue;
                }
            };
            let (is_empty, is_full) = (jobs.len() < holders.len(), holders.len() == BATCH);
            self.hand_out(batch, jobs);
            if is_empty {
                self.wait(&mut changes).await;
            } else if !is_full {
                tokio::time::sleep((took * GATHER).min(GATHER_MAX)).await;
            }
        }
    }

    /// Takes the first of the line, without those who have left. `None`: nobody is left, and the line is gone.
    fn next_batch(&self) -> Option<Vec<Waiting>> {
        let mut lines = self.lines.lock();
        let line = lines.get_mut(&self.name)?;
        line.waiting.retain(|waiting| !waiting.answer.is_closed());
        if line.waiting.is_empty() {
            lines.remove(&self.name);
            return None;
        }
        let count = line.waiting.len().min(BATCH);
        Some(line.waiting.drain(..count).collect())
    }

    /// Gives each its jobs. Those without one go back to the front of the line.
    fn hand_out(&self, batch: Vec<Waiting>, jobs: Vec<Job>) {
        let mut by_holder = HashMap::<String, VecDeque<Job>>::new();
        for job in jobs {
            let holder = job.lease.as_ref().map(|lease| lease.holder.clone()).unwrap_or_default();
            by_holder.entry(holder).or_default().push_back(job);
        }
        let mut unserved = Vec::new();
        for waiting in batch {
            let its = by_holder.entry(waiting.holder.clone()).or_default();
            let count = its.len().min(waiting.max);
            let jobs: Vec<_> = its.drain(..count).collect();
            if jobs.is_empty() {
                unserved.push(waiting);
            } else {
                // Jobs of a prover that has left are released when they are dropped.
                drop(waiting.answer.send(Ok(HandedOut { jobs, queue: self.queue.clone() })));
            }
        }
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get_mut(&self.name) {
            unserved.into_iter().rev().for_each(|waiting| line.waiting.push_front(waiting));
        }
    }

    /// Waits until there may be a job for somebody in the line.
    async fn wait(&self, changes: &mut broadcast::Receiver<Change>) {
        let due = self.queue.next_due().await.ok().flatten();
        let pause = due.unwrap_or(FALLBACK).clamp(SHORTEST, FALLBACK);
        tokio::select! {
            () = work(changes) => {}
            () = self.joined.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Who gets each job of a claim: everybody gets one before anybody gets a second.
fn slots(batch: &[Waiting]) -> impl Iterator<Item = &Waiting> {
    let rounds = batch.iter().map(|waiting| waiting.max).max().unwrap_or(0);
    let slots = (0..rounds).flat_map(move |round| batch.iter().filter(move |waiting| waiting.max > round));
    slots.take(BATCH)
}

/// Waits until there may be a job.
async fn work(changes: &mut broadcast::Receiver<Change>) {
    // Missed changes may include new work.
    while !matches!(changes.recv().await, Ok(Change::Work | Change::Unknown) | Err(_)) {}
}
