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
    use std::{cell::Cell, time::Duration};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn callers_during_a_sync_share_the_next_one() {
        let (shared, syncs) = (SharedSync::default(), Cell::new(0));
        let sync = async || {
            syncs.set(syncs.get() + 1);
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok::<_, ()>(())
        };
        let callers = (0..50).map(async |number| {
            // The first is alone, the others come in the middle of its sync.
            tokio::time::sleep(Duration::from_millis(u64::from(number > 0))).await;
            shared.after_this(sync).await
        });
        assert!(join_all(callers).await.into_iter().all(|outcome| outcome.is_ok()));
        assert_eq!(syncs.get(), 2);
        shared.after_this(sync).await.unwrap();
        assert_eq!(syncs.get(), 3, "an earlier sync does not cover a later write");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_or_dropped_sync_serves_no_caller() {
        let (shared, syncs) = (SharedSync::default(), Cell::new(0));
        let sync = async || {
            syncs.set(syncs.get() + 1);
            tokio::time::sleep(Duration::from_millis(2)).await;
            if syncs.get() < 3 { Err("no") } else { Ok(()) }
        };
        let given_up = tokio::time::timeout(Duration::from_millis(1), shared.after_this(sync)).await;
        assert!(given_up.is_err());
        let outcomes = join_all((0..3).map(|_| shared.after_this(sync))).await;
        assert_eq!(outcomes, [Err("no"), Ok(()), Ok(())]);
        assert_eq!(syncs.get(), 3, "the second sync served the third caller");
    }
}
