//! A kind of job, as a server registers it: its name, its stages, what of it a server can run, and how to run it.
//!
//! Jobs may run twice: a worker that lost its lease did not know. Every kind must allow that.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use edgeprove_job_rules::{capability::Capability, job::Job, progress::Stage};

use crate::{attempt::Attempt, queue_types::JobOutcome};

/// A kind of job.
#[async_trait]
pub trait JobKind: Send + Sync {
    /// The name: in the queue, in the log, in the audit log, and as a label of metrics.
    fn name(&self) -> &'static str;

    /// The stages of an attempt, in order.
    fn stages(&self) -> &'static [Stage];

    /// The jobs of this kind that this server can run at the moment.
    fn capability(&self) -> Capability {
        Capability::all_of(self.name())
    }

    /// The jobs of this kind that others can run as well as far as this server knows, for positions in the queue.
    fn known(&self) -> Capability {
        self.capability()
    }

    /// How long the work of a completed job took, to learn from the jobs of earlier servers; `None` where nothing was worked,
    /// such as for a cached result, or where the job does not show it.
    fn work_of(&self, job: &Job) -> Option<Work>;

    /// The span of every log line about an attempt at this job.
    fn span(&self, _job: &Job) -> tracing::Span {
        tracing::Span::none()
    }

    /// Runs a job. When the attempt is stopped ([`Attempt::stopped`]), the future is dropped and its result ignored.
    async fn run(&self, job: &Job, attempt: &Attempt) -> JobOutcome;
}

/// Work that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The subject that it was done on, which can differ from the subject of the job.
    pub subject: String,
    /// How long it took.
    pub took: Duration,
}

/// The kinds of jobs that a server runs.
#[derive(Clone, Default)]
pub struct JobKinds(Arc<[Arc<dyn JobKind>]>);

impl JobKinds {
    /// These kinds.
    #[must_use]
    pub fn new(kinds: impl IntoIterator<Item = Arc<dyn JobKind>>) -> Self {
        Self(kinds.into_iter().collect())
    }

    /// The kind of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<dyn JobKind>> {
        self.0.iter().find(|kind| kind.name() == name)
    }

    /// All kinds.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn JobKind>> {
        self.0.iter()
    }

    /// What this server or others can run, as far as it knows.
    #[must_use]
    pub fn known(&self) -> Vec<Capability> {
        self.0.iter().map(|kind| kind.known()).collect()
    }

    /// What workers of this server can run at the moment.
    #[must_use]
    pub fn capabilities(&self) -> Vec<Capability> {
        self.0.iter().map(|kind| kind.capability()).collect()
    }
}
