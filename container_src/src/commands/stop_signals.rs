//! The signals that stop a process: SIGTERM and SIGINT.

use std::{future::Future, io};

use tokio::signal::unix::{SignalKind, signal};

/// A future that waits for SIGTERM or SIGINT and returns its name. Both are caught from this call on: process 1 of a
/// container receives only signals that it catches.
pub fn stop() -> io::Result<impl Future<Output = &'static str>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        }
    })
}
