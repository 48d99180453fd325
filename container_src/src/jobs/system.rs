//! The job system: opens the store of jobs and artifacts, then starts workers, watchers and upkeep.

use std::{collections::HashSet, num::NonZeroUsize, sync::Arc, time::Duration};

use async_trait::async_trait;
use edgeprove_artifacts::{ArtifactName, ArtifactSettings, ArtifactStore};
use edgeprove_circuit_store::{Bounds as CircuitBounds, CircuitStore};
use edgeprove_engine::{circuits::Registry, proof_service::ProofService, proving::Proving};
use edgeprove_job_queue::{
    QueueError, SqlQueue,
    activity::Activity,
    crash_quarantine::CrashQuarantine,
    job_counts::JobCounter,
    job_view::JobViews,
    kind::{JobKind, JobKinds},
    runner::{Drain, Runner, WorkerSettings},
    store::{self, Database, DatabaseLocation, sqlite::DataFolder},
    upkeep::{ArtifactRemover, Intervals, RemoveError, Upkeep},
    watchers::JobWatchers,
};
use edgeprove_job_rules::{
    estimator::DurationEstimator, outcome::EncodeError, queue_bounds::Bounds, transition::Rules,
};
use edgeprove_outbound::AllowedHosts;
use edgeprove_protocol::{Problem, ProblemType};
use edgeprove_spool::Spool;
use edgeprove_telemetry::supervisor::Supervisor;
use edgeprove_webhooks::{Dispatcher, WebhookStore};

use super::{
    JobGauges, JobStore, Jobs, JobsDisabled,
    held_keys::HeldKeys,
    job_kinds::{
        build::{Build, BuildTools},
        deploy::{self, Deploy},
        prove::Prove,
    },
    job_recorder::JobRecorder,
    link_token::LinkTokens,
    lost_entries,
    pull::{PullJobs, PullSettings},
    scale::ScaleMeter,
    spent_proofs::SpentProofs,
    watch_permits::{WatchLimits, WatchPermits},
    webhooks::{JobWebhooks, WebhookSettings, Webhooks},
};
use crate::{circuits::Circuits, receipts::Receipts};

/// What jobs are run with.
pub struct WorkTools {
    /// The configured circuits.
    pub configured: Arc<Registry>,
    /// The proving core.
    pub proving: Arc<Proving>,
    /// The one way to prove.
    pub proofs: ProofService,
    /// The receipts of this server.
    pub receipts: Arc<Receipts>,
    /// Where witnesses are while they are proved, and circuits while they are loaded.
    pub spool: Spool,
    /// Whether this server runs proof jobs.
    pub proves: bool,
    /// What builds are made with; `None` where this server builds no circuits.
    pub builds: Option<BuildTools>,
    /// The Ethereum nodes by which contracts may be deployed.
    pub deploy_nodes: AllowedHosts,
}

/// The settings of jobs.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// The location of the jobs.
    pub database: DatabaseLocation,
    /// The location and the keys of their artifacts.
    pub artifacts: ArtifactSettings,
    /// Leases, delays between attempts, and retention.
    pub rules: Rules,
    /// The maximum numbers of jobs.
    pub bounds: Bounds,
    /// The number of jobs that run at the same time.
    pub workers: NonZeroUsize,
    /// The maximum number of attempts at a job.
    pub max_attempts: u32,
    /// The longest wait of a job that no worker of this server takes.
    pub wait_max: Duration,
    /// The maximum numbers of clients that follow jobs.
    pub watchers: WatchLimits,
    /// Provers that pull.
    pub pull: PullSettings,
    /// The maximum number and size of circuits that were built.
    pub built_circuits: CircuitBounds,
    /// Whether nobody chose the location. If it cannot be used, the server starts without jobs.
    pub is_default: bool,
    /// The number of this container in the ids of its jobs, if it alone stores them.
    pub instance_number: Option<u16>,
    /// Who may be called when a job has finished.
    pub webhooks: WebhookSettings,
}

/// Why the store of jobs cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] store::OpenError),
    /// The queue cannot be read.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The artifacts cannot be opened.
    #[error(transparent)]
    Artifacts(#[from] edgeprove_artifacts::OpenError),
    /// The client of webhooks cannot be set up.
    #[error("the client of webhooks cannot be set up")]
    Webhooks(#[source] reqwest::Error),
    /// A fixed outcome cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// The opened job system. Nothing runs yet.
pub struct JobSystem {
    /// The jobs, as the endpoints use them.
    pub jobs: Arc<Jobs>,
    upkeep: Upkeep,
    runner: Runner,
    dispatcher: Option<Dispatcher>,
}

impl JobSystem {
    /// As [`Self::open`]. Where nobody chose the location, a failure only disables jobs: another server may use the folder
    /// already, or the user has no home.
    pub async fn open_or_disable(
        settings: JobSettings,
        tools: WorkTools,
        estimator: Arc<DurationEstimator>,
        recorder: JobRecorder,
        (server, supervisor): (String, &Supervisor),
    ) -> Result<Result<Self, JobsDisabled>, OpenError> {
        let default = settings.is_default.then(|| settings.database.to_string());
        let opened = Self::open(settings, tools, estimator, recorder, (server, supervisor)).await;
        match (opened, default) {
            (Ok(system), Some(folder)) => {
                tracing::info!(
                    folder,
                    "jobs are stored in the user's data folder; --data DIR stores them elsewhere, and --data off nowhere"
                );
                Ok(Ok(system))
            }
            (Ok(system), None) => Ok(Ok(system)),
            (Err(error), Some(folder)) => {
                let error = edgeprove_telemetry::chain(&error);
                tracing::warn!(folder, error, "the default data folder cannot be used");
                Ok(Err(JobsDisabled::DefaultFolder))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Opens the database and the artifacts, and queues the jobs again that the previous process left running. `server` names
    /// this process in leases; the supervisor owns the tasks that accept jobs.
    pub async fn open(
        settings: JobSettings,
        tools: WorkTools,
        estimator: Arc<DurationEstimator>,
        recorder: JobRecorder,
        (server, supervisor): (String, &Supervisor),
    ) -> Result<Self, OpenError> {
        // First, because the artifacts and their key are in it as a rule: this closes it to other users and other servers.
        let folder = match &settings.database {
            DatabaseLocation::Folder(path) => Some(DataFolder::claim(path)?),
            DatabaseLocation::Memory | DatabaseLocation::Postgres(_) => None,
        };
        let artifacts = Arc::new(ArtifactStore::open(&settings.artifacts)?);
        let database = match folder {
            Some(folder) => Database::in_folder(folder).await?,
            None => Database::open(&settings.database).await?,
        };
        tracing::info!(
            database = %settings.database,
            artifacts = artifacts.location(),
            artifact_key = %artifacts.key(),
            workers = settings.workers,
            "asynchronous jobs are enabled"
        );
        if matches!(settings.database, DatabaseLocation::Postgres(_)) && !artifacts.is_shared() {
            tracing::warn!(
                "servers that share this database must share the artifacts too: a bucket, or a shared folder"
            );
        }
        let WorkTools { configured, proving, proofs, receipts, spool, proves, builds, deploy_nodes } = tools;
        let WebhookSettings { hosts, secrets } = settings.webhooks;
        let webhooks = (!hosts.is_empty()).then(|| Webhooks {
            store: WebhookStore::new(database.clone(), Arc::clone(&artifacts)),
            hosts: hosts.clone(),
        });
        let store = CircuitStore::new(database.clone(), Arc::clone(&artifacts), settings.built_circuits);
        let circuits = Arc::new(Circuits::with_built(configured, store, proving, spool.clone()));
        let queue = SqlQueue::new(database, settings.rules, settings.bounds).await?;
        let files = Arc::new(Arc::clone(&artifacts));
        let prove = Prove::new(Arc::clone(&circuits), (proofs, Some(receipts)), spool, files, proves);
        let builder = builds.as_ref().map(|tools| tools.builder.clone());
        let build = Build::new(builds, Arc::clone(&circuits));
        let keys = HeldKeys::new(settings.workers);
        let deploy = Deploy::new(Arc::clone(&circuits), keys.clone(), recorder.audit().clone());
        let kinds = JobKinds::new([Arc::new(prove) as Arc<dyn JobKind>, Arc::new(build), Arc::new(deploy)]);
        let lost = "the process that ran this job ended or did not answer, at every attempt";
        let upkeep = Upkeep::new(
            queue.clone(),
            Arc::new(Remover(Arc::clone(&artifacts))),
            Intervals::of(&settings.rules),
            &Problem::new(ProblemType::WorkerLost, lost, None),
            Arc::new(recorder.clone()),
        )?;
        let known = kinds.clone();
        let capabilities = Arc::new(move || known.capabilities());
        let problem = unclaimed(settings.wait_max);
        let upkeep = upkeep.with_longest_wait(capabilities, settings.wait_max, &problem)?;
        lost_entries::record(&recorder, &queue).await?;
        let quarantine = CrashQuarantine::new(upkeep.recover().await.map_err(QueueError)?);
        let views = Arc::new(JobViews::new(queue.clone(), kinds.clone(), estimator));
        let watchers = Arc::new(JobWatchers::new(queue.clone(), views));
        let activity = Activity::default();
        let workers =
            WorkerSettings { holder: server, lease: settings.rules.lease, workers: settings.workers };
        let (events, watched) = (Arc::new(recorder.clone()), Arc::clone(&watchers));
        let runner = Runner::new(queue.clone(), kinds.clone(), watched, events, workers)
            .with_quarantine(quarantine)
            .with_activity(activity.clone());
        let jobs = Arc::new(Jobs {
            quota: Arc::new(SpentProofs::new(queue.clone())),
            gauges: JobGauges { kinds, counter: Arc::new(JobCounter::new(queue.clone())), activity },
            store: JobStore {
                queue: queue.clone(),
                artifacts: Arc::clone(&artifacts),
                folder: match settings.database {
                    DatabaseLocation::Folder(folder) => Some(folder),
                    DatabaseLocation::Memory | DatabaseLocation::Postgres(_) => None,
                },
                instance_number: settings.instance_number,
            },
            circuits,
            builder,
            watchers,
            watch_permits: WatchPermits::new(settings.watchers),
            pull: PullJobs::new(&settings.pull, queue.clone(), Arc::clone(&artifacts)),
            scale: ScaleMeter::new(queue.clone(), settings.pull.scale),
            link_tokens: LinkTokens::new(artifacts),
            recorder,
            max_attempts: settings.max_attempts,
            deploy_nodes,
            webhooks,
            keys,
            supervisor: supervisor.clone(),
        });
        let dispatcher = match &jobs.webhooks {
            Some(webhooks) => {
                let audit = jobs.recorder.audit().clone();
                let events = Arc::new(JobWebhooks { jobs: Arc::clone(&jobs), audit });
                let (store, queue) = (webhooks.store.clone(), jobs.store.queue.clone());
                let sends = Dispatcher::new(store, queue, (hosts, secrets), events);
                Some(sends.map_err(OpenError::Webhooks)?)
            }
            None => None,
        };
        Ok(Self { jobs, upkeep, runner, dispatcher })
    }

    /// Starts watchers, upkeep and workers. The workers claim jobs until the drain begins.
    pub fn start(self, drain: Drain, supervisor: &Supervisor) {
        let Self { jobs, upkeep, runner, dispatcher } = self;
        if let Some(dispatcher) = dispatcher {
            let stop = supervisor.stop_token().clone();
            supervisor.spawn("send webhooks", async move { dispatcher.run(&stop).await });
        }
        jobs.store.queue.follow_other_servers(supervisor);
        upkeep.start(supervisor);
        let (watchers, stop) = (Arc::clone(&jobs.watchers), supervisor.stop_token().clone());
        supervisor.spawn("notify job watchers", async move { watchers.run(&stop).await });
        let (counter, stop) = (Arc::clone(&jobs.gauges.counter), supervisor.stop_token().clone());
        supervisor.spawn("count jobs", async move { counter.run(&stop).await });
        let (scaled, stop) = (Arc::clone(&jobs), supervisor.stop_token().clone());
        supervisor
            .spawn("measure jobs", async move { scaled.scale.run(&scaled.gauges.counter, &stop).await });
        let (quota, stop) = (Arc::clone(&jobs.quota), supervisor.stop_token().clone());
        supervisor.spawn("return quotas", async move { quota.run(&stop).await });
        let (circuits, stop) = (Arc::clone(&jobs.circuits), supervisor.stop_token().clone());
        supervisor.spawn("follow built circuits", async move { circuits.follow(&stop).await });
        let (jobs, stop) = (Arc::clone(&jobs), supervisor.stop_token().clone());
        supervisor.spawn("follow deployments", async move {
            deploy::follow_queue(&jobs.keys, &jobs.store.queue, &stop).await;
        });
        runner.start(drain, supervisor);
    }
}

/// The problem of a job that no server ran for so long.
fn unclaimed(wait_max: Duration) -> Problem {
    let wait = humantime::format_duration(wait_max);
    let detail = format!(
        "no server ran this job within {wait}: none has what it needs, such as its circuit in this version"
    );
    Problem::new(ProblemType::CircuitUnavailable, detail, None)
}

/// Removes artifacts for upkeep.
struct Remover(Arc<ArtifactStore>);

#[async_trait]
impl ArtifactRemover for Remover {
    async fn remove(&self, name: &str) -> Result<(), RemoveError> {
        match name.parse::<ArtifactName>() {
            Ok(name) => self.0.delete(&name).await.map_err(|error| RemoveError(error.into())),
            Err(error) => {
                tracing::error!(error = %edgeprove_telemetry::chain(&error), "a job has an invalid name of an artifact");
                Ok(())
            }
        }
    }

    async fn remove_others(
        &self,
        named: &HashSet<String>,
        older_than: Duration,
    ) -> Result<usize, RemoveError> {
        let swept = self.0.sweep(older_than, |name| named.contains(&name.to_string())).await;
        swept.map(|swept| swept.deleted).map_err(|error| RemoveError(error.into()))
    }
}
