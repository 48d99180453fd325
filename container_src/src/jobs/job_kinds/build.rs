//! Builds circuits from templates. One circuit is built at a time.
//!
//! 1. The circuit of the template and its parameters is compiled, its keys are made, and its samples are proved.
//! 2. It is loaded as every server will load it, and published.
//!
//! If a job runs twice, the second circuit is not published, because one of this id is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_builder::{BuildContext, BuildError, BuildStage, Builder, Fate};
use edgeprove_circuit_store::CircuitStoreError;
use edgeprove_job_queue::{
    JobOutcome,
    attempt::Attempt,
    kind::{JobKind, Work},
};
use edgeprove_job_rules::{capability::Capability, job::Job, outcome::DecodeError, progress::Stage};
use edgeprove_protocol::{HasProblemType as _, JobStatus, Problem, ProblemType};
use edgeprove_templates::{Catalogue, Instance, Language, RawParameters};
use serde::{Deserialize, Serialize};

use crate::circuits::{CircuitError, Circuits, noir_samples::NoirSamples};

/// The name of the kind.
pub const KIND: &str = "build";

/// The stages of an attempt. The estimate of a build is for all of it, so the first stage has it.
const COMPILING: Stage = stage(BuildStage::Compiling, 2, true);
const MAKING_KEYS: Stage = stage(BuildStage::MakingKeys, 60, false);
const CHECKING: Stage = stage(BuildStage::Checking, 75, false);
const PUBLISHING: Stage = Stage { name: "publishing", percent: 95, is_timed: false };

/// In order.
const STAGES: &[Stage] = &[COMPILING, MAKING_KEYS, CHECKING, PUBLISHING];
/// The names of the stages of a job before and after those of its attempts.
const QUEUED: &str = "queued";
const DONE: &str = "done";

/// Longest time for a build, longer than the compiler may take.
const BUILD_MAX: Duration = Duration::from_mins(15);

const fn stage(stage: BuildStage, percent: u8, is_timed: bool) -> Stage {
    Stage { name: stage.as_str(), percent, is_timed }
}

/// The payload of a build: which circuit. No part is private.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The name of the template.
    pub template: String,
    /// Its language.
    pub language: Language,
    /// The values of its parameters, as JSON.
    pub params: String,
    /// The id of the request that asked for it.
    pub request_id: String,
}

impl Payload {
    /// The payload of a build.
    pub fn of(job: &Job) -> Result<Self, DecodeError> {
        job.read_payload()
    }
}

/// The stage of a build on the wire, and its number. An attempt that has not reported a stage is about to compile.
#[must_use]
pub fn stage_of(job: &Job) -> (&str, usize) {
    match job.status {
        JobStatus::Queued => (QUEUED, 0),
        JobStatus::Running => {
            let name = job.stage.as_deref().unwrap_or(COMPILING.name);
            (name, STAGES.iter().position(|stage| stage.name == name).unwrap_or(0) + 1)
        }
        JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled | JobStatus::Expired => {
            (DONE, STAGES.len() + 1)
        }
    }
}

/// What a build reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct BuildReport {
    took_ms: u64,
    isolation: String,
}

/// What builds are made with.
pub struct BuildTools {
    /// Runs the compilers.
    pub builder: Builder,
    /// The templates.
    pub templates: Arc<Catalogue>,
    /// Proves the samples of Noir circuits.
    pub noir: NoirSamples,
}

/// The kind of builds.
pub struct Build {
    /// `None` on a server that builds nothing.
    tools: Option<BuildTools>,
    circuits: Arc<Circuits>,
    /// Held while a circuit is built.
    turn: tokio::sync::Mutex<()>,
    is_busy: AtomicBool,
}

/// Why an attempt has no result.
enum Failure {
    /// Another attempt would fail as well.
    Permanent(ProblemType, String),
    /// Another attempt may succeed.
    Temporary(ProblemType, String),
    /// The server stops.
    Released,
}

impl Build {
    /// Builds with these tools, published in these circuits.
    #[must_use]
    pub fn new(tools: Option<BuildTools>, circuits: Arc<Circuits>) -> Self {
        Self { tools, circuits, turn: tokio::sync::Mutex::default(), is_busy: AtomicBool::new(false) }
    }

    async fn attempt(&self, job: &Job, attempt: &Attempt) -> Result<BuildReport, Failure> {
        let payload =
            Payload::of(job).map_err(|error| Failure::Permanent(error.kind(), error.public_detail()))?;
        let started = Instant::now();
        // No job is claimed without tools.
        let tools = self.tools.as_ref().ok_or(Failure::Released)?;
        let instance = instance(tools, &payload)?;
        let versions = tools.builder.toolchain().versions();
        let toolchain = versions.identity(payload.language, tools.builder.powers());
        let id = instance.circuit_id(&toolchain);
        if job.subject != id.as_str() {
            let detail = "this server builds other circuits of the template: it has other versions of the compilers, or other \
                 powers of tau";
            return Err(Failure::Permanent(ProblemType::CircuitUnavailable, detail.to_owned()));
        }
        if self.circuits.is_published(&id).await.map_err(|error| publish_failure(&error.into()))? {
            return Ok(BuildReport { took_ms: 0, isolation: String::new() });
        }
        let on_stage = |stage: BuildStage| attempt.report_stage(stage.as_str());
        let context = BuildContext { on_stage: &on_stage, deadline: started + BUILD_MAX };
        let built = tools.builder.build(&instance, &tools.noir, &context).await;
        let built = built.map_err(|error| build_failure(&error))?;
        attempt.report_stage(PUBLISHING.name);
        let isolation = built.isolation.as_str().to_owned();
        self.circuits
            .publish(&instance, &toolchain, &built)
            .await
            .map_err(|error| publish_failure(&error))?;
        Ok(BuildReport { took_ms: edgeprove_telemetry::millis(started.elapsed()), isolation })
    }
}

fn instance(tools: &BuildTools, payload: &Payload) -> Result<Instance, Failure> {
    let unusable = |detail: String| Failure::Permanent(ProblemType::CircuitUnavailable, detail);
    let template = tools.templates.find(&payload.template, Some(payload.language));
    let template = template.map_err(|error| unusable(error.to_string()))?;
    let params: RawParameters = payload.params.parse().map_err(|_| {
        let detail = "the parameters of the circuit are damaged";
        Failure::Permanent(ProblemType::StoredDataDamaged, detail.to_owned())
    })?;
    Instance::new(template, &params).map_err(|error| unusable(error.to_string()))
}

#[async_trait]
impl JobKind for Build {
    fn name(&self) -> &'static str {
        KIND
    }

    fn stages(&self) -> &'static [Stage] {
        STAGES
    }

    /// Every build, but none while one is running: it would wait, and hold a worker that proofs need.
    fn capability(&self) -> Capability {
        let takes_none = self.tools.is_none() || self.is_busy.load(Ordering::Relaxed);
        let subjects = takes_none.then(Vec::new);
        Capability { kind: KIND, subjects }
    }

    fn work_of(&self, job: &Job) -> Option<Work> {
        let report: BuildReport = job.completion().ok()?;
        Some(Work { subject: job.subject.clone(), took: Duration::from_millis(report.took_ms) })
    }

    fn span(&self, job: &Job) -> tracing::Span {
        match Payload::of(job) {
            Ok(Payload { request_id, .. }) => tracing::info_span!("job", request_id),
            Err(_) => tracing::Span::none(),
        }
    }

    async fn run(&self, job: &Job, attempt: &Attempt) -> JobOutcome {
        // Two workers may claim at the same moment. The second job waits in the queue, where it holds no worker.
        let Ok(_turn) = self.turn.try_lock() else { return JobOutcome::Released };
        let _busy = Busy::begin(&self.is_busy);
        let request_id = Payload::of(job).ok().map(|payload| payload.request_id);
        let problem = |kind, detail| Box::new(Problem::new(kind, detail, request_id));
        match self.attempt(job, attempt).await {
            Ok(report) => JobOutcome::completed(None, report).unwrap_or_else(|error| {
                tracing::error!(job = %job.id, error = %edgeprove_telemetry::chain(&error), "the report of a build could not be encoded");
                JobOutcome::Failed(problem(ProblemType::Internal, "the server failed to store the outcome".to_owned()))
            }),
            Err(Failure::Permanent(kind, detail)) => JobOutcome::Failed(problem(kind, detail)),
            Err(Failure::Temporary(kind, detail)) => JobOutcome::Retry(problem(kind, detail)),
            Err(Failure::Released) => JobOutcome::Released,
        }
    }
}

/// Set while a circuit is built.
struct Busy<'a>(&'a AtomicBool);

impl<'a> Busy<'a> {
    fn begin(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        Self(flag)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn build_failure(error: &BuildError) -> Failure {
    let fate = error.fate();
    if fate != Fate::Stopping {
        tracing::warn!(error = %edgeprove_telemetry::chain(error), "a circuit could not be built");
    }
    match fate {
        Fate::Stopping => Failure::Released,
        Fate::Temporary => Failure::Temporary(ProblemType::CircuitUnavailable, error.public_detail()),
        Fate::Permanent => Failure::Permanent(ProblemType::CircuitCompilationFailed, error.public_detail()),
    }
}

fn publish_failure(error: &CircuitError) -> Failure {
    tracing::warn!(error = %edgeprove_telemetry::chain(error), "a circuit could not be published");
    let (kind, detail) = (error.kind(), error.public_detail());
    if kind.retryable() && !matches!(error, CircuitError::Store(CircuitStoreError::Full { .. })) {
        Failure::Temporary(kind, detail)
    } else {
        Failure::Permanent(kind, detail)
    }
}
