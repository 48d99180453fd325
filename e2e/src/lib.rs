//! Runs the whole path of a witness with real parts: workerd, wrangler, containers, browsers.
//!
//! - [`edge`]: starts the edge with `cargo xtask edge`, in front of a server or of containers. Start here.
//! - [`test_upstream`]: a server in place of the prover, which reports what reached it and responds on demand.
//! - [`recorder`]: passes connections on, and records what passes.
//! - [`broken_upstream`]: a server that does not speak HTTP properly.
//! - [`docker`]: inspects, kills and slows down containers.
//! - [`chromium`]: opens a page in a real browser.
//!
//! `tests/workerd` needs only what `cargo xtask setup` installs, and is part of `cargo xtask test`. `tests/containers`
//! needs a Docker Engine and `tests/browser` needs Chromium; `cargo xtask test --heavy` runs them.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a test that cannot go on has failed, and a panic reports it"
)]

pub mod broken_upstream;
pub mod chromium;
pub mod docker;
pub mod edge;
pub mod recorder;
pub mod test_upstream;

pub use edge::Edge;
pub use recorder::Recorder;
pub use test_upstream::TestUpstream;
