//! What the tests stand on: a real server with a real bb, and ways to talk to it, to look into it and to break it.
//!
//! - [`server`]: starts a server, and at its end holds it against all that must be true of every server. Start here.
//! - [`settings`]: what a server is started with.
//! - [`client`]: requests, answers, and connections for what an ordinary client would never send.
//! - [`jobs`]: handed in, followed and fetched.
//! - [`samples`]: circuits and witnesses, good and bad.
//! - [`bb`]: the untouched bb, as the judge of proofs.
//! - [`clock`]: a clock of a server's own, to be set while it runs.
//! - [`processes`]: who runs, who is stopped, who is killed.
//! - [`postgres`]: a PostgreSQL of one's own, to be stopped and started.
//! - [`s3`]: a bucket, on a server of its own that can go away and come back.
//! - [`places`]: where programs, bb, the CRS and the circuits are; which tests this machine cannot run.
//! - [`wait`]: polling with a deadline, in place of sleeping.
//!
//! Processes are watched through /proc, so all of it is for Linux alone.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "a test that cannot go on has failed, and says so"
)]

pub mod bb;
pub mod client;
pub mod clock;
pub mod jobs;
pub mod places;
pub mod postgres;
pub mod processes;
pub mod s3;
pub mod samples;
pub mod server;
pub mod settings;
pub mod wait;

pub use client::{Answer, Connection};
pub use edgeprove_protocol::ProblemType;
pub use jobs::Events;
pub use samples::Sample;
pub use server::TestServer;
pub use wait::eventually;
