//! Builds responses: forwarded ones, whose bodies stream through without being read, and those of the edge itself.

use std::time::Duration;

use futures_util::TryStream;
use http::HeaderMap;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use worker::{Delay, js_sys};

use crate::{
    edge_error::{EdgeError, Operation, RuntimeError},
    edge_response::EdgeResponse,
    js_headers,
    until_container_ends::before_end,
    websocket_relay,
};

/// How long the rest of a body may still be on its way after the container ended: its caller may read slowly.
const REST_AFTER_END: Duration = Duration::from_secs(5);

#[wasm_bindgen]
extern "C" {
    /// A stream of the runtime that outputs what is written to it.
    type IdentityTransformStream;

    #[wasm_bindgen(constructor)]
    fn new() -> IdentityTransformStream;

    #[wasm_bindgen(method, getter)]
    fn readable(this: &IdentityTransformStream) -> web_sys::ReadableStream;

    #[wasm_bindgen(method, getter)]
    fn writable(this: &IdentityTransformStream) -> web_sys::WritableStream;
}

/// Forwards a response with other headers. Its body is forwarded as a stream.
pub fn forward(response: &web_sys::Response, headers: &HeaderMap) -> Result<web_sys::Response, EdgeError> {
    let socket = websocket_relay::socket_of(response);
    rebuild(response, headers, response.body().as_ref(), socket.as_ref())
}

/// Forwards a response with another WebSocket in place of its own.
pub fn forward_with_socket(
    response: &web_sys::Response,
    headers: &HeaderMap,
    socket: &web_sys::WebSocket,
) -> Result<web_sys::Response, EdgeError> {
    rebuild(response, headers, None, Some(socket))
}

/// Forwards a response as [`forward`] does, until `ended` completes: then the rest of the body is an error for the
/// caller, who can send the request again. The returned future completes when the whole body was forwarded, the caller
/// disconnected, or the container ended.
pub fn forward_watched<E: 'static>(
    response: &web_sys::Response,
    headers: &HeaderMap,
    ended: impl Future<Output = E> + 'static,
) -> Result<(web_sys::Response, impl Future<Output = ()> + 'static), EdgeError> {
    let stream = IdentityTransformStream::new();
    let controller = web_sys::AbortController::new()
        .map_err(|error| RuntimeError::new(Operation::ForwardResponse, &error))?;
    let options = web_sys::StreamPipeOptions::new();
    options.set_signal(&controller.signal());
    let piped = response.body().map(|body| body.pipe_to_with_options(&stream.writable(), &options));
    let body = piped.is_some().then(|| stream.readable());
    let completed = async move {
        let Some(piped) = piped else { return };
        // An error ends the stream, too.
        let outcome = before_end(JsFuture::from(piped), ended, || Delay::from(REST_AFTER_END)).await;
        if outcome.is_err() {
            controller.abort();
        }
    };
    Ok((rebuild(response, headers, body.as_ref(), None)?, completed))
}

fn rebuild(
    response: &web_sys::Response,
    headers: &HeaderMap,
    body: Option<&web_sys::ReadableStream>,
    socket: Option<&web_sys::WebSocket>,
) -> Result<web_sys::Response, EdgeError> {
    let error = |error: JsValue| RuntimeError::new(Operation::ForwardResponse, &error);
    let status = response.status();
    if !(200..=599).contains(&status) && socket.is_none() {
        return Err(EdgeError::InvalidStatus { status });
    }
    let init = web_sys::ResponseInit::new();
    init.set_status(status);
    init.set_headers(&js_headers::to_js(headers).map_err(error)?.into());
    if let Some(socket) = socket {
        js_sys::Reflect::set(&init, &"webSocket".into(), socket).map_err(error)?;
    }
    Ok(web_sys::Response::new_with_opt_readable_stream_and_init(body, &init).map_err(error)?)
}

/// Builds a response of the edge itself with the body of another one.
pub fn build_with(
    response: &EdgeResponse,
    content: &web_sys::Response,
) -> Result<web_sys::Response, RuntimeError> {
    let error = |error: JsValue| RuntimeError::new(Operation::BuildResponse, &error);
    let init = init_of(response).map_err(error)?;
    web_sys::Response::new_with_opt_readable_stream_and_init(content.body().as_ref(), &init).map_err(error)
}

/// Builds a response of the edge itself. The response to a `HEAD` request has no body.
pub fn build(response: &EdgeResponse, is_head: bool) -> Result<web_sys::Response, RuntimeError> {
    let error = |error: JsValue| RuntimeError::new(Operation::BuildResponse, &error);
    let init = init_of(response).map_err(error)?;
    let body = Some(response.body.as_str()).filter(|body| !is_head && !body.is_empty());
    web_sys::Response::new_with_opt_str_and_init(body, &init).map_err(error)
}

fn init_of(response: &EdgeResponse) -> Result<web_sys::ResponseInit, JsValue> {
    let init = web_sys::ResponseInit::new();
    init.set_status(response.status);
    init.set_headers(&js_headers::to_js(&response.headers)?.into());
    Ok(init)
}

/// Builds a response of the edge itself with a body of bytes.
pub fn build_bytes(status: u16, headers: &HeaderMap, body: &[u8]) -> Result<web_sys::Response, EdgeError> {
    let error = |error: JsValue| RuntimeError::new(Operation::BuildResponse, &error);
    let init = web_sys::ResponseInit::new();
    init.set_status(status);
    init.set_headers(&js_headers::to_js(headers).map_err(error)?.into());
    let body: js_sys::Object = js_sys::Uint8Array::from(body).into();
    Ok(web_sys::Response::new_with_opt_buffer_source_and_init(Some(&body), &init).map_err(error)?)
}

/// A response with a stream of server-sent events.
pub fn event_stream(
    pieces: impl TryStream<Ok = Vec<u8>, Error = worker::Error> + 'static,
) -> worker::Result<worker::Response> {
    let mut response = worker::Response::from_stream(pieces)?;
    let headers = response.headers_mut();
    headers.set("content-type", "text/event-stream")?;
    headers.set("cache-control", "no-store")?;
    // Asks proxies not to buffer the stream.
    headers.set("x-accel-buffering", "no")?;
    Ok(response)
}
