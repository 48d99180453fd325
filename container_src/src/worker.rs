//! A prover that pulls: it claims jobs from a server, proves them, and returns the proofs. It needs neither a database nor a bucket,
//! and accepts no connection: `edgeprove work`.
//!
//! The engine is that of a server, and a job runs by the same [`Prove`](crate::jobs::job_kinds::prove::Prove), whose files are
//! at the server here. Each job has its lease, which a task renews; the fence is at the server.
//!
//! - [`assignment`]: one claimed job, from its witness to its outcome.
//! - [`fetched_circuits`]: circuits that the server stores.
//! - [`server`]: the requests to the server.
//! - [`backoff`]: the pauses after failures.

pub mod assignment;
pub mod backoff;
pub mod fetched_circuits;
pub mod server;

use std::{
    future::Future,
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::{Duration, Instant},
};

use edgeprove_audit::Audit;
use edgeprove_engine::{
    proof_cache::ProofCache,
    proof_service::{Parts, ProofService},
};
use edgeprove_job_queue::attempt::Renewal;
use edgeprove_job_rules::estimator::DurationEstimator;
use edgeprove_protocol::{
    ProblemType, ProofSystem,
    work::{
        CIRCUITS_MAX, CLAIM_MAX, ClaimAnswer, ClaimRequest, PROTOCOL, WAIT_MAX_S, WorkBackend, WorkCircuit,
        Worker,
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{circuits::Circuits, engine::Engine};
use assignment::{Assignment, Tools};
use backoff::Backoff;
use fetched_circuits::FetchedCircuits;
use server::{RequestError, Server, ServerAddress};

/// An empty answer that comes sooner than this was no wait: the server lets no more claims wait.
const SOON: Duration = Duration::from_secs(1);
/// How long released jobs may take to be reported at the end.
const LAST_REPORTS: Duration = Duration::from_secs(10);
/// The least time in which a server may be away before attempts are given up. The lease is the server's to end.
const GIVE_UP_AFTER_MIN: Duration = Duration::from_mins(2);

/// The settings of a prover that pulls.
#[derive(Debug, Clone)]
pub struct PullerSettings {
    /// The server.
    pub server: ServerAddress,
    /// The name of this process.
    pub name: String,
    /// The most jobs that run at the same time.
    pub concurrency: NonZeroU32,
    /// How long running jobs may take at the end.
    pub drain: Duration,
    /// Whether jobs of circuits that the server stores are taken.
    pub stored_circuits: bool,
}

/// Why the prover ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum PullerError {
    /// No client could be made.
    #[error("no connection can be made")]
    NoClient(#[source] reqwest::Error),
    /// There is nothing to prove.
    #[error(
        "there is nothing to prove: start with --circuit FILE or --circuits DIR, or with --stored-circuits on for those of the \
         server"
    )]
    NothingToProve,
    /// A background task panicked.
    #[error("a background task panicked")]
    Panicked,
    /// The server refuses all claims, and will go on.
    #[error("the server refuses this prover")]
    Refused(#[source] RequestError),
}

/// A prover that pulls.
pub struct Puller {
    settings: PullerSettings,
    engine: Arc<Engine>,
    server: Arc<Server>,
    fetched: Option<Arc<FetchedCircuits>>,
    tools: Tools,
}

impl Puller {
    /// A prover with this engine. It claims nothing yet.
    pub fn new(settings: PullerSettings, engine: Engine) -> Result<Self, PullerError> {
        let engine = Arc::new(engine);
        let server = Arc::new(Server::new(settings.server.clone()).map_err(PullerError::NoClient)?);
        let fetched = settings.stored_circuits.then(|| Arc::new(FetchedCircuits::new(&server, &engine)));
        let circuits = match &fetched {
            Some(fetched) => {
                Circuits::with_source(Arc::clone(&engine.circuits), Arc::clone(fetched) as Arc<_>)
            }
            None => Circuits::configured(Arc::clone(&engine.circuits)),
        };
        let parallel = NonZeroUsize::new(settings.concurrency.get() as usize).unwrap_or(NonZeroUsize::MIN);
        let proofs = ProofService::new(Parts {
            proving: Arc::clone(&engine.proving),
            circuits: Arc::clone(&engine.circuits),
            // Whose proofs may be shared is for the server to decide.
            cache: ProofCache::disabled(),
            estimator: Arc::new(DurationEstimator::new(parallel)),
            audit: Audit::off(),
        });
        let spool = engine.spool.clone();
        let tools = Tools { circuits: Arc::new(circuits), proofs, spool, server: Arc::clone(&server) };
        Ok(Self { settings, engine, server, fetched, tools })
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Proves jobs until `stop` completes, then finishes those that run, or returns them. The engine is stopped at the end.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), PullerError> {
        let stopping = CancellationToken::new();
        let (abandon, running) = (CancellationToken::new(), TaskTracker::new());
        let claiming = async {
            if stopping.run_until_cancelled(self.engine.load()).await.is_none() {
                return Ok(());
            }
            if self.engine.circuits.loaded().next().is_none() && self.fetched.is_none() {
                return Err(PullerError::NothingToProve);
            }
            self.claim_jobs(&stopping, &abandon, &running).await
        };
        tokio::pin!(claiming);
        let ended = tokio::select! {
            ended = &mut claiming => ended,
            () = stop => {
                stopping.cancel();
                claiming.await
            }
            () = self.engine.supervisor.fatal() => Err(PullerError::Panicked),
        };
        running.close();
        let drain_s = self.settings.drain.as_secs_f64();
        tracing::info!(running = running.len(), drain_s, "no more jobs are claimed");
        if tokio::time::timeout(self.settings.drain, running.wait()).await.is_err() {
            tracing::warn!(
                running = running.len(),
                "the drain deadline has passed: running jobs are returned"
            );
            abandon.cancel();
            let _ = tokio::time::timeout(LAST_REPORTS, running.wait()).await;
        }
        abandon.cancel();
        self.engine.stop().await;
        tracing::info!("stopped");
        ended
    }

    async fn claim_jobs(
        &self,
        stopping: &CancellationToken,
        abandon: &CancellationToken,
        running: &TaskTracker,
    ) -> Result<(), PullerError> {
        let slots = Arc::new(Semaphore::new(self.settings.concurrency.get() as usize));
        let mut backoff = Backoff::default();
        tracing::info!(
            server = self.server.url().as_str(),
            name = self.settings.name,
            concurrency = self.settings.concurrency,
            circuits = self.engine.circuits.loaded().count(),
            stored_circuits = self.fetched.is_some(),
            "claiming jobs"
        );
        loop {
            // One for each job that may be claimed.
            let Some(Ok(first)) = stopping.run_until_cancelled(Arc::clone(&slots).acquire_owned()).await
            else {
                return Ok(());
            };
            let mut free = vec![first];
            while free.len() < CLAIM_MAX as usize
                && let Ok(permit) = Arc::clone(&slots).try_acquire_owned()
            {
                free.push(permit);
            }
            let request = self.claim_request(u32::try_from(free.len()).unwrap_or(CLAIM_MAX));
            let asked = Instant::now();
            // Dropping it closes the connection, and the server releases what it may have claimed.
            let Some(answer) = stopping.run_until_cancelled(self.server.claim(&request)).await else {
                return Ok(());
            };
            match answer {
                Ok(answer) if answer.jobs.is_empty() => {
                    drop(free);
                    if asked.elapsed() < SOON {
                        let _ = stopping.run_until_cancelled(backoff.pause()).await;
                    } else {
                        backoff.reset();
                    }
                }
                Ok(answer) => {
                    backoff.reset();
                    self.start(answer, free, abandon, running);
                }
                Err(error) if error.may_succeed_later() => {
                    drop(free);
                    tracing::warn!(error = %edgeprove_telemetry::chain(&error), "no jobs can be claimed");
                    let _ = stopping.run_until_cancelled(backoff.pause_after(error.retry_after())).await;
                }
                Err(error) => return Err(PullerError::Refused(error)),
            }
        }
    }

    fn claim_request(&self, max: u32) -> ClaimRequest {
        let backends = ProofSystem::ALL.map(|system| self.engine.proving.backend().identity(system));
        let backends = backends.map(|of| WorkBackend { name: of.program.into(), version: of.version.into() });
        let scheduler = self.engine.proving.scheduler().limits();
        let worker = Worker {
            name: self.settings.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            backends: backends.into(),
            memory_bytes: scheduler.memory_limit_bytes(),
            concurrency: self.settings.concurrency.get(),
        };
        let circuits = self.engine.circuits.loaded();
        let circuits =
            circuits.map(|circuit| WorkCircuit { circuit: circuit.id.clone(), version: circuit.version() });
        ClaimRequest {
            protocol: PROTOCOL,
            worker,
            circuits: circuits.take(CIRCUITS_MAX).collect(),
            stored_circuits: self.fetched.is_some(),
            except: self.fetched.as_ref().map(|fetched| fetched.failed()).unwrap_or_default(),
            max,
            wait_s: WAIT_MAX_S,
        }
    }

    /// Starts the jobs of an answer, each with a free slot. The server gives no more than were claimed; what exceeds them waits for
    /// its lease to expire.
    fn start(
        &self,
        answer: ClaimAnswer,
        free: Vec<OwnedSemaphorePermit>,
        abandon: &CancellationToken,
        running: &TaskTracker,
    ) {
        let every = Duration::from_millis(answer.heartbeat_ms.max(1));
        let lease = Duration::from_millis(answer.lease_ms);
        let renewal = Renewal { every, give_up_after: (lease * 8).max(GIVE_UP_AFTER_MIN) };
        for (job, permit) in answer.jobs.into_iter().zip(free) {
            if let Some(fetched) = &self.fetched {
                fetched.forget_others(&job.witnesses);
            }
            let assignment = Arc::new(Assignment::new(job, Arc::clone(&self.server)));
            let (tools, abandon, fetched) = (self.tools.clone(), abandon.clone(), self.fetched.clone());
            let supervisor = self.engine.supervisor.clone();
            let token = running.token();
            self.engine.supervisor.spawn("run a claimed job", async move {
                let _running = (token, permit);
                let failed = assignment.run(&tools, renewal, &abandon, &supervisor).await;
                if let (Some(fetched), Some(circuit)) = (fetched, failed) {
                    fetched.avoid(circuit);
                }
            });
        }
    }
}

/// Whether a problem of a job means that this prover does not have what it needs, and another one may.
fn is_of_this_prover(problem: ProblemType) -> bool {
    matches!(
        problem,
        ProblemType::CircuitNotFound
            | ProblemType::CircuitUnavailable
            | ProblemType::CircuitInvalid
            | ProblemType::CircuitTooLarge
            | ProblemType::WitnessOfAnotherCircuit
            | ProblemType::OutOfMemory
    )
}
