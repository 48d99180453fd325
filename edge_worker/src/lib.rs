//! The edge: a Cloudflare Worker that decides who may ask and which container answers, and a Durable Object for each
//! container that starts it, watches it and lets it sleep.
//!
//! The path of one request, room by room:
//! - [`edge`]: the story of a request, from the caller to the container's object and back. Start here.
//! - [`router`], [`cors`], [`access`]: whether it may pass; [`pool`]: to which container.
//! - [`prover_container_do`]: the object that owns the container; [`lifecycle`]: its rules.
//! - [`upstream`]: a fetch that can be given up, and how requests and answers are passed on; [`socket`]: the same for
//!   WebSockets.
//!
//! The ground: [`settings`], [`bindings`], [`edge_error`], [`reply`], [`platform_words`], [`log`].
//!
//! Everything that decides is plain Rust and tested natively; what touches JavaScript is thin: `edge`, `upstream`,
//! `socket`, `bindings`, `prover_container_do`.

pub mod access;
pub mod bindings;
pub mod cors;
pub mod edge;
pub mod edge_error;
pub mod lifecycle;
pub mod log;
pub mod platform_words;
pub mod pool;
pub mod prover_container_do;
pub mod reply;
pub mod router;
pub mod settings;
pub mod socket;
pub mod upstream;
