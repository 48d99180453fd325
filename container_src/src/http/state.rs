//! What handlers share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use edgeprove_protocol::Load;
use http::HeaderValue;
use tokio_util::task::TaskTracker;

use super::edge_secret::EdgeSecret;
use crate::{
    access::Access,
    jobs::{JobContext, JobsDisabled},
};
use edgeprove_audit::Audit;
use edgeprove_engine::{
    circuits::Registry, proof_cache::ProofCache, proving::Proving, witness::intake::IntakeLimits,
};
use edgeprove_job_rules::estimator::DurationEstimator;
use edgeprove_spool::Spool;
use edgeprove_telemetry::{metrics::Exposition, supervisor::Supervisor};

/// What is known of bb since the start.
#[derive(Debug, Clone)]
pub struct BbIdentity {
    /// What it prints as its version.
    pub version: String,
    /// The machine it was built for.
    pub binary_arch: String,
}

/// Settings of the HTTP side.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Longest time for a request that proves.
    pub prove_request_timeout: Duration,
    /// Longest time for any other request.
    pub other_request_timeout: Duration,
    /// Origins whose pages may call; empty means that no page of another origin may.
    pub cors_origins: Vec<HeaderValue>,
    /// What the edge proves itself by; `None` where anybody may call.
    pub edge_secret: Option<EdgeSecret>,
    /// Bounds of uploads.
    pub intake: IntakeLimits,
}

/// What handlers share.
pub struct Shared {
    /// Settings.
    pub options: HttpOptions,
    /// The circuits.
    pub circuits: Arc<Registry>,
    /// What makes proofs.
    pub proving: Arc<Proving>,
    /// Proofs that may be asked for again.
    pub proof_cache: Arc<ProofCache>,
    /// Who knows how long proofs take.
    pub estimator: Arc<DurationEstimator>,
    /// Where uploads go.
    pub spool: Spool,
    /// What jobs are made with, or why none are.
    pub workshop: Result<Arc<JobContext>, JobsDisabled>,
    /// Who may do what.
    pub access: Access,
    /// What is told of it.
    pub audit: Audit,
    /// The prover program.
    pub bb: BbIdentity,
    /// Background tasks.
    pub supervisor: Supervisor,
    /// What is counted.
    pub exposition: Exposition,
    /// When the server started.
    pub started: Instant,
    /// Whether every circuit has been looked at.
    pub loaded: AtomicBool,
    /// Whether no new work is taken any more.
    pub draining: AtomicBool,
    /// A token for each request that was let in to prove; the shutdown waits for them.
    pub proofs_at_work: TaskTracker,
}

/// Handlers get this.
pub type AppState = Arc<Shared>;

impl Shared {
    /// What jobs are made with.
    pub fn workshop(&self) -> Result<&Arc<JobContext>, JobsDisabled> {
        self.workshop.as_ref().map_err(|reason| *reason)
    }

    /// How busy the server is at this moment.
    #[must_use]
    pub fn load(&self) -> Load {
        let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let scheduler = self.proving.scheduler();
        let now = scheduler.status();
        // What is let in and not proved yet, be it that its witness is still fetched, waits for a prover all the same, and
        // what is queued is to be done as well: whoever may let this server sleep goes by this.
        let let_in = self.proofs_at_work.len().saturating_sub(now.running);
        let queued: u64 = self.workshop().map_or(0, |workshop| workshop.depth.latest().queued().iter().sum());
        let queued = usize::try_from(queued).unwrap_or(usize::MAX);
        Load {
            running: count(now.running),
            waiting: count(now.waiting.max(let_in).saturating_add(queued)),
            cores: count(scheduler.limits().cores),
        }
    }

    /// Why no proof could be made now; `None` when one could.
    #[must_use]
    pub fn not_ready(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Acquire) {
            Some("the server is shutting down")
        } else if !self.loaded.load(Ordering::Acquire) {
            Some("circuits are being loaded")
        } else if !self.proving.backend().ready() {
            Some("no bb runs")
        } else if self.circuits.none_is_left() {
            Some("no circuit could be loaded")
        } else {
            None
        }
    }
}
