//! The server: [`App::start`] puts its parts together, [`App::serve`] runs them, and `drain` ends them in order.
//!
//! Start: bb reports its version, the spool is opened and swept, audit log, keys and job queue are opened, the port is
//! bound. Probes are answered while the circuits are loaded. End: new work is refused, admitted work finishes within the
//! deadline, the provers end, the spool is empty.

use std::{
    future::Future,
    io::{self, Write as _},
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use edgeprove_audit::{Audit, AuditError, AuditSettings};
use edgeprove_builder::Powers;
use edgeprove_engine::{
    proof_cache::ProofCache,
    proof_service::{self, ProofService},
};
use edgeprove_files::{Draft, regular_file};
use edgeprove_groth16::PowersError;
use edgeprove_job_queue::runner::Drain;
use edgeprove_job_rules::estimator::DurationEstimator;
use edgeprove_sealing::{KeySource, Unsealing};
use edgeprove_telemetry::metrics;
use edgeprove_templates::{Catalogue, InvalidTemplate};
use metrics_exporter_prometheus::BuildError;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    access::{
        Access, AccessSettings, api_keys_reload::hangups, sealed_arrivals::SealedArrivals, vouchers::Vouchers,
    },
    circuits::{
        Circuits,
        browser_programs::BrowserPrograms,
        noir_samples::NoirSamples,
        toolchain::{self, OpenBuilderError},
    },
    config::{ServeSettings, builder::WorkSettings, server::ServerSettings},
    engine::{Engine, EngineError},
    http::{
        board::Board,
        concurrent_requests::ConcurrentRequests,
        handlers::metrics::declare,
        listener::{self, Shutdown},
        router::{probe_router, router},
        sealed_body::unix_ms,
        state::{AppState, Shared},
    },
    jobs::{
        JobsDisabled,
        job_kinds::build::BuildTools,
        job_recorder::JobRecorder,
        system::{JobSettings, JobSystem, OpenError, WorkTools},
    },
    lifecycle::Lifecycle,
    receipts::Receipts,
};

/// Most connections of the listener that answers only probes.
const PROBE_CONNECTIONS_MAX: usize = 64;
/// How long connections may take to deliver their last answer after all work has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How often measured memory peaks are stored. A server that is killed loses at most this much.
const STORE_PEAKS_EVERY: Duration = Duration::from_secs(10);
/// How often histograms process their samples. Without this their memory would grow where nobody reads `/metrics`.
const METRICS_UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing can be proved.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The job queue cannot be opened.
    #[error(transparent)]
    Jobs(#[from] OpenError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] getrandom::Error),
    /// A circuit template of this program is invalid.
    #[error(transparent)]
    Template(#[from] InvalidTemplate),
    /// The compilers of circuits cannot be used.
    #[error("--toolchain (EDGEPROVE_TOOLCHAIN) cannot be used")]
    Builder(#[from] OpenBuilderError),
    /// The powers of tau cannot be used.
    #[error("--powers (EDGEPROVE_POWERS): {} cannot be used", path.display())]
    Powers {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PowersError,
    },
    /// Metrics cannot be recorded.
    #[error("metrics cannot be recorded")]
    Metrics(#[from] BuildError),
    /// The audit log cannot be opened or written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Neither could the keys file be read again nor the audit log be rotated, because SIGHUP cannot be caught.
    #[error("SIGHUP cannot be caught")]
    Hangups(#[source] io::Error),
    /// The port cannot be bound.
    #[error("cannot listen on {address}: choose another address with --{flag}")]
    Listen {
        /// The flag that sets the address.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The address could not be written to its file.
    #[error("cannot write the address to {}", path.display())]
    AddrFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl StartError {
    /// Whether another value of a setting prevents it: a path or an address that cannot be used.
    #[must_use]
    pub fn is_of_a_setting(&self) -> bool {
        match self {
            Self::Engine(_)
            | Self::Builder(_)
            | Self::Powers { .. }
            | Self::Audit(_)
            | Self::Listen { .. }
            | Self::AddrFile { .. }
            | Self::Jobs(OpenError::Artifacts(_)) => true,
            Self::Jobs(OpenError::Database(database)) => database.is_of_a_setting(),
            Self::Jobs(OpenError::Queue(_) | OpenError::Encode(_) | OpenError::Webhooks(_))
            | Self::Random(_)
            | Self::Metrics(_)
            | Self::Template(_)
            | Self::Hangups(_) => false,
        }
    }
}

/// Why the server ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("a background task panicked")]
pub struct Panicked;

/// The server: started, and listening.
pub struct App {
    state: AppState,
    listener: TcpListener,
    probe_listener: Option<TcpListener>,
    connections_max: usize,
    drain_timeout: Duration,
    jobs: Option<JobSystem>,
}

impl App {
    /// Starts every part and binds the port.
    pub async fn start(mut settings: ServeSettings) -> Result<Self, StartError> {
        listener::raise_open_files_limit(settings.server.connections_max);
        let templates = Arc::new(Catalogue::embedded()?);
        let powers = open_powers(settings.work.powers.clone()).await?;
        let exposition = metrics::start()?;
        let sample_inputs = mem::take(&mut settings.circuits.samples);
        let has_local_prover = settings.server.http.page.local_prover.is_some();
        let browser_programs =
            has_local_prover.then(|| Arc::new(BrowserPrograms::new(&settings.circuits.sources)));
        let engine = Engine::start(&settings.engine, settings.circuits)?;
        let trust = (&settings.access, settings.audit.as_ref());
        let work = (&settings.work, &templates, powers.as_ref());
        let parts = match Parts::open(&engine, &settings.server, settings.jobs, trust, work).await {
            Ok(parts) => parts,
            Err(error) => {
                // The provers already run, and would outlive the server for a moment.
                engine.stop().await;
                return Err(error);
            }
        };
        let Parts { access, audit, proofs, receipts, jobs, listener, probe_listener } = parts;
        let ServerSettings { connections_max, drain, sealing, http, .. } = settings.server;
        log_start(&engine, (&listener, probe_listener.as_ref()), &access, http.edge_secret.is_some());
        let is_unreachable = http.edge_secret.is_some() || settings.server.listen.ip().is_loopback();
        access.warn_if_open(is_unreachable);
        if let Err(reason) = &jobs {
            tracing::info!(%reason, "asynchronous jobs are disabled");
        }
        let store = jobs.as_ref().ok().map(|jobs| &jobs.jobs.store);
        let store = store.map(|store| (store.queue.database(), &*store.artifacts));
        let is_behind_edge = http.edge_secret.is_some();
        let opened =
            Vouchers::open(settings.access.vouchers.clone(), store, is_behind_edge, &engine.supervisor);
        let vouchers = match opened {
            Ok(vouchers) => vouchers,
            Err(error) => {
                engine.stop().await;
                return Err(StartError::Random(error));
            }
        };
        // Only servers with the same secret open the same bodies.
        let is_shared = matches!(sealing, Some(KeySource::Shared(_)));
        let shared = store.map(|(database, _)| database).filter(|database| is_shared && database.is_shared());
        let sealed_arrivals = shared.map(|database| SealedArrivals::new(database.clone()));
        if let Some(arrivals) = &sealed_arrivals {
            arrivals.start(&engine.supervisor);
        }
        let configured_only = || Arc::new(Circuits::configured(Arc::clone(&engine.circuits)));
        let circuits =
            jobs.as_ref().map_or_else(|_| configured_only(), |jobs| Arc::clone(&jobs.jobs.circuits));
        let state = Arc::new(Shared {
            circuits,
            roles: settings.work.roles(),
            powers,
            concurrent_requests: ConcurrentRequests::new(http.requests_per_caller),
            options: http,
            lifecycle: Lifecycle::new(engine.supervisor.clone()),
            engine,
            proofs,
            sample_inputs,
            browser_programs,
            templates,
            jobs: jobs.as_ref().map(|jobs| Arc::clone(&jobs.jobs)).map_err(|reason| *reason),
            job_attempts_max: settings.job_attempts_max,
            unsealing: sealing.map(|source| Arc::new(Unsealing::new(source, unix_ms()))),
            receipts,
            sealed_arrivals,
            access,
            vouchers,
            audit,
            board: Board::default(),
            exposition,
        });
        declare(&state);
        Ok(Self { state, listener, probe_listener, connections_max, drain_timeout: drain, jobs: jobs.ok() })
    }

    /// Serves until `stop` completes, then drains.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), Panicked> {
        let Self { state, listener, probe_listener, connections_max, drain_timeout, jobs } = self;
        let supervisor = state.lifecycle.supervisor.clone();
        let no_more_jobs = CancellationToken::new();
        load_circuits(Arc::clone(&state), jobs, no_more_jobs.clone());
        run_periodic_tasks(&state);

        let shutdown = Shutdown { graceful: CancellationToken::new(), immediate: CancellationToken::new() };
        let (all, probes) = (router(Arc::clone(&state)), probe_router(Arc::clone(&state)));
        let serving = listener::serve(listener, all, connections_max, &supervisor, shutdown.clone());
        let serving_probes = async {
            if let Some(listener) = probe_listener {
                listener::serve(listener, probes, PROBE_CONNECTIONS_MAX, &supervisor, shutdown.clone()).await;
            }
        };
        let serving = async { tokio::join!(serving, serving_probes) };
        let draining = async {
            tokio::select! {
                () = stop => {}
                () = supervisor.fatal() => {}
            }
            drain(&state, drain_timeout, &no_more_jobs, &shutdown).await;
        };
        tokio::pin!(serving);
        // Draining ends serving: at once where no connection is left, at the latest when it closes them.
        tokio::select! {
            _ = &mut serving => {}
            () = draining => {
                serving.await;
            }
        }
        // After every task has ended, so that the log has all that they recorded.
        state.engine.stop().await;
        state.audit.finish().await;
        if let Ok(jobs) = &state.jobs {
            jobs.store.queue.database().close().await;
        }
        tracing::info!("stopped");
        if supervisor.has_panicked() { Err(Panicked) } else { Ok(()) }
    }
}

/// Refuses new work, waits for admitted work until the deadline, then ends provers and connections.
async fn drain(state: &Shared, timeout: Duration, no_more_jobs: &CancellationToken, shutdown: &Shutdown) {
    state.lifecycle.start_draining();
    let now = state.engine.proving.scheduler().status();
    let drain_s = timeout.as_secs_f64();
    tracing::info!(running = now.running, waiting = now.waiting, drain_s, "shutting down");
    no_more_jobs.cancel();
    // Connections are accepted until the end, so that probes and clients get an answer and not a refused connection.
    if tokio::time::timeout(timeout, state.lifecycle.work_finished()).await.is_err() {
        tracing::warn!("the drain deadline has passed: running proofs are abandoned");
    }
    // Ends the provers. Requests that still wait for them are answered by 503.
    state.lifecycle.supervisor.stop_token().cancel();
    shutdown.graceful.cancel();
    tokio::time::sleep(LAST_ANSWERS).await;
    shutdown.immediate.cancel();
}

/// What [`App::start`] opens beside the engine.
struct Parts {
    access: Access,
    audit: Audit,
    proofs: ProofService,
    receipts: Arc<Receipts>,
    jobs: Result<JobSystem, JobsDisabled>,
    listener: TcpListener,
    probe_listener: Option<TcpListener>,
}

impl Parts {
    async fn open(
        engine: &Engine,
        server: &ServerSettings,
        jobs: Result<JobSettings, JobsDisabled>,
        (access, audit): (&AccessSettings, Option<&AuditSettings>),
        (work, templates, powers): (&WorkSettings, &Arc<Catalogue>, Option<&Arc<Powers>>),
    ) -> Result<Self, StartError> {
        let name = server_name();
        let audit = Audit::open(audit, &name, &engine.supervisor).await?;
        rotate_at_hangup(&audit, engine).map_err(StartError::Hangups)?;
        let access = Access::open(access, &audit, &engine.supervisor).map_err(StartError::Hangups)?;
        let cores = NonZeroUsize::new(engine.proving.scheduler().limits().cores);
        let parallel_jobs = jobs.as_ref().map_or(cores.unwrap_or(NonZeroUsize::MIN), |jobs| jobs.workers);
        let estimator = Arc::new(DurationEstimator::new(parallel_jobs));
        let proofs = ProofService::new(proof_service::Parts {
            proving: Arc::clone(&engine.proving),
            circuits: Arc::clone(&engine.circuits),
            cache: ProofCache::new(server.cached_proofs).map_err(StartError::Random)?,
            estimator: Arc::clone(&estimator),
            audit: audit.clone(),
        });
        let receipts =
            Receipts::new(server.receipts.clone(), &name, audit.clone(), Arc::clone(&engine.proving));
        let receipts = Arc::new(receipts);
        let jobs = match jobs {
            Ok(settings) => {
                let tools = WorkTools {
                    configured: Arc::clone(&engine.circuits),
                    proving: Arc::clone(&engine.proving),
                    proofs: proofs.clone(),
                    receipts: Arc::clone(&receipts),
                    spool: engine.spool.clone(),
                    proves: work.proves,
                    builds: build_tools(engine, work, templates, powers).await?,
                    deploy_nodes: work.deploy_nodes.clone(),
                };
                let recorder = JobRecorder::new(audit.clone());
                JobSystem::open_or_disable(settings, tools, estimator, recorder, (name, &engine.supervisor))
                    .await?
            }
            Err(reason) => Err(reason),
        };
        let listener = bind("listen", server.listen).await?;
        let probe_listener = match server.probe_listen {
            Some(address) => Some(bind("probe-listen", address).await?),
            None => None,
        };
        if let Some(path) = &server.addr_file {
            let failed = |source| StartError::AddrFile { path: path.clone(), source };
            write_address(path, &listener).map_err(failed)?;
        }
        Ok(Self { access, audit, proofs, receipts, jobs, listener, probe_listener })
    }
}

/// Opens the powers of tau. Their digest is part of what identifies a circuit, so that a server without a builder needs
/// it too.
async fn open_powers(path: Option<PathBuf>) -> Result<Option<Arc<Powers>>, StartError> {
    let Some(path) = path else { return Ok(None) };
    let opened = path.clone();
    let opened = tokio::task::spawn_blocking(move || Powers::open(&opened)).await;
    let powers = opened.unwrap_or(Err(PowersError::Cancelled));
    let powers = powers.map_err(|source| StartError::Powers { path, source })?;
    let (power, origin) = (powers.info().power, powers.origin().as_str());
    tracing::info!(power, origin, digest = %powers.digest(), "keys of circom circuits are made from powers of tau");
    Ok(Some(Arc::new(powers)))
}

/// What this server builds circuits with, if it does.
async fn build_tools(
    engine: &Engine,
    work: &WorkSettings,
    templates: &Arc<Catalogue>,
    powers: Option<&Arc<Powers>>,
) -> Result<Option<BuildTools>, OpenBuilderError> {
    let Some(settings) = &work.builder else { return Ok(None) };
    let cores = NonZeroUsize::new(engine.proving.scheduler().limits().cores).unwrap_or(NonZeroUsize::MIN);
    let (bb, powers) = (&engine.program.path, powers.cloned());
    let builder = toolchain::open(settings, bb, powers, cores, &engine.supervisor).await?;
    let noir = NoirSamples::new(Arc::clone(&engine.proving), engine.spool.clone());
    Ok(Some(BuildTools { builder, templates: Arc::clone(templates), noir }))
}

/// Rotates the audit log at SIGHUP.
fn rotate_at_hangup(audit: &Audit, engine: &Engine) -> io::Result<()> {
    if audit.sink().is_some() {
        let (mut hangups, audit, stop) = (hangups()?, audit.clone(), engine.supervisor.stop_token().clone());
        engine.supervisor.spawn("rotate the audit log", async move {
            while let Some(Some(())) = stop.run_until_cancelled(hangups.recv()).await {
                audit.rotate().await;
            }
        });
    }
    Ok(())
}

/// Loads the circuits in the background, then starts the job workers.
fn load_circuits(state: AppState, jobs: Option<JobSystem>, no_more_jobs: CancellationToken) {
    let supervisor = state.lifecycle.supervisor.clone();
    let stop = supervisor.stop_token().clone();
    let loading = async move {
        state.engine.load().await;
        state.lifecycle.set_loaded();
        let took_ms = edgeprove_telemetry::millis(state.lifecycle.uptime());
        if state.circuits.is_empty() && !state.roles.builds {
            tracing::warn!(
                "there is no circuit, so nothing can be proved: start the server with --circuit FILE, where nargo compile \
                 writes target/NAME.json, or with --circuits DIR"
            );
        } else if state.engine.circuits.has_only_failures() {
            tracing::warn!(took_ms, "no circuit could be loaded: nothing can be proved");
        } else {
            tracing::info!(took_ms, "ready");
        }
        if let Some(jobs) = jobs {
            let drain = Drain { no_more_jobs, running: state.lifecycle.tracker().clone() };
            jobs.start(drain, &state.lifecycle.supervisor);
        }
    };
    supervisor.spawn("load circuits", async move {
        stop.run_until_cancelled(loading).await;
    });
}

fn run_periodic_tasks(state: &AppState) {
    let supervisor = &state.lifecycle.supervisor;
    let (metrics, stop) = (state.exposition.clone(), supervisor.stop_token().clone());
    supervisor.spawn("metrics upkeep", async move {
        while tokio::time::timeout(METRICS_UPKEEP_EVERY, stop.cancelled()).await.is_err() {
            metrics.upkeep();
        }
    });
    let (app, stop) = (Arc::clone(state), supervisor.stop_token().clone());
    supervisor.spawn("store memory peaks", async move {
        while tokio::time::timeout(STORE_PEAKS_EVERY, stop.cancelled()).await.is_err() {
            app.engine.store_memory_peaks();
        }
    });
}

fn log_start(
    engine: &Engine,
    (listener, probe_listener): (&TcpListener, Option<&TcpListener>),
    access: &Access,
    requires_edge_secret: bool,
) {
    let scheduler = engine.proving.scheduler().limits();
    let address = |listener: &TcpListener| listener.local_addr().ok().map(tracing::field::display);
    tracing::info!(
        address = address(listener),
        probe_address = probe_listener.and_then(address),
        bb = engine.program.version,
        crs_points = engine.proving.keys().crs.points,
        cores = scheduler.cores,
        memory_max_mib = scheduler.memory_max_bytes >> 20,
        prover = engine.proving.backend().mode(),
        requires_edge_secret,
        keys = access.keys().len(),
        accepts_anonymous = access.keys().accepts_anonymous(),
        spool = %engine.spool.path().display(),
        url = listener.local_addr().ok().map(url),
        "listening"
    );
    let crs = &engine.proving.keys().crs;
    if crs.has_unchecked_points() {
        tracing::warn!(
            crs_points = crs.points,
            checked_points = crs.checked_points,
            "there are no digests to check the last points of the CRS with; proofs of larger circuits are still verified"
        );
    }
    if !engine.proving.options().verify {
        tracing::warn!("proofs are NOT verified before they are returned (--verify off)");
    }
}

/// The URL to open in a browser on this machine.
fn url(address: SocketAddr) -> String {
    let host = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    format!("http://{}/", SocketAddr::new(host, address.port()))
}

/// The name of this server in leases and in the audit log. It is new with each start: the machine's name, the process id,
/// and a random part, because containers often share a process id.
pub(crate) fn server_name() -> String {
    let machine = rustix::system::uname();
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let machine: String = machine.nodename().to_string_lossy().chars().filter(is_allowed).take(64).collect();
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{machine}-{}-{}", std::process::id(), &random[..8])
}

/// Binds the address that this flag sets.
async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { flag, address, source })
}

/// Writes the file in one step, so that a program that waits for it never reads half an address.
pub(crate) fn write_address(path: &Path, listener: &TcpListener) -> io::Result<()> {
    let address = listener.local_addr()?;
    // The rename would replace a device or a FIFO by a file.
    regular_file::check_path(path)?;
    let mut draft = Draft::create(path, 0o666)?;
    writeln!(draft, "{address}")?;
    draft.rename()
}
