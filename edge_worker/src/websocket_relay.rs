//! Relays WebSockets between a caller and a container, message by message. Only so does the container's object know
//! that a socket is open and in use.

use std::time::Duration;

use futures_util::{
    StreamExt as _,
    future::{Either, select},
    stream::FusedStream,
};
use wasm_bindgen::JsCast as _;
use worker::{Delay, WebSocket, WebSocketPair, WebsocketEvent, js_sys};

use crate::{
    edge_error::{Operation, RuntimeError},
    until_container_ends::before_end,
};

/// The close code for a side that disconnected without a code.
const NORMAL: u16 = 1000;
/// The close code after a message could not be sent.
const FAILED: u16 = 1011;
/// The close code for a caller whose container ended. It asks the caller to connect again.
const RESTARTED: u16 = 1012;
/// How long the last message may still be on its way after the container ended.
const MESSAGE_AFTER_END: Duration = Duration::from_millis(300);

/// Whether a relay goes on after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relay {
    Continues,
    Ends,
}

/// The WebSocket that a response opens.
#[must_use]
pub fn socket_of(response: &web_sys::Response) -> Option<web_sys::WebSocket> {
    let socket = js_sys::Reflect::get(response, &"webSocket".into()).ok()?;
    // Its class is not checked: an object of another JavaScript context has another class.
    socket.is_truthy().then(|| socket.unchecked_into())
}

/// Opens a relay to the container's socket. Returns the caller's socket, and a future that relays messages until either
/// side closes or `ended` completes. `on_event` is called for each message.
pub fn open<E: 'static>(
    container: web_sys::WebSocket,
    mut on_event: impl FnMut() + 'static,
    ended: impl Future<Output = E> + 'static,
) -> Result<(web_sys::WebSocket, impl Future<Output = ()> + 'static), RuntimeError> {
    let error = |error: worker::Error| RuntimeError {
        operation: Operation::RelayWebSocket,
        message: error.to_string(),
    };
    let container = WebSocket::from(container);
    let WebSocketPair { client, server: caller } = WebSocketPair::new().map_err(error)?;
    container.accept().map_err(error)?;
    caller.accept().map_err(error)?;
    let task = async move {
        let (Ok(from_container), Ok(from_caller)) = (container.events(), caller.events()) else {
            close(&container, FAILED, "");
            close(&caller, FAILED, "");
            return;
        };
        let (mut from_container, mut from_caller) = (from_container.fuse(), from_caller.fuse());
        let messages = async {
            while !from_container.is_terminated() && !from_caller.is_terminated() {
                let (event, to) = match select(from_container.next(), from_caller.next()).await {
                    Either::Left((event, _)) => (event, &caller),
                    Either::Right((event, _)) => (event, &container),
                };
                on_event();
                if relay(event, to) == Relay::Ends {
                    break;
                }
            }
        };
        if before_end(messages, ended, || Delay::from(MESSAGE_AFTER_END)).await.is_err() {
            close(&caller, RESTARTED, "the container ended");
        }
        // A socket that is closed already stays closed with its first code.
        close(&container, NORMAL, "");
        close(&caller, NORMAL, "");
    };
    Ok((client.as_ref().clone(), task))
}

fn relay(event: Option<worker::Result<WebsocketEvent>>, to: &WebSocket) -> Relay {
    match event {
        Some(Ok(WebsocketEvent::Message(message))) => {
            let sent = match (message.text(), message.bytes()) {
                (Some(text), _) => to.send_with_str(text),
                (None, Some(bytes)) => to.send_with_bytes(bytes),
                (None, None) => Ok(()),
            };
            if sent.is_ok() {
                return Relay::Continues;
            }
            close(to, FAILED, "");
        }
        Some(Ok(WebsocketEvent::Close(event))) => close(to, sendable(event.code()), &event.reason()),
        Some(Err(_)) => close(to, FAILED, ""),
        None => {}
    }
    Relay::Ends
}

fn close(socket: &WebSocket, code: u16, reason: &str) {
    // Closing fails only for a socket that is closed already.
    let _ = socket.close(Some(code), Some(reason));
}

/// The close code to send for one that was received. Codes that report the lack of a code cannot be sent.
fn sendable(code: u16) -> u16 {
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => code,
        0..=999 | 1004..=1006 | 1015..=2999 | 5000.. => NORMAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_that_cannot_be_sent_become_normal() {
        for (code, sent) in [
            (1000, 1000),
            (1001, 1001),
            (RESTARTED, RESTARTED),
            (1005, 1000),
            (1006, 1000),
            (1015, 1000),
            (4404, 4404),
            (0, 1000),
        ] {
            assert_eq!(sendable(code), sent, "{code}");
        }
    }
}
