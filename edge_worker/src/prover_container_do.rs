//! The Durable Object that owns one container.
//!
//! A Durable Object, because just one place in the world must decide whether its container starts, runs or sleeps, and
//! because Cloudflare binds every container to one. It keeps nothing but a record of starts and ends; what it knows
//! otherwise can be seen anew after an eviction.

#![expect(
    missing_docs,
    reason = "what #[durable_object] makes of a class has no documentation, nor can it be given any"
)]

use std::{cell::Cell, rc::Rc, time::Duration};

use edgeprove_protocol::headers;
use futures_util::{
    FutureExt as _,
    future::{Either, LocalBoxFuture, Shared, select},
};
use http::header;
use serde_json::Value;
use wasm_bindgen::{JsCast as _, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use worker::{
    Container, Date, Delay, DurableObject, Env, Request, Response, ScheduledTime, State, console_error,
    console_log, durable_object, js_sys,
};

use crate::{
    bindings::{self, words},
    edge_error::EdgeError,
    lifecycle::{Exit, Lease, Lifecycle, Platform, Probe, Record, StartFault},
    log::ContainerEvent,
    platform_words, pool,
    reply::{self, Reply},
    settings::{Settings, Timeouts},
    socket,
    upstream::{self, Fetch, Lost, Outgoing},
};

/// What tells the container its number, which becomes part of the names of jobs that it alone keeps.
const INSTANCE_NUMBER: &str = "EDGEPROVE_INSTANCE_NUMBER";
/// The port the server in the container listens on.
const PORT: u16 = 8080;
/// SIGTERM.
const ASK_TO_END: i32 = 15;
/// How long an answer may still be on its way when its container has ended.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long the rest of a request that is refused is waited for.
const DRAIN: Duration = Duration::from_millis(500);
/// What the record is kept under.
const RECORD: &str = "record";
/// How much longer than its idle time the platform lets a container run whose object it has lost.
const INACTIVITY_MARGIN: Duration = Duration::from_mins(1);
/// The longest body that is taken to be on its way when its head is: a proof, a document.
const SMALL_BODY_BYTES: u64 = 1 << 20;

/// Where the Worker asks for [`crate::lifecycle::Status`]; no caller's path leads here.
pub const STATUS: &str = "/_/status";
/// Where the Worker has the container woken.
pub const WAKE: &str = "/_/wake";
/// How long the answer may take, in milliseconds: the Worker tells its object.
pub const LIMIT: &str = "x-edge-limit-ms";

#[wasm_bindgen]
extern "C" {
    /// What the `worker` crate's container lacks, or does not pass on.
    #[derive(Clone)]
    type RawContainer;

    #[wasm_bindgen(method, catch)]
    fn start(this: &RawContainer, options: &js_sys::Object) -> Result<(), JsValue>;

    #[wasm_bindgen(method, catch)]
    fn monitor(this: &RawContainer) -> Result<js_sys::Promise, JsValue>;

    #[wasm_bindgen(method, catch, js_name = setInactivityTimeout)]
    fn set_inactivity_timeout(this: &RawContainer, ms: f64) -> Result<js_sys::Promise, JsValue>;
}

type Owner = Rc<Lifecycle<Cloudflare>>;

/// Owns one container.
#[durable_object]
pub struct ProverContainer {
    owner: Shared<LocalBoxFuture<'static, Result<Owned, EdgeError>>>,
}

#[derive(Clone)]
struct Owned {
    lifecycle: Owner,
    timeouts: Timeouts,
}

impl DurableObject for ProverContainer {
    fn new(state: State, env: Env) -> Self {
        // What can fail here fails each request with a clear answer instead of the object.
        Self { owner: take_over(state, env).boxed_local().shared() }
    }

    async fn fetch(&self, request: Request) -> worker::Result<Response> {
        let request = request.inner();
        let asked = upstream::header_map(&request.headers());
        let id = asked.get(headers::REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or("none").to_owned();
        let (container, answer) = match self.owner.clone().await {
            Ok(owned) => (Rc::clone(&owned.lifecycle.platform().name), owned.answer(request, asked).await),
            Err(error) => (Rc::from(""), Err(error)),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let cause = error.cause.as_deref().unwrap_or(&error.detail);
                complain("container_fault", &container, Some(&id), cause);
                upstream::drain(request, DRAIN).await;
                let mut reply = Reply::problem(&error, &id);
                reply::set(&mut reply.headers, reply::FAULT, error.kind.code());
                upstream::own(&reply, false)?
            }
        };
        Ok(Response::from(answer))
    }

    async fn alarm(&self) -> worker::Result<Response> {
        if let Ok(owned) = self.owner.clone().await {
            owned.lifecycle.alarm().await;
        }
        Response::empty()
    }
}

async fn take_over(state: State, env: Env) -> Result<Owned, EdgeError> {
    let settings = Settings::read(&bindings::vars(&env))?;
    let container = state.container().ok_or_else(|| {
        EdgeError::binding(bindings::PROVER, "the class has no container: [[containers]] must name it")
    })?;
    let name = state.id().name().unwrap_or_else(|| state.id().to_string());
    let record: Option<Record> = state.storage().get(RECORD).await.unwrap_or_else(|error| {
        complain("record_lost", &name, None, &error.to_string());
        None
    });
    let timeouts = settings.timeouts;
    let options = settings.lifecycle;
    let platform = Cloudflare {
        state: Rc::new(state),
        container: Rc::new(container),
        name: name.into(),
        number: Cell::new(None),
        settings: Rc::new(settings),
    };
    Ok(Owned { lifecycle: Lifecycle::take_over(platform, options, record.unwrap_or_default()), timeouts })
}

fn complain(event: &'static str, container: &str, request_id: Option<&str>, what: &str) {
    console_error!("{}", ContainerEvent { event, container, request_id, what }.text());
}

impl Owned {
    async fn answer(
        &self,
        request: &web_sys::Request,
        mut asked: http::HeaderMap,
    ) -> Result<web_sys::Response, EdgeError> {
        let url = request.url();
        let platform = self.lifecycle.platform();
        platform.number.set(bindings::instance_of(&url).or(platform.number.get()));
        let path = path_and_query(&url);
        if path == STATUS {
            let reply = Reply::json(200, &self.lifecycle.status());
            return upstream::own(&reply, false).map_err(|error| EdgeError::internal(words(&error)));
        }
        let told = asked.remove(LIMIT).and_then(|limit| limit.to_str().ok()?.parse().ok());
        let limit = told.map_or(self.timeouts.other, Duration::from_millis);
        let path = if path == WAKE { "/readyz" } else { path };
        self.forward(request, &format!("http://prover{path}"), &asked, limit).await
    }

    /// Passes a request on to the container, which is started first if need be. Sent once more if the container turns out
    /// to be gone, but only if nothing of the request can have reached it.
    async fn forward(
        &self,
        request: &web_sys::Request,
        url: &str,
        asked: &http::HeaderMap,
        limit: Duration,
    ) -> Result<web_sys::Response, EdgeError> {
        let platform = self.lifecycle.platform();
        let deadline = platform.now() + u64::try_from(limit.as_millis()).unwrap_or(u64::MAX / 4);
        let left = || Duration::from_millis(deadline.saturating_sub(platform.now()));
        let lease = self.lifecycle.lease();
        let mut again = true;
        loop {
            within(left(), self.lifecycle.ready()).await.ok_or_else(|| EdgeError::timeout(limit))??;
            let outgoing = Outgoing::new(request, url, asked)?;
            let lost = match self.ask(&outgoing, left()).await {
                Ok(answer) => {
                    let tells_load = answer.headers().has(headers::PROVER_LOAD).unwrap_or(false);
                    if pool::is_not_ready(answer.status(), tells_load) {
                        // The next request waits until it is ready again, or is replaced.
                        self.lifecycle.doubt();
                    }
                    return self.pass_on(&answer, lease);
                }
                Err(lost) => lost,
            };
            self.lifecycle.doubt();
            match lost {
                Lost::TimedOut => return Err(EdgeError::timeout(limit)),
                Lost::Failed(_) if again && outgoing.is_untouched() => again = false,
                Lost::Failed(why) => return Err(EdgeError::container_lost(why)),
            }
        }
    }

    /// Sends a request to the container, and gives it up when the container ends: its connection alone may not tell.
    async fn ask(&self, outgoing: &Outgoing, limit: Duration) -> Result<web_sys::Response, Lost> {
        let port = self.lifecycle.platform().port().map_err(|error| Lost::Failed(error.detail))?;
        let answer = std::pin::pin!(outgoing.send(&port, limit));
        let (exit, answer) = match select(answer, std::pin::pin!(self.lifecycle.gone())).await {
            Either::Left((answer, _)) => return answer,
            Either::Right(end) => end,
        };
        // What it answered last may still be on its way.
        within(LAST_WORDS, answer).await.unwrap_or_else(|| {
            outgoing.give_up();
            Err(Lost::Failed(format!("the container ended: {exit}")))
        })
    }

    /// The container stays awake until the answer has been passed on, or the socket that it opens is closed.
    fn pass_on(
        &self,
        answer: &web_sys::Response,
        lease: Lease<Cloudflare>,
    ) -> Result<web_sys::Response, EdgeError> {
        let told = upstream::header_map(&answer.headers());
        if let Some(far_end) = socket::of(answer) {
            let lease = Rc::new(lease);
            let renewed = Rc::clone(&lease);
            let (near_end, relay) = socket::relay(far_end, move || renewed.renew())?;
            let task = async move {
                relay.await;
                drop(lease);
            };
            self.lifecycle.platform().spawn(task.boxed_local());
            return upstream::pass_on_with_socket(answer, &told, &near_end);
        }
        let length = told.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let is_small = length.is_some_and(|length: u64| length <= SMALL_BODY_BYTES);
        if is_small || answer.body().is_none() {
            return upstream::pass_on(answer, &told);
        }
        let (answer, over) = upstream::pass_on_watched(answer, &told)?;
        let task = async move {
            over.await;
            drop(lease);
        };
        self.lifecycle.platform().spawn(task.boxed_local());
        Ok(answer)
    }
}

/// `None` if it takes too long.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    match select(std::pin::pin!(work), Delay::from(limit)).await {
        Either::Left((outcome, _)) => Some(outcome),
        Either::Right(_) => None,
    }
}

/// Of a URL as the runtime serialises it.
fn path_and_query(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let at = after_scheme.find('/').unwrap_or(after_scheme.len());
    let rest = &after_scheme[at..];
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    if rest.is_empty() { "/" } else { rest }
}

/// A container of Cloudflare's, through its Durable Object.
struct Cloudflare {
    state: Rc<State>,
    container: Rc<Container>,
    name: Rc<str>,
    /// Which of the containers it is. Nothing starts it but a request, and every request tells.
    number: Cell<Option<u16>>,
    settings: Rc<Settings>,
}

impl Cloudflare {
    fn raw(&self) -> RawContainer {
        let container: &JsValue = self.container.as_ref().as_ref();
        container.clone().unchecked_into()
    }

    fn port(&self) -> Result<Fetch, EdgeError> {
        let port = self.container.get_tcp_port(PORT);
        let port =
            port.map_err(|error| EdgeError::internal(format!("the container has no port {PORT}: {error}")))?;
        Ok(port.into_rpc())
    }

    fn tell(&self, event: &'static str, what: &str) {
        console_log!("{}", ContainerEvent { event, container: &self.name, request_id: None, what }.text());
    }

    /// As the runtime wants them. The `worker` crate's own options would arrive without the environment.
    fn start_options(&self) -> Result<js_sys::Object, JsValue> {
        let (options, env) = (js_sys::Object::new(), js_sys::Object::new());
        for (name, value) in &self.settings.container_env.0 {
            js_sys::Reflect::set(&env, &name.into(), &value.into())?;
        }
        if let Some(number) = self.number.get() {
            js_sys::Reflect::set(&env, &INSTANCE_NUMBER.into(), &number.to_string().into())?;
        }
        js_sys::Reflect::set(&options, &"env".into(), &env)?;
        js_sys::Reflect::set(&options, &"enableInternet".into(), &self.settings.container_internet.into())?;
        Ok(options)
    }

    /// Lets the platform put the container to sleep should this object be lost for good. Runtimes that do not know of it
    /// end such a container on their own terms.
    fn bound_inactivity(&self) {
        let knows = js_sys::Reflect::has(&self.raw(), &"setInactivityTimeout".into()).unwrap_or(false);
        if !knows {
            return;
        }
        let time = self.settings.lifecycle.sleep_after + INACTIVITY_MARGIN;
        match self.raw().set_inactivity_timeout(time.as_secs_f64() * 1000.0) {
            Ok(promise) => self.spawn(async move { drop(JsFuture::from(promise).await) }.boxed_local()),
            Err(error) => self.tell("inactivity_unbounded", &words(&error)),
        }
    }
}

impl Platform for Cloudflare {
    fn now(&self) -> u64 {
        Date::now().as_millis()
    }

    fn running(&self) -> bool {
        self.container.running()
    }

    fn fingerprint(&self) -> String {
        self.settings.container_fingerprint()
    }

    fn start(&self) -> Result<(), StartFault> {
        let options = self.start_options().map_err(|error| StartFault::Other(words(&error)))?;
        self.raw().start(&options).map_err(|error| platform_words::start_fault(&words(&error)))?;
        self.tell("container_started", "");
        self.bound_inactivity();
        Ok(())
    }

    fn exit(&self) -> LocalBoxFuture<'static, Exit> {
        let monitored = self.raw().monitor();
        async move {
            let ended = match monitored {
                Ok(promise) => JsFuture::from(promise).await,
                Err(error) => Err(error),
            };
            match ended {
                Ok(_) => Exit::Code(0),
                Err(error) => {
                    let code =
                        js_sys::Reflect::get(&error, &"exitCode".into()).ok().and_then(|code| code.as_f64());
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "an exit status is a small whole number"
                    )]
                    platform_words::exit(&words(&error), code.map(|code| code as i32))
                }
            }
        }
        .boxed_local()
    }

    fn probe(&self, limit: Duration) -> LocalBoxFuture<'static, Probe> {
        let (port, asked) = (self.port(), Outgoing::get("http://prover/readyz"));
        async move {
            let (port, asked) = match (port, asked) {
                (Ok(port), Ok(asked)) => (port, asked),
                (Err(error), _) | (_, Err(error)) => {
                    return Probe::NoAnswer(error.cause.unwrap_or(error.detail));
                }
            };
            match within(limit, look(&asked, &port, limit)).await {
                Some(probe) => probe,
                None => Probe::NoAnswer(format!("no answer within {} ms", limit.as_millis())),
            }
        }
        .boxed_local()
    }

    fn ask_to_end(&self, why: &'static str) {
        self.tell("container_asked_to_end", why);
        if let Err(error) = self.container.signal(ASK_TO_END) {
            self.tell("container_not_signalled", &error.to_string());
        }
    }

    fn destroy(&self) -> LocalBoxFuture<'static, ()> {
        self.tell("container_destroyed", "");
        let (container, name) = (Rc::clone(&self.container), Rc::clone(&self.name));
        async move {
            if let Err(error) = container.destroy(None).await {
                complain("container_not_destroyed", &name, None, &error.to_string());
            }
        }
        .boxed_local()
    }

    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()> {
        Delay::from(time).boxed_local()
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        self.state.wait_until(task);
    }

    fn wake_at(&self, at: u64) {
        let (state, name) = (Rc::clone(&self.state), Rc::clone(&self.name));
        let task = async move {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 have 41 bits")]
            let date = js_sys::Date::new(&JsValue::from_f64(at as f64));
            if let Err(error) = state.storage().set_alarm(ScheduledTime::new(date)).await {
                complain("alarm_not_set", &name, None, &error.to_string());
            }
        };
        self.spawn(task.boxed_local());
    }

    fn keep(&self, record: &Record) {
        let (state, name, record) = (Rc::clone(&self.state), Rc::clone(&self.name), record.clone());
        let task = async move {
            if let Err(error) = state.storage().put(RECORD, record).await {
                complain("record_not_kept", &name, None, &error.to_string());
            }
        };
        self.spawn(task.boxed_local());
    }

    fn ended(&self, exit: &Exit) {
        self.tell("container_ended", &exit.to_string());
    }
}

async fn look(asked: &Outgoing, port: &Fetch, limit: Duration) -> Probe {
    let answer = match asked.send(port, limit).await {
        Ok(answer) => answer,
        Err(Lost::TimedOut) => return Probe::NoAnswer("no answer in time".to_owned()),
        Err(Lost::Failed(why)) => return Probe::NoAnswer(why),
    };
    let status = answer.status();
    // Read in any case: an answer that is left unread holds its connection.
    let body = match answer.text() {
        Ok(text) => JsFuture::from(text).await.ok().and_then(|text| text.as_string()).unwrap_or_default(),
        Err(error) => return Probe::NoAnswer(words(&error)),
    };
    if !(200..300).contains(&status) {
        return Probe::NotReady(format!("/readyz is {status}"));
    }
    let told: Value = serde_json::from_str(&body).unwrap_or_default();
    let count = |name: &str| told[name].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let rested = told["idle_ms"].as_u64().map(Duration::from_millis);
    Probe::Ready { work: count("running").saturating_add(count("waiting")), rested }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_cut_to_what_the_container_is_asked() {
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
