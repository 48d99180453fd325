//! The audit log: who asked for what, and with which outcome. A later change of the log can be detected.
//!
//! [`edgeprove_job_rules::audit`] defines the entries and how they are chained; an [`AuditSink`] stores them. [`Audit`]
//! is between the two: entries that arrive together are written together, in one order, and a caller can wait until its
//! entry is stored.
//!
//! Work without an entry is not allowed: while the log cannot be written, or is not the one that was written before, the
//! server refuses work.
//!
//! Reading order: [`Audit`], then [`PendingEntry`], then [`mod@file`].
//!
//! Imports run down this list only.
//!
//! - [`mod@file`]: a sink that is a file of JSON lines.
//! - [`lines`]: reads the lines of such a file, from either end.
//! - [`filter`]: which entries are wanted.
//! - [`refusals`]: counts refused requests by caller and reason.
//! - [`error`]: why the log cannot be read or written.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_job_rules::audit::{Action, Actor, Entry, Link, Outcome, Record};
use edgeprove_protocol::ProblemType;
use edgeprove_telemetry::{supervisor::Supervisor, timestamp_now};
use parking_lot::Mutex;
use tokio::sync::oneshot;

mod error;
pub mod file;
pub mod filter;
pub mod lines;
mod refusals;

pub use error::{AuditError, LogChange};
use file::{FileSink, SyncPolicy};
use filter::EntryFilter;
use refusals::{REFUSALS_EVERY, Refusals};

/// Time after a failed write in which work is refused without another attempt.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Most entries that wait until the log can be written again. Further ones are lost.
const RETAINED_MAX: usize = 10_000;

/// Settings of the audit log.
#[derive(Debug, Clone)]
pub struct AuditSettings {
    /// The file.
    pub file: PathBuf,
    /// When entries are flushed to the disk.
    pub sync: SyncPolicy,
}

/// Stores the entries of a log.
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// Appends entries to the chain, in this order: all of them or none. They are stored when this returns. Returns the
    /// new end of the chain.
    async fn append(&self, entries: Vec<Entry>) -> Result<Link, AuditError>;

    /// Returns a part of the log. The search is bounded: [`Page::next`] names where the rest starts.
    async fn read(&self, filter: EntryFilter, range: PageRange) -> Result<Page, AuditError>;

    /// Returns the end of the chain.
    async fn head(&self) -> Result<Link, AuditError>;

    /// Fails if the log is not the one that was written before: it was moved, removed, cut or replaced.
    async fn check(&self) -> Result<(), AuditError> {
        Ok(())
    }

    /// Continues the chain in a new log that starts with `entry`, if an operator has moved the log away. Returns whether it
    /// was moved.
    async fn rotate(&self, _entry: Entry) -> Result<bool, AuditError> {
        Ok(false)
    }
}

/// Which part of the log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRange {
    /// The first entries after a number.
    After {
        /// The number of the entry before the first wanted one; 0 for the beginning.
        after: u64,
        /// The most entries.
        limit: usize,
    },
    /// The last entries.
    Last(usize),
}

/// A part of the log, in the order of the entries' numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub records: Vec<Record>,
    /// The number after which the rest starts; `None` if the end of the log was reached.
    pub next: Option<u64>,
}

/// Receives the outcome of a write.
type Waiter = oneshot::Sender<Result<(), AuditError>>;

/// An entry that is not written yet.
struct Unwritten {
    entry: Entry,
    waiter: Option<Waiter>,
    /// Whether it is written later if the log cannot be written now. The fact that it records cannot be undone.
    is_retained: bool,
}

/// The entries that are not written yet, in their order.
#[derive(Default)]
struct Queue {
    entries: Vec<Unwritten>,
    /// Whether one of them was not tried yet.
    has_new: bool,
    /// Whether a task tries again to write retained entries.
    has_retry: bool,
}

/// Records entries in the log. Clones share the log.
///
/// ```
/// use edgeprove_audit::{Audit, AuditSettings, file::SyncPolicy};
/// use edgeprove_job_rules::audit::{Action, Actor};
/// use edgeprove_telemetry::Supervisor;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let home = tempfile::tempdir()?;
/// let settings = AuditSettings { file: home.path().join("audit.jsonl"), sync: SyncPolicy::Always };
/// let audit = Audit::open(Some(&settings), "server-1", &Supervisor::default()).await?;
/// audit.record(audit.entry(Actor::Key("alice".to_owned()), Action::JobSubmitted)).await?;
///
/// // The first line is about the start of the server.
/// let log = std::fs::read_to_string(&settings.file)?;
/// assert!(log.lines().nth(1).is_some_and(|line| line.contains(r#""actor":"key:alice""#)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Audit(Option<Arc<Inner>>);

struct Inner {
    sink: Arc<dyn AuditSink>,
    worker: String,
    supervisor: Supervisor,
    waiting: Mutex<Queue>,
    /// Held while entries are written, so that only one task writes.
    writing: tokio::sync::Mutex<()>,
    /// The last entry that was written.
    head: Mutex<Option<Link>>,
    failure: Mutex<Option<Failure>>,
    refusals: Mutex<Refusals>,
}

/// The latest failure of the log.
#[derive(Debug, Clone, Copy)]
struct Failure {
    at: Instant,
    /// Whether [`AuditSink::check`] alone shows that it is over.
    is_change: bool,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Audit(on)" } else { "Audit(off)" })
    }
}

impl Audit {
    /// No log: recording succeeds and has no effect.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// A log in this sink. `worker` is the name of this server.
    #[must_use]
    pub fn new(sink: Arc<dyn AuditSink>, worker: String, supervisor: Supervisor) -> Self {
        Self(Some(Arc::new(Inner {
            sink,
            worker,
            supervisor,
            waiting: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            head: Mutex::default(),
            failure: Mutex::default(),
            refusals: Mutex::default(),
        })))
    }

    /// Opens the log in a file and records that the server started. Without settings there is no log. `worker` is the
    /// name of this server.
    pub async fn open(
        settings: Option<&AuditSettings>,
        worker: &str,
        supervisor: &Supervisor,
    ) -> Result<Self, AuditError> {
        let Some(AuditSettings { file, sync }) = settings else { return Ok(Self::off()) };
        let sink = FileSink::open(file, *sync)?;
        let removed_bytes = sink.removed_bytes();
        let audit = Self::new(Arc::new(sink), worker.to_owned(), supervisor.clone());
        if removed_bytes > 0 {
            tracing::warn!(
                bytes = removed_bytes,
                "a crash had cut off the last line of the audit log; moved it to a file of its own"
            );
            audit.record(audit.entry(Actor::Server, Action::LogMended)).await?;
        }
        audit.record(audit.entry(Actor::Server, Action::ServerStarted)).await?;
        Ok(audit)
    }

    /// The sink; `None` without a log.
    #[must_use]
    pub fn sink(&self) -> Option<&dyn AuditSink> {
        self.0.as_ref().map(|inner| inner.sink.as_ref())
    }

    /// The last entry that this server has written; `None` without a log. It does not wait for the log.
    #[must_use]
    pub fn head(&self) -> Option<Link> {
        self.0.as_ref().and_then(|inner| *inner.head.lock())
    }

    /// Creates an entry with the current time. It is not recorded yet.
    #[must_use]
    pub fn entry(&self, actor: Actor, action: Action) -> Entry {
        let worker = self.0.as_ref().map(|inner| inner.worker.clone());
        Entry { worker, ..Entry::new(timestamp_now(), actor, action) }
    }

    /// Whether work may start: the log is the one that was written before, and is not known to be unwritable. One second
    /// after a failed write this is true again, so that the next entry tries to write.
    pub async fn is_ready(&self) -> bool {
        let Some(inner) = &self.0 else { return true };
        inner.check().await && inner.failure.lock().is_none_or(|failure| failure.at.elapsed() >= RETRY_AFTER)
    }

    /// Whether the log cannot be written or is not the one that was written before, as far as is known.
    pub async fn is_failing(&self) -> bool {
        let Some(inner) = &self.0 else { return false };
        !inner.check().await || inner.failure.lock().is_some()
    }

    /// Records an entry. Returns when it is stored. If that fails, the entry is not recorded, and the caller must not do
    /// what it describes.
    pub async fn record(&self, entry: Entry) -> Result<(), AuditError> {
        self.record_or(entry, false).await
    }

    /// Records an entry about something that has happened already. Returns when it is stored, or when the first attempt
    /// to store it has failed. The entry is then written as soon as the log can be written.
    pub async fn record_or_retain(&self, entry: Entry) {
        // The failure is logged, and the entry is retained.
        let _ = self.record_or(entry, true).await;
    }

    async fn record_or(&self, entry: Entry, is_retained: bool) -> Result<(), AuditError> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let (waiter, stored) = oneshot::channel();
        inner.enqueue(Unwritten { entry, waiter: Some(waiter), is_retained });
        stored.await.unwrap_or(Err(AuditError::WriterEnded))
    }

    /// Records an entry about something that has happened already, without waiting. If the log cannot be written now, the
    /// entry is written as soon as it can.
    pub fn note(&self, entry: Entry) {
        if let Some(inner) = &self.0 {
            inner.note(entry);
        }
    }

    /// Records a request that was refused because of its key or role. At most one entry per second is written for each
    /// caller and reason, so that a client cannot fill the log with refused requests.
    pub fn note_refusal(&self, entry: Entry) {
        let Some(inner) = &self.0 else { return };
        let mut refusals = inner.refusals.lock();
        let entries = refusals.count(entry, Instant::now());
        let needs_writer = !std::mem::replace(&mut refusals.has_writer, true);
        drop(refusals);
        for entry in entries {
            inner.note(entry);
        }
        if needs_writer {
            let writer = Arc::clone(inner);
            inner.supervisor.spawn("audit refusals", async move { writer.write_refusals().await });
        }
    }

    /// Continues the chain in a new log, if an operator has moved the log away. The outcome is logged.
    pub async fn rotate(&self) {
        let Some(inner) = &self.0 else { return };
        match inner.sink.rotate(self.entry(Actor::Server, Action::LogRotated)).await {
            Ok(true) => {
                *inner.failure.lock() = None;
                if let Ok(head) = inner.sink.head().await {
                    *inner.head.lock() = Some(head);
                }
                tracing::info!("the audit log was rotated: the chain continues in a new file");
            }
            Ok(false) => tracing::debug!("the audit log is in its place"),
            Err(error) => inner.set_failure(&error),
        }
    }

    /// Records what is still counted or retained, and that the server stopped. No entry may be recorded after it.
    pub async fn finish(&self) {
        let Some(inner) = &self.0 else { return };
        inner.write_all_refusals();
        // A failure to write is logged.
        let _ = self.record(self.entry(Actor::Server, Action::ServerStopped)).await;
    }

    /// Starts an entry whose outcome is not known yet. [`PendingEntry::settle`] records it.
    #[must_use]
    pub fn pending(&self, entry: Entry) -> PendingEntry {
        PendingEntry { audit: self.clone(), entry: Some(entry) }
    }
}

impl Inner {
    fn note(self: &Arc<Self>, entry: Entry) {
        self.enqueue(Unwritten { entry, waiter: None, is_retained: true });
    }

    fn enqueue(self: &Arc<Self>, unwritten: Unwritten) {
        let mut waiting = self.waiting.lock();
        if unwritten.is_retained && waiting.has_retry {
            if waiting.entries.len() < RETAINED_MAX {
                waiting.entries.push(Unwritten { waiter: None, ..unwritten });
            } else {
                tracing::error!(
                    action = unwritten.entry.action.code(),
                    "an audit entry was lost: too many wait"
                );
            }
            return;
        }
        waiting.entries.push(unwritten);
        waiting.has_new = true;
        drop(waiting);
        let inner = Arc::clone(self);
        // A task of its own: a caller that is dropped must not cancel a write that also stores entries of others.
        self.supervisor.spawn("audit", async move {
            let _writing = inner.writing.lock().await;
            // Of several such tasks the first writes for all.
            if inner.waiting.lock().has_new {
                inner.write_waiting().await;
            }
        });
    }

    /// Writes all waiting entries at once. The caller holds [`Self::writing`].
    async fn write_waiting(self: &Arc<Self>) {
        let batch = {
            let mut waiting = self.waiting.lock();
            waiting.has_new = false;
            std::mem::take(&mut waiting.entries)
        };
        if batch.is_empty() {
            return;
        }
        let entries = batch.iter().map(|unwritten| unwritten.entry.clone()).collect();
        let outcome = self.sink.append(entries).await.map(|head| *self.head.lock() = Some(head));
        let mut retained = Vec::new();
        let mut lost = 0_usize;
        for Unwritten { entry, waiter, is_retained } in batch {
            if outcome.is_err() && is_retained && retained.len() < RETAINED_MAX {
                retained.push(Unwritten { entry, waiter: None, is_retained });
            } else {
                lost += usize::from(is_retained);
            }
            if let Some(waiter) = waiter {
                // A waiter that is gone needs no answer.
                let _ = waiter.send(outcome.clone());
            }
        }
        match outcome {
            Ok(()) => *self.failure.lock() = None,
            Err(error) => {
                self.set_failure(&error);
                if lost > 0 {
                    tracing::error!(entries = lost, "audit entries were lost: too many wait");
                }
                self.retain(retained);
            }
        }
    }

    /// Puts entries back to the front of the queue, and tries again to write them until that succeeds.
    fn retain(self: &Arc<Self>, retained: Vec<Unwritten>) {
        if retained.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock();
        waiting.entries.splice(..0, retained);
        if std::mem::replace(&mut waiting.has_retry, true) {
            return;
        }
        drop(waiting);
        tracing::warn!("audit entries wait until the audit log can be written");
        let inner = Arc::clone(self);
        self.supervisor.spawn("retry audit entries", async move {
            let stop = inner.supervisor.stop_token().clone();
            // At the stop, [`Audit::finish`] tries for the last time.
            while tokio::time::timeout(RETRY_AFTER, stop.cancelled()).await.is_err() {
                if inner.check().await {
                    let _writing = inner.writing.lock().await;
                    inner.write_waiting().await;
                }
                let mut waiting = inner.waiting.lock();
                if !waiting.entries.iter().any(|unwritten| unwritten.is_retained) {
                    waiting.has_retry = false;
                    return;
                }
            }
        });
    }
}

impl Inner {
    /// Whether the log is the one that was written before.
    async fn check(&self) -> bool {
        match self.sink.check().await {
            Ok(()) => {
                let mut failure = self.failure.lock();
                if failure.is_some_and(|failure| failure.is_change) {
                    tracing::info!("the audit log is in its place again");
                    *failure = None;
                }
                true
            }
            Err(error) => {
                self.set_failure(&error);
                false
            }
        }
    }

    /// Remembers a failure, and logs it unless one was logged a moment ago.
    fn set_failure(&self, error: &AuditError) {
        let is_change = matches!(error, AuditError::Changed { .. });
        let mut failure = self.failure.lock();
        let is_recent = failure.is_some_and(|failure| failure.at.elapsed() < RETRY_AFTER);
        if !is_recent {
            *failure = Some(Failure { at: Instant::now(), is_change });
            tracing::error!(error = %edgeprove_telemetry::chain(error), "the audit log cannot be written");
        }
    }

    /// Writes counted refusals when their second is over, until none is counted. At the stop it writes them at once.
    async fn write_refusals(self: Arc<Self>) {
        let stop = self.supervisor.stop_token().clone();
        while tokio::time::timeout(REFUSALS_EVERY, stop.cancelled()).await.is_err() {
            let (entries, is_done) = {
                let mut refusals = self.refusals.lock();
                let entries = refusals.take_due(Instant::now());
                refusals.has_writer = !refusals.is_empty();
                (entries, refusals.is_empty())
            };
            for entry in entries {
                self.note(entry);
            }
            if is_done {
                return;
            }
        }
        self.write_all_refusals();
    }

    fn write_all_refusals(self: &Arc<Self>) {
        let mut refusals = self.refusals.lock();
        refusals.has_writer = false;
        let entries = refusals.take_all();
        drop(refusals);
        for entry in entries {
            self.note(entry);
        }
    }
}

/// An entry whose outcome is not known yet. Dropped before [`Self::settle`], it is recorded as abandoned.
#[derive(Debug)]
pub struct PendingEntry {
    audit: Audit,
    entry: Option<Entry>,
}

impl PendingEntry {
    /// Records the entry with this outcome and the current time. Returns when it is stored. If that fails, the entry is
    /// written later, and a success, which the caller must not hand out then, becomes the outcome `audit_unavailable`.
    pub async fn settle(mut self, outcome: Outcome) -> Result<(), AuditError> {
        let Some(entry) = self.entry.take() else { return Ok(()) };
        let entry = Self::with_outcome(entry, outcome);
        if outcome != Outcome::Ok {
            return self.audit.record_or(entry, true).await;
        }
        let refused = Self::with_outcome(entry.clone(), Outcome::Failed(ProblemType::AuditUnavailable));
        // Dropped while the entry is written, it has its outcome.
        let stored = self.audit.record(entry).await;
        if stored.is_err() {
            self.audit.note(refused);
        }
        stored
    }

    fn with_outcome(entry: Entry, outcome: Outcome) -> Entry {
        Entry { outcome: Some(outcome), time: timestamp_now(), ..entry }
    }
}

impl Drop for PendingEntry {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.audit.note(Self::with_outcome(entry, Outcome::Abandoned));
        }
    }
}

#[cfg(test)]
mod tests;
