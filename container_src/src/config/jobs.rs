//! What jobs are kept in, how many are taken in, and how they are worked on.

use std::{fs, num::NonZeroUsize, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use clap::Args;
use edgeprove_job_rules::{
    bounds::Bounds, expiry::Retention, lease::LeaseTerms, retry::Backoff, transition::Rules,
};
use edgeprove_protocol::JobId;
#[cfg(target_os = "linux")]
use rustix::fs::{AtFlags, StatxFlags};

use super::{
    artifacts::ArtifactArgs,
    data::DataArgs,
    faults::{Faults, RawSetting, Setting, raw_setting},
    program::Environment,
};
use crate::jobs::{JobsDisabled, system::JobSettings};
use edgeprove_artifacts::LocationSettings;
use edgeprove_job_queue::store::{DatabaseLocation, postgres::PostgresUrl};

/// Shortest lease: a renewal is a third of it, and a database may take that long.
const LEASE_MIN: Duration = Duration::from_secs(1);

/// File systems of containers.
const LAYERED: [&str; 3] = ["overlay", "fuse-overlayfs", "aufs"];
/// Is set in Cloudflare's containers, whose disk is new with every start.
const CLOUDFLARE: &str = "CLOUDFLARE_APPLICATION_ID";

impl Setting for PostgresUrl {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "a URL such as postgres://USER:PASSWORD@HOST/DATABASE".to_owned())
    }
}

impl Setting for u32 {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "a whole number".to_owned())
    }
}

impl Setting for u16 {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "a whole number up to 65535".to_owned())
    }
}

/// Flags of jobs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Jobs")]
pub struct JobArgs {
    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    artifacts: ArtifactArgs,

    /// The PostgreSQL that jobs are kept in, which several servers may share, as `postgres://USER:PASSWORD@HOST/DATABASE`.
    /// Else SQLite in the data folder. Give it by the environment: a command line can be read by others on the machine.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL", value_parser = raw_setting::<PostgresUrl>)]
    database_url: Option<RawSetting<PostgresUrl>>,

    /// Take jobs although they are lost with this process or its container.
    #[arg(long, env = "EDGEPROVE_EPHEMERAL_JOBS")]
    ephemeral_jobs: bool,

    /// Most jobs that may be queued; then 503.
    #[arg(long, env = "EDGEPROVE_JOB_QUEUE_MAX", value_name = "N", default_value = "100", value_parser = raw_setting::<u32>)]
    job_queue_max: RawSetting<u32>,

    /// Most jobs of one caller that may be unfinished; then 429.
    #[arg(long, env = "EDGEPROVE_JOBS_PER_CALLER", value_name = "N", default_value = "100", value_parser = raw_setting::<u32>)]
    jobs_per_caller: RawSetting<u32>,

    /// Jobs that are worked on at a time.
    #[arg(long, env = "EDGEPROVE_JOB_WORKERS", value_name = "N", default_value = "4", value_parser = raw_setting::<usize>)]
    job_workers: RawSetting<usize>,

    /// How often a job is tried, where trying again may help.
    #[arg(long, env = "EDGEPROVE_JOB_ATTEMPTS", value_name = "N", default_value = "3", value_parser = raw_setting::<u32>)]
    job_attempts: RawSetting<u32>,

    /// How long a job stays with a server of which nothing is heard.
    #[arg(long, env = "EDGEPROVE_LEASE", value_name = "TIME", default_value = "15s", value_parser = raw_setting::<Duration>)]
    lease: RawSetting<Duration>,

    /// How long the result of a job, or why it failed, is kept.
    #[arg(long, env = "EDGEPROVE_RESULT_TTL", value_name = "TIME", default_value = "1h", value_parser = raw_setting::<Duration>)]
    result_ttl: RawSetting<Duration>,

    /// How long it is known after that to have expired.
    #[arg(long, env = "EDGEPROVE_TOMBSTONE_TTL", value_name = "TIME", default_value = "24h", value_parser = raw_setting::<Duration>)]
    tombstone_ttl: RawSetting<Duration>,

    /// The number of this container among those behind one edge. It becomes part of the names of jobs that it alone keeps,
    /// so that the edge finds it.
    #[arg(long, env = "EDGEPROVE_INSTANCE_NUMBER", value_name = "N", value_parser = raw_setting::<u16>)]
    instance_number: Option<RawSetting<u16>>,
}

impl JobArgs {
    /// Reads the flags. Where nothing that is accepted could be kept, it says why instead.
    pub fn read(
        self,
        around: &Environment,
        faults: &mut Faults,
    ) -> Option<Result<JobSettings, JobsDisabled>> {
        let data = self.data.data;
        let shared = self.database_url.map(|url| faults.take("database-url", url));
        let queued_max = faults.take_at_least("job-queue-max", self.job_queue_max, &1);
        let per_owner = faults.take_at_least("jobs-per-caller", self.jobs_per_caller, &1);
        let workers = faults.take_at_least("job-workers", self.job_workers, &1);
        let max_attempts = faults.take_at_least("job-attempts", self.job_attempts, &1);
        let lease = faults.take("lease", self.lease);
        let results = faults.take("result-ttl", self.result_ttl);
        let tombstones = faults.take("tombstone-ttl", self.tombstone_ttl);
        let home = self.instance_number.map(|home| faults.take("instance-number", home));
        if lease.is_some_and(|lease| lease < LEASE_MIN) {
            faults.add("--lease (EDGEPROVE_LEASE): at least 1s");
        }
        if let Some(Some(home)) = home
            && home > JobId::INSTANCE_MAX
        {
            faults.add(format!(
                "--instance-number (EDGEPROVE_INSTANCE_NUMBER): at most {}",
                JobId::INSTANCE_MAX
            ));
        }
        let artifacts = self.artifacts.read(data.as_deref(), self.ephemeral_jobs, around, faults);

        let shared = match shared {
            Some(url) => Some(url?),
            None => None,
        };
        let home = match home {
            Some(home) => Some(home?),
            None => None,
        };
        let (queued_max, unfinished_per_owner_max) = (queued_max?, per_owner?);
        let (workers, max_attempts, lease) = (NonZeroUsize::new(workers?)?, max_attempts?, lease?);
        let retention = Retention { results: results?, tombstones: tombstones? };
        let artifacts = artifacts?;
        let is_shared = shared.is_some();
        let place = match (shared, &data) {
            (Some(url), _) => DatabaseLocation::Postgres(url),
            (None, Some(_)) if self.ephemeral_jobs => DatabaseLocation::Folder(data.clone()?),
            (None, Some(data)) if goes_with_the_container(data) => {
                return Some(Err(JobsDisabled::InContainer));
            }
            (None, Some(data)) => DatabaseLocation::Folder(data.clone()),
            (None, None) if self.ephemeral_jobs => DatabaseLocation::Memory,
            (None, None) => return Some(Err(JobsDisabled::NoPlace)),
        };
        let Some(artifacts) = artifacts else { return Some(Err(JobsDisabled::NoPlace)) };
        if let LocationSettings::Folder(folder) = &artifacts.location
            && !self.ephemeral_jobs
            && goes_with_the_container(folder)
        {
            return Some(Err(JobsDisabled::InContainer));
        }
        Some(Ok(JobSettings {
            place,
            artifacts,
            rules: Rules { lease: LeaseTerms { length: lease }, backoff: Backoff::default(), retention },
            bounds: Bounds { queued_max, unfinished_per_owner_max },
            workers,
            max_attempts,
            // Whoever is asked knows the jobs of a shared database.
            home: home.filter(|_| !is_shared),
        }))
    }
}

/// Whether a folder ends with the container that the server runs in: it is no volume, but a part of the container's own
/// file system, or in memory.
fn goes_with_the_container(folder: &Path) -> bool {
    // A file such as /.dockerenv says little: machines are made of images as well, and theirs stays.
    let is_container = std::process::id() == 1
        || fs::read_to_string("/proc/mounts").is_ok_and(|mounts| is_layered(&mounts))
        || std::env::var_os(CLOUDFLARE).is_some();
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    is_container && (mount(existing) == mount(Path::new("/")) || is_in_memory(existing))
}

/// What is mounted where a path is. A volume may be on the device of the root.
#[cfg(target_os = "linux")]
fn mount(path: &Path) -> Option<u64> {
    let about = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
    // Kernels before 5.8 do not tell.
    let tells = about.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    tells.then_some(about.stx_mnt_id).or_else(|| fs::metadata(path).map(|about| about.dev()).ok())
}

#[cfg(not(target_os = "linux"))]
fn mount(path: &Path) -> Option<u64> {
    fs::metadata(path).map(|about| about.dev()).ok()
}

#[cfg(target_os = "linux")]
fn is_in_memory(path: &Path) -> bool {
    const TMPFS: u32 = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|about| u32::try_from(about.f_type) == Ok(TMPFS))
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_path: &Path) -> bool {
    false
}

/// Whether the root is an image's layers with one on top that is thrown away.
fn is_layered(mounts: &str) -> bool {
    mounts.lines().any(|mount| {
        let mut words = mount.split(' ').skip(1);
        words.next() == Some("/") && words.next().is_some_and(|kind| LAYERED.contains(&kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_container_is_told_from_a_machines() {
        let proc = "proc /proc proc rw 0 0\n";
        assert!(is_layered(&format!("{proc}overlay / overlay rw,lowerdir=/a:/b 0 0\n")));
        assert!(!is_layered(&format!(
            "{proc}/dev/vda / ext4 rw 0 0\noverlay /var/lib/docker/x overlay rw 0 0\n"
        )));
        assert!(!is_layered(""));
    }
}
