//! Jobs as callers see them, and the counts of the queue.

use edgeprove_job_rules::{
    job::Job,
    job_document::for_observers,
    job_view::JobView,
    proof_job::STAGES,
    queue_position::{JobGroup, QueuePosition, QueuedJob, positions},
    row,
    sql::view,
    time::UnixMillis,
};
use edgeprove_protocol::{JobDocument, JobId, JobStatus, Priority};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{KIND, Queue, QueueError};
use crate::jobs_do::{database::values, payload::document, protocol::Viewer, row::Row};

/// The groups of queued jobs.
const GROUPS: &str =
    "SELECT kind, subject, count(*) AS jobs FROM jobs WHERE status = 'queued' GROUP BY kind, subject";

/// The queue now: the answer of `GET /v1/queue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Jobs by status.
    pub jobs: Map<String, Value>,
    /// Queued jobs by priority.
    pub queued: Map<String, Value>,
    /// How long the oldest queued job of each priority has waited, in milliseconds.
    pub oldest_queued_ms: Map<String, Value>,
    /// Jobs with watchers.
    pub watched: usize,
}

/// A position from the numbers of jobs ahead.
pub(super) fn read_position(rows: Vec<Row>) -> Result<QueuePosition, QueueError> {
    let mut ahead = Vec::<JobGroup>::new();
    for mut row in rows {
        let jobs = row.count("jobs")?;
        let (Some(kind), Some(subject)) = (row.maybe_text("kind")?, row.maybe_text("subject")?) else {
            continue;
        };
        match ahead.iter_mut().find(|group| (&group.kind, &group.subject) == (&kind, &subject)) {
            Some(group) => group.jobs += jobs,
            None => ahead.push(JobGroup { kind, subject, jobs }),
        }
    }
    Ok(QueuePosition { ahead })
}

impl Queue {
    /// The view of a job that was read just now.
    pub fn view(&self, job: Job, now: UnixMillis) -> Result<JobView, QueueError> {
        let position = match job.status {
            JobStatus::Queued => {
                let rows = self.rows(view::AHEAD, values![job.id.to_string()])?;
                if rows.is_empty() { None } else { Some(read_position(rows)?) }
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
        // A page has few jobs.
        let wanted: Vec<JobId> = queued.map(|job| job.id).collect();
        let queue = if wanted.is_empty() { Vec::new() } else { self.queued()? };
        let found = positions(&queue, |_| true, |id| wanted.contains(&id));
        let mut found: Vec<(JobId, QueuePosition)> =
            found.map(|(job, position)| (job.id, position)).collect();
        let mut shown = Vec::with_capacity(jobs.len());
        for job in jobs {
            let at = found.iter().position(|(id, _)| *id == job.id);
            let position = at.map(|at| found.swap_remove(at).1);
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
        let rows = self.rows(view::QUEUED, values![i64::from(u32::MAX), KIND])?;
        let job = |mut row: Row| {
            let (kind, subject, version) = (row.text("kind")?, row.text("subject")?, row.text("version")?);
            let id = row.text("id")?.parse().map_err(row::CorruptRow::Id)?;
            Ok::<_, QueueError>(QueuedJob { id, kind, subject, version })
        };
        rows.into_iter().map(job).collect()
    }

    pub(super) fn queued_groups(&self) -> Result<Vec<JobGroup>, QueueError> {
        Ok(read_position(self.rows_of(GROUPS, &[])?)?.ahead)
    }

    /// The numbers of jobs.
    pub fn counts(&self, now: UnixMillis) -> Result<Counts, QueueError> {
        let mut counts = Counts {
            jobs: zeros(&JobStatus::ALL.map(JobStatus::as_str)),
            queued: zeros(&Priority::ALL.map(Priority::as_str)),
            oldest_queued_ms: Map::new(),
            watched: 0,
        };
        for mut row in self.rows(view::COUNTS, &[])? {
            let jobs = row.count("jobs")?;
            let status: JobStatus = row.text("status")?.parse().map_err(row::CorruptRow::Status)?;
            add(&mut counts.jobs, status.as_str(), jobs);
            if status == JobStatus::Queued {
                add(&mut counts.queued, row::priority(row.number("priority")?)?.as_str(), jobs);
            }
        }
        for row in self.rows(view::OLDEST_QUEUED, &[])? {
            let waited = now.since(UnixMillis(row.number("enqueued_at")?)).as_millis();
            let waited = u64::try_from(waited).unwrap_or(u64::MAX);
            add(&mut counts.oldest_queued_ms, row::priority(row.number("priority")?)?.as_str(), waited);
        }
        Ok(counts)
    }
}

/// Zero for each name.
fn zeros(names: &[&str]) -> Map<String, Value> {
    names.iter().map(|name| ((*name).to_owned(), Value::from(0))).collect()
}

/// Adds to the number of this name.
fn add(counts: &mut Map<String, Value>, name: &str, jobs: u64) {
    let before = counts.get(name).and_then(Value::as_u64).unwrap_or(0);
    counts.insert(name.to_owned(), (before + jobs).into());
}
