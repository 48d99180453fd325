//! Requests and answers: the only room that knows HTTP.
//!
//! - [`router`]: every route on one page, and the layers around them.
//! - [`handlers`]: one file for each endpoint; extract, call, answer.
//! - [`body`]: a request's body, and what becomes of it when the request is refused.
//! - [`edge`]: whether a request comes from the edge, and what the two tell each other; [`edge_secret`]: how that is known.
//! - [`caller`]: whom a request is from, and what it may do.
//! - [`extract`]: paths, queries and headers become types here.
//! - [`made`]: proofs become answers.
//! - [`api_error`]: the one place where failures become statuses.
//! - [`middleware`]: what happens to every request; [`mod@request_id`]: what it is called.
//! - [`listener`]: how connections are taken and let go.
//! - [`state`]: what handlers share.

pub mod api_error;
pub mod body;
pub mod caller;
pub mod edge;
pub mod edge_secret;
pub mod extract;
pub mod handlers;
pub mod listener;
pub mod middleware;
pub mod proof_response;
pub mod request_id;
pub mod router;
pub mod state;
