//! What the jobs' room and the proof cache tell. Kinds and outcomes are names that the code gives, never a caller.

use std::time::Duration;

use edgeprove_protocol::{Priority, ProblemType};

use super::{
    Kind, Series,
    series::{series, text},
};

series! {
    /// Jobs that were taken, by kind and priority.
    SUBMITTED = Counter "edgeprove_jobs_accepted_total" ["kind", "priority"];
    /// Jobs that came to an end, by kind and outcome: `completed`, `cancelled`, or the problem's code.
    ENDED = Counter "edgeprove_jobs_finished_total" ["kind", "outcome"];
    /// Attempts that failed and are made again, by kind and the problem's code.
    RETRIED = Counter "edgeprove_jobs_retries_total" ["kind", "code"];
    /// Leases that ran out, as those of a server that died, by kind.
    LEASES_LOST = Counter "edgeprove_jobs_leases_lost_total" ["kind"];
    /// Jobs that wait, by priority.
    QUEUED = Gauge "edgeprove_jobs_queued" ["priority"];
    /// Jobs that this server works on.
    RUNNING = Gauge "edgeprove_jobs_running" [];
    /// From a job's arrival to its start, by priority.
    WAIT = Histogram "edgeprove_jobs_wait_duration_seconds" ["priority"];
    /// From a job's start to its end, by kind, where a worker let it go.
    RUN = Histogram "edgeprove_jobs_run_duration_seconds" ["kind"];
    /// Looks into the cache of proofs: `hit`, `miss`, or `tampered` where what was found could not be trusted.
    PROOF_CACHE = Counter "edgeprove_proof_cache_requests_total" ["result"];
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// With its result.
    Completed,
    /// Somebody cancelled it.
    Cancelled,
    /// With a problem, all attempts used up or none worth making.
    Failed(ProblemType),
}

/// What the proof cache had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheLookup {
    /// The proof.
    Hit,
    /// Nothing.
    Miss,
    /// Something that is not what was put in.
    Tampered,
}

/// A job was taken.
pub fn submitted(kind: &'static str, priority: Priority) {
    SUBMITTED.add(1, [kind.into(), priority.as_str().into()]);
}

/// A job started after it had waited so long.
pub fn started(priority: Priority, waited: Duration) {
    WAIT.record(waited, [priority.as_str().into()]);
}

/// A job came to an end: this long after its start, where a worker let it go. Nobody knows for how long one was worked on
/// by a server that died.
pub fn ended(kind: &str, end: JobEnd, ran: Option<Duration>) {
    let outcome = match end {
        JobEnd::Completed => "completed",
        JobEnd::Cancelled => "cancelled",
        JobEnd::Failed(problem) => problem.code(),
    };
    ENDED.add(1, [text(kind), outcome.into()]);
    if let Some(ran) = ran {
        RUN.record(ran, [text(kind)]);
    }
}

/// An attempt failed and will be made again.
pub fn retried(kind: &str, problem: ProblemType) {
    RETRIED.add(1, [text(kind), problem.code().into()]);
}

/// A lease ran out.
pub fn lease_lost(kind: &str) {
    LEASES_LOST.add(1, [text(kind)]);
}

/// How many jobs wait, by [`Priority::level`], and how many this server works on.
pub fn depth(queued: [u64; Priority::ALL.len()], running: usize) {
    for (priority, queued) in Priority::ALL.into_iter().zip(queued) {
        QUEUED.set(queued, [priority.as_str().into()]);
    }
    RUNNING.set(running as u64, []);
}

/// A proof was looked for in the cache.
pub fn proof_cache(lookup: CacheLookup) {
    let result = match lookup {
        CacheLookup::Hit => "hit",
        CacheLookup::Miss => "miss",
        CacheLookup::Tampered => "tampered",
    };
    PROOF_CACHE.add(1, [result.into()]);
}
