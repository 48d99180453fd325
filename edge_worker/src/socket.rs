//! WebSockets between a caller and a container, message by message: only so does the container's object know that one is
//! open, and which of them is in use.

use std::future::Future;

use futures_util::{
    StreamExt as _,
    future::{Either, select},
    stream::FusedStream,
};
use wasm_bindgen::JsCast as _;
use worker::{WebSocket, WebSocketPair, WebsocketEvent, js_sys};

use crate::edge_error::EdgeError;

/// What a side that went away without a word is reported to have meant: a code that may be sent.
const NORMAL: u16 = 1000;
/// A message could not be passed on.
const FAILED: u16 = 1011;

/// The container's end of the socket that an answer opens.
#[must_use]
pub fn of(answer: &web_sys::Response) -> Option<web_sys::WebSocket> {
    let socket = js_sys::Reflect::get(answer, &"webSocket".into()).ok()?;
    // Not by its class, which an object of another context need not share.
    socket.is_truthy().then(|| socket.unchecked_into())
}

/// The caller's end of another socket, and a future that passes messages on between both until either is closed. Of each
/// message it is told that there was one.
pub fn relay(
    container: web_sys::WebSocket,
    mut passed: impl FnMut() + 'static,
) -> Result<(web_sys::WebSocket, impl Future<Output = ()> + 'static), EdgeError> {
    let fault =
        |error: worker::Error| EdgeError::internal(format!("the socket cannot be passed on: {error}"));
    let container = WebSocket::from(container);
    let WebSocketPair { client, server: caller } = WebSocketPair::new().map_err(fault)?;
    container.accept().map_err(fault)?;
    caller.accept().map_err(fault)?;
    let task = async move {
        let (Ok(from_container), Ok(from_caller)) = (container.events(), caller.events()) else {
            end(&container, FAILED, "");
            end(&caller, FAILED, "");
            return;
        };
        let (mut from_container, mut from_caller) = (from_container.fuse(), from_caller.fuse());
        while !from_container.is_terminated() && !from_caller.is_terminated() {
            let (event, to) = match select(from_container.next(), from_caller.next()).await {
                Either::Left((event, _)) => (event, &caller),
                Either::Right((event, _)) => (event, &container),
            };
            passed();
            if !pass_on(event, to) {
                break;
            }
        }
        // What is closed already stays so.
        end(&container, NORMAL, "");
        end(&caller, NORMAL, "");
    };
    Ok((client.as_ref().clone(), task))
}

/// `false` once nothing more is to be passed on.
fn pass_on(event: Option<worker::Result<WebsocketEvent>>, to: &WebSocket) -> bool {
    match event {
        Some(Ok(WebsocketEvent::Message(message))) => {
            let sent = match (message.text(), message.bytes()) {
                (Some(text), _) => to.send_with_str(text),
                (None, Some(bytes)) => to.send_with_bytes(bytes),
                (None, None) => Ok(()),
            };
            if sent.is_err() {
                end(to, FAILED, "");
            }
            sent.is_ok()
        }
        Some(Ok(WebsocketEvent::Close(close))) => {
            end(to, sendable(close.code()), &close.reason());
            false
        }
        Some(Err(_)) => {
            end(to, FAILED, "");
            false
        }
        None => false,
    }
}

fn end(socket: &WebSocket, code: u16, reason: &str) {
    // One that is closed already needs no closing.
    let _ = socket.close(Some(code), Some(reason));
}

/// Codes that stand for the lack of one cannot be sent.
fn sendable(code: u16) -> u16 {
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => code,
        _ => NORMAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_say_that_there_was_none_are_not_sent() {
        for (code, sent) in
            [(1000, 1000), (1001, 1001), (1005, 1000), (1006, 1000), (1015, 1000), (4404, 4404), (0, 1000)]
        {
            assert_eq!(sendable(code), sent, "{code}");
        }
    }
}
