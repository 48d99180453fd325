//! `GET /metrics`: metrics in the text format of Prometheus.
//!
//! Gauges (queues, memory, disks) are read at each request.

use std::{collections::BTreeSet, path::Path};

use axum::{
    extract::{FromRequestParts as _, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};

use crate::{
    http::{
        api_error::ApiError,
        caller::Operator,
        request_id::UNKNOWN_ROUTE,
        state::{AppState, Shared},
        trusted_edge::reported_caller,
    },
    jobs::job_kinds::proof_payload::KIND,
};
use edgeprove_engine::circuits::registry::{Entry, LoadState};
use edgeprove_protocol::endpoints::{self, Class, Endpoint, Method};
use edgeprove_prover::{
    RestartReason,
    barretenberg::version::{BB_VERSION, NOIR_VERSION},
};
use edgeprove_telemetry::{
    metrics::{self, Declared, MEDIA_TYPE},
    process::{self, ProcessStatus, ProcessUse},
};

/// 1. Open like the probes: it has circuit names and numbers, and nothing about callers or witnesses. But through the
///    edge, whose callers are not of this machine, for operators only (403).
/// 2. 200.
pub async fn metrics(State(app): State<AppState>, request: Request) -> Result<Response, ApiError> {
    if reported_caller(request.extensions()).user.is_some() {
        let (mut parts, _) = request.into_parts();
        Operator::from_request_parts(&mut parts, &app).await?;
    }
    read_gauges(&app);
    let text = app.exposition.render();
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))], text).into_response())
}

/// Makes every counter and histogram of this server, at zero.
pub fn declare(app: &Shared) {
    let paths = |wanted: fn(&Endpoint) -> bool| {
        let paths =
            endpoints::on_server().filter(move |endpoint| wanted(endpoint)).map(|endpoint| endpoint.path);
        paths.collect::<BTreeSet<_>>().into_iter()
    };
    app.exposition.declare(&Declared {
        circuits: app.engine.circuits.entries().map(|entry| &entry.source.id).collect(),
        threads: app.engine.proving.scheduler().limits().widths(),
        job_kinds: vec![KIND],
        routes: paths(|_| true).chain([UNKNOWN_ROUTE]).collect(),
        proof_routes: paths(|endpoint| endpoint.class == Class::Proof && endpoint.method == Method::Post)
            .collect(),
    });
}

fn read_gauges(app: &Shared) {
    let (scheduler, backend) = (app.engine.proving.scheduler(), app.engine.proving.backend());
    let now = scheduler.status();
    metrics::proofs(now.running, now.waiting_by_priority);
    metrics::memory(scheduler.limits().memory_limit_bytes(), now.memory_reserved_bytes);
    metrics::ready(app.not_ready().is_none());
    circuits(app.engine.circuits.entries());

    let processes = backend.processes();
    // Before the running ones: a process that ends in between is missed once, and the counter stands still.
    let own = ProcessUse::now();
    let ended_cpu = own.map_or(0.0, |own| own.children_cpu_seconds);
    let memory = processes.iter().filter_map(|&pid| ProcessStatus::read(pid));
    let running_cpu: f64 = processes.iter().filter_map(|&pid| process::cpu_seconds(pid)).sum();
    metrics::bb(processes.len(), memory.map(|memory| memory.resident_bytes).sum(), running_cpu + ended_cpu);
    if let Some(own) = own {
        metrics::process(own);
    }
    for (reason, count) in RestartReason::ALL.into_iter().zip(backend.restarts()) {
        metrics::bb_restarts(reason.as_str(), count);
    }

    if let Ok(jobs) = app.jobs() {
        let counts = jobs.gauges.counter.latest();
        for kind in jobs.gauges.kinds.iter() {
            let (kind, activity) = (kind.name(), &jobs.gauges.activity);
            metrics::jobs::depth(kind, counts.queued_of(kind), activity.running_of(kind));
        }
        metrics::jobs::pull_waiting(jobs.pull.waiting().into());
        if let Some(folder) = &jobs.store.folder {
            disk("data", folder);
        }
    }

    disk("spool", app.engine.spool.path());
    disk("keys", app.engine.proving.keys().peaks.dir());
    metrics::build(env!("CARGO_PKG_VERSION"), BB_VERSION, NOIR_VERSION, app.lifecycle.started_at());
}

fn circuits<'a>(entries: impl Iterator<Item = &'a Entry>) {
    let (mut loading, mut ready, mut failed) = (0, 0, 0);
    for entry in entries {
        match entry.state() {
            LoadState::Loading => loading += 1,
            LoadState::Failed(_) => failed += 1,
            LoadState::Ready(circuit) => {
                ready += 1;
                for (threads, peak_bytes) in circuit.memory().measured() {
                    metrics::circuit_memory(&circuit.id, threads, peak_bytes);
                }
            }
        }
    }
    metrics::circuits(loading, ready, failed);
}

/// Reads the disk of a folder. A folder that does not exist yet is on the disk of its parent.
fn disk(name: &'static str, folder: &Path) {
    let stat = folder.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
    if let Some(stat) = stat {
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        metrics::disk(name, bytes(stat.f_bavail), bytes(stat.f_blocks));
    }
}
