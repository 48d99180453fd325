//! One trip to the disk for all who wait for one.
//!
//! Whoever wrote something and wants it on the disk needs a sync that begins after the write; which one, and by whom, is
//! all the same. So while one is under way, those who come meanwhile wait for the next, and one of them makes it for all.
//! A disk that takes two milliseconds then bounds how long a promise takes, and no longer how many can be given a second.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SharedSync {
    turn: Mutex<()>,
    /// How many have begun, and the last of them that succeeded.
    begun: AtomicU64,
    done: AtomicU64,
}

impl SharedSync {
    /// Returns once a sync that began after this was called has succeeded: another's, or else this one. When it fails,
    /// whoever waits next tries it anew.
    pub(super) async fn after_this<E>(&self, sync: impl AsyncFnOnce() -> Result<(), E>) -> Result<(), E> {
        // Those that have begun already may have missed what the caller wrote.
        let first_of_use = self.begun.load(Ordering::SeqCst) + 1;
        let _turn = self.turn.lock().await;
        if self.done.load(Ordering::SeqCst) >= first_of_use {
            return Ok(());
        }
        let this = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
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
    async fn those_who_come_while_one_is_under_way_share_the_next() {
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
        assert_eq!(syncs.get(), 3, "what was synced before is no use to a later write");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_or_is_given_up_serves_nobody() {
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
        assert_eq!(syncs.get(), 3, "the third was served by the second's");
    }
}
