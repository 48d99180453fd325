//! Where jobs are stored, how many are accepted, and how they run.

use std::{num::NonZeroUsize, ops::RangeInclusive, time::Duration};

use clap::{ArgAction, Args};
use edgeprove_circuit_store::Bounds as CircuitBounds;
use edgeprove_job_rules::{
    backoff::Backoff, expiry::Retention, lease::LeaseTerms, queue_bounds::Bounds, transition::Rules,
};
use edgeprove_protocol::JobId;

use super::{
    artifacts::ArtifactArgs,
    data_folder::{DataFolder, DataFolderArgs},
    environment::Environment,
    folder_durability::is_lost_with_container,
    pull::PullArgs,
    setting::{Faults, RawSetting, STORAGE_TIMES, Setting, flag, raw_setting},
    webhooks::WebhookArgs,
};
use crate::jobs::{JobsDisabled, system::JobSettings, watch_permits::WatchLimits};
use edgeprove_artifacts::LocationSettings;
use edgeprove_job_queue::store::{DatabaseLocation, postgres::PostgresUrl};

/// Bounds of `--lease`. It is renewed every third of it, and a database may take as long as a third of the shortest.
const LEASE_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// Highest value of `--job-queue-max` and `--jobs-per-caller`.
const JOBS_MAX: u32 = 10_000_000;
/// Highest value of `--job-workers`. Each waits for a prover most of the time.
const WORKERS_MAX: usize = 1024;
/// Highest value of `--watchers` and `--watchers-per-caller`. Each takes a file descriptor and some memory.
const WATCHERS_MAX: u32 = 100_000;
/// Highest value of `--job-attempts`.
const ATTEMPTS_MAX: u32 = 100;

impl Setting for PostgresUrl {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "a URL such as postgres://USER:PASSWORD@HOST/DATABASE".to_owned())
    }
}

/// Flags of jobs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Jobs")]
pub struct JobArgs {
    #[command(flatten)]
    data: DataFolderArgs,

    #[command(flatten)]
    artifacts: ArtifactArgs,

    /// PostgreSQL database of jobs, which several servers can share: `postgres://USER:PASSWORD@HOST/DATABASE`. Default:
    /// SQLite in the data folder. Use the environment variable, because other users of the machine can read a command
    /// line.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = raw_setting::<PostgresUrl>)]
    database_url: Option<RawSetting<PostgresUrl>>,

    /// Accept jobs although they are lost with this process or its container.
    #[arg(long, env = "EDGEPROVE_EPHEMERAL_JOBS", action = ArgAction::SetTrue, value_parser = raw_setting::<bool>)]
    ephemeral_jobs: RawSetting<bool>,

    /// Most jobs in the queue. Further ones are refused with 503.
    #[arg(long, env = "EDGEPROVE_JOB_QUEUE_MAX", value_name = "N", default_value = "100", value_parser = raw_setting::<u32>)]
    job_queue_max: RawSetting<u32>,

    /// Most unfinished jobs of one caller. Further ones are refused with 429. Default: a caller may queue a job while it has
    /// fewer in the queue than there are free slots. So one caller alone gets half of the queue, two get a third each, and
    /// a further caller finds a place.
    #[arg(long, env = "EDGEPROVE_JOBS_PER_CALLER", value_name = "N", value_parser = raw_setting::<u32>)]
    jobs_per_caller: Option<RawSetting<u32>>,

    /// Most open event streams of jobs. Further ones are refused with 503.
    #[arg(long, env = "EDGEPROVE_WATCHERS", value_name = "N", default_value = "512", value_parser = raw_setting::<u32>)]
    watchers: RawSetting<u32>,

    /// Most open event streams of one caller. Further ones are refused with 429. Default: a caller may open a stream while it
    /// has fewer than may still be opened. So one caller alone gets half of `--watchers`, and a further caller finds a
    /// place.
    #[arg(long, env = "EDGEPROVE_WATCHERS_PER_CALLER", value_name = "N", value_parser = raw_setting::<u32>)]
    watchers_per_caller: Option<RawSetting<u32>>,

    /// Jobs that run at the same time.
    #[arg(long, env = "EDGEPROVE_JOB_WORKERS", value_name = "N", default_value = "4", value_parser = raw_setting::<usize>)]
    job_workers: RawSetting<usize>,

    /// Most attempts at a job. Only failures that a retry may fix are retried.
    #[arg(long, env = "EDGEPROVE_JOB_ATTEMPTS", value_name = "N", default_value = "3", value_parser = raw_setting::<u32>)]
    job_attempts: RawSetting<u32>,

    /// Longest wait of a queued job that this server cannot run, because its circuit is not loaded or was changed. Then it
    /// fails with `circuit_unavailable`.
    #[arg(long, env = "EDGEPROVE_JOB_WAIT_MAX", value_name = "TIME", default_value = "24h", value_parser = raw_setting::<Duration>)]
    job_wait_max: RawSetting<Duration>,

    /// Lease duration. A job whose worker stays silent this long is retried.
    #[arg(long, env = "EDGEPROVE_LEASE", value_name = "TIME", default_value = "15s", value_parser = raw_setting::<Duration>)]
    lease: RawSetting<Duration>,

    /// Time for which the result or the failure of a finished job can be fetched.
    #[arg(long, env = "EDGEPROVE_RESULT_TTL", value_name = "TIME", default_value = "1h", value_parser = raw_setting::<Duration>)]
    result_ttl: RawSetting<Duration>,

    /// Time after that for which the job is reported as expired.
    #[arg(long, env = "EDGEPROVE_TOMBSTONE_TTL", value_name = "TIME", default_value = "24h", value_parser = raw_setting::<Duration>)]
    tombstone_ttl: RawSetting<Duration>,

    /// Time for which the witness of a failed job is stored, encrypted, so that an operator can queue the job again. At most
    /// `--result-ttl`. Default: it is deleted as soon as the job has failed.
    #[arg(long, env = "EDGEPROVE_FAILED_WITNESS_TTL", value_name = "TIME", default_value = "0s", value_parser = raw_setting::<Duration>)]
    failed_witness_ttl: RawSetting<Duration>,

    /// Number of this container among the containers behind one edge. It becomes part of the ids of jobs that only this
    /// container stores, so that the edge can route their requests to it.
    #[arg(long, env = "EDGEPROVE_INSTANCE_NUMBER", value_name = "N", value_parser = raw_setting::<u16>)]
    instance_number: Option<RawSetting<u16>>,

    // The last ones, because their headings would be those of the flags after them.
    #[command(flatten)]
    pull: PullArgs,
    #[command(flatten)]
    webhooks: WebhookArgs,
}

impl JobArgs {
    /// Reads the flags: the maximum number of attempts at a job, and the settings of jobs. `Err` is the reason why jobs are
    /// disabled: accepted jobs could not be stored. `built_circuits` is how many circuits are stored.
    pub fn read(
        self,
        environment: &Environment,
        built_circuits: Option<CircuitBounds>,
        faults: &mut Faults,
    ) -> Option<(u32, Result<JobSettings, JobsDisabled>)> {
        let max_attempts = faults.take_within("job-attempts", self.job_attempts.clone(), 1..=ATTEMPTS_MAX);
        let jobs = self.read_jobs(max_attempts, environment, built_circuits, faults)?;
        Some((max_attempts?, jobs))
    }

    fn read_jobs(
        self,
        max_attempts: Option<u32>,
        environment: &Environment,
        built_circuits: Option<CircuitBounds>,
        faults: &mut Faults,
    ) -> Option<Result<JobSettings, JobsDisabled>> {
        let is_ephemeral = faults.take("ephemeral-jobs", self.ephemeral_jobs);
        let shared = self.database_url.map(|url| faults.take("database-url", url));
        let may_be_lost = is_ephemeral.unwrap_or_default();
        let DataFolder { path: data, is_default } =
            self.data.read(shared.is_none() && !may_be_lost, environment);
        let watchers_max = faults.take_within("watchers", self.watchers, 1..=WATCHERS_MAX);
        let per_caller_max = self
            .watchers_per_caller
            .map(|most| faults.take_within("watchers-per-caller", most, 1..=WATCHERS_MAX));
        let queued_max = faults.take_within("job-queue-max", self.job_queue_max, 1..=JOBS_MAX);
        let per_account =
            self.jobs_per_caller.map(|most| faults.take_within("jobs-per-caller", most, 1..=JOBS_MAX));
        let workers = faults.take_within("job-workers", self.job_workers, 1..=WORKERS_MAX);
        let wait_max = faults.take_within("job-wait-max", self.job_wait_max, STORAGE_TIMES);
        let lease = faults.take_within("lease", self.lease, LEASE_BOUNDS);
        let results = faults.take_within("result-ttl", self.result_ttl, STORAGE_TIMES);
        let tombstones = faults.take_within("tombstone-ttl", self.tombstone_ttl, STORAGE_TIMES);
        let failed_inputs = faults.take_within("failed-witness-ttl", self.failed_witness_ttl, STORAGE_TIMES);
        let instance_number = self.instance_number.map(|number| faults.take("instance-number", number));
        if let Some(Some(number)) = instance_number
            && number > JobId::INSTANCE_MAX
        {
            faults.add(format!(
                "{} must be at most {} (got {number})",
                flag("instance-number"),
                JobId::INSTANCE_MAX
            ));
        }
        let pull = self.pull.read(faults);
        let webhooks = self.webhooks.read(faults);
        let artifacts = self.artifacts.read(data.as_deref(), may_be_lost, environment, faults);

        let shared = match shared {
            Some(url) => Some(url?),
            None => None,
        };
        let instance_number = match instance_number {
            Some(number) => Some(number?),
            None => None,
        };
        let per_account = match per_account {
            Some(most) => Some(most?),
            None => None,
        };
        let bounds = Bounds {
            queued_max: queued_max?,
            unfinished_per_account_max: per_account.unwrap_or(u32::MAX),
            has_shares: per_account.is_none(),
        };
        let per_caller_max = match per_caller_max {
            Some(most) => Some(most?),
            None => None,
        };
        let (workers, max_attempts, lease) = (NonZeroUsize::new(workers?)?, max_attempts?, lease?);
        let wait_max = wait_max?;
        let retention =
            Retention { results: results?, tombstones: tombstones?, failed_inputs: failed_inputs? };
        let (is_ephemeral, artifacts) = (is_ephemeral?, artifacts?);
        let is_lost = |folder| !is_ephemeral && is_lost_with_container(folder, environment.is_cloudflare);
        let is_shared = shared.is_some();
        let database = match (shared, &data) {
            (Some(url), _) => DatabaseLocation::Postgres(url),
            (None, Some(data)) if is_lost(data) => return Some(Err(JobsDisabled::InContainer)),
            (None, Some(data)) => DatabaseLocation::Folder(data.clone()),
            (None, None) if is_ephemeral => DatabaseLocation::Memory,
            (None, None) => return Some(Err(JobsDisabled::NoPlace)),
        };
        let Some(artifacts) = artifacts else {
            faults.add(format!(
                "{}: jobs in a database also need a location for their witnesses and proofs: set EDGEPROVE_ARTIFACTS to \
                 a bucket such as s3://my-bucket/my-prefix with EDGEPROVE_ARTIFACT_KEY, or --data (EDGEPROVE_DATA) to \
                 a folder that all servers of the database share",
                flag("database-url")
            ));
            return None;
        };
        if let LocationSettings::Folder(folder) = &artifacts.location
            && is_lost(folder)
        {
            return Some(Err(JobsDisabled::ArtifactsInContainer));
        }
        Some(Ok(JobSettings {
            built_circuits: built_circuits?,
            database,
            artifacts,
            rules: Rules { lease: LeaseTerms { length: lease }, backoff: Backoff::default(), retention },
            bounds,
            workers,
            max_attempts,
            wait_max,
            watchers: WatchLimits { per_caller_max, max: watchers_max? },
            pull: pull?,
            is_default: is_default && !is_shared && !is_ephemeral,
            // Every server knows the jobs of a shared database, so the edge need not route.
            instance_number: instance_number.filter(|_| !is_shared),
            webhooks: webhooks?,
        }))
    }
}
