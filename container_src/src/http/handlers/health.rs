//! `GET /api/health`, `/livez`, `/readyz`: whether the server can prove.

use axum::{Extension, Json, extract::State};
use edgeprove_protocol::{
    JobStatus,
    answer::{
        BbHealth, CircuitHealth, CircuitStatus, CrsHealth, Health, HealthStatus, JobsHealth, ProverHealth,
    },
};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    circuits::powers_of_tau,
    http::{
        api_error::ApiError,
        caller::Identity,
        state::{AppState, NotReady, Shared},
    },
};
use edgeprove_engine::circuits::registry::{Entry, LoadState};
use edgeprove_job_queue::store::StoreError;
use edgeprove_prover::barretenberg::version::NOIR_VERSION;

/// The kind of a fault of the job store, for everybody.
const JOB_STORE_FAULT: &str = "the database of the jobs cannot be used, so no job is accepted";

/// 200 when proofs can be made, 500 when not. The body has what an operator needs first. Paths and settings of the server are
/// only for operators; others see the kind of a fault.
pub async fn health(
    State(app): State<AppState>,
    Extension(identity): Extension<Identity>,
) -> (StatusCode, Json<Health>) {
    let is_operator = identity.caller.is_ok_and(|caller| caller.may_operate().is_ok());
    let audit_is_failing = app.audit.is_failing().await;
    let job_store = match app.jobs() {
        Ok(jobs) => jobs.store.queue.database().check_files().await.err(),
        Err(_) => None,
    };
    let health = examine(&app, is_operator, audit_is_failing, job_store.as_ref());
    let status = match health.status {
        HealthStatus::Ok | HealthStatus::Degraded => StatusCode::OK,
        HealthStatus::Unhealthy => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, Json(health))
}

/// The answer while the process runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Live {
    /// Always `live`.
    status: &'static str,
}

/// The answer while new work is accepted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ready {
    /// Always `ready`.
    status: &'static str,
    /// Proofs that run.
    running: u32,
    /// Proofs that wait for a prover.
    waiting: u32,
    /// The time since the last job finished, in milliseconds; missing where none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_ms: Option<u64>,
}

/// 200 while the process lives.
pub async fn live() -> Json<Live> {
    Json(Live { status: "live" })
}

/// 200 while new work is accepted, with the load and the time since the last job finished: a platform lets the server sleep
/// by these, and keeps it awake for a while so that results can be fetched. 503 while circuits are loaded, while no prover
/// runs, where there is no circuit or none could be loaded, and during the shutdown.
pub async fn ready(State(app): State<AppState>) -> Result<Json<Ready>, ApiError> {
    if let Some(reason) = app.not_ready() {
        return Err(reason.into());
    }
    let load = app.load();
    let idle = app.jobs().ok().and_then(|jobs| jobs.gauges.activity.since_last_end());
    let idle_ms = idle.map(edgeprove_telemetry::millis);
    Ok(Json(Ready { status: "ready", running: load.running, waiting: load.waiting, idle_ms }))
}

fn examine(
    app: &Shared,
    is_operator: bool,
    audit_is_failing: bool,
    job_store_fault: Option<&StoreError>,
) -> Health {
    let circuits: Vec<CircuitHealth> =
        app.engine.circuits.entries().map(|entry| circuit(entry, is_operator)).collect();
    let configured = circuits.iter().filter(|circuit| circuit.status == CircuitStatus::Ready).count();
    let ready = configured + app.circuits.built();
    let mut problems = Vec::new();
    let not_ready = app.not_ready();
    problems.extend(not_ready.map(|reason| reason.to_string()));
    for circuit in &circuits {
        problems.extend(circuit.error.as_ref().map(|error| format!("circuit {}: {error}", circuit.id)));
    }
    if let Some(fault) = app.access.fault() {
        let kind = "the changed keys file is invalid: the previous keys are still in use";
        problems.push(if is_operator { format!("{kind}: {fault}") } else { kind.to_owned() });
    }
    if audit_is_failing {
        problems
            .push("the audit log cannot be written, or is not the one that was written before".to_owned());
    }
    if let Some(fault) = job_store_fault {
        let details = is_operator.then(|| format!(": {}", edgeprove_telemetry::chain(fault)));
        problems.push(format!("{JOB_STORE_FAULT}{}", details.unwrap_or_default()));
    }
    if let Ok(jobs) = app.jobs() {
        if jobs.store.artifacts.is_failing() {
            problems.push(
                "the last witness or proof of a job could not be stored: is the disk full, or the bucket unreachable?"
                    .to_owned(),
            );
        }
        if job_store_fault.is_none() && jobs.store.queue.database().is_failing() {
            problems.push("the last write to the job database failed".to_owned());
        }
    }
    if app.circuits.is_empty() && not_ready != Some(NotReady::NoCircuit) {
        problems.push(NotReady::NoCircuit.to_string());
    }
    let status = match (not_ready, ready, problems.is_empty()) {
        (None, 1.., true) => HealthStatus::Ok,
        (None, 1.., false) => HealthStatus::Degraded,
        _ => HealthStatus::Unhealthy,
    };
    let (backend, scheduler) = (app.engine.proving.backend(), app.engine.proving.scheduler());
    let now = scheduler.status();
    Health {
        status,
        problems,
        architecture: std::env::consts::ARCH.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        bb: BbHealth {
            available: backend.is_ready(),
            version: app.engine.program.version.clone(),
            binary_arch: app.engine.program.binary_arch.clone(),
        },
        bb_version: app.engine.program.version.clone(),
        bb_crs_files: app.engine.proving.keys().crs.files().join("\n"),
        crs: CrsHealth { points: app.engine.proving.keys().crs.points },
        roles: app.roles.names(),
        built_circuits: app.circuits.built() as u64,
        powers: app.powers.as_deref().map(powers_of_tau),
        noir_version: NOIR_VERSION.to_owned(),
        verify: app.engine.proving.options().verify,
        prover: ProverHealth {
            mode: backend.mode().to_owned(),
            cores: scheduler.limits().cores,
            running: now.running,
            waiting: now.waiting,
            waiting_max: scheduler.limits().waiting_max,
            memory_max_bytes: scheduler.limits().memory_limit_bytes(),
            memory_reserved_bytes: now.memory_reserved_bytes,
            proofs: app.engine.proving.proofs(),
            restarts: backend.restarts().iter().sum(),
        },
        jobs: jobs(app, job_store_fault),
        circuits,
        uptime_s: app.lifecycle.uptime().as_secs(),
        timestamp: edgeprove_telemetry::timestamp_now(),
    }
}

fn jobs(app: &Shared, fault: Option<&StoreError>) -> JobsHealth {
    match app.jobs() {
        Ok(jobs) => {
            let counts = jobs.gauges.counter.latest();
            let queued = counts.queued().iter().sum();
            let error = fault.map(|_| JOB_STORE_FAULT.to_owned());
            JobsHealth { enabled: true, error, queued, running: counts.of(JobStatus::Running) }
        }
        Err(reason) => JobsHealth { enabled: false, error: Some(reason.to_string()), queued: 0, running: 0 },
    }
}

fn circuit(entry: &Entry, is_operator: bool) -> CircuitHealth {
    let (mut key, mut memory_peak_bytes, mut error) = (None, None, None);
    let status = match entry.state() {
        LoadState::Loading => CircuitStatus::Loading,
        LoadState::Ready(circuit) => {
            key = circuit.ready_key(circuit.target);
            memory_peak_bytes = circuit.memory().measured().into_values().max();
            CircuitStatus::Ready
        }
        LoadState::Failed(failure) => {
            error = Some(if is_operator { failure.error.clone() } else { failure.public_reason.clone() });
            CircuitStatus::Failed
        }
    };
    CircuitHealth {
        id: entry.source.id.clone(),
        status,
        target: entry.source.target,
        gates: key.as_ref().map(|key| key.size.gates),
        circuit_size: key.as_ref().map(|key| key.size.dyadic_size),
        memory_peak_bytes,
        vk_hash: key.map(|key| format!("0x{}", hex::encode(key.vk_hash))),
        error,
    }
}
