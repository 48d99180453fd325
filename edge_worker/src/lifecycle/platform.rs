//! What the lifecycle needs of the platform that runs the container.

use std::{fmt, time::Duration};

use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::Record;

/// A container and a clock. The Worker has Cloudflare's; the tests have a simulated one.
pub trait Platform: 'static {
    /// The time in milliseconds since 1970.
    fn now(&self) -> u64;
    /// Whether the container was started and has not ended, as far as the platform noticed.
    fn is_running(&self) -> bool;
    /// A digest of everything that [`Platform::start`] passes to a container.
    fn fingerprint(&self) -> String;
    /// Starts the container. It is not ready yet when this returns.
    fn start(&self) -> Result<(), StartError>;
    /// Completes when the container that runs now ends.
    fn exit(&self) -> LocalBoxFuture<'static, ContainerExit>;
    /// Asks the container whether it is ready, for at most `limit`.
    fn probe(&self, limit: Duration) -> LocalBoxFuture<'static, Probe>;
    /// Sends SIGTERM: the container finishes its work and ends. `reason` is for the log.
    fn request_stop(&self, reason: &'static str);
    /// Kills the container.
    fn destroy(&self) -> LocalBoxFuture<'static, ()>;
    /// Waits.
    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()>;
    /// Runs a task that may outlive the request.
    fn spawn(&self, task: LocalBoxFuture<'static, ()>);
    /// Has [`super::Lifecycle::alarm`] called at this time, also if the object is evicted before.
    fn set_alarm(&self, at: u64);
    /// Stores the record, so that it outlives the object's memory.
    fn store(&self, record: &Record);
    /// Logs that the container ended.
    fn log_exit(&self, exit: &ContainerExit);
}

/// Why the platform did not start a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartError {
    /// It has no free container, with its message.
    NoInstance(String),
    /// It refused for another reason, with its message.
    Refused(String),
}

/// How a container ended. An object's storage has it in this form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerExit {
    /// With this exit status. 137 is that of a container that was killed.
    Code(i32),
    /// It never started, because the platform had no free container; with the platform's message.
    NoInstance(String),
    /// The platform reported no exit status, only this message.
    Lost(String),
}

impl ContainerExit {
    /// The exit status, if there is one.
    #[must_use]
    pub const fn code(&self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(*code),
            Self::NoInstance(_) | Self::Lost(_) => None,
        }
    }

    /// How it ended, without messages of the platform.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Code(code) => format!("exit status {code}"),
            Self::NoInstance(_) => "no instance".to_owned(),
            Self::Lost(_) => "no exit status".to_owned(),
        }
    }
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The container accepts requests.
    Ready {
        /// How many proofs and jobs run or wait.
        work: u32,
        /// How long ago its last job finished; `None` if no job finished or the server does not report it.
        idle_for: Option<Duration>,
    },
    /// The container responds but accepts no requests, for this reason.
    NotReady(String),
    /// The container does not respond, for this reason.
    NoResponse(String),
}

impl fmt::Display for ContainerExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(_) => f.write_str(&self.summary()),
            Self::NoInstance(message) | Self::Lost(message) => write!(f, "{}: {message}", self.summary()),
        }
    }
}
