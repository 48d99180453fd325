//! The sections of the board. Each is a JSON text, so that a change is a difference of texts, and no viewer costs a second one.

use std::{collections::BTreeSet, time::Duration};

use edgeprove_engine::{
    circuits::registry::{Entry, LoadState},
    proof_service::statistics::{MINUTES, MinuteSummary},
};
use edgeprove_job_queue::Listing;
use edgeprove_protocol::{
    JobStatus, Priority,
    answer::{CircuitEntry, CircuitOrigin, CircuitStatus},
    board::{
        BoardCache, BoardCircuit, BoardCircuits, BoardHistory, BoardJobs, BoardMinute, BoardProblem,
        BoardProblems, BoardProofs, BoardProvers, BoardServer,
    },
};
use edgeprove_prover::RestartReason;
use edgeprove_telemetry::{
    millis,
    process::{ProcessStatus, ProcessUse},
    timestamp,
};
use serde::Serialize;

use crate::{
    http::{
        handlers::stats::{proof_stats, quantiles},
        state::Shared,
    },
    jobs::{circuit_document::stored_entry, job_kinds::build},
};

/// Sections that cost more are computed at every fifth update.
const SLOW_EVERY: u64 = 5;
/// The most circuits.
const CIRCUITS_MAX: usize = 200;
/// The most builds that are not over.
const BUILDS_MAX: u32 = 50;
/// How long the database may take before the other sections are sent without it.
const DATABASE_MAX: Duration = Duration::from_secs(2);
/// Memory is shown in steps of this size, so that a section is not sent again for a few pages.
const MEMORY_STEP: u64 = 1 << 20;

/// Computes the sections, the expensive ones less often.
#[derive(Debug, Default)]
pub(super) struct Composer {
    updates: u64,
}

impl Composer {
    /// The sections that were computed this time, by name.
    pub(super) async fn compose(&mut self, app: &Shared) -> Vec<(&'static str, String)> {
        let mut sections = Vec::with_capacity(9);
        let mut add = |name, json: Option<String>| sections.extend(json.map(|json| (name, json)));
        add("server", json(&server(app)));
        add("jobs", json(&jobs(app)));
        add("provers", json(&provers(app)));
        if self.updates.is_multiple_of(SLOW_EVERY) {
            add("proofs", json(&proofs(app)));
            add("history", json(&history(app)));
            add("cache", json(&cache(app)));
            add("problems", json(&problems(app)));
            if let Ok(circuits) = tokio::time::timeout(DATABASE_MAX, circuits(app)).await {
                add("circuits", json(&circuits));
            }
        }
        self.updates += 1;
        sections
    }
}

/// A section that cannot be written is left out: no number in it is worth the stream.
fn json(section: &impl Serialize) -> Option<String> {
    serde_json::to_string(section).ok()
}

fn server(app: &Shared) -> BoardServer {
    BoardServer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: timestamp(i64::try_from(app.lifecycle.started_at().as_millis()).unwrap_or(i64::MAX)),
        not_ready: app.not_ready().map(|reason| reason.to_string()),
        container: app.jobs().ok().and_then(|jobs| jobs.store.instance_number),
        viewers: app.board.viewers() as u64,
    }
}

/// `None` without jobs.
fn jobs(app: &Shared) -> Option<BoardJobs> {
    let counts = app.jobs().ok()?.gauges.counter.latest();
    let mut jobs = BoardJobs::default();
    let by_priority = || Priority::ALL.map(|priority| (priority.to_string(), 0)).into();
    (jobs.queued, jobs.running) = (by_priority(), by_priority());
    for status in JobStatus::ALL {
        jobs.statuses.insert(status.as_str().to_owned(), 0);
    }
    for count in &counts.jobs {
        jobs.add(&count.kind, count.status, count.jobs);
        let of_priority = match count.status {
            JobStatus::Queued => &mut jobs.queued,
            JobStatus::Running => &mut jobs.running,
            _ => continue,
        };
        *of_priority.entry(count.priority.to_string()).or_default() += count.jobs;
    }
    let since = |(priority, age): &(Priority, Duration)| {
        Some((priority.to_string(), timestamp(counts.counted_at?.before(*age).0)))
    };
    jobs.oldest_queued_since = counts.oldest_queued.iter().filter_map(since).collect();
    Some(jobs)
}

fn provers(app: &Shared) -> BoardProvers {
    let (scheduler, backend) = (app.engine.proving.scheduler(), app.engine.proving.backend());
    let (now, limits) = (scheduler.status(), scheduler.limits());
    let rounded = |bytes: u64| bytes.next_multiple_of(MEMORY_STEP);
    let resident = |pid: u32| ProcessStatus::read(pid).map(|process| rounded(process.resident_bytes));
    let waiting = Priority::ALL
        .map(|priority| (priority.to_string(), now.waiting_by_priority[usize::from(priority.level())]));
    let restarts = RestartReason::ALL.into_iter().zip(backend.restarts());
    BoardProvers {
        mode: backend.mode().to_owned(),
        cores: limits.cores,
        cores_free: now.cores_free,
        running: now.running,
        waiting: waiting.into(),
        waiting_max: limits.waiting_max,
        memory_max_bytes: limits.memory_limit_bytes(),
        memory_reserved_bytes: now.memory_reserved_bytes,
        processes: backend.processes().into_iter().filter_map(resident).collect(),
        server_bytes: ProcessUse::now().map_or(0, |own| rounded(own.resident_bytes)),
        restarts: restarts
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.as_str().to_owned(), count))
            .collect(),
        proofs: app.engine.proving.proofs(),
    }
}

fn proofs(app: &Shared) -> BoardProofs {
    let now = app.proofs.statistics().snapshot();
    let circuits = now.circuits.into_iter().take(CIRCUITS_MAX);
    BoardProofs {
        all: proof_stats(now.all),
        circuits: circuits.map(|(id, summary)| (id, proof_stats(summary))).collect(),
    }
}

fn history(app: &Shared) -> BoardHistory {
    let (minutes, _) = app.proofs.statistics().minutes();
    let started_ms = i64::try_from(app.lifecycle.started_at().as_millis()).unwrap_or(i64::MAX);
    let point = |minute: MinuteSummary| {
        let [success, caller_error, server_error, abandoned] = minute.outcomes;
        let after_ms = millis(Duration::from_mins(minute.number));
        BoardMinute {
            at: timestamp(started_ms.saturating_add_unsigned(after_ms)),
            success,
            caller_error,
            server_error,
            abandoned,
            duration_ms: minute.durations.map(quantiles),
        }
    };
    BoardHistory { minutes: MINUTES, points: minutes.into_iter().map(point).collect() }
}

fn cache(app: &Shared) -> BoardCache {
    let cache = app.proofs.cache_usage();
    BoardCache {
        proofs: cache.proofs as u64,
        proofs_max: cache.proofs_max as u64,
        hits: cache.hits,
        misses: cache.misses,
    }
}

fn problems(app: &Shared) -> BoardProblems {
    let now = jiff::Timestamp::now().as_millisecond();
    let problem = |recent: edgeprove_engine::proof_service::statistics::RecentProblem| {
        // In steps of a second: the section is not sent again because a clock and a difference are rounded.
        let last_ms = now.saturating_sub_unsigned(millis(recent.since_last)) / 1000 * 1000;
        BoardProblem {
            code: recent.problem.code().to_owned(),
            title: recent.problem.title().to_owned(),
            severity: recent.problem.severity(),
            proofs: recent.proofs,
            last_at: timestamp(last_ms),
        }
    };
    BoardProblems(app.proofs.statistics().problems().into_iter().map(problem).collect())
}

/// The circuits that are built or failed to build, then the configured ones, then those that were built. What cannot be read is
/// left out: the endpoints of circuits report why.
async fn circuits(app: &Shared) -> BoardCircuits {
    let mut circuits = builds(app).await;
    circuits.extend(app.engine.circuits.entries().map(configured));
    let known: BTreeSet<_> = circuits.iter().map(|circuit| circuit.id.clone()).collect();
    if let Some(store) = app.circuits.store() {
        let limit = u32::try_from(CIRCUITS_MAX + 1).unwrap_or(u32::MAX);
        let stored = store.list(None, limit).await.unwrap_or_default();
        let entries = stored.iter().filter_map(|stored| stored_entry(stored).ok());
        circuits.extend(entries.filter(|entry| !known.contains(&entry.id)).map(listed));
    }
    let has_more = circuits.len() > CIRCUITS_MAX;
    circuits.truncate(CIRCUITS_MAX);
    BoardCircuits { circuits, has_more }
}

async fn builds(app: &Shared) -> Vec<BoardCircuit> {
    let Ok(jobs) = app.jobs() else { return Vec::new() };
    let listing = Listing {
        kind: Some(build::KIND.to_owned()),
        statuses: vec![JobStatus::Queued, JobStatus::Running, JobStatus::Failed],
        limit: BUILDS_MAX,
        ..Listing::default()
    };
    let builds = jobs.store.queue.list(&listing).await.unwrap_or_default();
    let mut circuits = Vec::<BoardCircuit>::new();
    for view in jobs.views().without_positions(builds) {
        // The latest build of a circuit counts.
        if circuits.iter().any(|circuit| circuit.id.as_str() == view.job.subject) {
            continue;
        }
        if let Ok(entry) = jobs.entry_at(&view).await
            && entry.status != CircuitStatus::Ready
        {
            circuits.push(listed(entry));
        }
    }
    circuits
}

fn listed(entry: CircuitEntry) -> BoardCircuit {
    BoardCircuit {
        id: entry.id,
        status: entry.status,
        target: entry.target,
        origin: entry.origin,
        gates: entry.gates,
        memory_peak_bytes: None,
        build: entry.build,
        error: entry.error.map(|problem| String::from(problem.code)),
    }
}

fn configured(entry: &Entry) -> BoardCircuit {
    let (status, circuit) = match entry.state() {
        LoadState::Loading => (CircuitStatus::Loading, None),
        LoadState::Ready(circuit) => (CircuitStatus::Ready, Some(circuit)),
        LoadState::Failed(_) => (CircuitStatus::Failed, None),
    };
    let target = entry.source.target;
    let key = circuit.and_then(|circuit| circuit.ready_key(target));
    BoardCircuit {
        id: entry.source.id.clone(),
        status,
        target,
        origin: CircuitOrigin::Configured,
        gates: key.map(|key| key.size.gates),
        memory_peak_bytes: circuit.and_then(|circuit| circuit.memory().measured().into_values().max()),
        build: None,
        error: None,
    }
}
