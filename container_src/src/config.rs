//! Settings, read once from flags and environment.
//!
//! Each area has a struct of flags, whose help is the reference, and a struct of settings, which the rest of the server
//! gets. [`setting`] is between the two: flags are taken as text first, so that one message reports all errors before
//! any port opens.
//!
//! - [`access_and_audit`]: keys and the audit log.
//! - [`jobs`]: where jobs are stored, and how they run.
//! - [`artifacts`]: where witnesses and proofs of jobs are stored, and under which keys.
//! - `folder_durability`: whether a folder outlives the container.
//! - [`builder`]: roles, and circuits that are built.
//! - [`webhooks`]: who may be called when a job has finished.
//! - [`pull`]: provers that pull jobs from this server.
//! - [`sealing`]: the keys of sealed bodies. [`receipts`]: those of receipts.
//! - `shared_secrets`: the secrets that both are derived from.
//! - [`circuits`]: the circuits to prove.
//! - [`server`]: HTTP, uploads and shutdown.
//! - [`engine`]: the three areas that every proving command needs.
//! - [`program`]: bb, the CRS and folders.
//! - [`proving`]: provers, queue and verification.
//! - [`memory`]: how much memory there is.
//! - [`mod@log`]: format and filter of the log.
//! - [`misspelt_variables`]: environment variables that nothing reads.
//! - [`environment`]: the environment variables.
//! - [`setting`]: values of flags, and the errors in them.

pub mod access_and_audit;
pub mod artifacts;
pub mod builder;
pub mod circuits;
pub mod data_folder;
pub mod engine;
pub mod environment;
pub(crate) mod folder_durability;
pub mod jobs;
pub mod log;
pub mod memory;
pub mod misspelt_variables;
pub mod program;
pub mod proving;
pub mod pull;
pub mod receipts;
pub mod sealing;
pub mod server;
pub mod setting;
mod shared_secrets;
pub mod webhooks;

pub use environment::{Environment, EnvironmentVariables};
pub use setting::{ConfigError, Faults, Purpose, RawSetting, raw_setting};

use edgeprove_audit::AuditSettings;

use crate::{
    access::AccessSettings,
    engine::settings::{CircuitSettings, EngineSettings},
    jobs::{JobsDisabled, system::JobSettings},
};
use builder::WorkSettings;
use log::LogSettings;
use server::ServerSettings;

/// Settings of `edgeprove serve`.
#[derive(Debug)]
pub struct ServeSettings {
    /// HTTP, uploads and shutdown.
    pub server: ServerSettings,
    /// Keys.
    pub access: AccessSettings,
    /// The audit log, if there is one.
    pub audit: Option<AuditSettings>,
    /// The circuits.
    pub circuits: CircuitSettings,
    /// Provers, bb and folders.
    pub engine: EngineSettings,
    /// The log.
    pub log: LogSettings,
    /// Jobs, or the reason why they are disabled.
    pub jobs: Result<JobSettings, JobsDisabled>,
    /// The maximum number of attempts at a job that a request may allow, also where jobs are disabled.
    pub job_attempts_max: u32,
    /// What the server does with jobs, and what it builds circuits with.
    pub work: WorkSettings,
}
