//! The signals that ask a process to end.

use std::{future::Future, io};

use tokio::signal::unix::{SignalKind, signal};

/// Ends at the first SIGTERM or SIGINT, and names it. Both are caught from this call on. As process 1 of a container
/// only signals with a handler arrive at all.
pub fn stop() -> io::Result<impl Future<Output = &'static str>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        }
    })
}
