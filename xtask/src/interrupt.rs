//! Ctrl-C, for chores that have started a process which must be stopped in order.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};

/// Set by the first Ctrl-C, SIGTERM or SIGHUP.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on a signal does not end this program on the spot.
pub(crate) fn watch() -> anyhow::Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed)).context("signals cannot be handled")
}

/// Whether the user has asked to stop.
pub(crate) fn came() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// An error once the user has asked to stop.
pub(crate) fn go_on() -> anyhow::Result<()> {
    if came() {
        bail!("interrupted");
    }
    Ok(())
}
