//! Writes of many callers in one transaction.
//!
//! A commit of PostgreSQL waits for the disk, and commits that notify other servers wait for each other. So while one transaction
//! runs, the writes that arrive wait together for the next one. A database that takes two milliseconds for a commit then limits how
//! long a caller waits, but not how many are served per second.

use std::{fmt, mem, sync::Arc, thread};

use async_trait::async_trait;
use edgeprove_job_rules::time::UnixMillis;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::store::{Database, Durability, StoreError, session::Transaction};

/// The most writes of a transaction: enough to share a commit, and few enough that locks are short.
const BATCH: usize = 64;

/// How writes of a sort are executed together.
#[async_trait]
pub(crate) trait Together: Send + Sync + 'static {
    /// A write.
    type Write: Send + Sync;
    /// Its answer.
    type Answer: Send;

    /// A statement that takes a lock at the beginning of each transaction.
    fn lock(&self) -> Option<&'static str> {
        None
    }

    /// Executes writes, and returns the answer of each, in their order.
    async fn execute(
        &self,
        transaction: &mut Transaction<'_>,
        now: UnixMillis,
        writes: &[&Self::Write],
    ) -> Result<Vec<Self::Answer>, StoreError>;
}

/// The writes of one sort in this process. Clones share transactions.
pub(crate) struct SharedWrites<T: Together>(Arc<Shared<T>>);

struct Shared<T: Together> {
    database: Database,
    together: T,
    state: Mutex<State<T>>,
}

struct State<T: Together> {
    waiting: Vec<Waiting<T>>,
    /// Whether a task runs the transactions.
    is_running: bool,
}

struct Waiting<T: Together> {
    write: T::Write,
    answer: oneshot::Sender<Result<Written<T>, StoreError>>,
}

/// The time of a transaction, and the answer to a write.
pub(crate) type Written<T> = (UnixMillis, <T as Together>::Answer);

impl<T: Together> Clone for SharedWrites<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Together> fmt::Debug for SharedWrites<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedWrites").finish_non_exhaustive()
    }
}

impl<T: Together> SharedWrites<T> {
    pub(crate) fn new(database: Database, together: T) -> Self {
        let state = Mutex::new(State { waiting: Vec::new(), is_running: false });
        Self(Arc::new(Shared { database, together, state }))
    }

    /// Executes a write together with others. It is executed also when the future is dropped before.
    pub(crate) async fn execute(&self, write: T::Write) -> Result<Written<T>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut state = self.0.state.lock();
            state.waiting.push(Waiting { write, answer });
            !mem::replace(&mut state.is_running, true)
        };
        if is_first {
            self.start();
        }
        // The task answers every write, unless the process ends.
        answered.await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
    }
}

impl<T: Together> SharedWrites<T> {
    /// Starts the task. It is one of its own: callers may leave at any time, and the transaction would end with one of them.
    #[expect(clippy::disallowed_methods, reason = "it ends when nobody waits, and its callers wait for it")]
    fn start(&self) {
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move { shared.run().await });
    }
}

/// Ends the waiting of others when the task panics: nobody would answer them.
struct Abandoned<'a, T: Together>(&'a Shared<T>);

impl<T: Together> Drop for Abandoned<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            *self.0.state.lock() = State { waiting: Vec::new(), is_running: false };
        }
    }
}

impl<T: Together> Shared<T> {
    async fn run(&self) {
        let _abandoned = Abandoned(self);
        while let Some(batch) = self.next_batch() {
            let writes: Vec<_> = batch.iter().map(|waiting| &waiting.write).collect();
            match self.transaction(&writes).await {
                Ok(written) => {
                    for (Waiting { answer, .. }, written) in batch.into_iter().zip(written) {
                        // The caller may have left.
                        let _ = answer.send(Ok(written));
                    }
                }
                // One of them is at fault, and the others are not.
                Err(StoreError::Refused(_) | StoreError::Corrupt(_)) if batch.len() > 1 => {
                    for Waiting { write, answer } in batch {
                        let _ = answer.send(self.transaction(&[&write]).await.and_then(only));
                    }
                }
                Err(error) => {
                    for Waiting { answer, .. } in batch {
                        let _ = answer.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// Takes the first that wait. `None`: there are none, and the task ends.
    fn next_batch(&self) -> Option<Vec<Waiting<T>>> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() {
            state.is_running = false;
            return None;
        }
        let count = state.waiting.len().min(BATCH);
        Some(state.waiting.drain(..count).collect())
    }

    async fn transaction(&self, writes: &[&T::Write]) -> Result<Vec<Written<T>>, StoreError> {
        let mut session = self.database.session(Durability::Write).await?;
        let mut transaction = session.begin().await?;
        if let Some(lock) = self.together.lock() {
            transaction.lock(lock).await?;
        }
        // After the lock, so that later transactions have later times.
        let now = transaction.now().await?;
        let answers = self.together.execute(&mut transaction, now, writes).await?;
        transaction.commit().await?;
        Ok(answers.into_iter().map(|answer| (now, answer)).collect())
    }
}

fn only<T>(mut answers: Vec<T>) -> Result<T, StoreError> {
    answers.pop().ok_or_else(|| sqlx::Error::RowNotFound.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::store::DatabaseLocation;

    /// Writes nothing, and panics at a zero.
    struct Numbers;

    #[async_trait]
    impl Together for Numbers {
        type Write = u32;
        type Answer = u32;

        async fn execute(
            &self,
            _: &mut Transaction<'_>,
            _: UnixMillis,
            numbers: &[&u32],
        ) -> Result<Vec<u32>, StoreError> {
            assert!(numbers.iter().all(|number| **number > 0), "as the test wants it");
            Ok(numbers.iter().map(|number| **number).collect())
        }
    }

    #[tokio::test]
    async fn after_a_panic_writes_are_answered_and_go_on() {
        let database = Database::open(&DatabaseLocation::Memory).await.unwrap();
        let writes = SharedWrites::new(database, Numbers);
        let answers = async {
            let failed = join_all((0..200).map(|number| writes.execute(number))).await;
            assert!(failed[0].is_err());
            writes.execute(7).await.unwrap().1
        };
        assert_eq!(tokio::time::timeout(Duration::from_mins(1), answers).await.unwrap(), 7);
    }
}
