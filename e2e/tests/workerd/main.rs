//! The edge in the real workerd, in front of a real server with a real bb; where a fault or an odd answer is wanted, in
//! front of a stand-in. No Docker Engine is needed.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and says so"
)]

mod admission;
mod faults;
mod hop;
mod jobs;
mod proving;
mod settings;
mod streams;
