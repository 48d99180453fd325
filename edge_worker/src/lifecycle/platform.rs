//! What the lifecycle needs of the platform it runs on.

use std::{fmt, time::Duration};

use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::Record;

/// A container and a clock. The Worker's is Cloudflare's; the tests' is made up.
pub trait Platform: 'static {
    /// Milliseconds since 1970.
    fn now(&self) -> u64;
    /// Whether the container was started and its end has not been seen.
    fn running(&self) -> bool;
    /// Stands for all that [`Platform::start`] gives a container on its way.
    fn fingerprint(&self) -> String;
    /// Starts the container. It is not ready yet when this returns.
    fn start(&self) -> Result<(), StartFault>;
    /// Ends with the container that runs now.
    fn exit(&self) -> LocalBoxFuture<'static, Exit>;
    /// Asks the container whether it is ready, and gives up after `limit`.
    fn probe(&self, limit: Duration) -> LocalBoxFuture<'static, Probe>;
    /// Asks the container to finish what it does and end. `why` is for the log.
    fn ask_to_end(&self, why: &'static str);
    /// Ends the container at once.
    fn destroy(&self) -> LocalBoxFuture<'static, ()>;
    /// Waits.
    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()>;
    /// Runs a task that outlives the request.
    fn spawn(&self, task: LocalBoxFuture<'static, ()>);
    /// Sees to it that [`super::Lifecycle::alarm`] is called at this time, also if the object is evicted till then.
    fn wake_at(&self, at: u64);
    /// Keeps the record beyond the object's memory.
    fn keep(&self, record: &Record);
    /// The container has ended: for the log.
    fn ended(&self, exit: &Exit);
}

/// Why the platform did not start a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFault {
    /// It has none to spare at the moment.
    NoInstance(String),
    /// Anything else.
    Other(String),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// With a status. 137 is what is left of one that was killed.
    Code(i32),
    /// It never began: there was none to spare.
    NoInstance(String),
    /// The platform lost it.
    Lost(String),
}

/// What a look at a container showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It takes requests.
    Ready {
        /// Proofs and jobs it works on or has waiting.
        work: u32,
        /// How long ago it let go of the last job, if it ever did and says so.
        rested: Option<Duration>,
    },
    /// It answers, but takes no requests yet, or no more.
    NotReady(String),
    /// It does not answer.
    NoAnswer(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::NoInstance(why) => write!(f, "no instance: {why}"),
            Self::Lost(why) => write!(f, "no exit status: {why}"),
        }
    }
}
