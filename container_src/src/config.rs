//! Settings, read once from flags and environment.
//!
//! Each area has a struct of flags, whose help is the reference, and a struct of settings, which the rest of the
//! server gets. Between the two stands [`faults`]: every flag is taken as text first, so that all that is wrong is
//! told in one message before any port opens.
//!
//! - [`environment`]: what an empty variable means.
//! - [`engine`]: the three that every proving command needs, together.
//! - [`program`]: bb, the CRS and folders.
//! - [`circuits`]: which circuits are proved.
//! - [`data`], [`artifacts`]: what outlives the server, and where.
//! - [`memory`]: how much memory there is.
//! - [`proving`]: provers, queue and verification.
//! - [`server`]: the HTTP side, uploads and shutdown.
//! - [`jobs`]: what jobs are kept in, and how they are worked on.
//! - [`trust`]: access and the audit log.
//! - [`mod@log`]: what is logged, and how.

pub mod artifacts;
pub mod circuits;
pub mod data;
pub mod engine;
pub mod environment;
pub mod faults;
pub mod jobs;
pub mod log;
pub mod memory;
pub mod program;
pub mod proving;
pub mod server;
pub mod trust;

pub use faults::{ConfigError, Faults, RawSetting, raw_setting};
