//! The Durable Object of the job queue.
//!
//! It is a Durable Object because a queue has one writer, and because its database, its alarm and the code that uses them are in
//! one place: a job is accepted, claimed and finished without a request to a database elsewhere.
//! `docs/decisions/0023-job-queue-in-a-durable-object.md` has the reasons.
//!
//! No path of this code panics: a panic would leave the caller without a response.

#![expect(missing_docs, reason = "#[durable_object] generates items without documentation")]

use std::{cell::RefCell, rc::Rc};

use edgeprove_protocol::headers;
use futures_util::{
    FutureExt as _,
    future::{LocalBoxFuture, Shared},
};
use http::{HeaderMap, Method, header};
use uuid::Uuid;
use worker::{
    DurableObject, Env, Request, Response, Socket, State, WebSocket, WebSocketIncomingMessage, durable_object,
};

use super::{
    api::{ApiRequest, Reply},
    dispatcher::{Core, log_error, now},
    error::JobsError,
    object_database::ObjectDatabase,
    protocol::{ENQUEUE_PATH, VIEWER, Viewer},
    queue::Queue,
    rules::JobRules,
};
use crate::{
    artifacts::Artifacts, bindings, edge_error::EdgeError, edge_response::EdgeResponse, js_headers,
    response_stream,
};

/// The largest submission. The headers of a body and an idempotency key are bounded.
const SUBMISSION_MAX_BYTES: usize = 64 << 10;

/// The object of the job queue.
#[durable_object]
pub struct JobsDo {
    state: Rc<State>,
    env: Env,
    core: RefCell<Option<Opening>>,
}

type Opening = Shared<LocalBoxFuture<'static, Result<Rc<Core>, EdgeError>>>;

impl DurableObject for JobsDo {
    fn new(state: State, env: Env) -> Self {
        Self { state: Rc::new(state), env, core: RefCell::new(None) }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let headers = js_headers::from_js(&request.inner().headers());
        let id =
            headers.get(headers::REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or("none").to_owned();
        let core = match self.core().await {
            Ok(core) => core,
            Err(error) => {
                log_error("jobs_unavailable", None, &error.cause().unwrap_or(error.detail()));
                return built(&EdgeResponse::problem(&error, &id), false);
            }
        };
        let is_head = request.inner().method() == "HEAD";
        match respond(&core, &mut request, &headers, &id).await {
            Ok(response) => response,
            Err(error) => {
                if error.kind().status() >= 500 {
                    log_error("jobs_request_failed", None, &error.to_string());
                }
                built(&error.response(&id), is_head)
            }
        }
    }

    async fn connect(&self, _: Socket) -> worker::Result<()> {
        Err(worker::Error::RustError("the object accepts no connections".to_owned()))
    }

    async fn alarm(&self) -> worker::Result<Response> {
        match self.core().await {
            Ok(core) => core.alarm().await,
            Err(error) => {
                let cause = error.cause().unwrap_or(error.detail());
                log_error("jobs_unavailable", None, &cause);
                // The runtime fires the alarm again.
                return Err(worker::Error::RustError(cause));
            }
        }
        Response::empty()
    }

    async fn websocket_message(
        &self,
        socket: WebSocket,
        message: WebSocketIncomingMessage,
    ) -> worker::Result<()> {
        let bytes = match message {
            WebSocketIncomingMessage::String(text) => text.len(),
            WebSocketIncomingMessage::Binary(bytes) => bytes.len(),
        };
        Core::received(&socket, bytes);
        Ok(())
    }

    async fn websocket_close(&self, socket: WebSocket, _: usize, _: String, _: bool) -> worker::Result<()> {
        // The runtime may have closed it already.
        let _ = socket.close::<&str>(Some(1000), None);
        Ok(())
    }

    async fn websocket_error(&self, _: WebSocket, _: worker::Error) -> worker::Result<()> {
        Ok(())
    }
}

impl JobsDo {
    /// What the object has, opened by the first request or alarm. An error is the response to this request, and the next one
    /// tries again.
    async fn core(&self) -> Result<Rc<Core>, EdgeError> {
        let begin = || open(Rc::clone(&self.state), self.env.clone()).boxed_local().shared();
        let opening = self.core.borrow_mut().get_or_insert_with(begin).clone();
        let core = opening.clone().await;
        if core.is_err() {
            let mut current = self.core.borrow_mut();
            if current.as_ref().is_some_and(|current| current.ptr_eq(&opening)) {
                *current = None;
            }
        }
        core
    }
}

async fn open(state: Rc<State>, env: Env) -> Result<Rc<Core>, EdgeError> {
    let settings = bindings::settings(&env).await?;
    let get = |name: &str| {
        let of_name = settings.container_env.0.iter().find(|(other, _)| other == name);
        of_name.map(|(_, value)| value.as_str())
    };
    let rules = JobRules::read(get).map_err(|error| EdgeError::JobRule { detail: error.to_string() })?;
    let artifacts = Artifacts::open(&env, &settings)?;
    let failed = |reason: String| EdgeError::JobsUnavailable { reason };
    let database = ObjectDatabase::open(&state).map_err(|error| failed(error.to_string()))?;
    let holder = Uuid::new_v4().to_string();
    let queue = Queue::open(Rc::new(database), rules, &holder).map_err(|error| failed(error.to_string()))?;
    let lost = queue.begin(now()).map_err(|error| failed(error.to_string()))?;
    let core = Rc::new(Core::new(state, env, settings, queue, artifacts));
    lost.changed.into_iter().for_each(|id| core.report(id));
    core.pump();
    core.schedule().await;
    Ok(core)
}

async fn respond(
    core: &Rc<Core>,
    request: &mut Request,
    headers: &HeaderMap,
    request_id: &str,
) -> Result<worker::Result<Response>, JobsError> {
    let invalid = |what: &str| JobsError::Invalid(what.to_owned());
    let url = web_sys::Url::new(&request.inner().url()).map_err(|_| invalid("the URL"))?;
    let method = request.inner().method();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| invalid("the method"))?;
    let (path, query) = (url.pathname(), url.search());
    let viewer = headers.get(VIEWER).and_then(|viewer| viewer.to_str().ok());
    let viewer: Viewer = viewer
        .and_then(|viewer| serde_json::from_str(viewer).ok())
        .ok_or_else(|| invalid("the viewer of the request"))?;
    let body = if path == ENQUEUE_PATH {
        let body = request.text().await.map_err(|_| invalid("the submission broke off"))?;
        if body.len() > SUBMISSION_MAX_BYTES {
            return Err(invalid("the submission is too long"));
        }
        body
    } else {
        String::new()
    };
    let query = query.trim_start_matches('?');
    let watched = core.changes.watched();
    let api = ApiRequest { method: &method, path: &path, query, headers, viewer, request_id, watched };
    let is_head = method == Method::HEAD;
    match core.queue.answer(&api, &body, now())? {
        Reply::Respond(response) => Ok(built(&response, is_head)),
        Reply::Changed(job, response) => {
            core.report(job.id);
            if job.cancel_requested_at.is_some() {
                core.stop(job.id);
            }
            core.pump();
            core.schedule().await;
            Ok(built(&response, is_head))
        }
        Reply::Follow(job, last) if headers.contains_key(header::UPGRADE) => {
            core.open_socket(&job, &api.viewer, last)
        }
        Reply::Follow(job, last) => core.open_stream(&job, &api.viewer, last),
    }
}

fn built(response: &EdgeResponse, is_head: bool) -> worker::Result<Response> {
    let response = response_stream::build(response, is_head);
    response.map(Response::from).map_err(|error| worker::Error::RustError(error.to_string()))
}
