//! What every handler can reach.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use edgeprove_audit::Audit;
use edgeprove_builder::Powers;
use edgeprove_engine::{proof_service::ProofService, witness::intake::IntakeLimits};
use edgeprove_protocol::{CircuitId, HasProblemType, Load, ProblemType};
use edgeprove_sealing::Unsealing;
use edgeprove_telemetry::metrics::Exposition;
use edgeprove_templates::Catalogue;
use http::HeaderValue;

use super::{
    board::Board, concurrent_requests::ConcurrentRequests, edge_secret::EdgeSecret, host_names::HostNames,
    local_prover::LocalProver,
};
use crate::{
    access::{Access, sealed_arrivals::SealedArrivals, vouchers::Vouchers},
    circuits::{Circuits, Roles, browser_programs::BrowserPrograms, sample_inputs::SampleInputs},
    engine::Engine,
    jobs::{Jobs, JobsDisabled},
    lifecycle::Lifecycle,
    receipts::Receipts,
};

/// Settings of the HTTP side.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Time limit of a request that proves, or asks for a circuit.
    pub prove_request_timeout: Duration,
    /// Time limit of every other request.
    pub other_request_timeout: Duration,
    /// Origins whose pages may call. Empty: pages of other origins may not.
    pub cors_origins: Vec<HeaderValue>,
    /// Names under which the server may be called. `None`: any name.
    pub host_names: Option<HostNames>,
    /// Interval of pings and comments in a silent event stream.
    pub stream_keep_alive: Duration,
    /// The secret shared with the edge. `None`: anybody may call.
    pub edge_secret: Option<EdgeSecret>,
    /// Most requests of one caller at the same time.
    pub requests_per_caller: usize,
    /// Limits of uploads.
    pub intake: IntakeLimits,
    /// The page for browsers.
    pub page: PageOptions,
}

/// Settings of the page for browsers.
#[derive(Debug, Clone, Default)]
pub struct PageOptions {
    /// Whether browsers get it.
    pub is_on: bool,
    /// What it needs to prove in the browser. `None`: it proves at the server only.
    pub local_prover: Option<Arc<LocalProver>>,
}

/// What every handler can reach.
pub struct Shared {
    /// Settings.
    pub options: HttpOptions,
    /// The requests in progress of each caller.
    pub concurrent_requests: ConcurrentRequests,
    /// Everything that proves.
    pub engine: Engine,
    /// The one way to prove.
    pub proofs: ProofService,
    /// The circuits that can be proved.
    pub circuits: Arc<Circuits>,
    /// Sample inputs of configured circuits.
    pub sample_inputs: BTreeMap<CircuitId, SampleInputs>,
    /// Programs of configured circuits for pages; `None` where pages prove at the server only.
    pub browser_programs: Option<Arc<BrowserPrograms>>,
    /// The circuit templates.
    pub templates: Arc<Catalogue>,
    /// What this server does with jobs.
    pub roles: Roles,
    /// The powers of tau of circuits that are built.
    pub powers: Option<Arc<Powers>>,
    /// The job queue, or why the server has none.
    pub jobs: Result<Arc<Jobs>, JobsDisabled>,
    /// The maximum number of attempts at a job that a request may allow, also where jobs are disabled.
    pub job_attempts_max: u32,
    /// What opens sealed bodies; `None` where nothing sealed is accepted.
    pub unsealing: Option<Arc<Unsealing>>,
    /// The receipts of this server.
    pub receipts: Arc<Receipts>,
    /// The sealed bodies that have arrived at servers with the same keys and database; `None` where no other server opens them.
    pub sealed_arrivals: Option<SealedArrivals>,
    /// Keys, roles and limits.
    pub access: Access,
    /// Vouchers.
    pub vouchers: Vouchers,
    /// The audit log.
    pub audit: Audit,
    /// Starting, ready, draining; and the owner of background tasks.
    pub lifecycle: Lifecycle,
    /// The board.
    pub board: Board,
    /// The metrics.
    pub exposition: Exposition,
}

/// Why no proof can be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The server starts or shuts down.
    #[error("{0}")]
    Lifecycle(&'static str),
    /// bb does not run at this moment.
    #[error("no prover is running")]
    NoProver,
    /// No circuit is configured.
    #[error(
        "there is no circuit: start the server with --circuit FILE or --circuits DIR, or build one with POST /v1/circuits"
    )]
    NoCircuit,
    /// Every circuit failed to load.
    #[error("no circuit could be loaded")]
    NoLoadedCircuit,
}

impl HasProblemType for NotReady {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Lifecycle(_) | Self::NoProver => ProblemType::NotReady,
            // Circuits are loaded once, so a retry never helps.
            Self::NoCircuit | Self::NoLoadedCircuit => ProblemType::CircuitUnavailable,
        }
    }
}

/// The state of the router.
pub type AppState = Arc<Shared>;

impl Shared {
    /// The job queue.
    pub fn jobs(&self) -> Result<&Arc<Jobs>, JobsDisabled> {
        self.jobs.as_ref().map_err(|reason| *reason)
    }

    /// The load of the server now. Admitted requests and queued jobs count as waiting, also while their witness is still
    /// fetched: a platform lets the server sleep by this.
    #[must_use]
    pub fn load(&self) -> Load {
        let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let scheduler = self.engine.proving.scheduler();
        let now = scheduler.status();
        let admitted = self.lifecycle.admitted().saturating_sub(now.running);
        let queued: u64 = self.jobs().map_or(0, |jobs| jobs.gauges.counter.latest().queued().iter().sum());
        let queued = usize::try_from(queued).unwrap_or(usize::MAX);
        Load {
            running: count(now.running),
            waiting: count(now.waiting.max(admitted).saturating_add(queued)),
            cores: count(scheduler.limits().cores),
        }
    }

    /// Why no proof can be made now; `None` when one can.
    #[must_use]
    pub fn not_ready(&self) -> Option<NotReady> {
        self.lifecycle.refusal().map(NotReady::Lifecycle).or_else(|| {
            if !self.engine.proving.backend().is_ready() {
                Some(NotReady::NoProver)
            } else if self.circuits.is_empty() {
                Some(NotReady::NoCircuit)
            } else if self.circuits.has_only_failures() {
                Some(NotReady::NoLoadedCircuit)
            } else {
                None
            }
        })
    }
}
