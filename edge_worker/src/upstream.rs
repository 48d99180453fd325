//! Requests and answers on their way through: passed on without being read, and given up when they take too long.

use std::time::Duration;

use futures_util::{
    StreamExt as _,
    future::{Either, select},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use wasm_bindgen::{JsCast as _, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use worker::{ByteStream, Delay, js_sys};

use crate::{
    bindings::words,
    edge_error::EdgeError,
    reply::{self, Reply},
    socket,
};

/// How much of a refusal is read to learn whom it is meant for. A problem document has some hundred bytes.
const REFUSAL_MAX_BYTES: usize = 8 << 10;
/// How long its body may take once its head is there.
const REFUSAL_LIMIT: Duration = Duration::from_secs(2);

#[wasm_bindgen]
extern "C" {
    /// Whatever has the `fetch` method: the global scope, a Durable Object's stub, a container's port.
    #[derive(Clone)]
    pub type Fetch;

    #[wasm_bindgen(method, catch)]
    fn fetch(this: &Fetch, request: &web_sys::Request) -> Result<js_sys::Promise, JsValue>;

    /// A stream that passes on what is written to it, natively.
    type IdentityTransformStream;

    #[wasm_bindgen(constructor)]
    fn new() -> IdentityTransformStream;

    #[wasm_bindgen(method, getter)]
    fn readable(this: &IdentityTransformStream) -> web_sys::ReadableStream;

    #[wasm_bindgen(method, getter)]
    fn writable(this: &IdentityTransformStream) -> web_sys::WritableStream;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// It took too long, and the request was aborted.
    TimedOut,
    /// It failed, with what the runtime says.
    Failed(String),
}

/// A request that can be given up.
pub struct Outgoing {
    request: web_sys::Request,
    controller: web_sys::AbortController,
}

impl Outgoing {
    /// The same request to another place, with other headers. Its body goes along as a stream that nobody here reads. When
    /// the caller goes away, as far as the runtime notices, it is given up.
    pub fn new(request: &web_sys::Request, url: &str, headers: &HeaderMap) -> Result<Self, EdgeError> {
        let fault = |error: JsValue| {
            EdgeError::internal(format!("the request cannot be passed on: {}", words(&error)))
        };
        let controller = web_sys::AbortController::new().map_err(fault)?;
        let signals = js_sys::Array::of2(&controller.signal(), &request.signal());
        let signal = web_sys::AbortSignal::any(&signals);
        let init = web_sys::RequestInit::new();
        init.set_method(&request.method());
        init.set_headers(&js_headers(headers).map_err(fault)?.into());
        init.set_redirect(web_sys::RequestRedirect::Manual);
        init.set_signal(Some(&signal));
        if let Some(body) = request.body() {
            init.set_body(&body);
        }
        let request = web_sys::Request::new_with_str_and_init(url, &init).map_err(fault)?;
        Ok(Self { request, controller })
    }

    /// A `GET` of the edge's own.
    pub fn get(url: &str) -> Result<Self, EdgeError> {
        let fault = |error: JsValue| EdgeError::internal(format!("{url} cannot be asked: {}", words(&error)));
        let controller = web_sys::AbortController::new().map_err(fault)?;
        let init = web_sys::RequestInit::new();
        init.set_signal(Some(&controller.signal()));
        let request = web_sys::Request::new_with_str_and_init(url, &init).map_err(fault)?;
        Ok(Self { request, controller })
    }

    /// Sends it, and waits so long for the head of the answer.
    ///
    /// A refusal may come before all of the request was sent. It is taken whole then, and the rest is given up: nobody
    /// may read a request's body any more once it is answered, and who still tries fails the request after it.
    pub async fn send(&self, to: &Fetch, limit: Duration) -> Result<web_sys::Response, Lost> {
        let failed = |error: JsValue| Lost::Failed(words(&error));
        let answer = JsFuture::from(to.fetch(&self.request).map_err(failed)?);
        let answer: web_sys::Response = match select(answer, Delay::from(limit)).await {
            Either::Left((answer, _)) => answer.map_err(failed)?.dyn_into().map_err(failed)?,
            Either::Right(_) => {
                self.give_up();
                return Err(Lost::TimedOut);
            }
        };
        if !is_small_refusal(&answer) {
            return Ok(answer);
        }
        let body = JsFuture::from(answer.array_buffer().map_err(failed)?);
        let body = match select(body, Delay::from(REFUSAL_LIMIT)).await {
            Either::Left((body, _)) => body.map_err(failed)?,
            Either::Right(_) => return Err(Lost::Failed("a refusal broke off".to_owned())),
        };
        self.give_up();
        let init = web_sys::ResponseInit::new();
        init.set_status(answer.status());
        init.set_headers(&answer.headers().into());
        let body: js_sys::Object = body.unchecked_into();
        web_sys::Response::new_with_opt_buffer_source_and_init(Some(&body), &init).map_err(failed)
    }

    /// Aborts it: whoever works on it is told.
    pub fn give_up(&self) {
        self.controller.abort();
    }

    /// Whether it can be sent once more: it is sure that nobody has acted upon it.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        let has_body = self.request.body().is_some();
        let is_safe = matches!(self.request.method().as_str(), "GET" | "HEAD");
        if has_body { !self.request.body_used() } else { is_safe }
    }
}

/// Reads what is left of a request that is about to be refused, and throws it away, for so long: whoever passes it on would
/// find its reader gone and fail.
pub async fn drain(request: &web_sys::Request, limit: Duration) {
    let Some(body) = request.body().filter(|body| !request.body_used() && !body.locked()) else { return };
    let rest = async {
        let mut pieces = ByteStream::from(body);
        while let Some(Ok(_)) = pieces.next().await {}
    };
    select(std::pin::pin!(rest), Delay::from(limit)).await;
}

/// Whether an answer is a problem document of a known length, or as small as one.
fn is_small_refusal(answer: &web_sys::Response) -> bool {
    let length = answer.headers().get("content-length").ok().flatten();
    let length: Option<usize> = length.and_then(|length| length.parse().ok());
    answer.body().is_some()
        && (400..=599).contains(&answer.status())
        && length.is_some_and(|length| length <= REFUSAL_MAX_BYTES)
}

/// The global `fetch`.
#[must_use]
pub fn global() -> Fetch {
    js_sys::global().unchecked_into()
}

/// Headers as plain data. Those that are no text are left out: they could not be passed on either.
#[must_use]
pub fn header_map(headers: &web_sys::Headers) -> HeaderMap {
    let headers = worker::Headers(headers.clone());
    let pairs = headers.entries().filter_map(|(name, value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    });
    pairs.collect()
}

fn js_headers(headers: &HeaderMap) -> Result<web_sys::Headers, JsValue> {
    let js = web_sys::Headers::new()?;
    for (name, value) in headers {
        if let Ok(value) = value.to_str() {
            js.append(name.as_str(), value)?;
        }
    }
    Ok(js)
}

/// A server's answer, unless it refuses the edge itself: the caller can do nothing about that.
pub async fn unless_refused(answer: web_sys::Response) -> Result<web_sys::Response, EdgeError> {
    let content_type = answer.headers().get("content-type").ok().flatten();
    if !reply::may_refuse_the_edge(answer.status(), content_type.as_deref()) {
        return Ok(answer);
    }
    // A copy is read, so that a refusal of the caller can be passed on whole.
    let body = answer.clone().ok().and_then(|copy| copy.body());
    let body = match body {
        Some(body) => match select(std::pin::pin!(read_small(body)), Delay::from(REFUSAL_LIMIT)).await {
            Either::Left((body, _)) => body,
            Either::Right(_) => None,
        },
        None => Some(Vec::new()),
    };
    if body.is_some_and(|body| reply::refuses_the_edge(&body)) {
        return Err(EdgeError::refused_by_the_server());
    }
    Ok(answer)
}

/// `None` for a body that breaks off, or is larger than a refusal.
async fn read_small(body: web_sys::ReadableStream) -> Option<Vec<u8>> {
    let mut pieces = ByteStream::from(body);
    let mut read = Vec::new();
    while let Some(piece) = pieces.next().await {
        read.extend(piece.ok()?);
        if read.len() > REFUSAL_MAX_BYTES {
            return None;
        }
    }
    Some(read)
}

/// The same answer with other headers; its body is passed on as a stream.
pub fn pass_on(answer: &web_sys::Response, headers: &HeaderMap) -> Result<web_sys::Response, EdgeError> {
    rebuild(answer, headers, answer.body().as_ref(), socket::of(answer).as_ref())
}

/// The same with another socket in the place of the answer's own.
pub fn pass_on_with_socket(
    answer: &web_sys::Response,
    headers: &HeaderMap,
    socket: &web_sys::WebSocket,
) -> Result<web_sys::Response, EdgeError> {
    rebuild(answer, headers, None, Some(socket))
}

/// As [`pass_on`], with a future that ends when the body has been passed on, or nobody wants it any more.
pub fn pass_on_watched(
    answer: &web_sys::Response,
    headers: &HeaderMap,
) -> Result<(web_sys::Response, impl Future<Output = ()> + 'static), EdgeError> {
    let stream = IdentityTransformStream::new();
    let piped = answer.body().map(|body| body.pipe_to(&stream.writable()));
    let body = piped.is_some().then(|| stream.readable());
    let over = async move {
        if let Some(piped) = piped {
            // An error is an end, too.
            drop(JsFuture::from(piped).await);
        }
    };
    Ok((rebuild(answer, headers, body.as_ref(), None)?, over))
}

fn rebuild(
    answer: &web_sys::Response,
    headers: &HeaderMap,
    body: Option<&web_sys::ReadableStream>,
    socket: Option<&web_sys::WebSocket>,
) -> Result<web_sys::Response, EdgeError> {
    let fault =
        |error: JsValue| EdgeError::internal(format!("the answer cannot be passed on: {}", words(&error)));
    let status = answer.status();
    if !(200..=599).contains(&status) && socket.is_none() {
        return Err(EdgeError::container_bad_response(status));
    }
    let init = web_sys::ResponseInit::new();
    init.set_status(status);
    init.set_headers(&js_headers(headers).map_err(fault)?.into());
    if let Some(socket) = socket {
        js_sys::Reflect::set(&init, &"webSocket".into(), socket).map_err(fault)?;
    }
    web_sys::Response::new_with_opt_readable_stream_and_init(body, &init).map_err(fault)
}

/// An answer of the edge's own.
pub fn own(reply: &Reply, is_head: bool) -> Result<web_sys::Response, JsValue> {
    let init = web_sys::ResponseInit::new();
    init.set_status(reply.status);
    init.set_headers(&js_headers(&reply.headers)?.into());
    let body = Some(reply.body.as_str()).filter(|body| !is_head && !body.is_empty());
    web_sys::Response::new_with_opt_str_and_init(body, &init)
}
