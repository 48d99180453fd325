//! What every other crate reports through: log, metrics, timestamps, and the supervisor of background tasks.
//!
//! Reading order: [`metrics`] lists every series, [`mod@log`] sets up the log, [`supervisor`] owns the tasks.
//!
//! Imports run down this list only.
//!
//! - [`metrics`]: every series of `GET /metrics`, and one function for each event that is counted.
//! - [`keyed_hash`]: HMAC-SHA-256 under a 32-byte key.
//! - [`process`]: CPU time, memory, threads and open files of this process, and the memory of another one; core dumps.
//! - [`supervisor`]: owns the background tasks and reports a panic in one of them.
//! - [`mod@log`]: the log's format, and errors with their causes in one line.
//! - [`mod@timestamp`]: points in time as text, always with milliseconds.

pub mod keyed_hash;
pub mod log;
pub mod metrics;
pub mod process;
pub mod supervisor;
pub mod timestamp;

pub use log::{
    LogFormat, PRIVATE_VALUES_THREAD, chain, log_panics, millis, one_line, pause_for_lines, start,
};
pub use supervisor::Supervisor;
pub use timestamp::{timestamp, timestamp_now, utc_timestamp};
