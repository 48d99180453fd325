//! The edge: a Cloudflare Worker that admits requests and chooses the container for each, and a Durable Object for each
//! container that starts, watches and stops it.
//!
//! The modules in the order of a request:
//! - [`exchange`]: one request from the caller to the container's object and back. Start here.
//! - [`request_head`], [`router`], [`cors`], [`api_keys`]: whether the request is admitted.
//! - [`destination`], [`container_pool`]: which container it goes to.
//! - [`forward_headers`], [`outgoing_request`], [`response_stream`], [`server_refusal`]: how requests and responses are
//!   forwarded.
//! - [`prover_container_do`]: the Durable Object that owns the container; [`lifecycle`]: its rules;
//!   [`websocket_relay`]: WebSockets through it.
//!
//! What these modules stand on: [`settings`], [`bindings`], [`isolate`], [`edge_error`], [`edge_response`], [`health`],
//! [`platform_errors`], [`js_error`], [`js_headers`], [`timestamp`], [`log`].
//!
//! Every decision is plain Rust and is tested natively. The modules that call JavaScript only carry decisions out:
//! `exchange`, `outgoing_request`, `response_stream`, `websocket_relay`, `bindings`, `isolate`, `prover_container_do`.

pub mod api_keys;
pub mod bindings;
pub mod container_pool;
pub mod cors;
pub mod destination;
pub mod edge_error;
pub mod edge_response;
pub mod exchange;
pub mod forward_headers;
pub mod health;
pub mod isolate;
pub mod js_error;
pub mod js_headers;
pub mod lifecycle;
pub mod log;
pub mod outgoing_request;
pub mod platform_errors;
pub mod prover_container_do;
pub mod request_head;
pub mod response_stream;
pub mod router;
pub mod server_refusal;
pub mod settings;
pub mod timestamp;
pub mod websocket_relay;
