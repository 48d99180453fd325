//! The story of one request: may it pass, which container answers, what is passed back.
//!
//! Nothing before `forward` wakes a container.

use std::{cell::RefCell, rc::Rc, time::Duration};

use edgeprove_protocol::{Load, headers};
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, header};
use uuid::Uuid;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use worker::{Context, Date, Delay, Env, console_error, console_log, console_warn, event, js_sys};

use crate::{
    access::{self, Caller},
    bindings::{self, words},
    cors::Decision,
    edge_error::EdgeError,
    lifecycle::Status,
    log::Line,
    pool::{self, Pool},
    prover_container_do::{LIMIT, STATUS, WAKE},
    reply::{self, ContainerHealth, Reply},
    router::{self, Class, Route},
    settings::{Settings, SettingsError},
    upstream::{self, Fetch, Lost, Outgoing},
};

/// How much longer than the container's object the Worker waits: the object's answer is the better one.
const MARGIN: Duration = Duration::from_secs(2);
/// How long the objects may take to say how their containers are.
const STATUS_LIMIT: Duration = Duration::from_secs(5);
/// Most containers that health tells of.
const STATUS_MAX: u16 = 32;

/// What every request of an isolate shares.
#[derive(Default)]
struct Isolate {
    settings: Option<Result<Rc<Settings>, SettingsError>>,
    pool: Pool,
}

thread_local! {
    static ISOLATE: RefCell<Isolate> = RefCell::default();
}

/// A request's head, as far as the edge looks at it.
struct Asked {
    method: Method,
    path: String,
    path_and_query: String,
    /// Without its question mark.
    query: String,
    /// Scheme and host that the request went to, as an origin.
    origin: String,
    headers: HeaderMap,
    request_id: String,
}

/// What is known of a request when it is over.
#[derive(Default)]
struct Notes {
    cors: Option<Decision>,
    vary: bool,
    instance: Option<u16>,
    user: Option<String>,
    code: Option<String>,
    cause: Option<String>,
}

/// Answers one request. Whatever goes wrong becomes a problem document.
#[event(fetch)]
pub async fn fetch(request: worker::Request, env: Env, ctx: Context) -> worker::Result<worker::Response> {
    let began = Date::now().as_millis();
    let request = request.inner();
    let mut notes = Notes::default();
    let request_id = Uuid::new_v4().to_string();
    let asked = Asked::read(request, &request_id);
    let is_head = request.method() == "HEAD";
    let answer = match &asked {
        Ok(asked) => serve(request, asked, &env, &ctx, &mut notes).await,
        Err(error) => Err(error.clone()),
    };
    let answer = answer.and_then(|answer| finished(&answer, &notes, &request_id)).or_else(|error| {
        let reply = Reply::problem(&error, &request_id);
        notes.code = Some(error.kind.code().to_owned());
        notes.cause = error.cause;
        finished(
            &upstream::own(&reply, is_head).map_err(|error| EdgeError::internal(words(&error)))?,
            &notes,
            &request_id,
        )
    });
    let answer = answer.map_err(|error| worker::Error::RustError(error.cause.unwrap_or(error.detail)))?;
    let line = Line {
        event: "request",
        request_id: &request_id,
        method: &request.method(),
        route: asked.as_ref().map_or("unknown", |asked| router::pattern(&asked.path)),
        status: answer.status(),
        total_ms: Date::now().as_millis().saturating_sub(began),
        instance: notes.instance,
        user: notes.user.as_deref(),
        code: notes.code.as_deref(),
        cause: notes.cause.as_deref(),
    };
    ctx.wait_until(write(line.text(), answer.status() >= 500));
    Ok(worker::Response::from(answer))
}

/// Writes a line of the log once the answer is on its way: where logs are written at once, that takes its time.
async fn write(line: String, is_fault: bool) {
    Delay::from(Duration::ZERO).await;
    if is_fault {
        console_error!("{line}");
    } else {
        console_log!("{line}");
    }
}

impl Asked {
    fn read(request: &web_sys::Request, request_id: &str) -> Result<Self, EdgeError> {
        let bad = || {
            EdgeError::new(
                edgeprove_protocol::ProblemType::InvalidRequest,
                "the URL or the method could not be understood",
            )
        };
        let url = web_sys::Url::new(&request.url()).map_err(|_| bad())?;
        Ok(Self {
            method: Method::from_bytes(request.method().as_bytes()).map_err(|_| bad())?,
            path_and_query: format!("{}{}", url.pathname(), url.search()),
            path: url.pathname(),
            query: url.search().trim_start_matches('?').to_owned(),
            origin: url.origin(),
            headers: upstream::header_map(&request.headers()),
            request_id: request_id.to_owned(),
        })
    }

    fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn is_preflight(&self) -> bool {
        self.method == Method::OPTIONS && self.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    fn client_ip(&self) -> Option<&str> {
        self.header("cf-connecting-ip")
    }
}

async fn serve(
    request: &web_sys::Request,
    asked: &Asked,
    env: &Env,
    ctx: &Context,
    notes: &mut Notes,
) -> Result<web_sys::Response, EdgeError> {
    let settings = settings(env)?;
    let cors = settings.origins.decide(asked.headers.get(header::ORIGIN), &asked.origin);
    notes.vary = settings.origins.vary();
    notes.cors = Some(cors.clone());
    if cors == Decision::Refused {
        return Err(EdgeError::origin_not_allowed());
    }
    if asked.method == Method::OPTIONS {
        let allow = router::methods(&asked.path)?;
        return own(&preflight(asked, &cors, allow), false);
    }
    let is_head = asked.method == Method::HEAD;
    match router::route(&asked.method, &asked.path)? {
        Route::Index => own(&Reply::index(), is_head),
        Route::EdgeHealth => {
            let knows = settings.keys.identify(&asked.headers).is_ok();
            own(&health(env, &settings, knows).await, is_head)
        }
        route @ (Route::Container(_) | Route::JobList | Route::Queue) => {
            let caller = admit(asked, env, &settings, notes).await?;
            if route == Route::JobList && caller == Caller::Anonymous {
                return Err(EdgeError::nobodys_jobs());
            }
            forward(request, asked, env, ctx, &settings, route, &caller, notes).await
        }
    }
}

/// The settings of this isolate, read at its first request.
fn settings(env: &Env) -> Result<Rc<Settings>, EdgeError> {
    ISOLATE.with_borrow_mut(|isolate| {
        let settings = isolate.settings.get_or_insert_with(|| {
            let settings = Settings::read(&bindings::vars(env))?;
            for warning in &settings.warnings {
                console_warn!("{warning}");
            }
            Ok(Rc::new(settings))
        });
        settings.clone().map_err(EdgeError::from)
    })
}

fn own(reply: &Reply, is_head: bool) -> Result<web_sys::Response, EdgeError> {
    upstream::own(reply, is_head).map_err(|error| EdgeError::internal(words(&error)))
}

fn preflight(asked: &Asked, cors: &Decision, allow: &'static str) -> Reply {
    let mut reply = Reply::empty(204);
    reply.headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    if let (true, Decision::Allowed(origin)) = (asked.is_preflight(), cors) {
        reply.headers.extend(origin.preflight().map(|(name, value)| (Some(name), value)));
    }
    reply
}

/// Whether a request may wake a container, in the order of what it costs to find out.
async fn admit(
    asked: &Asked,
    env: &Env,
    settings: &Settings,
    notes: &mut Notes,
) -> Result<Caller, EdgeError> {
    if let Some(length) = asked.headers.get(header::CONTENT_LENGTH) {
        let length = length.to_str().ok().and_then(|length| length.parse::<u64>().ok());
        let length = length.ok_or_else(EdgeError::bad_length)?;
        if length > settings.upload_max_bytes {
            return Err(EdgeError::too_large(length, settings.upload_max_bytes));
        }
    }
    let caller = settings.keys.identify(&asked.headers);
    if let Ok(Caller::Key(name)) = &caller {
        notes.user = Some(name.clone());
    }
    // Wrong keys count, too: against the address they come from.
    let key = access::rate_key(caller.as_ref().ok(), asked.client_ip());
    if !bindings::within_rate(env, key).await? {
        return Err(EdgeError::rate_limited());
    }
    Ok(caller?)
}

/// What the container is told besides what the caller sent; nothing a caller sends can stand in for it.
fn onward_headers(asked: &Asked, settings: &Settings, caller: &Caller, limit: Duration) -> HeaderMap {
    let mut onward = asked.headers.clone();
    for name in [
        headers::EDGE_SECRET,
        headers::CLIENT_IP,
        headers::AUTHENTICATED_USER,
        "x-api-key",
        "authorization",
        "cookie",
        // workerd has no way to pass on the 100 that a server sends for it.
        "expect",
        // The container's own CORS is off; who may call has been decided.
        "origin",
        "host",
    ] {
        onward.remove(name);
    }
    let user = match caller {
        Caller::Key(name) => Some(name.as_str()),
        Caller::Anonymous => None,
    };
    let told = [
        Some((headers::REQUEST_ID, asked.request_id.clone())),
        Some((LIMIT, limit.as_millis().to_string())),
        asked.client_ip().map(|ip| (headers::CLIENT_IP, ip.to_owned())),
        user.map(|user| (headers::AUTHENTICATED_USER, user.to_owned())),
        settings.secret.as_ref().map(|secret| (headers::EDGE_SECRET, secret.expose().to_owned())),
    ];
    for (name, value) in told.into_iter().flatten() {
        reply::set(&mut onward, name, &value);
    }
    onward
}

/// Passes a request on to a container's object, or to the server that stands in for the containers.
#[expect(clippy::too_many_arguments, reason = "each is one thing that the last step of the story needs")]
async fn forward(
    request: &web_sys::Request,
    asked: &Asked,
    env: &Env,
    ctx: &Context,
    settings: &Settings,
    route: Route,
    caller: &Caller,
    notes: &mut Notes,
) -> Result<web_sys::Response, EdgeError> {
    let limit = match route.class() {
        Class::Prove => settings.timeouts.prove,
        Class::Other => settings.timeouts.other,
    };
    let mut onward = onward_headers(asked, settings, caller, limit);
    if let Some(upstream) = &settings.upstream {
        onward.remove(LIMIT);
        let url = format!("{}{}", upstream.to_string().trim_end_matches('/'), asked.path_and_query);
        let outgoing = Outgoing::new(request, &url, &onward)?;
        let answer = outgoing.send(&upstream::global(), limit).await.map_err(|lost| match lost {
            Lost::TimedOut => EdgeError::timeout(limit),
            Lost::Failed(why) => EdgeError::upstream_unreachable(why),
        })?;
        return upstream::unless_refused(answer).await;
    }
    let instance = choose(asked, env, ctx, settings, route, caller)?;
    notes.instance = Some(instance);
    let object: Fetch = bindings::prover(env, instance)?.into_rpc();
    let outgoing = Outgoing::new(request, &bindings::prover_url(instance, &asked.path_and_query), &onward)?;
    let ticket = ISOLATE.with_borrow_mut(|isolate| isolate.pool.sent(instance, Date::now().as_millis()));
    let answer = outgoing.send(&object, limit + MARGIN).await.map_err(|lost| match lost {
        Lost::TimedOut => EdgeError::timeout(limit),
        Lost::Failed(why) => EdgeError::container_lost(why),
    });
    let answer = match answer {
        Ok(answer) => upstream::unless_refused(answer).await,
        Err(error) => Err(error),
    };
    let told = answer.as_ref().map(|answer| upstream::header_map(&answer.headers())).unwrap_or_default();
    notes.code = told.get(reply::FAULT).and_then(|fault| fault.to_str().ok()).map(str::to_owned);
    let load = load(&told);
    let not_ready = |answer: &web_sys::Response| pool::is_not_ready(answer.status(), load.is_some());
    let failed = notes.code.is_some() || answer.as_ref().map_or(true, not_ready);
    let now = Date::now().as_millis();
    ISOLATE.with_borrow_mut(
        |Isolate { pool, .. }| {
            if failed { pool.failed(ticket, now) } else { pool.answered(ticket, load, now) }
        },
    );
    answer
}

/// The container for a request: the one that owns what it names, or the least busy.
fn choose(
    asked: &Asked,
    env: &Env,
    ctx: &Context,
    settings: &Settings,
    route: Route,
    caller: &Caller,
) -> Result<u16, EdgeError> {
    let exists = |number: &u16| *number < settings.instances;
    if let Some(home) = router::home(&asked.path) {
        return Some(home).filter(exists).ok_or_else(EdgeError::no_such_job);
    }
    if settings.jobs_are_scattered() {
        if matches!(route, Route::JobList | Route::Queue) {
            let named = router::named_container(&asked.query).filter(exists);
            return named.ok_or_else(|| EdgeError::which_container(settings.instances));
        }
        if let Some(name) = asked.header(headers::IDEMPOTENCY_KEY) {
            let caller = access::rate_key(Some(caller), None);
            return Ok(pool::of_named_request(&caller, name, settings.instances));
        }
    }
    let now = Date::now().as_millis();
    let choice = ISOLATE.with_borrow_mut(|isolate| {
        isolate.pool.choose(settings.instances, now, settings.lifecycle.sleep_after, js_sys::Math::random)
    });
    if let Some(instance) = choice.wake {
        let (object, limit) = (bindings::prover(env, instance)?.into_rpc(), settings.lifecycle.start_timeout);
        ctx.wait_until(wake(object, instance, limit));
    }
    Ok(choice.instance)
}

/// Wakes a container for the requests to come. What goes wrong is in its object's log.
async fn wake(object: Fetch, instance: u16, limit: Duration) {
    let Ok(outgoing) = Outgoing::get(&bindings::prover_url(instance, WAKE)) else { return };
    if let Ok(answer) = outgoing.send(&object, limit).await
        && let Some(load) = load(&upstream::header_map(&answer.headers()))
    {
        ISOLATE.with_borrow_mut(|isolate| isolate.pool.woke(instance, load, Date::now().as_millis()));
    }
}

fn load(told: &HeaderMap) -> Option<Load> {
    told.get(headers::PROVER_LOAD)?.to_str().ok()?.parse().ok()
}

/// How the edge is, and to whoever may know, how its containers are. Wakes none of them.
async fn health(env: &Env, settings: &Settings, knows: bool) -> Reply {
    if !knows {
        return Reply::health(None);
    }
    let upstream = settings.upstream.as_ref().map(ToString::to_string);
    let instances = if upstream.is_some() { 0 } else { settings.instances.min(STATUS_MAX) };
    let containers = join_all((0..instances).map(async |instance| {
        let object = bindings::prover(env, instance).ok()?;
        let status = status(&object.into_rpc(), instance).await;
        Some(ContainerHealth { instance, status })
    }));
    let containers: Vec<_> = containers.await.into_iter().flatten().collect();
    Reply::health(Some((&containers, &settings.warnings, upstream.as_deref())))
}

async fn status(object: &Fetch, instance: u16) -> Option<Status> {
    let asked = Outgoing::get(&bindings::prover_url(instance, STATUS)).ok()?;
    let answer = asked.send(object, STATUS_LIMIT).await.ok()?;
    let text: JsValue = JsFuture::from(answer.text().ok()?).await.ok()?;
    serde_json::from_str(&text.as_string()?).ok()
}

/// The answer as the caller gets it.
fn finished(
    answer: &web_sys::Response,
    notes: &Notes,
    request_id: &str,
) -> Result<web_sys::Response, EdgeError> {
    let mut told = upstream::header_map(&answer.headers());
    reply::strip_inner_headers(&mut told);
    reply::set(&mut told, headers::REQUEST_ID, request_id);
    told.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(Decision::Allowed(origin)) = &notes.cors {
        origin.mark(&mut told);
    }
    if notes.vary {
        told.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    upstream::pass_on(answer, &told)
}
