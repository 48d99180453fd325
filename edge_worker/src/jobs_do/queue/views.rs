//! Jobs as callers see them, and the counts of the queue.

use std::collections::{BTreeMap, HashMap, HashSet};

use edgeprove_job_rules::{
    job::Job,
    job_document::for_observers,
    job_view::JobView,
    priority::Rank,
    proof_job::STAGES,
    queue_position::{JobGroup, QueuePosition, QueuedJob, positions},
    row,
    sql::view,
    time::UnixMillis,
    turn::{OrderKey, Turn},
};
use edgeprove_protocol::{JobDocument, JobId, JobStatus, Priority};
use serde::{Deserialize, Serialize};

use super::{KIND, Queue, QueueError};
use crate::jobs_do::{database::values, payload::document, protocol::Viewer};

/// The groups of queued jobs.
const GROUPS: &str =
    "SELECT kind, subject, count(*) AS jobs FROM jobs WHERE status = 'queued' GROUP BY kind, subject";

/// The place of a job that was inserted.
#[derive(Debug, Deserialize)]
pub(super) struct PlaceRow {
    pub(super) seq: i64,
    rank: i64,
    turn: i64,
}

/// A group of jobs ahead.
#[derive(Deserialize)]
pub(super) struct AheadRow {
    kind: Option<String>,
    subject: Option<String>,
    jobs: u64,
}

#[derive(Deserialize)]
struct QueuedRow {
    id: String,
    kind: String,
    subject: String,
    version: String,
}

#[derive(Deserialize)]
struct CountRow {
    status: String,
    priority: i64,
    jobs: u64,
}

#[derive(Deserialize)]
struct OldestRow {
    priority: i64,
    enqueued_at: i64,
}

/// The queue now: the answer of `GET /v1/queue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Jobs by status.
    pub jobs: BTreeMap<&'static str, u64>,
    /// Queued jobs by priority.
    pub queued: BTreeMap<&'static str, u64>,
    /// How long the oldest queued job of each priority has waited, in milliseconds.
    pub oldest_queued_ms: BTreeMap<&'static str, u64>,
    /// Jobs with watchers.
    pub watched: usize,
}

impl PlaceRow {
    pub(super) fn order(&self) -> OrderKey {
        OrderKey { rank: Rank(self.rank), turn: Turn(self.turn) }
    }
}

/// A position from the numbers of jobs ahead.
pub(super) fn read_position(rows: Vec<AheadRow>) -> QueuePosition {
    let mut ahead = Vec::<JobGroup>::new();
    for AheadRow { kind, subject, jobs } in rows {
        let (Some(kind), Some(subject)) = (kind, subject) else { continue };
        match ahead.iter_mut().find(|group| (&group.kind, &group.subject) == (&kind, &subject)) {
            Some(group) => group.jobs += jobs,
            None => ahead.push(JobGroup { kind, subject, jobs }),
        }
    }
    QueuePosition { ahead }
}

impl Queue {
    /// The view of a job that was read just now.
    pub fn view(&self, job: Job, now: UnixMillis) -> Result<JobView, QueueError> {
        let position = match job.status {
            JobStatus::Queued => {
                let rows: Vec<AheadRow> = self.rows(view::AHEAD, values![job.id.to_string()])?;
                (!rows.is_empty()).then(|| read_position(rows))
            }
            _ => None,
        };
        self.view_at(job, position, now)
    }

    fn view_at(
        &self,
        job: Job,
        position: Option<QueuePosition>,
        now: UnixMillis,
    ) -> Result<JobView, QueueError> {
        let until_done = match &position {
            Some(position) => self.until_done(position, &job.subject, now)?,
            None => None,
        };
        let work = if job.stage.is_none() && job.status == JobStatus::Running {
            self.expected_work(&job.subject)?
        } else {
            None
        };
        Ok(JobView::new(job, position, until_done, STAGES, work, now))
    }

    /// The document of a job that was read just now.
    pub fn document(&self, job: Job, viewer: &Viewer, now: UnixMillis) -> Result<JobDocument, QueueError> {
        let view = self.view(job, now)?;
        self.shown(&view, viewer, now)
    }

    /// The documents of jobs that were read just now. The queue is read once for all of them, and without positions not at all.
    pub fn documents(
        &self,
        jobs: Vec<Job>,
        has_positions: bool,
        viewer: &Viewer,
        now: UnixMillis,
    ) -> Result<Vec<JobDocument>, QueueError> {
        let queued = jobs.iter().filter(|job| has_positions && job.status == JobStatus::Queued);
        let wanted: HashSet<JobId> = queued.map(|job| job.id).collect();
        let queue = if wanted.is_empty() { Vec::new() } else { self.queued()? };
        let found = positions(&queue, |_| true, |id| wanted.contains(&id));
        let mut found: HashMap<JobId, QueuePosition> =
            found.map(|(job, position)| (job.id, position)).collect();
        let mut shown = Vec::with_capacity(jobs.len());
        for job in jobs {
            let position = found.remove(&job.id);
            shown.push(self.shown(&self.view_at(job, position, now)?, viewer, now)?);
        }
        Ok(shown)
    }

    fn shown(&self, view: &JobView, viewer: &Viewer, now: UnixMillis) -> Result<JobDocument, QueueError> {
        let shown = document(view)?;
        let retention = self.rules.rules.retention;
        Ok(if viewer.operates { for_observers(shown, &view.job, now, retention) } else { shown })
    }

    fn queued(&self) -> Result<Vec<QueuedJob>, QueueError> {
        let rows: Vec<QueuedRow> = self.rows(view::QUEUED, values![i64::from(u32::MAX), KIND])?;
        let job = |row: QueuedRow| {
            let QueuedRow { id, kind, subject, version } = row;
            let id = id.parse().map_err(row::CorruptRow::Id)?;
            Ok::<_, QueueError>(QueuedJob { id, kind, subject, version })
        };
        rows.into_iter().map(job).collect()
    }

    pub(super) fn queued_groups(&self) -> Result<Vec<JobGroup>, QueueError> {
        Ok(read_position(self.rows_of(GROUPS, &[])?).ahead)
    }

    /// The numbers of jobs.
    pub fn counts(&self, now: UnixMillis) -> Result<Counts, QueueError> {
        let mut counts = Counts {
            jobs: JobStatus::ALL.map(|status| (status.as_str(), 0)).into(),
            queued: Priority::ALL.map(|priority| (priority.as_str(), 0)).into(),
            oldest_queued_ms: BTreeMap::new(),
            watched: 0,
        };
        for CountRow { status, priority, jobs } in self.rows::<CountRow>(view::COUNTS, &[])? {
            let status: JobStatus = status.parse().map_err(row::CorruptRow::Status)?;
            *counts.jobs.entry(status.as_str()).or_default() += jobs;
            if status == JobStatus::Queued {
                *counts.queued.entry(row::priority(priority)?.as_str()).or_default() += jobs;
            }
        }
        for OldestRow { priority, enqueued_at } in self.rows::<OldestRow>(view::OLDEST_QUEUED, &[])? {
            let waited = now.since(UnixMillis(enqueued_at)).as_millis();
            let waited = u64::try_from(waited).unwrap_or(u64::MAX);
            counts.oldest_queued_ms.insert(row::priority(priority)?.as_str(), waited);
        }
        Ok(counts)
    }
}
