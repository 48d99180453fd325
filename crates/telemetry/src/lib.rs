//! What the server tells of itself: [`log`] in lines, [`metrics`] in numbers; [`process`] reads what it takes.

pub mod log;
pub mod metrics;
pub mod process;
pub mod supervisor;

pub use log::{LogFormat, chain, log_panics, millis, start};
pub use supervisor::Supervisor;
