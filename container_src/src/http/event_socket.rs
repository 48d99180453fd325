//! The events of a job over a WebSocket.
//!
//! The client sends nothing but pongs and the close. Other messages are read and ignored, up to a size that no client can
//! harm the server with. A client that does not respond to a ping is gone, and its connection is closed.

use std::time::Duration;

use axum::{
    extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code},
    response::Response,
};
use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::job_stream::{JobStream, StreamEnd, StreamEvent};

/// Largest message of a client.
pub const MESSAGE_MAX_BYTES: usize = 1 << 10;
/// Buffers of a connection. Events are larger than the write buffer only where a job has a long problem.
const BUFFER_BYTES: usize = 4 << 10;
/// Most bytes that wait to be written.
const WRITE_MAX_BYTES: usize = 256 << 10;
/// How long a client may take to read a message.
const WRITE_MAX: Duration = Duration::from_secs(15);

/// Accepts the WebSocket and sends the events over it.
pub fn accept(upgrade: WebSocketUpgrade, events: JobStream, ping_every: Duration) -> Response {
    upgrade
        .max_message_size(MESSAGE_MAX_BYTES)
        .max_frame_size(MESSAGE_MAX_BYTES)
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(WRITE_MAX_BYTES)
        .on_upgrade(move |socket| send_all(socket, events, ping_every))
}

/// The client does not read, or has closed the connection.
struct Gone;

async fn send_all(mut socket: WebSocket, mut events: JobStream, ping_every: Duration) {
    // Nothing can be sent to a client that is gone.
    if let Ok((code, reason)) = send_events(&mut socket, &mut events, ping_every).await {
        let close = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        // The client may have closed already.
        let _ = send(&mut socket, Message::Close(Some(close))).await;
    }
}

/// Sends events until there is a reason to close the connection.
async fn send_events(
    socket: &mut WebSocket,
    events: &mut JobStream,
    ping_every: Duration,
) -> Result<(u16, &'static str), Gone> {
    if events.is_complete() {
        return Ok(closing(StreamEnd::Finished));
    }
    let mut ping = interval_at(Instant::now() + ping_every, ping_every);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_responded = true;
    loop {
        tokio::select! {
            next = events.next() => match next {
                Ok(StreamEvent { id, of, document, .. }) => {
                    let message = format!("{{\"id\":\"{id}\",\"{of}\":{document}}}");
                    send(socket, Message::text(message)).await?;
                }
                Err(end) => return Ok(closing(end)),
            },
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_))) | None => return Err(Gone),
                Some(Ok(_)) => has_responded = true,
                Some(Err(_)) => {
                    let reason = "the server reads well-formed messages of at most 1 KiB only";
                    return Ok((close_code::POLICY, reason));
                }
            },
            _ = ping.tick() => {
                if !has_responded {
                    return Ok((close_code::POLICY, "no pong arrived in time"));
                }
                has_responded = false;
                send(socket, Message::Ping(Bytes::new())).await?;
            }
        }
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Gone> {
    timeout(WRITE_MAX, socket.send(message)).await.map_err(|_| Gone)?.map_err(|_| Gone)
}

/// The close code and the reason.
fn closing(end: StreamEnd) -> (u16, &'static str) {
    match end {
        StreamEnd::Finished => (close_code::NORMAL, "the job has finished"),
        StreamEnd::Stopping => (close_code::AWAY, "the server stops"),
        StreamEnd::Withdrawn => (close_code::POLICY, "the API key was withdrawn"),
        StreamEnd::Failed => (close_code::ERROR, "the job cannot be read"),
    }
}
