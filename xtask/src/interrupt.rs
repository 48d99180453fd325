//! Handles Ctrl-C for commands that must stop their child processes in order.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};

/// Set by the first Ctrl-C, SIGTERM or SIGHUP.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on a signal only sets a flag and does not end this program.
pub(crate) fn watch() -> anyhow::Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed)).context("signals cannot be handled")
}

/// Whether a signal has arrived.
pub(crate) fn is_requested() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Returns an error if a signal has arrived.
pub(crate) fn check() -> anyhow::Result<()> {
    if is_requested() {
        bail!("interrupted");
    }
    Ok(())
}
