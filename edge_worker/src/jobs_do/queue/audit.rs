//! The audit log and the totals, which are written in the transaction of each change.

use std::fmt::Write as _;

use edgeprove_job_rules::{
    audit::{Action, Actor, Entry, Hash, Link, Outcome, Record},
    job::Job,
    sql::audit::{APPEND, HEAD, READ},
    time::UnixMillis,
};
use edgeprove_protocol::{JobStatus, ProblemType};
use serde_json::Value;

use super::{KIND, Queue, QueueError};
use crate::jobs_do::{database::values, payload::Payload, protocol::Viewer, row::Row};

/// The name of the object in entries.
const WORKER: &str = "edge";
/// What owners of jobs with a key begin with.
const HOLDER: &str = "key:";

/// Adds to a total.
const ADD: &str =
    "INSERT INTO totals VALUES (?1, ?2) ON CONFLICT (series) DO UPDATE SET value = value + excluded.value";
/// Reads all totals.
const TOTALS: &str = "SELECT series, value FROM totals ORDER BY series";
/// Remembers who cancelled a job.
const REMEMBER: &str = "INSERT INTO cancels VALUES (?1, ?2) ON CONFLICT (job) DO NOTHING";
/// Forgets who cancelled a job.
const FORGET: &str = "DELETE FROM cancels WHERE job = ?1 RETURNING actor";

/// The families of totals, all of them counters: name and help, as `docs/METRICS.md` has them.
const FAMILIES: [(&str, &str); 6] = [
    ("edgeprove_jobs_accepted_total", "Jobs that were accepted, by kind and priority"),
    ("edgeprove_jobs_failures_total", "Jobs that failed, by kind and the problem's code"),
    ("edgeprove_jobs_finished_total", "Jobs that finished, by kind and outcome"),
    (
        "edgeprove_jobs_leases_lost_total",
        "Leases that expired because the server that held them died or hung, by kind",
    ),
    (
        "edgeprove_jobs_retries_total",
        "Attempts that failed and will be repeated, by kind and the problem's code",
    ),
    ("edgeprove_jobs_released_total", "Attempts that ended without a failure and will be repeated, by kind"),
];

/// Who acts on a job, and by which request.
#[derive(Debug, Clone)]
pub(super) struct Acting {
    actor: Actor,
    voucher: Option<String>,
    request_id: Option<String>,
    outcome: Option<Outcome>,
    is_attempt: bool,
}

/// A part of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// The entries, a line of JSON each.
    pub lines: String,
    /// The number after which the next page starts; `None` on the last.
    pub next: Option<u64>,
    /// The end of the log.
    pub head: Link,
}

impl Acting {
    /// The owner of the job.
    pub(super) fn owner(job: &Job) -> Self {
        Self::by(actor(&job.owner))
    }

    /// The object itself.
    pub(super) fn server() -> Self {
        Self::by(Actor::Server)
    }

    /// A caller.
    pub(super) fn viewer(viewer: &Viewer) -> Self {
        Self { voucher: viewer.voucher.clone(), ..Self::by(actor(&viewer.owner)) }
    }

    pub(super) fn by(actor: Actor) -> Self {
        Self { actor, voucher: None, request_id: None, outcome: None, is_attempt: false }
    }

    pub(super) fn by_request(self, id: &str) -> Self {
        Self { request_id: Some(id.to_owned()), ..self }
    }

    /// It succeeded.
    pub(super) fn ended(self) -> Self {
        self.with(Outcome::Ok)
    }

    pub(super) fn with(self, outcome: Outcome) -> Self {
        Self { outcome: Some(outcome), ..self }
    }

    /// It is about an attempt, so that the entry names it.
    pub(super) fn in_attempt(self) -> Self {
        Self { is_attempt: true, ..self }
    }
}

fn hash_of(row: &mut Row, column: &'static str) -> Result<Hash, QueueError> {
    row.text(column)?.parse().map_err(|_| QueueError::AuditBroken)
}

fn actor(owner: &str) -> Actor {
    owner.strip_prefix(HOLDER).map_or(Actor::Anonymous, |name| Actor::Key(name.to_owned()))
}

impl Queue {
    /// Appends an entry about a job. It is called in the transaction of the change.
    pub(super) fn record(
        &self,
        job: &Job,
        acting: Acting,
        action: Action,
        now: UnixMillis,
    ) -> Result<(), QueueError> {
        let owner = actor(&job.owner);
        let of_job = Payload::of(job)?.voucher.map(|voucher| voucher.id);
        let entry = Entry {
            job_id: Some(job.id),
            job_kind: Some(job.kind.clone()),
            circuit: job.subject.parse().ok(),
            owner: (owner != acting.actor).then_some(owner),
            voucher: acting.voucher.or(of_job),
            attempt: acting.is_attempt.then_some(job.attempts),
            lease_token: acting.is_attempt.then_some(job.lease_token),
            outcome: acting.outcome,
            request_id: acting.request_id,
            worker: Some(WORKER.to_owned()),
            ..Entry::new(now.rfc3339(), acting.actor, action)
        };
        self.append(&entry)
    }

    pub(super) fn append(&self, entry: &Entry) -> Result<(), QueueError> {
        let record = Record::after(self.audit_head()?, entry);
        let seq = i64::try_from(record.seq).unwrap_or(i64::MAX);
        let values =
            values![seq, record.previous.to_string(), record.entry.as_str(), record.hash.to_string()];
        if self.rows(APPEND, values)?.is_empty() { Err(QueueError::AuditBroken) } else { Ok(()) }
    }

    fn audit_head(&self) -> Result<Link, QueueError> {
        let Some(mut row) = self.rows(HEAD, &[])?.pop() else { return Ok(Link::START) };
        Ok(Link { seq: row.count("seq")?, hash: hash_of(&mut row, "hash")? })
    }

    /// A page of the audit log: at most `limit` entries after one, or the last ones.
    pub fn audit(&self, after: Option<u64>, limit: u32) -> Result<AuditPage, QueueError> {
        let head = self.audit_head()?;
        let after = after.unwrap_or_else(|| head.seq.saturating_sub(limit.into()));
        let from = i64::try_from(after).unwrap_or(i64::MAX);
        let (mut lines, mut last) = (String::new(), after);
        for mut row in self.rows(READ, values![from, limit])? {
            last = row.count("seq")?;
            let (previous, hash) = (hash_of(&mut row, "previous")?, hash_of(&mut row, "hash")?);
            let record = Record { seq: last, previous, entry: row.text("entry")?, hash };
            lines.push_str(&record.line());
            lines.push('\n');
        }
        Ok(AuditPage { lines, next: (last < head.seq).then_some(last), head })
    }

    /// Remembers who cancelled a running job, for the entry at its end.
    pub(super) fn remember_cancel(&self, job: &Job, viewer: &Viewer) -> Result<(), QueueError> {
        let values = values![job.id.to_string(), viewer.owner.as_str()];
        self.rows_of(REMEMBER, values).map(drop)
    }

    /// Who cancelled a job whose attempt ends. It is forgotten.
    pub(super) fn take_cancel(&self, job: &Job) -> Result<Option<Actor>, QueueError> {
        let Some(mut row) = self.rows_of(FORGET, values![job.id.to_string()])?.pop() else { return Ok(None) };
        Ok(Some(actor(&row.text("actor")?)))
    }

    pub(super) fn count_accepted(&self, job: &Job) -> Result<(), QueueError> {
        let priority = job.priority;
        self.add(&format!("edgeprove_jobs_accepted_total{{kind=\"{KIND}\",priority=\"{priority}\"}}"), 1)
    }

    /// Counts the end of a job, with the problem of a failed one.
    pub(super) fn count_ended(
        &self,
        _job: &Job,
        status: JobStatus,
        problem: Option<ProblemType>,
    ) -> Result<(), QueueError> {
        let outcome = match (status, problem) {
            (JobStatus::Completed, _) => "completed",
            (JobStatus::Cancelled, _) => "cancelled",
            (_, Some(problem)) if problem.status() < 500 => "caller_error",
            (_, _) => "server_error",
        };
        self.add(&format!("edgeprove_jobs_finished_total{{kind=\"{KIND}\",outcome=\"{outcome}\"}}"), 1)?;
        match problem.filter(|_| status == JobStatus::Failed) {
            Some(problem) => self.add_by_code("edgeprove_jobs_failures_total", problem),
            None => Ok(()),
        }
    }

    /// Counts an attempt after which the job is queued again; without a problem it was released.
    pub(super) fn count_retried(&self, problem: Option<ProblemType>) -> Result<(), QueueError> {
        match problem {
            Some(problem) => self.add_by_code("edgeprove_jobs_retries_total", problem),
            None => self.add(&format!("edgeprove_jobs_released_total{{kind=\"{KIND}\"}}"), 1),
        }
    }

    pub(super) fn count_lost(&self, jobs: usize) -> Result<(), QueueError> {
        let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
        self.add(&format!("edgeprove_jobs_leases_lost_total{{kind=\"{KIND}\"}}"), jobs)
    }

    fn add_by_code(&self, family: &str, problem: ProblemType) -> Result<(), QueueError> {
        self.add(&format!("{family}{{kind=\"{KIND}\",code=\"{}\"}}", problem.code()), 1)
    }

    fn add(&self, series: &str, value: i64) -> Result<(), QueueError> {
        self.rows_of(ADD, values![series, value]).map(drop)
    }

    /// The metrics of the queue, in the text format of Prometheus.
    pub fn metrics(&self, now: UnixMillis) -> Result<String, QueueError> {
        let mut totals = Vec::new();
        for mut row in self.rows_of(TOTALS, &[])? {
            totals.push((row.text("series")?, row.number("value")?));
        }
        let mut text = String::new();
        for (family, help) in FAMILIES {
            let of_family = |total: &&(String, i64)| total.0.split('{').next() == Some(family);
            let mut rows = totals.iter().filter(of_family).peekable();
            if rows.peek().is_some() {
                // Writing to a `String` cannot fail.
                let _ = writeln!(text, "# HELP {family} {help}\n# TYPE {family} counter");
            }
            for (series, value) in rows {
                let _ = writeln!(text, "{series} {value}");
            }
        }
        let counts = self.counts(now)?;
        text.push_str("# HELP edgeprove_jobs_queued Jobs in the queue, by kind and priority\n");
        text.push_str("# TYPE edgeprove_jobs_queued gauge\n");
        for (priority, jobs) in &counts.queued {
            let _ = writeln!(text, "edgeprove_jobs_queued{{kind=\"{KIND}\",priority=\"{priority}\"}} {jobs}");
        }
        text.push_str("# HELP edgeprove_jobs_running Jobs that run, by kind\n");
        text.push_str("# TYPE edgeprove_jobs_running gauge\n");
        let running = counts.jobs.get(JobStatus::Running.as_str()).and_then(Value::as_u64).unwrap_or(0);
        let _ = writeln!(text, "edgeprove_jobs_running{{kind=\"{KIND}\"}} {running}");
        text.push_str("# HELP edgeprove_job_store_bytes Size of the database of the jobs\n");
        text.push_str("# TYPE edgeprove_job_store_bytes gauge\n");
        let _ = writeln!(text, "edgeprove_job_store_bytes {}", self.database.size_bytes());
        Ok(text)
    }
}
