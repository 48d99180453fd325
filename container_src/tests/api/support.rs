//! What the tests stand on: a real server with a real bb, and ways to talk to it, to look into it and to break it.
//!
//! - [`server`]: starts a server, and at its end holds it against all that must be true of every server. Start here.
//! - [`settings`]: what a server is started with.
//! - [`client`]: requests, answers, and connections for what an ordinary client would never send.
//! - [`samples`]: circuits and witnesses, good and bad.
//! - [`bb`]: the untouched bb, as the judge of proofs.
//! - [`fake_bb`]: programs in bb's place, for faults that bb itself does not produce.
//! - [`processes`]: who runs, who is stopped, who is killed.
//! - [`places`]: where bb, the CRS and the circuits are; which tests this machine cannot run.
//! - [`wait`]: polling with a deadline, in place of sleeping.

pub(crate) mod bb;
pub(crate) mod client;
pub(crate) mod fake_bb;
pub(crate) mod places;
pub(crate) mod processes;
pub(crate) mod samples;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod wait;

pub(crate) use client::{Answer, Connection};
pub(crate) use edgeprove_protocol::ProblemType;
pub(crate) use samples::Sample;
pub(crate) use server::TestServer;
pub(crate) use wait::eventually;
