//! Jobs with real servers, a real bb and real databases, under faults: servers that are killed or suspended, full
//! disks, lost connections, many jobs. In every case, no accepted job is lost, and none is completed twice.
//!
//! - [`killed_server`]: `kill -9` at any moment, also each time that a certain job starts.
//! - [`shutdown`]: SIGTERM while jobs are queued, and a next start with another circuit.
//! - [`shared_database`]: servers on one PostgreSQL, one of which is killed or suspended; PostgreSQL that stops.
//! - [`full_disk`]: a full disk, and a bucket that cannot be reached.
//! - [`many_jobs`]: ten thousand jobs, a thousand watchers.
//! - [`priorities`]: the order of jobs, and that none waits without an end.
//! - [`pull`]: provers that pull, request by request; [`pull_processes`]: as processes; [`pull_network`]: on other machines.
//! - [`fleet_files`]: what the Helm chart and the compose file describe.
//! - [`clock`]: a clock that changes while jobs run.
//! - [`private_values`]: no private value is found anywhere.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and a panic reports it"
)]

mod clock;
mod fair_turns;
mod fleet_files;
mod full_disk;
mod killed_server;
mod many_jobs;
mod priorities;
mod private_values;
mod progress;
mod pull;
mod pull_network;
mod pull_processes;
mod pull_support;
mod shared_database;
mod shutdown;
mod support;
