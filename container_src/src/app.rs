//! Builds everything once, runs it, and takes it apart in order.
//!
//! Start: settings are checked, bb is asked for its version, the spool is opened and swept, the port is bound; only
//! then circuits are loaded, while probes are answered already.
//! End: no new work is taken, what is under way finishes within the deadline, bb ends, the spool is empty.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use edgeprove_job_rules::audit::{Action, Actor};
use metrics_exporter_prometheus::BuildError;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{
        circuits::CircuitSettings, engine::EngineSettings, proving::ProverMode, server::ServerSettings,
    },
    http::{
        listener,
        router::router,
        state::{AppState, BbIdentity, Shared},
    },
    jobs::{
        JobsDisabled,
        record::JobRecorder,
        system::{JobSettings, JobSystem, OpenError, Supplies},
    },
    trust::{self, TrustError, TrustSettings},
};
use edgeprove_engine::{
    circuits::{
        Registry,
        circuit::{KeyGenerator, MemoryBudget},
        peak_cache::PeakCache,
        vk_cache::VkCache,
    },
    proof_cache::ProofCache,
    proving::Proving,
    scheduler::Scheduler,
};
use edgeprove_job_rules::estimator::DurationEstimator;
use edgeprove_prover::{
    Backend, IdleProvers,
    barretenberg::{
        process::ProcessBackend,
        version::{self, VersionError},
        warm::WarmBackend,
    },
};
use edgeprove_spool::{Spool, SpoolError};
use edgeprove_telemetry::supervisor::Supervisor;

/// How long connections may take to deliver their last answer once everything else has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often it is looked whether what proofs took is worth keeping. A server that is killed forgets no more than this.
const KEEP_INTERVAL: Duration = Duration::from_secs(10);

/// How often histograms take in what they were told.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// bb is not the one this server was built for.
    #[error(transparent)]
    Bb(#[from] VersionError),
    /// Uploads have nowhere to go.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Jobs have nowhere to be kept.
    #[error(transparent)]
    Jobs(#[from] OpenError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] getrandom::Error),
    /// Nothing can be counted.
    #[error("metrics cannot be kept")]
    Metrics(#[from] BuildError),
    /// Nobody could be let in, or nothing put on record.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The port cannot be had.
    #[error("cannot listen on {address}: choose another by --listen or EDGEPROVE_LISTEN")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The address could not be written to its file.
    #[error("cannot write the address to {}", path.display())]
    AddrFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// Why the server ended other than it was told to.
#[derive(Debug, thiserror::Error)]
#[error("a background task panicked")]
pub struct Panicked;

/// What can prove: everything but the HTTP side. The command line uses it as it is.
pub struct Engine {
    /// The circuits, none of them loaded yet.
    pub circuits: Arc<Registry>,
    /// What makes proofs.
    pub proving: Arc<Proving>,
    /// Where witnesses go.
    pub spool: Spool,
    /// bb.
    pub bb: BbIdentity,
    /// Background tasks.
    pub supervisor: Supervisor,
}

impl Engine {
    /// Checks bb, opens the spool and starts the provers.
    pub async fn start(settings: &EngineSettings, circuits: CircuitSettings) -> Result<Self, StartError> {
        let EngineSettings { proving: settings, program, .. } = settings;
        let supervisor = Supervisor::default();
        let version = version::check(&program.bb, &supervisor).await?;
        let bb = BbIdentity { version, binary_arch: version::binary_arch(&program.bb.path) };
        let spool = Spool::open(&program.spool_dir)?;
        if spool.swept() > 0 {
            tracing::warn!(files = spool.swept(), "witnesses that a dead server left behind were wiped");
        }
        let cores = settings.scheduler.cores;
        let backend: Arc<dyn Backend> = match settings.mode {
            ProverMode::Warm => {
                let widths = settings.scheduler.widths();
                Arc::new(WarmBackend::start(&program.bb, cores, &widths, settings.recycle, &supervisor))
            }
            ProverMode::Process => {
                Arc::new(ProcessBackend::new(program.bb.clone(), spool.clone(), supervisor.clone()))
            }
        };
        let keys = KeyGenerator {
            cache: VkCache::new(&program.cache_dir),
            crs: program.crs.clone(),
            peaks: PeakCache::new(&program.cache_dir),
            room: MemoryBudget {
                memory_max_bytes: settings.scheduler.memory_max_bytes,
                narrowest: settings.scheduler.widths().first().copied().unwrap_or(1),
            },
        };
        let provers = Arc::clone(&backend) as Arc<dyn IdleProvers>;
        let scheduler = Scheduler::new(settings.scheduler.clone(), provers);
        let proving = Proving::new(scheduler, backend, keys, settings.options.clone());
        let circuits = Arc::new(Registry::new(circuits.sources, circuits.default, circuits.families));
        Ok(Self { circuits, proving: Arc::new(proving), spool, bb, supervisor })
    }

    /// Loads every circuit. Those that fail are logged and stay failed.
    pub async fn load(&self) {
        load(&self.circuits, &self.proving).await;
    }

    /// Ends every background task and waits until no witness is left.
    pub async fn stop(self) {
        stop(&self.supervisor, &self.spool).await;
        self.circuits.keep_memory(&self.proving.keys().peaks);
    }
}

/// The server, listening but not yet serving.
pub struct App {
    shared: AppState,
    listener: TcpListener,
    connections_max: usize,
    drain: Duration,
    crew: Option<JobSystem>,
}

impl App {
    /// Binds the port and puts the parts together.
    pub async fn build(
        engine: Engine,
        settings: ServerSettings,
        jobs: Result<JobSettings, JobsDisabled>,
        trust: TrustSettings,
    ) -> Result<Self, StartError> {
        let started = Instant::now();
        let exposition = edgeprove_telemetry::metrics::start()?;
        let opened = async {
            let server = server_name();
            let (access, audit) = trust::open(&trust, &server, &engine.supervisor).await?;
            let proof_cache = Arc::new(ProofCache::new(settings.cached_proofs).map_err(StartError::Random)?);
            let cores = NonZeroUsize::new(engine.proving.scheduler().limits().cores);
            let side_by_side = jobs.as_ref().map_or(cores.unwrap_or(NonZeroUsize::MIN), |jobs| jobs.workers);
            let estimator = Arc::new(DurationEstimator::new(side_by_side));
            let supplies = Supplies {
                circuits: Arc::clone(&engine.circuits),
                proving: Arc::clone(&engine.proving),
                proof_cache: Arc::clone(&proof_cache),
                estimator: Arc::clone(&estimator),
                spool: engine.spool.clone(),
                recorder: JobRecorder::new(audit.clone()),
                server,
            };
            let crew = open_jobs(jobs, supplies).await?;
            Ok((access, audit, proof_cache, estimator, crew, bind(&settings).await?))
        };
        let (access, audit, proof_cache, estimator, crew, (address, listener)) = match opened.await {
            Ok(opened) => opened,
            Err(error) => {
                // The provers run already, and would outlive the server for a moment.
                engine.stop().await;
                return Err(error);
            }
        };
        tracing::info!(
            %address,
            bb = engine.bb.version,
            crs_points = engine.proving.keys().crs.points,
            cores = engine.proving.scheduler().limits().cores,
            memory_max_mib = engine.proving.scheduler().limits().memory_max_bytes >> 20,
            prover = engine.proving.backend().mode(),
            only_from_the_edge = settings.http.edge_secret.is_some(),
            keys = access.keys().len(),
            audit = ?trust.audit.as_ref().map(|audit| &audit.file),
            spool = %engine.spool.path().display(),
            "listening"
        );
        trust::warn_of_open_doors(&access, settings.http.edge_secret.is_some() || address.ip().is_loopback());
        if !engine.proving.options().verify {
            tracing::warn!("proofs are NOT verified before they are answered (--verify off)");
        }
        let workshop = match &crew {
            Ok(crew) => Ok(Arc::clone(&crew.workshop)),
            Err(reason) => {
                tracing::info!(%reason, "no work is taken that outlives its request");
                Err(*reason)
            }
        };
        let Engine { circuits, proving, spool, bb, supervisor } = engine;
        let shared = Arc::new(Shared {
            options: settings.http,
            circuits,
            proving,
            proof_cache,
            estimator,
            spool,
            workshop,
            access,
            audit,
            bb,
            supervisor,
            exposition,
            started,
            loaded: false.into(),
            draining: false.into(),
            proofs_at_work: TaskTracker::new(),
        });
        let (connections_max, drain) = (settings.connections_max, settings.drain);
        Ok(Self { shared, listener, connections_max, drain, crew: crew.ok() })
    }

    /// Serves until `stop` ends, then drains.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Panicked> {
        let Self { shared, listener, connections_max, drain, crew } = self;
        let no_more_jobs = CancellationToken::new();
        let supervisor = shared.supervisor.clone();
        let (app, no_more) = (Arc::clone(&shared), no_more_jobs.clone());
        supervisor.spawn("load circuits", async move {
            let stop = app.supervisor.stop_token().clone();
            tokio::select! {
                () = load(&app.circuits, &app.proving) => {
                    app.loaded.store(true, Ordering::Release);
                    let took_ms = edgeprove_telemetry::millis(app.started.elapsed());
                    if app.circuits.none_is_left() {
                        tracing::warn!(took_ms, "no circuit could be loaded: nothing can be proved");
                    } else {
                        tracing::info!(took_ms, "ready");
                    }
                    if let Some(crew) = crew {
                        crew.start(no_more, app.proofs_at_work.clone(), &app.supervisor);
                    }
                }
                () = stop.cancelled() => {}
            }
        });

        let (exposition, ending) = (shared.exposition.clone(), supervisor.stop_token().clone());
        supervisor.spawn("metrics' upkeep", async move {
            while tokio::time::timeout(UPKEEP_INTERVAL, ending.cancelled()).await.is_err() {
                exposition.upkeep();
            }
        });
        let app = Arc::clone(&shared);
        supervisor.spawn("keep what proofs took", async move {
            let stop = app.supervisor.stop_token().clone();
            while tokio::time::timeout(KEEP_INTERVAL, stop.cancelled()).await.is_err() {
                app.circuits.keep_memory(&app.proving.keys().peaks);
            }
        });

        let (quiet, cut) = (CancellationToken::new(), CancellationToken::new());
        let serving = listener::serve(
            listener,
            router(Arc::clone(&shared)),
            connections_max,
            &supervisor,
            listener::End { quiet: quiet.clone(), cut: cut.clone() },
        );
        let draining = async {
            tokio::select! {
                () = stop => {}
                () = supervisor.fatal() => {}
            }
            shared.draining.store(true, Ordering::Release);
            let now = shared.proving.scheduler().status();
            tracing::info!(
                running = now.running,
                waiting = now.waiting,
                drain_s = drain.as_secs_f64(),
                "shutting down"
            );
            no_more_jobs.cancel();
            shared.proofs_at_work.close();
            // Connections are taken until the end, so that probes and clients are told and not turned away.
            if tokio::time::timeout(drain, shared.proofs_at_work.wait()).await.is_err() {
                tracing::warn!("the deadline for finishing has passed: proofs still at work are given up");
            }
            // Ends the provers; requests that still wait for them are answered by 503.
            supervisor.stop_token().cancel();
            quiet.cancel();
            tokio::time::sleep(LAST_WORDS).await;
            cut.cancel();
        };
        tokio::pin!(serving);
        // Draining makes serving end: at once where no connection is left, and at the latest when it cuts them.
        tokio::select! {
            () = &mut serving => {}
            () = draining => serving.await,
        }
        // That it cannot be kept is logged.
        let _ = shared.audit.record(shared.audit.entry(Actor::Server, Action::ServerStopped)).await;
        self::stop(&supervisor, &shared.spool).await;
        shared.circuits.keep_memory(&shared.proving.keys().peaks);
        tracing::info!("ended");
        if supervisor.has_panicked() { Err(Panicked) } else { Ok(()) }
    }
}

/// Opens what jobs are kept in, or says why none are.
async fn open_jobs(
    settings: Result<JobSettings, JobsDisabled>,
    supplies: Supplies,
) -> Result<Result<JobSystem, JobsDisabled>, StartError> {
    let settings = match settings {
        Ok(settings) => settings,
        Err(reason) => return Ok(Err(reason)),
    };
    Ok(Ok(JobSystem::open(settings, supplies).await?))
}

async fn load(circuits: &Registry, proving: &Proving) {
    // The queue is empty at the start: a seat is to be had.
    let Ok(seat) = proving.permit().await else { return };
    circuits.load_all(proving.keys(), seat.as_ref()).await;
}

async fn stop(supervisor: &Supervisor, spool: &Spool) {
    const WIPE: Duration = Duration::from_secs(5);
    supervisor.stop().await;
    if tokio::time::timeout(WIPE, spool.drained()).await.is_err() {
        tracing::error!(left = spool.len(), "witnesses are left in the spool; the next start wipes them");
    }
}

/// What this server is called, anew with each start: the machine's name, the process's number, and a random part for
/// machines that give all their processes one number.
fn server_name() -> String {
    let machine = rustix::system::uname();
    let is_fit = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let machine: String = machine.nodename().to_string_lossy().chars().filter(is_fit).take(64).collect();
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{machine}-{}-{}", std::process::id(), &random[..8])
}

/// Opens the port, and tells its address where that was asked for.
async fn bind(settings: &ServerSettings) -> Result<(SocketAddr, TcpListener), StartError> {
    let address = settings.listen;
    let bound = TcpListener::bind(address).await.and_then(|l| Ok((l.local_addr()?, l)));
    let (address, listener) = bound.map_err(|source| StartError::Listen { address, source })?;
    if let Some(path) = &settings.addr_file {
        let failed = |source| StartError::AddrFile { path: path.clone(), source };
        write_address(path, address).map_err(failed)?;
    }
    Ok((address, listener))
}

/// Whole or not at all, so that whoever waits for the file never reads half an address.
fn write_address(path: &std::path::Path, address: SocketAddr) -> io::Result<()> {
    let draft = path.with_extension("part");
    std::fs::write(&draft, format!("{address}\n"))?;
    std::fs::rename(draft, path)
}
