//! The queue in the object's database: each operation is a transaction of statements of [`edgeprove_job_rules::sql`], and
//! writes the audit log and the totals with the change itself. Times are arguments.

mod audit;
mod estimates;
mod listing;
mod schema;
mod upkeep;
mod views;
mod work;

use std::{cell::RefCell, rc::Rc, time::Duration};

use edgeprove_job_rules::{
    audit::Action,
    idempotency::{Idempotency, Verdict},
    job::{Job, NewJob},
    outcome::encode_payload,
    priority::Rank,
    queue_bounds::{Bounds, Full, Load},
    row::CorruptRow,
    sql::{Statement, intake, upkeep as statements, view, vouchers},
    time::UnixMillis,
    turn::{OrderKey, Turn},
};
use edgeprove_protocol::{JobId, JobStatus};

use self::{audit::Acting, estimates::Estimates};
pub use self::{
    audit::AuditPage,
    listing::Page,
    upkeep::{DoomedArtifact, Tidied},
    views::Counts,
    work::{AttemptEnd, LeaseStatus},
};
use super::{
    database::{Database, RollBack, SqlError, Value, values},
    error::{JobsError, QueueError},
    payload::Payload,
    protocol::{Submission, Viewer},
    row::Row,
    rules::JobRules,
};

/// The kind of all jobs of the queue.
pub const KIND: &str = edgeprove_job_rules::proof_job::KIND;

/// The size of the database at which no further jobs are accepted: Cloudflare's limit is 10 GB, and running jobs need some.
const STORAGE_MAX_BYTES: u64 = 8 << 30;

/// The queue. Clones share the database and what was learnt of durations.
#[derive(Clone)]
pub struct Queue {
    database: Rc<dyn Database>,
    rules: JobRules,
    /// The name of this process in leases, new with each start of the object.
    holder: Rc<str>,
    estimates: Rc<RefCell<Estimates>>,
}

/// The result of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// The job was accepted, and is durable once the object's writes are.
    Accepted(Box<Job>),
    /// The same request was accepted before, under the same idempotency key. This is its job.
    Known(Box<Job>),
}

impl Queue {
    /// The queue in this database, whose tables are created or changed to those of this version. `holder` names the process.
    pub fn open(database: Rc<dyn Database>, rules: JobRules, holder: &str) -> Result<Self, QueueError> {
        let estimates = Rc::default();
        let queue = Self { database, rules, holder: holder.into(), estimates };
        queue.migrate()?;
        Ok(queue)
    }

    /// The rules of the queue.
    #[must_use]
    pub fn rules(&self) -> &JobRules {
        &self.rules
    }

    fn rows(&self, statement: Statement, values: &[Value<'_>]) -> Result<Vec<Row>, QueueError> {
        self.rows_of(statement.sqlite, values)
    }

    fn rows_of(&self, statement: &str, values: &[Value<'_>]) -> Result<Vec<Row>, QueueError> {
        Row::read_all(&self.database.rows(statement, values)?)
    }

    fn jobs(&self, statement: Statement, values: &[Value<'_>]) -> Result<Vec<Job>, QueueError> {
        self.rows(statement, values)?.into_iter().map(Row::job).collect()
    }

    fn job(&self, statement: Statement, values: &[Value<'_>]) -> Result<Option<Job>, QueueError> {
        Ok(self.jobs(statement, values)?.pop())
    }

    /// The status that a statement returns.
    fn status(&self, statement: Statement, values: &[Value<'_>]) -> Result<Option<JobStatus>, QueueError> {
        let Some(mut row) = self.rows(statement, values)?.pop() else { return Ok(None) };
        Ok(Some(row.text("status")?.parse().map_err(CorruptRow::Status)?))
    }

    /// Runs `work` in a transaction. Nothing of it remains if it fails.
    fn atomically<T, E: From<QueueError>>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let (mut work, mut outcome) = (Some(work), None);
        let committed = self.database.transaction(&mut || {
            let result = work.take().map(|work| work());
            let is_ok = matches!(result, Some(Ok(_)));
            outcome = result;
            if is_ok { Ok(()) } else { Err(RollBack) }
        });
        match (committed, outcome) {
            (_, Some(Err(error))) => Err(error),
            (Ok(()), Some(Ok(value))) => Ok(value),
            (Err(error), _) => Err(QueueError::from(error).into()),
            (Ok(()), None) => Err(QueueError::from(SqlError("a transaction did not run".to_owned())).into()),
        }
    }

    /// Enqueues a job, unless it was accepted before or a bound is reached.
    pub fn enqueue(&self, submission: &Submission, now: UnixMillis) -> Result<Enqueued, JobsError> {
        let job = self.new_job(submission)?;
        self.atomically(|| {
            if let Some(known) = self.known(&job)? {
                return Ok(Enqueued::Known(Box::new(known)));
            }
            self.check_storage()?;
            self.check_deadline(submission, now)?;
            let bounds = self.bounds(submission);
            let Some((seq, place)) = self.insert(&job, bounds, now)? else {
                return Err(self.refusal(&job, bounds)?);
            };
            if let Some(voucher) = &submission.voucher {
                let expires_at = i64::try_from(voucher.expires_s.saturating_mul(1000)).unwrap_or(i64::MAX);
                let values = values![voucher.id.as_str(), expires_at, voucher.uses];
                if self.rows(vouchers::USE, values)?.is_empty() {
                    return Err(JobsError::VoucherUsedUp { uses: voucher.uses });
                }
            }
            let accepted = job.clone().arrive(seq, now, place);
            let acting = Acting::owner(&accepted).by_request(&submission.request_id);
            self.record(&accepted, acting, Action::JobSubmitted, now)?;
            self.count_accepted(&accepted)?;
            Ok(Enqueued::Accepted(Box::new(accepted)))
        })
    }

    fn new_job(&self, submission: &Submission) -> Result<NewJob, JobsError> {
        let invalid = |what: &str| JobsError::Invalid(format!("in the submission: {what}"));
        let idempotency = match (&submission.idempotency_key, &submission.body_digest) {
            (None, _) => None,
            (Some(key), Some(body)) => Some(Idempotency {
                key: key.parse().map_err(|_| invalid("the idempotency key"))?,
                body: body.parse().map_err(|_| invalid("the digest of the body"))?,
            }),
            (Some(_), None) => return Err(invalid("an idempotency key without a digest of the body")),
        };
        let attempts = submission.max_attempts.unwrap_or(self.rules.max_attempts);
        let payload = encode_payload(&Payload::of_submission(submission)).map_err(QueueError::from)?;
        Ok(NewJob {
            id: submission.id,
            kind: KIND.to_owned(),
            subject: submission.circuit.to_string(),
            version: String::new(),
            owner: submission.owner.clone(),
            account: submission.account.clone(),
            priority: submission.priority,
            max_attempts: attempts.clamp(1, self.rules.max_attempts),
            idempotency,
            payload,
            input: Some(submission.artifact.clone()),
        })
    }

    fn bounds(&self, submission: &Submission) -> Bounds {
        let mut bounds = self.rules.bounds;
        if let Some(max) = submission.unfinished_max {
            bounds.unfinished_per_account_max = bounds.unfinished_per_account_max.min(max);
        }
        bounds
    }

    /// The job of the same request, if it was accepted before.
    fn known(&self, job: &NewJob) -> Result<Option<Job>, JobsError> {
        let Some(asked) = &job.idempotency else { return Ok(None) };
        let values = values![job.account.as_str(), asked.key.as_str()];
        let Some(earlier) = self.job(intake::FIND_BY_KEY, values)? else { return Ok(None) };
        match earlier.idempotency.as_ref().map(|earlier| asked.judge(earlier)) {
            Some(Verdict::Same) => Ok(Some(earlier)),
            Some(Verdict::Conflict) | None => Err(JobsError::KeyConflict),
        }
    }

    fn check_storage(&self) -> Result<(), JobsError> {
        let bytes = self.database.size_bytes();
        if bytes > STORAGE_MAX_BYTES { Err(JobsError::StorageFull { bytes }) } else { Ok(()) }
    }

    /// Fails if a new job could surely not finish in time.
    fn check_deadline(&self, submission: &Submission, now: UnixMillis) -> Result<(), JobsError> {
        let Some(limit) = submission.deadline_ms.map(Duration::from_millis) else { return Ok(()) };
        let forecast = self.forecast(submission, now)?;
        match forecast.filter(|estimate| estimate.exceeds(limit)) {
            None => Ok(()),
            Some(estimate) => {
                Err(JobsError::Deadline { low: estimate.low, expected: estimate.expected, limit })
            }
        }
    }

    fn insert(
        &self,
        job: &NewJob,
        bounds: Bounds,
        now: UnixMillis,
    ) -> Result<Option<(i64, OrderKey)>, QueueError> {
        let idempotency = job.idempotency.as_ref();
        let values = values![
            job.account.as_str(),
            i64::from(job.priority.level()),
            now,
            Rank::new(job.priority, now).0,
            job.id.to_string(),
            job.kind.as_str(),
            job.subject.as_str(),
            job.version.as_str(),
            job.owner.as_str(),
            job.max_attempts,
            idempotency.map(|idempotency| idempotency.key.as_str()),
            idempotency.map(|idempotency| idempotency.body.to_string()),
            job.payload.as_str(),
            job.input.as_deref(),
            bounds.queued_max,
            bounds.unfinished_per_account_max,
            i64::from(bounds.has_shares),
        ];
        let Some(row) = self.rows(intake::ENQUEUE, values)?.pop() else { return Ok(None) };
        let place = OrderKey { rank: Rank(row.number("rank")?), turn: Turn(row.number("turn")?) };
        Ok(Some((row.number("seq")?, place)))
    }

    /// Why a job was not inserted.
    fn refusal(&self, job: &NewJob, bounds: Bounds) -> Result<JobsError, JobsError> {
        let row = self.rows(intake::LOAD, values![job.account.as_str()])?.pop();
        let row = row.ok_or(QueueError::Column("queued"))?;
        let count = |column| Ok::<_, QueueError>(u32::try_from(row.count(column)?).unwrap_or(u32::MAX));
        let queued = count("queued")?;
        let load = Load {
            queued,
            queued_of_account: count("queued_of_account")?,
            unfinished_of_account: count("unfinished_of_account")?,
        };
        let full = bounds.admit(load).err();
        let full = full.unwrap_or(Full::Queue { queued });
        let work = self.expected_work(&job.subject)?;
        Ok(JobsError::Full { full, wait: work.map(|work| Duration::from_secs(work.retry_after_s().min(60))) })
    }

    /// The job with this id, if the viewer may see it. To a page, a job of another scope does not exist.
    pub fn visible(&self, id: &str, viewer: &Viewer) -> Result<Job, JobsError> {
        // An id that cannot be read is no id of a job.
        let id: JobId = id.parse().map_err(|_| JobsError::NotFound)?;
        let job = self.get(id)?.ok_or(JobsError::NotFound)?;
        let is_own = viewer.owner == job.owner;
        let is_in_scope = match &viewer.scope {
            None => true,
            Some(scope) => Payload::of(&job)
                .map_err(QueueError::from)?
                .voucher
                .is_some_and(|voucher| voucher.scope == *scope),
        };
        if (is_own || viewer.operates) && is_in_scope { Ok(job) } else { Err(JobsError::NotFound) }
    }

    /// The job with this id.
    pub fn get(&self, id: JobId) -> Result<Option<Job>, QueueError> {
        self.job(view::GET, values![id.to_string()])
    }

    /// Cancels a job. Returns its status: cancelled, or running while its attempt has yet to stop.
    pub fn cancel(
        &self,
        job: &Job,
        viewer: &Viewer,
        request_id: &str,
        now: UnixMillis,
    ) -> Result<JobStatus, JobsError> {
        if job.status == JobStatus::Cancelled {
            return Ok(JobStatus::Cancelled);
        }
        self.atomically(|| {
            let expires_at = self.rules.rules.retention.expires_at(now);
            let values = values![job.id.to_string(), None::<&str>, now, expires_at];
            let status = self.status(statements::CANCEL, values)?;
            let status = status.ok_or(JobsError::AlreadyFinished(job.status))?;
            let acting = Acting::viewer(viewer).by_request(request_id);
            self.record(job, acting.clone(), Action::JobCancelRequested, now)?;
            if status == JobStatus::Cancelled {
                self.record(job, acting.ended(), Action::JobCancelled, now)?;
                self.count_ended(job, status, None)?;
            } else {
                self.remember_cancel(job, viewer)?;
            }
            Ok(status)
        })
    }

    /// Queues a failed job again, with all its attempts.
    pub fn requeue(
        &self,
        job: &Job,
        viewer: &Viewer,
        request_id: &str,
        now: UnixMillis,
    ) -> Result<(), JobsError> {
        if !viewer.operates {
            return Err(JobsError::OperatorsOnly);
        }
        let retention = self.rules.rules.retention;
        self.atomically(|| {
            let until = retention.failed_inputs_until(now);
            let max = self.rules.bounds.queued_max;
            let values = values![job.account.as_str(), job.id.to_string(), now, until, max];
            if self.status(statements::REQUEUE, values)?.is_some() {
                let acting = Acting::viewer(viewer).by_request(request_id).ended();
                self.record(job, acting, Action::JobRequeued, now)?;
                return Ok(());
            }
            Err(if job.status != JobStatus::Failed {
                let status = job.status;
                JobsError::NotRetryable(format!(
                    "only a failed job can be queued again, and this one is {status}"
                ))
            } else if job.may_be_requeued(now, retention) {
                JobsError::Full { full: Full::Queue { queued: max }, wait: None }
            } else {
                JobsError::NotRetryable(
                    "the witness of the job was deleted: witnesses of failed jobs are stored for \
                     EDGEPROVE_FAILED_WITNESS_TTL"
                        .to_owned(),
                )
            })
        })
    }

    /// Records that the proof of a job is about to be returned.
    pub fn fetched(
        &self,
        job: &Job,
        viewer: &Viewer,
        request_id: &str,
        now: UnixMillis,
    ) -> Result<(), QueueError> {
        self.atomically(|| {
            self.record(job, Acting::viewer(viewer).by_request(request_id), Action::JobFetched, now)
        })
    }
}
