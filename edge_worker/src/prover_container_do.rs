//! The Durable Object that owns one container and forwards requests to it.
//!
//! It is a Durable Object because only one instance in the world may decide whether its container starts, runs or
//! sleeps, and because Cloudflare binds each container to one object. It stores only a record of starts and exits.
//! After an eviction it finds out the rest from the container itself.

#![expect(missing_docs, reason = "#[durable_object] generates items without documentation")]

mod cloudflare_container;

use std::{pin::pin, rc::Rc, time::Duration};

use edgeprove_protocol::headers;
use futures_util::{
    FutureExt as _,
    future::{Either, LocalBoxFuture, Shared, select},
};
use http::{HeaderMap, header};
use worker::{Delay, DurableObject, Env, Request, Response, State, console_error, durable_object};

use crate::{
    bindings, container_pool,
    edge_error::EdgeError,
    edge_response::EdgeResponse,
    forward_headers::{self, OBJECT_PROBLEM},
    js_headers,
    lifecycle::{Lease, Lifecycle, Platform as _, Record},
    log::{self, ContainerLine},
    outgoing_request::{self, Outgoing, SendError},
    response_stream,
    settings::{Settings, Timeouts},
    websocket_relay,
};
use cloudflare_container::{CloudflareContainer, RECORD};

/// How long a response may still be on its way after its container ended.
const RESPONSE_AFTER_EXIT: Duration = Duration::from_millis(300);
/// How long the rest of a refused request is read.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);
/// The longest body that arrives together with its head: a proof, a document.
const SMALL_BODY_BYTES: u64 = 1 << 20;

/// The Worker reads [`crate::lifecycle::Status`] here. No request of a caller has this path.
pub const STATUS_PATH: &str = "/_/status";
/// The Worker has the container woken here. No request of a caller has this path.
pub const WAKE_PATH: &str = "/_/wake";

/// The object of one container.
#[durable_object]
pub struct ProverContainer {
    owner: Shared<LocalBoxFuture<'static, Result<Owner, EdgeError>>>,
}

#[derive(Clone)]
struct Owner {
    lifecycle: Rc<Lifecycle<CloudflareContainer>>,
    timeouts: Timeouts,
}

/// Whether a request may be sent a second time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Second,
}

impl DurableObject for ProverContainer {
    fn new(state: State, env: Env) -> Self {
        // An error here becomes the response to each request, instead of an exception of the object.
        Self { owner: take_over(state, env).boxed_local().shared() }
    }

    async fn fetch(&self, request: Request) -> worker::Result<Response> {
        let request = request.inner();
        let headers = js_headers::from_js(&request.headers());
        let id =
            headers.get(headers::REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or("none").to_owned();
        let (container, response) = match self.owner.clone().await {
            Ok(owner) => {
                (Rc::clone(owner.lifecycle.platform().name()), owner.respond(request, headers).await)
            }
            Err(error) => (Rc::from(""), Err(error)),
        };
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                let cause = error.cause().unwrap_or(error.detail());
                log_error("container_request_failed", &container, Some(&id), &cause);
                outgoing_request::drain(request, DRAIN_LIMIT).await;
                let mut response = EdgeResponse::problem(&error, &id);
                forward_headers::set(&mut response.headers, OBJECT_PROBLEM, error.problem_type().code());
                response_stream::build(&response, false)
                    .map_err(|error| worker::Error::RustError(error.to_string()))?
            }
        };
        Ok(Response::from(response))
    }

    async fn alarm(&self) -> worker::Result<Response> {
        if let Ok(owner) = self.owner.clone().await {
            owner.lifecycle.alarm().await;
        }
        Response::empty()
    }
}

async fn take_over(state: State, env: Env) -> Result<Owner, EdgeError> {
    let settings = Settings::read(&bindings::vars(&env))?;
    let container =
        state.container().ok_or(EdgeError::ClassWithoutContainer { binding: bindings::PROVER })?;
    let name = state.id().name().unwrap_or_else(|| state.id().to_string());
    let record: Option<Record> = state.storage().get(RECORD).await.unwrap_or_else(|error| {
        log_error("record_unreadable", &name, None, &error.to_string());
        None
    });
    let (timeouts, options) = (settings.timeouts, settings.lifecycle);
    let platform = CloudflareContainer::new(state, container, name, settings);
    Ok(Owner { lifecycle: Lifecycle::take_over(platform, options, record.unwrap_or_default()), timeouts })
}

fn log_error(event: &'static str, container: &str, request_id: Option<&str>, detail: &str) {
    console_error!("{}", log::text(&ContainerLine { event, container, request_id, detail }));
}

impl Owner {
    async fn respond(
        &self,
        request: &web_sys::Request,
        mut headers: HeaderMap,
    ) -> Result<web_sys::Response, EdgeError> {
        let url = request.url();
        self.lifecycle.platform().note_number(bindings::instance_of(&url));
        let path = path_and_query(&url);
        if path == STATUS_PATH {
            let status = EdgeResponse::json(200, &self.lifecycle.status());
            return Ok(response_stream::build(&status, false)?);
        }
        let limit = forward_headers::take_timeout(&mut headers).unwrap_or(self.timeouts.other);
        let path = if path == WAKE_PATH { "/readyz" } else { path };
        self.forward(request, &format!("http://prover{path}"), &headers, limit).await
    }

    /// Forwards a request to the container, and starts it first if necessary. If the container turns out to have ended,
    /// the request is sent a second time, but only if the container cannot have received any of it.
    async fn forward(
        &self,
        request: &web_sys::Request,
        url: &str,
        headers: &HeaderMap,
        limit: Duration,
    ) -> Result<web_sys::Response, EdgeError> {
        let platform = self.lifecycle.platform();
        let deadline = platform.now() + u64::try_from(limit.as_millis()).unwrap_or(u64::MAX / 4);
        let time_left = || Duration::from_millis(deadline.saturating_sub(platform.now()));
        let lease = self.lifecycle.lease();
        let mut attempt = Attempt::First;
        loop {
            let ready = within(time_left(), self.lifecycle.ready()).await;
            ready.ok_or(EdgeError::TimedOut { limit })??;
            let outgoing = Outgoing::forward(request, url, headers)?;
            let error = match self.send(&outgoing, time_left()).await {
                Ok(response) => {
                    let has_load = response.headers().has(headers::PROVER_LOAD).unwrap_or(false);
                    if container_pool::is_not_ready(response.status(), has_load) {
                        // The next request waits until the container is ready again or replaced.
                        self.lifecycle.mark_unknown();
                    }
                    return self.forward_response(&response, lease);
                }
                Err(error) => error,
            };
            self.lifecycle.mark_unknown();
            match error {
                SendError::TimedOut => return Err(EdgeError::TimedOut { limit }),
                SendError::Failed(_) if attempt == Attempt::First && outgoing.can_be_resent() => {
                    attempt = Attempt::Second;
                }
                SendError::Failed(reason) => return Err(EdgeError::ContainerLost { reason }),
            }
        }
    }

    /// Sends a request to the container, and aborts it when the container ends: its connection alone may not show that.
    async fn send(&self, outgoing: &Outgoing, limit: Duration) -> Result<web_sys::Response, SendError> {
        let port = self.lifecycle.platform().port().map_err(|error| SendError::Failed(error.to_string()))?;
        let response = pin!(outgoing.send(&port, limit));
        let (exit, response) = match select(response, pin!(self.lifecycle.exit())).await {
            Either::Left((response, _)) => return response,
            Either::Right(exit) => exit,
        };
        // A last response may still be on its way.
        within(RESPONSE_AFTER_EXIT, response).await.unwrap_or_else(|| {
            outgoing.abort();
            Err(SendError::Failed(format!("the container ended: {exit}")))
        })
    }

    /// Forwards a response. The container stays awake until its body was forwarded or its WebSocket is closed.
    fn forward_response(
        &self,
        response: &web_sys::Response,
        lease: Lease<CloudflareContainer>,
    ) -> Result<web_sys::Response, EdgeError> {
        let headers = js_headers::from_js(&response.headers());
        if let Some(container_socket) = websocket_relay::socket_of(response) {
            let lease = Rc::new(lease);
            let renewed = Rc::clone(&lease);
            let (caller_socket, relay) = websocket_relay::open(container_socket, move || renewed.renew())?;
            let task = async move {
                relay.await;
                drop(lease);
            };
            self.lifecycle.platform().spawn(task.boxed_local());
            return response_stream::forward_with_socket(response, &headers, &caller_socket);
        }
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let is_small = length.is_some_and(|length: u64| length <= SMALL_BODY_BYTES);
        if is_small || response.body().is_none() {
            return response_stream::forward(response, &headers);
        }
        let (response, completed) = response_stream::forward_watched(response, &headers)?;
        let task = async move {
            completed.await;
            drop(lease);
        };
        self.lifecycle.platform().spawn(task.boxed_local());
        Ok(response)
    }
}

/// The outcome of some work, or `None` if it takes longer than the limit.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), Delay::from(limit)).await {
        Either::Left((outcome, _)) => Some(outcome),
        Either::Right(_) => None,
    }
}

/// Path and query of a URL in the form of the runtime.
fn path_and_query(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let at = after_scheme.find('/').unwrap_or(after_scheme.len());
    let rest = &after_scheme[at..];
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    if rest.is_empty() { "/" } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_gets_the_path_and_query_of_the_url() {
        for (url, expected) in [
            ("https://prove.example/api/prove?target=evm", "/api/prove?target=evm"),
            ("https://prove.example", "/"),
            ("https://prove.example/a?then=https://app.example/b", "/a?then=https://app.example/b"),
            ("http://[::1]:8787/v1/proofs/c1-x/events#end", "/v1/proofs/c1-x/events"),
        ] {
            assert_eq!(path_and_query(url), expected);
        }
    }
}
