//! The log that shows whether it was changed: who asked for what, and what became of it.
//!
//! What an entry says and how entries are chained is [`edgeprove_job_rules::audit`]'s business; where they are kept is an
//! [`AuditSink`]'s. This is what lies between: entries that arrive together are written together, in one order, and whoever
//! must know that its entry is kept waits until it is.
//!
//! Nothing is done that is not put on record: where the log cannot be written, work is refused.
//!
//! - [`mod@file`]: a file of JSON lines.

use edgeprove_protocol::{HasProblemType, ProblemType};
use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_job_rules::audit::{Action, Actor, Entry, Link, Outcome, Record, chain::LineFault};
use tokio::sync::oneshot;

use edgeprove_telemetry::supervisor::Supervisor;

pub mod file;

/// After a failure, how long work is refused without another attempt to write.
const PAUSE: Duration = Duration::from_secs(1);
/// Of requests without a right, at most one entry in this time. It says how many it stands for.
const REFUSALS_EVERY: Duration = Duration::from_secs(1);

/// Where entries are kept.
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// Adds entries at the end of the chain, in this order: all of them or none. They are kept when this returns.
    async fn append(&self, entries: Vec<Entry>) -> Result<Link, AuditError>;

    /// At most `limit` entries after the one of this number.
    async fn read(&self, after: u64, limit: usize) -> Result<Vec<Record>, AuditError>;

    /// Where the chain ends.
    async fn head(&self) -> Result<Link, AuditError>;
}

/// Why the log cannot be written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// The system would not.
    #[error("the audit log {} cannot be {doing}", path.display())]
    Io {
        /// The log.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another process writes it.
    #[error("the audit log {} is written by another process: give each server one of its own", path.display())]
    Taken {
        /// The log.
        path: PathBuf,
    },
    /// It is not what was written.
    #[error("the audit log {} is damaged, or is none: `edgeprove audit verify` tells where", path.display())]
    Damaged {
        /// The log.
        path: PathBuf,
        /// What is wrong with the line that was looked at.
        #[source]
        fault: LineFault,
    },
    /// The writer was lost.
    #[error("the audit log's writer ended in the middle of its work")]
    Lost,
}

type Told = oneshot::Sender<Result<(), AuditError>>;

/// The server's way to the log. Clones share it.
#[derive(Clone)]
pub struct Audit(Option<Arc<Inner>>);

struct Inner {
    sink: Arc<dyn AuditSink>,
    worker: String,
    supervisor: Supervisor,
    waiting: Mutex<Vec<(Entry, Option<Told>)>>,
    turn: tokio::sync::Mutex<()>,
    failed_at: Mutex<Option<Instant>>,
    refusals: Mutex<Refusals>,
}

#[derive(Default)]
struct Refusals {
    told_at: Option<Instant>,
    untold: u64,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Audit(on)" } else { "Audit(off)" })
    }
}

impl Audit {
    /// No log.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// A log that is kept by this sink. `worker` is the name of this server.
    #[must_use]
    pub fn new(sink: Arc<dyn AuditSink>, worker: String, supervisor: Supervisor) -> Self {
        Self(Some(Arc::new(Inner {
            sink,
            worker,
            supervisor,
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            failed_at: Mutex::default(),
            refusals: Mutex::default(),
        })))
    }

    /// Where entries are kept; `None` where there is no log.
    #[must_use]
    pub fn sink(&self) -> Option<&dyn AuditSink> {
        self.0.as_ref().map(|inner| inner.sink.as_ref())
    }

    /// An entry of this moment, which tells nothing yet but who did what.
    #[must_use]
    pub fn entry(&self, actor: Actor, action: Action) -> Entry {
        let worker = self.0.as_ref().map(|inner| inner.worker.clone());
        Entry { worker, ..Entry::new(format!("{:.3}", jiff::Timestamp::now()), actor, action) }
    }

    /// Whether work may begin: nothing is known that would keep it from being put on record. A moment after a failure
    /// this says yes again, so that the next one tries.
    #[must_use]
    pub fn ready(&self) -> bool {
        let Some(inner) = &self.0 else { return true };
        locked(&inner.failed_at).is_none_or(|failed_at| failed_at.elapsed() >= PAUSE)
    }

    /// Whether the last attempt to write failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| locked(&inner.failed_at).is_some())
    }

    /// Puts an entry on record, and returns when it is kept.
    pub async fn record(&self, entry: Entry) -> Result<(), AuditError> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let (told, kept) = oneshot::channel();
        inner.put(entry, Some(told));
        kept.await.unwrap_or(Err(AuditError::Lost))
    }

    /// Puts an entry on record, without waiting. That it cannot be kept is logged.
    pub fn note(&self, entry: Entry) {
        if let Some(inner) = &self.0 {
            inner.put(entry, None);
        }
    }

    /// Notes that a request was turned away for want of a right. Whoever sends many does not fill the log.
    pub fn note_refusal(&self, entry: Entry) {
        let Some(inner) = &self.0 else { return };
        let mut refusals = locked(&inner.refusals);
        if refusals.told_at.is_some_and(|told_at| told_at.elapsed() < REFUSALS_EVERY) {
            refusals.untold += 1;
            return;
        }
        let times = std::mem::take(&mut refusals.untold) + 1;
        refusals.told_at = Some(Instant::now());
        drop(refusals);
        inner.put(Entry { times: (times > 1).then_some(times), ..entry }, None);
    }

    /// Begins the record of something whose end is told later, by [`Pending::settle`].
    #[must_use]
    pub fn pending(&self, entry: Entry) -> Pending {
        Pending { audit: self.clone(), entry: Some(entry) }
    }
}

impl Inner {
    fn put(self: &Arc<Self>, entry: Entry, told: Option<Told>) {
        locked(&self.waiting).push((entry, told));
        let inner = Arc::clone(self);
        // A task of its own, so that a caller who leaves does not break off what is written for others as well.
        self.supervisor.spawn("audit", async move { inner.write_waiting().await });
    }

    /// Writes whatever waits, in one go. Of those who come here together, the first finds it all.
    async fn write_waiting(&self) {
        let _turn = self.turn.lock().await;
        let (entries, told): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *locked(&self.waiting)).into_iter().unzip();
        if entries.is_empty() {
            return;
        }
        let count = entries.len();
        let outcome = self.sink.append(entries).await.map(|_| ());
        *locked(&self.failed_at) = outcome.is_err().then(Instant::now);
        if let Err(error) = &outcome {
            tracing::error!(error = %edgeprove_telemetry::chain(error), entries = count, "the audit log cannot be written");
        }
        for told in told.into_iter().flatten() {
            // Who has left need not be told.
            let _ = told.send(outcome.clone());
        }
    }
}

/// Something that is under way and will be on record, however it ends. Dropped before it is settled, it was abandoned.
#[derive(Debug)]
pub struct Pending {
    audit: Audit,
    entry: Option<Entry>,
}

impl Pending {
    /// Its end. Returns when the record is kept.
    pub async fn settle(mut self, outcome: Outcome) -> Result<(), AuditError> {
        match self.entry.take() {
            Some(entry) => self.audit.record(Self::ended(entry, outcome)).await,
            None => Ok(()),
        }
    }

    /// The entry tells when it ended.
    fn ended(entry: Entry, outcome: Outcome) -> Entry {
        Entry { outcome: Some(outcome), time: format!("{:.3}", jiff::Timestamp::now()), ..entry }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.audit.note(Self::ended(entry, Outcome::Abandoned));
        }
    }
}

/// A panic while an entry was put in its place leaves the others whole.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HasProblemType for AuditError {
    fn kind(&self) -> ProblemType {
        ProblemType::AuditUnavailable
    }
}

#[cfg(test)]
mod tests;
