//! One request through the edge: it is admitted, its destination is chosen, then it is sent and its response forwarded.
//!
//! Only `Exchange::send_to_container` wakes a container, and `Exchange::wake`, which it needs.

use std::{rc::Rc, time::Duration};

use edgeprove_protocol::{
    Load, ProblemType, TraceContext,
    endpoints::{Class, ContainerRule, EdgeAction, Endpoint},
    headers,
};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use uuid::Uuid;
use worker::{Context, Date, Delay, Env, console_error, console_log, event, js_sys};

use crate::{
    api_keys::{self, Caller},
    bindings,
    container_pool::{self, Choice},
    cors::Decision,
    destination::{self, Selection},
    edge_error::EdgeError,
    edge_response::EdgeResponse,
    forward_headers::{self, CorsHeaders, OBJECT_PROBLEM},
    health, isolate,
    jobs_do::gateway,
    js_headers,
    log::{self, RequestLine},
    outgoing_request::{self, Fetch, Outgoing, SendError},
    page,
    prover_container_do::WAKE_PATH,
    request_head::RequestHead,
    response_stream, router, server_refusal,
    settings::{JobsMode, Settings},
    submission::{Submitter, request::becomes_job},
};

/// How much longer than a container's object the Worker waits. The error of the object has more details.
const OBJECT_MARGIN: Duration = Duration::from_secs(2);

/// How many containers are tried for a request that wakes none, until one is awake.
const LINK_TRIES_MAX: usize = 4;

/// Responds to one request. Every failure becomes a problem document.
#[event(fetch)]
pub async fn fetch(request: worker::Request, env: Env, ctx: Context) -> worker::Result<worker::Response> {
    let started = Date::now().as_millis();
    let request = request.inner();
    let is_head = request.method() == "HEAD";
    let request_id = Uuid::new_v4().to_string();
    let mut facts = Facts::default();
    let head = RequestHead::read(request, &request_id);
    let response = match &head {
        Ok(head) => respond(request, head, &env, &ctx, &mut facts).await,
        Err(error) => Err(error.clone()),
    };
    let response = response.and_then(|response| facts.finish(&response, &request_id)).or_else(|error| {
        facts.code = Some(error.problem_type().code().to_owned());
        facts.cause = error.cause();
        let response = response_stream::build(&EdgeResponse::problem(&error, &request_id), is_head)?;
        facts.finish(&response, &request_id)
    });
    let response =
        response.map_err(|error| worker::Error::RustError(error.cause().unwrap_or(error.detail())))?;
    let trace = head.as_ref().ok().and_then(RequestHead::trace);
    let line = RequestLine {
        event: "request",
        request_id: &request_id,
        method: &request.method(),
        route: head.as_ref().map_or(router::UNKNOWN, |head| router::pattern(&head.path)),
        status: response.status(),
        total_ms: Date::now().as_millis().saturating_sub(started),
        instance: facts.instance,
        user: facts.user.as_deref(),
        trace_id: trace.as_ref().map(TraceContext::trace_id),
        span_id: trace.as_ref().map(TraceContext::span_id),
        code: facts.code.as_deref(),
        cause: facts.cause.as_deref(),
    };
    ctx.wait_until(write(log::text(&line), response.status() >= 500));
    Ok(worker::Response::from(response))
}

/// Writes a log line after the response: writing takes time where the runtime writes at once.
async fn write(line: String, is_error: bool) {
    Delay::from(Duration::ZERO).await;
    if is_error {
        console_error!("{line}");
    } else {
        console_log!("{line}");
    }
}

/// Data of an exchange for the response and the log line, also of one that failed.
#[derive(Default)]
struct Facts {
    cors: CorsHeaders,
    instance: Option<u16>,
    user: Option<String>,
    code: Option<String>,
    cause: Option<String>,
}

impl Facts {
    /// The response with the headers that the caller gets.
    fn finish(&self, response: &web_sys::Response, request_id: &str) -> Result<web_sys::Response, EdgeError> {
        let headers = js_headers::from_js(&response.headers());
        response_stream::forward(response, &forward_headers::for_caller(&headers, request_id, &self.cors))
    }
}

async fn respond(
    request: &web_sys::Request,
    head: &RequestHead,
    env: &Env,
    ctx: &Context,
    facts: &mut Facts,
) -> Result<web_sys::Response, EdgeError> {
    let settings = isolate::settings(env).await?;
    Exchange { request, head, env, ctx, settings, facts }.run().await
}

/// One request and what belongs to it on its way through the edge.
struct Exchange<'a> {
    request: &'a web_sys::Request,
    head: &'a RequestHead,
    env: &'a Env,
    ctx: &'a Context,
    settings: Rc<Settings>,
    facts: &'a mut Facts,
}

/// Where an admitted request goes.
enum Destination {
    /// The server at `UPSTREAM_URL`.
    Server(Uri),
    /// The container with this number.
    Container(u16),
}

impl Exchange<'_> {
    async fn run(mut self) -> Result<web_sys::Response, EdgeError> {
        let origin = self.check_origin()?;
        if self.head.method == Method::OPTIONS {
            return self.build(&self.options_response(&origin)?);
        }
        let endpoint = router::route(&self.head.method, &self.head.path)?;
        if self.settings.jobs == JobsMode::Edge && gateway::is_for_object(endpoint) {
            let caller = self.admit(endpoint).await?;
            return gateway::respond(self.env, &self.settings, self.request, self.head, endpoint, &caller)
                .await;
        }
        match endpoint.edge {
            EdgeAction::ListEndpoints => self.build_page(&page::root(self.head, self.settings.page)).await,
            EdgeAction::ServePage => {
                self.build_page(&page::asset(self.head, endpoint, self.settings.page)?).await
            }
            EdgeAction::ReportHealth => {
                let is_known = self.settings.keys.identify(&self.head.headers).is_ok();
                let health =
                    if is_known { health::full(self.env, &self.settings).await } else { health::brief() };
                self.build(&health)
            }
            EdgeAction::ForwardIfAwake(_) => {
                let caller = self.admit(endpoint).await?;
                let limit = self.settings.timeouts.of(endpoint.class);
                match self.settings.upstream.clone() {
                    Some(url) => self.send_to_server(&url, &caller, limit).await,
                    None => self.send_for_records(&caller, limit).await,
                }
            }
            EdgeAction::Hide => Err(router::RouteError::NotFound.into()),
            EdgeAction::Forward(rule) => {
                let caller = self.admit(endpoint).await?;
                if self.settings.jobs == JobsMode::Edge && becomes_job(endpoint, self.head) {
                    let (settings, caller) = (&*self.settings, &caller);
                    let (request, head, env) = (self.request, self.head, self.env);
                    return Submitter { request, head, env, settings, caller }.submit(endpoint).await;
                }
                let limit = self.settings.timeouts.of(endpoint.class);
                if caller == Caller::Link && self.settings.upstream.is_none() {
                    return self.send_by_link(endpoint, rule, &caller, limit).await;
                }
                match self.choose(endpoint, rule, &caller)? {
                    Destination::Server(url) => self.send_to_server(&url, &caller, limit).await,
                    Destination::Container(instance) => {
                        self.send_to_container(instance, &caller, limit).await
                    }
                }
            }
        }
    }

    fn check_origin(&mut self) -> Result<Decision, EdgeError> {
        let origins = &self.settings.origins;
        let decision = origins.decide(self.head.headers.get(header::ORIGIN), &self.head.origin);
        self.facts.cors = CorsHeaders::new(origins, decision.clone());
        if decision == Decision::Refused { Err(EdgeError::OriginNotAllowed) } else { Ok(decision) }
    }

    fn build(&self, response: &EdgeResponse) -> Result<web_sys::Response, EdgeError> {
        Ok(response_stream::build(response, self.head.method == Method::HEAD)?)
    }

    async fn build_page(&self, response: &EdgeResponse) -> Result<web_sys::Response, EdgeError> {
        match response.file.filter(|_| self.head.method != Method::HEAD) {
            Some(name) => {
                let content = bindings::page_file(self.env, name).await?;
                Ok(response_stream::build_with(response, &content)?)
            }
            None => self.build(response),
        }
    }

    fn options_response(&self, origin: &Decision) -> Result<EdgeResponse, EdgeError> {
        let allow = router::allowed_methods(&self.head.path)?;
        let mut response = EdgeResponse::empty(204);
        response.headers.extend(HeaderValue::from_str(&allow).ok().map(|allow| (header::ALLOW, allow)));
        if let (true, Decision::Allowed(origin)) = (self.head.is_preflight(), origin) {
            let requested = self.head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
            let further = origin.preflight(requested).map(|(name, value)| (Some(name), value));
            response.headers.extend(further);
        }
        Ok(response)
    }

    /// Decides whether the request may reach a server. The cheapest check comes first.
    async fn admit(&mut self, endpoint: &Endpoint) -> Result<Caller, EdgeError> {
        self.head.check_content_length(self.settings.upload_max_bytes)?;
        if endpoint.class == Class::Proof {
            self.head.check_proof_headers()?;
        }
        let now_s = Date::now().as_millis() / 1000;
        let caller = destination::identify(endpoint, self.head, &self.settings, now_s);
        self.facts.user = match &caller {
            Ok(Caller::Key(name)) => Some(name.clone()),
            Ok(Caller::Page(page)) => Some(page.voucher.holder.clone()),
            Ok(Caller::Anonymous | Caller::Link) | Err(_) => None,
        };
        // A request with an unknown key counts, too: against its address.
        let key = api_keys::rate_key(caller.as_ref().ok(), self.head.client_ip());
        if !bindings::is_within_rate(self.env, key).await? {
            return Err(EdgeError::RateLimited);
        }
        let caller = caller?;
        destination::check_caller(endpoint, &caller, &self.settings)?;
        destination::check_page(self.head, &caller)?;
        Ok(caller)
    }

    /// Chooses the destination, and wakes another container if all awake ones are busy.
    fn choose(
        &self,
        endpoint: &Endpoint,
        rule: ContainerRule,
        caller: &Caller,
    ) -> Result<Destination, EdgeError> {
        if let Some(url) = &self.settings.upstream {
            return Ok(Destination::Server(url.clone()));
        }
        match destination::select(rule, endpoint, self.head, caller, &self.settings)? {
            Selection::Container(instance) => Ok(Destination::Container(instance)),
            Selection::LeastBusy => {
                let (count, awake_for) = (self.settings.max_instances, self.settings.lifecycle.sleep_after);
                let now = Date::now().as_millis();
                let Choice { instance, wake } =
                    isolate::with_pool(|pool| pool.choose(count, now, awake_for, js_sys::Math::random));
                if let Some(other) = wake {
                    self.wake(other)?;
                }
                Ok(Destination::Container(instance))
            }
        }
    }

    fn wake(&self, instance: u16) -> Result<(), EdgeError> {
        let object: Fetch = bindings::prover(self.env, instance)?.into_rpc();
        let limit = self.settings.lifecycle.start_timeout;
        self.ctx.wait_until(async move {
            let Ok(request) = Outgoing::get(&bindings::prover_url(instance, WAKE_PATH)) else { return };
            let Ok(response) = request.send(&object, limit).await else { return };
            if let Some(load) = reported_load(&js_headers::from_js(&response.headers())) {
                isolate::with_pool(|pool| pool.reported(instance, load, Date::now().as_millis()));
            }
        });
        Ok(())
    }

    async fn send_to_server(
        &self,
        server: &Uri,
        caller: &Caller,
        limit: Duration,
    ) -> Result<web_sys::Response, EdgeError> {
        let url = format!("{}{}", server.to_string().trim_end_matches('/'), self.head.path_and_query());
        let headers = forward_headers::for_server(self.head, &self.settings, caller);
        let request = Outgoing::forward(self.request, &url, &headers)?;
        let response = request.send(&outgoing_request::global_fetch(), limit).await;
        server_refusal::check(response.map_err(|error| match error {
            SendError::TimedOut => EdgeError::TimedOut { limit },
            SendError::Failed(reason) => EdgeError::ServerUnreachable { reason },
        })?)
        .await
    }

    /// Sends the request to the container that its query names, if that container is awake.
    async fn send_for_records(
        &mut self,
        caller: &Caller,
        limit: Duration,
    ) -> Result<web_sys::Response, EdgeError> {
        let (instance, query) = destination::select_records(&self.head.query, &self.settings)?;
        let head = RequestHead { query, ..self.head.clone() };
        self.send_if_awake(instance, &head, caller, limit).await
    }

    /// Sends the request with the token of a job's link to a container that can check the token. The token may be wrong,
    /// so the request wakes none and keeps none awake: a container with an unfinished job is awake anyway.
    async fn send_by_link(
        &mut self,
        endpoint: &Endpoint,
        rule: ContainerRule,
        caller: &Caller,
        limit: Duration,
    ) -> Result<web_sys::Response, EdgeError> {
        let head = self.head;
        let instances = match destination::select(rule, endpoint, head, caller, &self.settings)? {
            Selection::Container(instance) => vec![instance],
            Selection::LeastBusy => {
                let (count, awake_for) = (self.settings.max_instances, self.settings.lifecycle.sleep_after);
                let now = Date::now().as_millis();
                isolate::with_pool(|pool| pool.awake_first(count, LINK_TRIES_MAX, now, awake_for))
            }
        };
        let mut outcome = Err(EdgeError::ContainerAsleep);
        for instance in instances {
            outcome = self.send_if_awake(instance, head, caller, limit).await;
            // An object that must not wake its container has this code for no other reason.
            if self.facts.code.as_deref() != Some(ProblemType::ContainerUnavailable.code()) {
                break;
            }
        }
        outcome
    }

    /// Sends the request to a container if it is awake. The pool does not count it: such a request is no work.
    async fn send_if_awake(
        &mut self,
        instance: u16,
        head: &RequestHead,
        caller: &Caller,
        limit: Duration,
    ) -> Result<web_sys::Response, EdgeError> {
        self.facts.instance = Some(instance);
        let object: Fetch = bindings::prover(self.env, instance)?.into_rpc();
        let url = bindings::prover_url(instance, &head.path_and_query());
        let headers = forward_headers::for_awake_container(head, &self.settings, caller, limit);
        let request = Outgoing::forward(self.request, &url, &headers)?;
        let response = response_of(request.send(&object, limit + OBJECT_MARGIN).await, limit).await;
        self.facts.code = object_problem(response.as_ref().ok());
        response
    }

    async fn send_to_container(
        &mut self,
        instance: u16,
        caller: &Caller,
        limit: Duration,
    ) -> Result<web_sys::Response, EdgeError> {
        self.facts.instance = Some(instance);
        let object: Fetch = bindings::prover(self.env, instance)?.into_rpc();
        let url = bindings::prover_url(instance, &self.head.path_and_query());
        let headers = forward_headers::for_container(self.head, &self.settings, caller, limit);
        let request = Outgoing::forward(self.request, &url, &headers)?;
        let ticket = isolate::with_pool(|pool| pool.sent(instance, Date::now().as_millis()));
        let response = response_of(request.send(&object, limit + OBJECT_MARGIN).await, limit).await;
        let headers =
            response.as_ref().map(|response| js_headers::from_js(&response.headers())).unwrap_or_default();
        self.facts.code = object_problem(response.as_ref().ok());
        let load = reported_load(&headers);
        let is_not_ready =
            |response: &web_sys::Response| container_pool::is_not_ready(response.status(), load.is_some());
        let has_failed = self.facts.code.is_some() || response.as_ref().map_or(true, is_not_ready);
        let now = Date::now().as_millis();
        isolate::with_pool(|pool| {
            if has_failed { pool.failed(ticket, now) } else { pool.responded(ticket, load, now) }
        });
        response
    }
}

/// The response of a container's object.
async fn response_of(
    sent: Result<web_sys::Response, SendError>,
    limit: Duration,
) -> Result<web_sys::Response, EdgeError> {
    match sent {
        Ok(response) => server_refusal::check(response).await,
        Err(SendError::TimedOut) => Err(EdgeError::TimedOut { limit }),
        Err(SendError::Failed(reason)) => Err(EdgeError::ContainerLost { reason }),
    }
}

/// The code of a problem that is the object's and not its container's.
fn object_problem(response: Option<&web_sys::Response>) -> Option<String> {
    response?.headers().get(OBJECT_PROBLEM).ok().flatten()
}

fn reported_load(headers: &HeaderMap) -> Option<Load> {
    headers.get(headers::PROVER_LOAD)?.to_str().ok()?.parse().ok()
}
