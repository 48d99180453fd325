//! The server as its callers and operators meet it: a process of its own, with a real bb and a real CRS.
//!
//! Nothing is mocked. Where a fault is wanted, the very thing is broken: bb is stopped, killed or replaced, the disk is
//! filled, the connection is cut. Every server is held, at its end, against what must be true of all; see
//! [`support::server`].
//!
//! Processes are watched through /proc, so these tests run on Linux alone.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and says so"
)]

mod support;

mod access;
mod artifacts;
mod audit;
mod bad_request;
mod bad_witness;
mod behind_the_edge;
mod circuits;
mod command_line;
mod cors;
mod families;
mod jobs;
mod memory;
mod metrics;
mod msm;
mod page;
mod process_mode;
mod proof_cache;
mod prover_faults;
mod proving;
mod shutdown;
mod spool_faults;
mod start_faults;
mod timeouts;
mod under_load;
mod uploads;
