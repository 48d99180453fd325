//! Deployments on a real node, and on nodes that lie or break off.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and a panic reports it"
)]

mod deployments;
mod hostile_nodes;
mod support;
