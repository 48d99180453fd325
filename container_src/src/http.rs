//! HTTP: the only part of the server that knows statuses.
//!
//! - [`router`]: every route, and the layers around them.
//! - [`handlers`]: one file per endpoint.
//! - [`admitted_request`]: the checks of a request for a proof that need only its head.
//! - [`upload`]: receives the witnesses of a request.
//! - [`form`]: reads `multipart/form-data`, piece by piece. [`inputs`]: receives inputs as JSON.
//! - [`sealed_body`]: opens a body that is sealed for the server.
//! - [`json_body`]: receives a JSON body into memory, within bounds.
//! - [`extract`]: parses paths, queries and headers.
//! - [`prefer`]: parses the preferences of a request. [`mod@callback`]: its callback URL.
//! - [`origin_check`]: refuses what pages of foreign origins make browsers send; [`host_names`]: the server's own names.
//! - [`caller`]: identifies the caller. [`trusted_edge`]: accepts requests from the edge only; [`edge_secret`]: by a secret.
//! - [`job_reader`]: who reads a job; [`job_stream`]: its events; [`event_socket`]: the same over a WebSocket.
//!   [`event_response`]: the answer with them.
//! - [`board`]: the board for all its viewers. [`job_filter`]: which jobs a query selects.
//! - [`rate_limit_headers`]: what is left of a caller's limits.
//! - [`proof_response`], [`job_response`]: answers with a proof or a job.
//! - [`single_header`]: headers that a request may have once.
//! - [`api_error`]: turns failures into problems and statuses.
//! - [`request_log`]: one log line per request. [`mod@request_id`]: its id. [`request_body`]: its body.
//! - [`listener`]: accepts and closes connections. [`concurrent_requests`]: limits how many requests a caller has at once.
//! - [`local_prover`]: the folder for proofs in the browser.
//! - [`puller_probes`]: the probes of a prover that pulls.
//! - [`work_request`]: requests of provers that pull.
//! - [`guarded_body`]: a response body that keeps a value until it was sent.
//! - [`state`]: what every handler can reach.

use std::time::Duration;

pub mod admitted_request;
pub mod api_error;
pub mod board;
pub mod callback;
pub mod caller;
pub mod concurrent_requests;
pub mod edge_secret;
pub mod event_response;
pub mod event_socket;
pub mod extract;
pub mod form;
pub mod guarded_body;
pub mod handlers;
pub mod host_names;
pub mod inputs;
pub mod job_filter;
pub mod job_reader;
pub mod job_response;
pub mod job_stream;
pub mod json_body;
pub mod listener;
pub mod local_prover;
pub mod origin_check;
pub mod prefer;
pub mod proof_response;
pub mod puller_probes;
pub mod rate_limit_headers;
pub mod request_body;
pub mod request_id;
pub mod request_log;
pub mod router;
pub mod sealed_body;
pub mod single_header;
pub mod state;
pub mod trusted_edge;
pub mod upload;
pub mod work_request;

/// Milliseconds as on the wire: with fractions.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
