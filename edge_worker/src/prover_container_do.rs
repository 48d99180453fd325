//! The Durable Object that owns one container and forwards requests to it.
//!
//! It is a Durable Object because only one instance in the world may decide whether its container starts, runs or
//! sleeps, and because Cloudflare binds each container to one object. It stores only a record of starts and exits.
//! After an eviction it finds out the rest from the container itself.

#![expect(missing_docs, reason = "#[durable_object] generates items without documentation")]

mod cloudflare_container;

use std::{cell::RefCell, pin::pin, rc::Rc, time::Duration};

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
    lifecycle::{ContainerExit, Lease, Lifecycle, Platform as _, Record},
    log::{self, ContainerLine},
    outgoing_request::{self, Outgoing, SendError},
    response_stream,
    settings::Timeouts,
    until_container_ends::before_end,
    websocket_relay,
};
use cloudflare_container::{CloudflareContainer, RECORD};

/// How long a response may still be on its way after its container ended.
const RESPONSE_AFTER_EXIT: Duration = Duration::from_millis(300);
/// How long the rest of a refused request is read.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);
/// The longest body that arrives together with its head: a proof, a document.
const SMALL_BODY_BYTES: u64 = 64 << 10;

/// The Worker reads [`crate::lifecycle::Status`] here. No request of a caller has this path.
pub const STATUS_PATH: &str = "/_/status";
/// The Worker has the container woken here. No request of a caller has this path.
pub const WAKE_PATH: &str = "/_/wake";

/// The object of one container.
#[durable_object]
pub struct ProverContainer {
    state: Rc<State>,
    env: Env,
    owner: RefCell<Option<TakeOver>>,
}

type TakeOver = Shared<LocalBoxFuture<'static, Result<Owner, EdgeError>>>;

#[derive(Clone)]
struct Owner {
    lifecycle: Rc<Lifecycle<CloudflareContainer>>,
    timeouts: Timeouts,
}

/// Whether a request may be sent a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Second,
}

impl Attempt {
    /// The next attempt after a failed one, or the error of the whole request. `can_be_resent` reports that the
    /// container cannot have acted on the request.
    fn after(self, error: SendError, can_be_resent: bool, limit: Duration) -> Result<Self, EdgeError> {
        match (self, error) {
            (Self::First, SendError::Failed(_)) if can_be_resent => Ok(Self::Second),
            (Self::First | Self::Second, SendError::Failed(reason)) => {
                Err(EdgeError::ContainerLost { reason })
            }
            (Self::First | Self::Second, SendError::TimedOut) => Err(EdgeError::TimedOut { limit }),
        }
    }
}

impl DurableObject for ProverContainer {
    fn new(state: State, env: Env) -> Self {
        Self { state: Rc::new(state), env, owner: RefCell::new(None) }
    }

    async fn fetch(&self, request: Request) -> worker::Result<Response> {
        let request = request.inner();
        let headers = js_headers::from_js(&request.headers());
        let id =
            headers.get(headers::REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or("none").to_owned();
        let (container, response) = match self.owner().await {
            Ok(owner) => {
                (Rc::clone(owner.lifecycle.platform().name()), owner.respond(request, headers).await)
            }
            Err(error) => (Rc::from(""), Err(error)),
        };
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                // A monitor sends such requests all the time, and the Worker logs them.
                if error != EdgeError::ContainerAsleep {
                    let cause = error.cause().unwrap_or(error.detail());
                    log_error("container_request_failed", &container, Some(&id), &cause);
                }
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
        if let Ok(owner) = self.owner().await {
            owner.lifecycle.alarm().await;
        }
        Response::empty()
    }
}

impl ProverContainer {
    /// The container, taken over by the first request. An error is the response to this request, instead of an
    /// exception of the object, and the next request tries again: the Secrets Store may respond then.
    async fn owner(&self) -> Result<Owner, EdgeError> {
        let begin = || take_over(Rc::clone(&self.state), self.env.clone()).boxed_local().shared();
        let taking_over = self.owner.borrow_mut().get_or_insert_with(begin).clone();
        let owner = taking_over.clone().await;
        if owner.is_err() {
            // Another request may have started a new attempt already, and there must not be two owners.
            let mut current = self.owner.borrow_mut();
            if current.as_ref().is_some_and(|current| current.ptr_eq(&taking_over)) {
                *current = None;
            }
        }
        owner
    }
}

async fn take_over(state: Rc<State>, env: Env) -> Result<Owner, EdgeError> {
    let settings = bindings::settings(&env).await?;
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
        if forward_headers::take_awake_only(&mut headers) {
            return self.forward_if_awake(request, &format!("http://prover{path}"), &headers, limit).await;
        }
        let path = if path == WAKE_PATH { "/readyz" } else { path };
        self.forward(request, &format!("http://prover{path}"), &headers, limit).await
    }

    /// Forwards a request to the container if it is awake. Such a request does not keep it awake either, however often
    /// it is sent.
    async fn forward_if_awake(
        &self,
        request: &web_sys::Request,
        url: &str,
        headers: &HeaderMap,
        limit: Duration,
    ) -> Result<web_sys::Response, EdgeError> {
        if !self.lifecycle.is_awake() {
            return Err(EdgeError::ContainerAsleep);
        }
        let outgoing = Outgoing::forward(request, url, headers)?;
        let ended = self.lifecycle.exit();
        match self.send(&outgoing, limit).await {
            Ok(response) => self.forward_response(&response, None, ended),
            Err(SendError::TimedOut) => Err(EdgeError::TimedOut { limit }),
            Err(SendError::Failed(reason)) => Err(EdgeError::ContainerLost { reason }),
        }
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
            let ended = self.lifecycle.exit();
            let error = match self.send(&outgoing, time_left()).await {
                Ok(response) => {
                    let has_load = response.headers().has(headers::PROVER_LOAD).unwrap_or(false);
                    if container_pool::is_not_ready(response.status(), has_load) {
                        // The next request waits until the container is ready again or replaced.
                        self.lifecycle.mark_unknown();
                    }
                    return self.forward_response(&response, Some(lease), ended);
                }
                Err(error) => error,
            };
            self.lifecycle.mark_unknown();
            attempt = attempt.after(error, outgoing.can_be_resent(), limit)?;
        }
    }

    /// Sends a request to the container, and aborts it when the container ends: its connection alone may not show that.
    async fn send(&self, outgoing: &Outgoing, limit: Duration) -> Result<web_sys::Response, SendError> {
        let port = self.lifecycle.platform().port().map_err(|error| SendError::Failed(error.to_string()))?;
        let grace = || Delay::from(RESPONSE_AFTER_EXIT);
        before_end(outgoing.send(&port, limit), self.lifecycle.exit(), grace).await.unwrap_or_else(|exit| {
            outgoing.abort();
            Err(SendError::Failed(format!("the container ended: {exit}")))
        })
    }

    /// Forwards a response. With a lease, the container stays awake until its body was forwarded or its WebSocket is
    /// closed. Both end with the container.
    fn forward_response(
        &self,
        response: &web_sys::Response,
        lease: Option<Lease<CloudflareContainer>>,
        ended: impl Future<Output = ContainerExit> + 'static,
    ) -> Result<web_sys::Response, EdgeError> {
        let headers = js_headers::from_js(&response.headers());
        if let Some(container_socket) = websocket_relay::socket_of(response) {
            let lease = Rc::new(lease);
            let used = Rc::clone(&lease);
            let renew = move || {
                if let Some(lease) = used.as_ref() {
                    lease.renew();
                }
            };
            let (caller_socket, relay) = websocket_relay::open(container_socket, renew, ended)?;
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
        let (response, completed) = response_stream::forward_watched(response, &headers, ended)?;
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
    fn a_request_is_sent_a_second_time_and_no_third() {
        let limit = Duration::from_secs(30);
        let failed = || SendError::Failed("connection lost".to_owned());
        let lost = Err(EdgeError::ContainerLost { reason: "connection lost".to_owned() });
        assert_eq!(Attempt::First.after(failed(), true, limit), Ok(Attempt::Second));
        // The container may have acted on it.
        assert_eq!(Attempt::First.after(failed(), false, limit), lost);
        assert_eq!(Attempt::Second.after(failed(), true, limit), lost);
        for attempt in [Attempt::First, Attempt::Second] {
            let timed_out = attempt.after(SendError::TimedOut, true, limit);
            assert_eq!(timed_out, Err(EdgeError::TimedOut { limit }));
        }
    }

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
