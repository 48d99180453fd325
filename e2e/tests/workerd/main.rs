//! Tests the edge in the real workerd, in front of a real server with a real bb. Where a test needs a fault or an
//! unusual response, the edge is in front of a test upstream instead. No Docker Engine is needed.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and a panic reports it"
)]

mod admission;
mod bucket;
mod built_circuits;
mod edge_jobs;
mod edge_queue;
mod faults;
mod headers;
mod jobs;
mod operators;
mod proving;
mod receipts;
mod requests;
mod sealing;
mod settings;
mod streams;
mod vouchers;
