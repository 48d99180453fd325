//! Everything that jobs need, put together, started and stopped.

use std::{collections::HashSet, num::NonZeroUsize, sync::Arc, time::Duration};

use async_trait::async_trait;
use edgeprove_job_rules::{bounds::Bounds, estimator::DurationEstimator, transition::Rules};
use edgeprove_protocol::{Problem, ProblemType};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    JobContext,
    kinds::{proof::failure, prove::Prove},
    record::JobRecorder,
    runner::Runner,
    watchers::JobWatchers,
};
use edgeprove_artifacts::{ArtifactName, ArtifactSettings, ArtifactStore};
use edgeprove_engine::{circuits::Registry, proof_service::ProofService};
use edgeprove_job_queue::store::{self, Database, DatabaseLocation};
use edgeprove_job_queue::{
    crash_quarantine::CrashQuarantine,
    job_counts::Depth,
    queue::{JobQueue, QueueError},
    sql_queue::SqlQueue,
    upkeep::{ArtifactRemover, Intervals, RemoveError, Upkeep},
};
use edgeprove_spool::Spool;
use edgeprove_telemetry::supervisor::Supervisor;

/// What jobs are kept in and done by.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// Where jobs are kept.
    pub place: DatabaseLocation,
    /// Where their witnesses and proofs are kept, and under which keys.
    pub artifacts: ArtifactSettings,
    /// Leases, pauses between attempts, and how long results are kept.
    pub rules: Rules,
    /// How many are taken in.
    pub bounds: Bounds,
    /// How many are worked on at a time.
    pub workers: NonZeroUsize,
    /// How often a job may be tried.
    pub max_attempts: u32,
    /// The number of this container, where it alone keeps its jobs.
    pub home: Option<u16>,
}

/// What jobs are worked on with, and who is told.
pub struct Supplies {
    /// What can be proved.
    pub circuits: Arc<Registry>,
    /// The one way to prove.
    pub proofs: ProofService,
    /// Who knows how long proofs take.
    pub estimator: Arc<DurationEstimator>,
    /// Where witnesses are while they are worked on.
    pub spool: Spool,
    /// Who is told what happens to jobs.
    pub recorder: JobRecorder,
    /// What leases call this server.
    pub server: String,
}

/// Why jobs cannot be kept, although they should be.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database.
    #[error(transparent)]
    Database(#[from] store::OpenError),
    /// The tables.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The artefacts.
    #[error(transparent)]
    Artifacts(#[from] edgeprove_artifacts::OpenError),
}

/// The workers and who keeps house, not yet at work.
pub struct JobSystem {
    /// What they work with.
    pub workshop: Arc<JobContext>,
    queue: SqlQueue,
    upkeep: Upkeep,
    suspects: CrashQuarantine,
    settings: JobSettings,
    server: String,
}

impl JobSystem {
    /// Opens the database and the artefacts, and takes up what a dead server left behind.
    pub async fn open(settings: JobSettings, supplies: Supplies) -> Result<Self, OpenError> {
        let Supplies { circuits, proofs, estimator, spool, recorder, server } = supplies;
        let artifacts = Arc::new(ArtifactStore::open(&settings.artifacts)?);
        let database = Database::open(&settings.place).await?;
        tracing::info!(
            database = %settings.place,
            artifacts = artifacts.place(),
            artifact_key = %artifacts.key(),
            workers = settings.workers,
            "jobs are kept"
        );
        if matches!(settings.place, DatabaseLocation::Postgres(_)) && !artifacts.is_shared() {
            tracing::warn!(
                "servers that share this database must share this folder of artefacts as well, or a bucket"
            );
        }
        let queue = SqlQueue::new(database, settings.rules, settings.bounds).await?;
        let shared: Arc<dyn JobQueue> = Arc::new(queue.clone());
        let lost = "the process that worked on this job ended or fell silent, each time it was tried";
        let keeper = recorder.clone();
        let upkeep = Upkeep::new(
            queue.clone(),
            Arc::new(Remover(Arc::clone(&artifacts))),
            Intervals::of(&settings.rules),
            failure(&Problem::new(ProblemType::WorkerLost, lost, None)),
            move |kept| keeper.kept(kept),
        );
        let suspects = CrashQuarantine::new(upkeep.recover().await.map_err(QueueError)?);
        let workshop = Arc::new(JobContext {
            circuits,
            proofs,
            spool,
            artifacts,
            hub: Arc::new(JobWatchers::new(Arc::clone(&shared), Arc::clone(&estimator))),
            queue: shared,
            estimator,
            depth: Depth::default(),
            recorder,
            folder: match &settings.place {
                DatabaseLocation::Folder(folder) => Some(folder.clone()),
                DatabaseLocation::Memory | DatabaseLocation::Postgres(_) => None,
            },
            home: settings.home,
            max_attempts: settings.max_attempts,
        });
        Ok(Self { workshop, queue, upkeep, suspects, settings, server })
    }

    /// Begins: watchers are told, the house is kept, and jobs are worked on until `quiet` is cancelled. The shutdown waits
    /// for what is in `at_work`.
    pub fn start(self, quiet: CancellationToken, at_work: TaskTracker, supervisor: &Supervisor) {
        let Self { workshop, queue, upkeep, suspects, settings, server } = self;
        queue.listen_to_others(supervisor);
        upkeep.start(supervisor);
        let (hub, stop) = (Arc::clone(&workshop.hub), supervisor.stop_token().clone());
        supervisor.spawn("job hub", async move { hub.run(&stop).await });
        let (counted, stop) = (Arc::clone(&workshop), supervisor.stop_token().clone());
        supervisor
            .spawn("count jobs", async move { counted.depth.follow(counted.queue.as_ref(), &stop).await });
        let prove = Arc::new(Prove(Arc::clone(&workshop)));
        let looking = Arc::clone(&prove);
        supervisor.spawn("tell of jobs that wait in vain", async move {
            if let Err(error) = looking.warn_unclaimable_jobs().await {
                tracing::warn!(error = %edgeprove_telemetry::chain(&error), "the queue could not be looked at");
            }
        });
        let runner = Runner {
            queue: Arc::clone(&workshop.queue),
            hub: Arc::clone(&workshop.hub),
            recorder: workshop.recorder.clone(),
            suspects,
            kinds: vec![prove],
            holder: server,
            lease: settings.rules.lease,
            quiet,
            at_work,
            supervisor: supervisor.clone(),
        };
        runner.start(settings.workers.get());
    }
}

/// The artefacts, as whoever keeps house sees them.
struct Remover(Arc<ArtifactStore>);

#[async_trait]
impl ArtifactRemover for Remover {
    async fn remove(&self, name: &str) -> Result<(), RemoveError> {
        match name.parse::<ArtifactName>() {
            Ok(name) => self.0.delete(&name).await.map_err(|error| RemoveError(error.into())),
            Err(error) => {
                tracing::error!(error = %edgeprove_telemetry::chain(&error), "a job names what cannot be an artefact");
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
