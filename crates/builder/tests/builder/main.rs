//! Tools in the sandbox, and builds with the real compilers.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic reports that a test has failed")]

mod builds;
mod powers;
mod sandbox;
mod support;
