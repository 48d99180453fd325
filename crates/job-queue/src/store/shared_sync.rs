//! One disk sync for all callers that wait for one.
//!
//! A write is durable after any sync that starts after it. While one sync runs, all further callers wait for the next one, and
//! one of them runs it for all. A disk that takes two milliseconds then limits how long a caller waits, but not how many
//! callers are served per second.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Shares disk syncs between callers.
#[derive(Debug, Default)]
pub(super) struct SharedSync {
    turn: Mutex<()>,
    /// The number of syncs that started, and the number of the last one that succeeded.
    started: AtomicU64,
    done: AtomicU64,
}

impl SharedSync {
    /// The number of syncs that started.
    pub(super) fn started(&self) -> u64 {
        self.started.load(Ordering::SeqCst)
    }

    /// Returns once a sync that started after this call has succeeded: that of another caller, or `sync`. If it fails, the next
    /// caller tries again.
    pub(super) async fn after_this<E>(&self, sync: impl AsyncFnOnce() -> Result<(), E>) -> Result<(), E> {
        // A sync that has already started may miss the caller's write.
        let first_of_use = self.started.load(Ordering::SeqCst) + 1;
        let _turn = self.turn.lock().await;
        if self.done.load(Ordering::SeqCst) >= first_of_use {
            return Ok(());
        }
        let this = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        sync().await?;
        self.done.store(this, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, pin::pin};

    use futures_util::{FutureExt as _, future::join_all};
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn callers_during_a_sync_share_the_next_one() {
        // A sync ends when it gets a permit.
        let (shared, syncs, may_end) = (SharedSync::default(), Cell::new(0), Semaphore::new(0));
        let sync = async || {
            syncs.set(syncs.get() + 1);
            may_end.acquire().await.unwrap().forget();
            Ok::<_, ()>(())
        };
        let mut first = pin!(shared.after_this(sync));
        assert!(first.as_mut().now_or_never().is_none(), "the first sync is running");
        let mut others = pin!(join_all((0..49).map(|_| shared.after_this(sync))));
        assert!(others.as_mut().now_or_never().is_none(), "all others wait for the next sync");
        assert_eq!(syncs.get(), 1);
        may_end.add_permits(3);
        let (first, others) = tokio::join!(first, others);
        assert!(first.is_ok() && others.iter().all(Result::is_ok));
        assert_eq!(syncs.get(), 2);
        shared.after_this(sync).await.unwrap();
        assert_eq!(syncs.get(), 3, "an earlier sync does not cover a later write");
    }

    #[tokio::test]
    async fn a_failed_or_dropped_sync_serves_no_caller() {
        let (shared, syncs, may_end) = (SharedSync::default(), Cell::new(0), Semaphore::new(0));
        let sync = async || {
            syncs.set(syncs.get() + 1);
            may_end.acquire().await.unwrap().forget();
            if syncs.get() < 3 { Err("no") } else { Ok(()) }
        };
        {
            let mut dropped = pin!(shared.after_this(sync));
            assert!(dropped.as_mut().now_or_never().is_none(), "the first sync is running");
        }
        let mut callers = pin!(join_all((0..3).map(|_| shared.after_this(sync))));
        assert!(callers.as_mut().now_or_never().is_none(), "the second sync is running");
        may_end.add_permits(2);
        assert_eq!(callers.await, [Err("no"), Ok(()), Ok(())]);
        assert_eq!(syncs.get(), 3, "the third sync served the third caller");
    }
}
