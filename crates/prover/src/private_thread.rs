//! Runs work on private values on threads of its own, whose stacks are gone when the work ends.
//!
//! Functions leave copies of what they work on in their stack. The threads of the runtime live on, and so would the copies.
//! The stack of a thread of this module is larger than all that the C library stores for later threads (40 MiB), so that it
//! goes back to the system at once. Only its touched pages cost memory.
//!
//! [`Running`] counts the work in this process: the memory of one piece of work can be measured only while there is no
//! other.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use edgeprove_telemetry::PRIVATE_VALUES_THREAD;
use tokio::sync::Semaphore;

/// Address space of a stack.
pub const STACK_BYTES: usize = 64 << 20;
/// Threads of [`run`] at the same time, so that their address space is bounded.
static PERMITS: Semaphore = Semaphore::const_new(32);
/// The work in this process.
static ACTIVITY: Activity = Activity::new();

/// Why the work has no result.
#[derive(Debug, thiserror::Error)]
pub enum NoResult {
    /// The thread could not be started.
    #[error("no thread could be started")]
    NotStarted(#[source] io::Error),
    /// The work panicked.
    #[error("the work panicked")]
    Panicked,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Stopped,
}

/// Runs the work and waits for its end, and for the end of its thread.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoResult> {
    // The semaphore is never closed.
    let permit = PERMITS.acquire().await.ok();
    let joined = tokio::task::spawn_blocking(move || {
        let _held = (permit, Running::start());
        let thread = spawn(work).map_err(NoResult::NotStarted)?;
        JoinHandle::join(thread).map_err(|_| NoResult::Panicked)
    });
    joined.await.unwrap_or(Err(NoResult::Stopped))
}

/// Starts the work on a thread of its own.
pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(PRIVATE_VALUES_THREAD.to_owned()).stack_size(STACK_BYTES).spawn(work)
}

/// Cancels work when it is dropped, such as with the future that waits for the work.
#[derive(Debug)]
pub struct CancelOnDrop(pub Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Counts work.
#[derive(Debug)]
struct Activity {
    running: AtomicUsize,
    started: AtomicU64,
}

impl Activity {
    const fn new() -> Self {
        Self { running: AtomicUsize::new(0), started: AtomicU64::new(0) }
    }

    fn start(&'static self) -> Running {
        let is_first = self.running.fetch_add(1, Ordering::SeqCst) == 0;
        let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        Running { activity: self, number, is_first }
    }
}

/// Work in this process that takes memory. Dropping it ends the work.
#[derive(Debug)]
pub struct Running {
    activity: &'static Activity,
    number: u64,
    is_first: bool,
}

impl Running {
    /// Counts one more piece of work.
    #[must_use]
    pub fn start() -> Self {
        ACTIVITY.start()
    }

    /// Whether this was the only work since it started.
    #[must_use]
    pub fn was_alone(&self) -> bool {
        self.is_first && self.activity.started.load(Ordering::SeqCst) == self.number
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.activity.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_alone_only_without_other_work_at_any_time() {
        static WORK: Activity = Activity::new();
        let first = WORK.start();
        assert!(first.was_alone());
        let second = WORK.start();
        assert!(!first.was_alone() && !second.was_alone());
        drop(second);
        assert!(!first.was_alone(), "the other one may have taken memory meanwhile");
        let third = WORK.start();
        drop(first);
        assert!(!third.was_alone(), "the first one ran when it started");
        drop(third);
        assert!(WORK.start().was_alone());
    }

    #[tokio::test]
    async fn private_work_counts_while_it_runs() {
        let work = || (Running::start().was_alone(), ACTIVITY.running.load(Ordering::SeqCst));
        let (was_alone, running) = run(work).await.unwrap();
        assert!(!was_alone && running > 0);
    }
}
