//! The edge: a Cloudflare Worker that admits requests and chooses the container for each, and a Durable Object for each
//! container that starts, watches and stops it.
//!
//! Imports run down this list only:
//! - [`exchange`]: one request from the caller to the container's object and back. Start here.
//! - [`submission`]: a request that becomes a job, where jobs are at the edge.
//! - [`health`]: the state of the edge and its containers.
//! - [`destination`]: which container a request needs.
//! - [`isolate`]: what all requests of an isolate share.
//! - [`jobs_do`]: the Durable Object with the job queue.
//! - [`prover_container_do`]: the Durable Object that owns a container.
//! - [`forward_headers`]: which headers reach the server and the caller.
//! - [`artifacts`]: the bodies and proofs of jobs, encrypted in R2.
//! - [`response_stream`]: how responses are forwarded.
//! - [`websocket_relay`]: how WebSockets are forwarded.
//! - [`page`]: the page for browsers.
//! - [`bindings`]: the bindings.
//! - [`outgoing_request`]: how requests are forwarded.
//! - [`server_refusal`]: a server that refuses the edge.
//! - [`request_head`], [`edge_response`]: the request, responses of the edge itself.
//! - [`edge_error`]: every failure, and the one mapping to problems and statuses.
//! - [`bucket`], [`refusal`]: the bucket of R2; a submission that is refused.
//! - [`settings`], [`router`]: the variables of `wrangler.toml`; the endpoint of a request.
//! - [`artifact_keys`]: the keys of encrypted objects.
//! - [`artifact_format`]: their format.
//! - [`api_keys`], [`cors`]: whether a caller or a page is admitted.
//! - [`server_keys`], [`variables`]: the keys of the containers; the forms that variables and secrets have.
//! - [`platform_errors`]: the meaning of Cloudflare's error messages.
//! - [`lifecycle`]: when a container starts, is ready, is lost, sleeps.
//! - [`container_pool`]: how busy each container is, as far as this isolate knows.
//! - [`until_container_ends`]: what waits for a container ends with it.
//! - [`log`], [`timestamp`], [`js_headers`], [`js_error`]: one conversion each.
//!
//! Every decision is plain Rust and is tested natively. The modules that call JavaScript only carry decisions out:
//! `exchange`, `submission`, `health`, `isolate`, `prover_container_do`, `outgoing_request`, `server_refusal`, `response_stream`,
//! `websocket_relay`, `artifacts`, `bindings`, `bucket`, `js_headers`, `js_error`.

pub mod api_keys;
pub mod artifact_format;
pub mod artifact_keys;
pub mod artifacts;
pub mod bindings;
pub mod bucket;
pub mod container_pool;
pub mod cors;
pub mod destination;
pub mod edge_error;
pub mod edge_response;
pub mod exchange;
pub mod forward_headers;
pub mod health;
pub mod isolate;
pub mod jobs_do;
pub mod js_error;
pub mod js_headers;
pub mod lifecycle;
pub mod log;
pub mod outgoing_request;
pub mod page;
pub mod platform_errors;
pub mod prover_container_do;
pub mod refusal;
pub mod request_head;
pub mod response_stream;
pub mod router;
pub mod server_keys;
pub mod server_refusal;
pub mod settings;
pub mod submission;
pub mod timestamp;
pub mod until_container_ends;
pub mod variables;
pub mod websocket_relay;
