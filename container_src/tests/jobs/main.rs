//! Jobs with real servers, a real bb and real databases, and what is done to them: killed, stopped, starved of disk,
//! cut off, crowded. Whatever it is, no job that was accepted is lost and none is completed twice.
//!
//! - [`killed`]: `kill -9`, at any moment, also each time that a job is begun.
//! - [`shutdown`]: SIGTERM with a queue, and a next start with another circuit.
//! - [`together`]: servers on one PostgreSQL, of which one dies or falls asleep; PostgreSQL away.
//! - [`storage`]: a full disk, a bucket that is away.
//! - [`crowd`]: ten thousand jobs, a thousand watchers.
//! - [`urgency`]: who goes first, and that everybody's turn comes.
//! - [`clock`]: set forwards and back under work.
//! - [`canary`]: nothing private is found anywhere.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and says so"
)]

mod canary;
mod clock;
mod crowd;
mod killed;
mod shutdown;
mod storage;
mod support;
mod together;
mod urgency;
