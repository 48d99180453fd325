//! The signals that stop a process, SIGTERM and SIGINT, and the one that does not stop a server: SIGHUP.

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

/// As [`stop`], and also for SIGHUP: a command whose terminal is closed must not leave a witness behind.
pub fn stop_or_hangup() -> io::Result<impl Future<Output = &'static str>> {
    let (stop, mut hangup) = (stop()?, signal(SignalKind::hangup())?);
    Ok(async move {
        tokio::select! {
            name = stop => name,
            _ = hangup.recv() => "SIGHUP",
        }
    })
}

/// Makes this process survive SIGHUP, also where no task waits for it. A keys file is read again at SIGHUP; without
/// one it has no effect.
pub fn survive_hangups() -> io::Result<()> {
    // The handler stays for as long as the process runs, also when nobody receives the signal.
    signal(SignalKind::hangup()).map(drop)
}
