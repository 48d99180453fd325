//! The threads that a computation may use.

use std::{
    num::NonZeroUsize,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread::{self, JoinHandle},
};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// A pool of threads. Clones share it. Nothing in this crate uses rayon's global pool.
///
/// ```
/// use edgeprove_groth16::Threads;
///
/// let two = Threads::of_width(std::num::NonZeroUsize::new(2).unwrap())?;
/// assert_eq!(two.width(), 2);
/// # Ok::<(), edgeprove_groth16::ThreadsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Threads(Arc<ThreadPool>);

/// The threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error("a pool of {width} threads cannot be started")]
pub struct ThreadsError {
    width: NonZeroUsize,
    #[source]
    source: rayon::ThreadPoolBuildError,
}

/// A library panicked. Its message went to the standard error stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proving library panicked")]
pub struct Panicked;

impl Threads {
    /// Starts this number of threads. They end when the last clone is dropped.
    pub fn of_width(width: NonZeroUsize) -> Result<Self, ThreadsError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(width.get())
            .thread_name(|index| format!("groth16-{index}"))
            .build()
            .map_err(|source| ThreadsError { width, source })?;
        Ok(Self(Arc::new(pool)))
    }

    /// Runs work with this number of threads, which have ended when this returns. Nothing of the work stays on their
    /// stacks: one of at least 40 MiB goes back to the system when its thread ends.
    pub fn with_new<R>(
        width: NonZeroUsize,
        name: &str,
        stack_bytes: usize,
        work: impl FnOnce(&Self) -> R,
    ) -> Result<R, ThreadsError> {
        let mut started: Vec<JoinHandle<()>> = Vec::new();
        let pool = ThreadPoolBuilder::new().num_threads(width.get()).spawn_handler(|thread| {
            let named = thread::Builder::new().name(name.to_owned()).stack_size(stack_bytes);
            started.push(named.spawn(|| thread.run())?);
            Ok(())
        });
        let result = pool.build().map(|pool| work(&Self(Arc::new(pool))));
        for thread in started {
            // rayon catches the panics of its threads.
            drop(thread.join());
        }
        result.map_err(|source| ThreadsError { width, source })
    }

    /// Uses the threads of the caller.
    #[must_use]
    pub fn from_pool(pool: Arc<ThreadPool>) -> Self {
        Self(pool)
    }

    /// The number of threads.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs a computation on these threads. A panic in it becomes an error.
    pub(crate) fn run<R: Send>(&self, compute: impl FnOnce() -> R + Send) -> Result<R, Panicked> {
        // Everything that a computation changes is its own and is dropped with it.
        panic::catch_unwind(AssertUnwindSafe(|| self.0.install(compute))).map_err(|_| Panicked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_threads_have_their_name_and_end() {
        let width = NonZeroUsize::new(2).unwrap();
        let name = || thread::current().name().map(str::to_owned);
        let seen = Threads::with_new(width, "new-threads", 64 << 20, |threads| {
            assert_eq!(threads.width(), 2);
            threads.run(name).unwrap()
        });
        assert_eq!(seen.unwrap().as_deref(), Some("new-threads"));
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let threads = Threads::of_width(NonZeroUsize::MIN).unwrap();
        let empty: Vec<u8> = Vec::new();
        assert_eq!(threads.run(|| empty[0]), Err(Panicked));
        assert_eq!(threads.run(rayon::current_num_threads), Ok(1));
    }
}
