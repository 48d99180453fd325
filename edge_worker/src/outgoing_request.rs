//! Requests that the edge sends: forwarded without reading their bodies, with a time limit, and aborted with their
//! caller.

use std::{pin::pin, time::Duration};

use futures_util::{
    StreamExt as _,
    future::{Either, select},
};
use http::HeaderMap;
use wasm_bindgen::{JsCast as _, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use worker::{ByteStream, Delay, js_sys};

use crate::{
    edge_error::{Operation, RuntimeError},
    js_error::message,
    js_headers,
    server_refusal::{REFUSAL_MAX_BYTES, REFUSAL_TIME_LIMIT},
};

#[wasm_bindgen]
extern "C" {
    /// Any object with the `fetch` method: the global scope, a Durable Object's stub, a container's port.
    #[derive(Clone)]
    pub type Fetch;

    #[wasm_bindgen(method, catch)]
    fn fetch(this: &Fetch, request: &web_sys::Request) -> Result<js_sys::Promise, JsValue>;
}

/// Why a request has no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// The time limit passed, and the request was aborted.
    TimedOut,
    /// It failed, with this message of the runtime.
    Failed(String),
}

/// Headers that announce a body. Without the body the receiver would wait for it.
const OF_A_BODY: [&str; 2] = ["content-length", "transfer-encoding"];

/// Whether the requests of a method may have a body.
fn may_have_body(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD")
}

/// A request that can be aborted.
pub struct Outgoing {
    request: web_sys::Request,
    controller: web_sys::AbortController,
}

impl Outgoing {
    /// The same request to another URL, with other headers. Its body is forwarded as a stream, but not that of a `GET`
    /// or `HEAD` request: such a body has no meaning, and the runtime cannot send one. The request is aborted when the
    /// caller disconnects, as far as the runtime notices that.
    pub fn forward(request: &web_sys::Request, url: &str, headers: &HeaderMap) -> Result<Self, RuntimeError> {
        let error = |error: JsValue| RuntimeError::new(Operation::ForwardRequest, &error);
        let controller = web_sys::AbortController::new().map_err(error)?;
        let signals = js_sys::Array::of2(&controller.signal(), &request.signal());
        let signal = web_sys::AbortSignal::any(&signals);
        let method = request.method();
        let body = request.body().filter(|_| may_have_body(&method));
        let js_headers = js_headers::to_js(headers).map_err(error)?;
        if body.is_none() {
            for name in OF_A_BODY {
                js_headers.delete(name).map_err(error)?;
            }
        }
        let init = web_sys::RequestInit::new();
        init.set_method(&method);
        init.set_headers(&js_headers.into());
        init.set_redirect(web_sys::RequestRedirect::Manual);
        init.set_signal(Some(&signal));
        if let Some(body) = &body {
            init.set_body(body);
        }
        let request = web_sys::Request::new_with_str_and_init(url, &init).map_err(error)?;
        Ok(Self { request, controller })
    }

    /// A `GET` request of the edge's own.
    pub fn get(url: &str) -> Result<Self, RuntimeError> {
        let error = |error: JsValue| RuntimeError::new(Operation::BuildRequest, &error);
        let controller = web_sys::AbortController::new().map_err(error)?;
        let init = web_sys::RequestInit::new();
        init.set_signal(Some(&controller.signal()));
        let request = web_sys::Request::new_with_str_and_init(url, &init).map_err(error)?;
        Ok(Self { request, controller })
    }

    /// A request to another URL on behalf of a caller's, with these headers alone and without a body. It is aborted when the
    /// caller disconnects, as far as the runtime notices that.
    pub fn without_body(
        request: &web_sys::Request,
        method: &str,
        url: &str,
        headers: &HeaderMap,
    ) -> Result<Self, RuntimeError> {
        let error = |error: JsValue| RuntimeError::new(Operation::BuildRequest, &error);
        let controller = web_sys::AbortController::new().map_err(error)?;
        let signals = js_sys::Array::of2(&controller.signal(), &request.signal());
        let init = web_sys::RequestInit::new();
        init.set_method(method);
        init.set_headers(&js_headers::to_js(headers).map_err(error)?.into());
        init.set_signal(Some(&web_sys::AbortSignal::any(&signals)));
        let request = web_sys::Request::new_with_str_and_init(url, &init).map_err(error)?;
        Ok(Self { request, controller })
    }

    /// A `POST` request of the edge's own, whose body is a stream. The controller aborts it.
    pub fn post(
        url: &str,
        headers: &HeaderMap,
        body: &web_sys::ReadableStream,
        controller: &web_sys::AbortController,
    ) -> Result<Self, RuntimeError> {
        let error = |error: JsValue| RuntimeError::new(Operation::BuildRequest, &error);
        let init = web_sys::RequestInit::new();
        init.set_method("POST");
        init.set_headers(&js_headers::to_js(headers).map_err(error)?.into());
        init.set_redirect(web_sys::RequestRedirect::Manual);
        init.set_signal(Some(&controller.signal()));
        init.set_body(body);
        let request = web_sys::Request::new_with_str_and_init(url, &init).map_err(error)?;
        Ok(Self { request, controller: controller.clone() })
    }

    /// A `POST` request of the edge's own, whose body is a text.
    pub fn post_text(url: &str, headers: &HeaderMap, body: &str) -> Result<Self, RuntimeError> {
        let error = |error: JsValue| RuntimeError::new(Operation::BuildRequest, &error);
        let controller = web_sys::AbortController::new().map_err(error)?;
        let init = web_sys::RequestInit::new();
        init.set_method("POST");
        init.set_headers(&js_headers::to_js(headers).map_err(error)?.into());
        init.set_signal(Some(&controller.signal()));
        init.set_body(&body.into());
        let request = web_sys::Request::new_with_str_and_init(url, &init).map_err(error)?;
        Ok(Self { request, controller })
    }

    /// Sends the request, and waits at most `limit` for the head of the response.
    ///
    /// A refusal may arrive before the whole request is sent. Its body is then read whole, and the rest of the request
    /// is aborted: once a request is responded to, reading its body fails the next request on the connection.
    pub async fn send(&self, to: &Fetch, limit: Duration) -> Result<web_sys::Response, SendError> {
        let failed = |error: JsValue| SendError::Failed(message(&error));
        let response = JsFuture::from(to.fetch(&self.request).map_err(failed)?);
        let response: web_sys::Response = match select(response, Delay::from(limit)).await {
            Either::Left((response, _)) => response.map_err(failed)?.dyn_into().map_err(failed)?,
            Either::Right(_) => {
                self.abort();
                return Err(SendError::TimedOut);
            }
        };
        if !is_small_refusal(&response) {
            return Ok(response);
        }
        let body = JsFuture::from(response.array_buffer().map_err(failed)?);
        let body = match select(body, Delay::from(REFUSAL_TIME_LIMIT)).await {
            Either::Left((body, _)) => body.map_err(failed)?,
            Either::Right(_) => return Err(SendError::Failed("a refusal broke off".to_owned())),
        };
        self.abort();
        let init = web_sys::ResponseInit::new();
        init.set_status(response.status());
        init.set_headers(&response.headers().into());
        let body: js_sys::Object = body.unchecked_into();
        web_sys::Response::new_with_opt_buffer_source_and_init(Some(&body), &init).map_err(failed)
    }

    /// Aborts the request. The receiver notices that and ends its work.
    pub fn abort(&self) {
        self.controller.abort();
    }

    /// Whether the request can be sent again: the receiver certainly did not act on it.
    #[must_use]
    pub fn can_be_resent(&self) -> bool {
        let has_body = self.request.body().is_some();
        if has_body { !self.request.body_used() } else { !may_have_body(&self.request.method()) }
    }
}

/// The global `fetch`.
#[must_use]
pub fn global_fetch() -> Fetch {
    js_sys::global().unchecked_into()
}

/// Reads and discards the rest of a request that is refused, for at most `limit`. Without it the sender fails when it
/// writes to a body that is no longer read.
pub async fn drain(request: &web_sys::Request, limit: Duration) {
    let Some(body) = request.body().filter(|body| !request.body_used() && !body.locked()) else { return };
    let rest = async {
        let mut pieces = ByteStream::from(body);
        while let Some(Ok(_)) = pieces.next().await {}
    };
    select(pin!(rest), Delay::from(limit)).await;
}

/// Whether a response is an error with a short body of known length, such as a problem document.
fn is_small_refusal(response: &web_sys::Response) -> bool {
    let length = response.headers().get("content-length").ok().flatten();
    let length: Option<usize> = length.and_then(|length| length.parse().ok());
    response.body().is_some()
        && (400..=599).contains(&response.status())
        && length.is_some_and(|length| length <= REFUSAL_MAX_BYTES)
}
