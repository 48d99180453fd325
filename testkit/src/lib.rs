//! Starts, inspects and breaks real servers with a real bb, for the tests.
//!
//! - [`server`]: starts a server, and at its end checks what must be true of every server. Start here.
//! - [`settings`]: the settings that a test server is started with.
//! - [`client`]: requests, responses, and connections that send what no ordinary client sends.
//! - [`contract`]: compares answers of servers with the OpenAPI document.
//! - [`retry`]: a client that repeats a request as docs/ERRORS.md describes.
//! - [`jobs`]: submits, follows and fetches jobs.
//! - [`puller`]: starts provers that pull.
//! - [`samples`]: circuits and witnesses, valid and invalid.
//! - [`inputs`]: inputs of circuits as JSON, and requests with them.
//! - [`sealed`]: requests whose body is sealed for a server.
//! - [`circuit_form`]: uploads of circuits.
//! - [`bb`]: verifies proofs with an unmodified bb.
//! - [`clock`]: a clock for one server, which a test may change while the server runs.
//! - [`processes`]: inspects, suspends and kills processes.
//! - [`postgres`]: PostgreSQL servers, shared and private ones.
//! - [`ethereum`]: a real Ethereum node, and one that lies or breaks off.
//! - [`receiver`]: a server of a caller, which receives webhooks.
//! - [`s3`]: a bucket on an S3 server that can be stopped and started again.
//! - [`reserved_port`]: a port that no other program takes meanwhile.
//! - [`paths`]: finds programs, bb, the CRS and the circuits.
//! - [`skipped`]: decides which tests this machine cannot run, and records them.
//! - [`wait`]: waits for conditions, in place of sleeping.
//!
//! Processes are watched through /proc, so everything here runs on Linux only.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "a test that cannot go on has failed, and a panic reports it"
)]

pub mod bb;
pub mod circuit_form;
pub mod client;
pub mod clock;
pub mod contract;
pub mod ethereum;
pub mod inputs;
pub mod jobs;
pub mod paths;
pub mod postgres;
pub mod processes;
pub mod puller;
pub mod receiver;
pub mod reserved_port;
pub mod retry;
pub mod s3;
pub mod samples;
pub mod sealed;
pub mod server;
pub mod settings;
pub mod skipped;
pub mod wait;

pub use client::{Connection, Response};
pub use edgeprove_protocol::ProblemType;
pub use jobs::Events;
pub use receiver::{Receiver, Reply};
pub use retry::RetryingClient;
pub use samples::Sample;
pub use server::TestServer;
pub use wait::eventually;
