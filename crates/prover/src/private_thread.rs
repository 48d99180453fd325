//! Runs work on private values on a thread of its own, whose stack is gone when the work ends.
//!
//! Functions leave copies of what they work on in their stack. The threads of the runtime live on, and so would the copies.
//! The stack of a thread of this module is larger than all that the C library stores for later threads (40 MiB), so that it
//! goes back to the system at once. Only its touched pages cost memory.

use std::thread::{self, JoinHandle};

use edgeprove_telemetry::PRIVATE_VALUES_THREAD;
use tokio::sync::Semaphore;

/// Address space of a stack.
const STACK_BYTES: usize = 64 << 20;
/// Threads at the same time, so that their address space is bounded.
static PERMITS: Semaphore = Semaphore::const_new(32);

/// Why the work has no result.
#[derive(Debug, thiserror::Error)]
pub enum NoResult {
    /// The thread could not be started.
    #[error("no thread could be started")]
    NotStarted(#[source] std::io::Error),
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
        let _permit = permit;
        let thread = thread::Builder::new().name(PRIVATE_VALUES_THREAD.to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn(work).map_err(NoResult::NotStarted)?;
        JoinHandle::join(thread).map_err(|_| NoResult::Panicked)
    });
    joined.await.unwrap_or(Err(NoResult::Stopped))
}
