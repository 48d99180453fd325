//! The whole path of a witness, real parts only: workerd, wrangler, containers, browsers.
//!
//! - [`edge`]: the edge as `cargo xtask edge` runs it, in front of a server or of containers. Start here.
//! - [`stand_in`]: a server in the prover's place, for faults and answers that a prover does not produce on demand.
//! - [`raw`]: the same for what is no HTTP at all.
//! - [`docker`]: looks at containers, and kills and slows them.
//! - [`chromium`]: a page in a real browser.
//!
//! `tests/workerd` needs no more than `cargo xtask setup` brings and is part of `cargo xtask test`. `tests/containers`
//! needs a Docker Engine and `tests/browser` a Chromium; `cargo xtask test --heavy` runs them.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a test that cannot go on has failed, and says so"
)]

pub mod chromium;
pub mod docker;
pub mod edge;
pub mod raw;
pub mod stand_in;

pub use edge::Edge;
pub use stand_in::StandIn;
