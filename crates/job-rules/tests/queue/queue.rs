//! The queue with typed arguments and results. Each method executes one statement.

use edgeprove_job_rules::{
    capability::{self, Capability},
    idempotency::{Idempotency, Verdict},
    job::{Job, NewJob},
    lease::LeaseToken,
    priority::Rank,
    queue_bounds::{Bounds, Full, Load},
    row::JobRow,
    sql::{Dialect, intake, upkeep, view, work},
    time::UnixMillis,
    transition::Rules,
};
use edgeprove_protocol::{JobId, JobStatus, Priority};
use sqlx::{Any, Connection as _, Executor as _, Row as _, any::AnyRow};

use crate::{
    database::{Database, Value, bound, values},
    model::stage_estimate,
};

/// The outcome of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Intake {
    Accepted(JobId),
    Known(JobId),
    Conflict,
    Full(Full),
}

/// A page of a list of jobs. What is `None` or empty selects any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Listing<'a> {
    pub(crate) owner: Option<&'a str>,
    pub(crate) kind: Option<&'a str>,
    pub(crate) statuses: &'a [JobStatus],
    pub(crate) subject: Option<&'a str>,
    pub(crate) id_pattern: Option<&'a str>,
    pub(crate) from: Option<i64>,
    pub(crate) until: Option<i64>,
    pub(crate) outcome: Option<&'a str>,
    pub(crate) priority: Option<Priority>,
    pub(crate) oldest_first: bool,
    pub(crate) position: Option<i64>,
    pub(crate) limit: u32,
}

impl<'a> Listing<'a> {
    /// All jobs of an owner.
    pub(crate) fn of(owner: &'a str) -> Self {
        Self { owner: Some(owner), limit: 1_000, ..Self::default() }
    }

    /// The first values of a list.
    fn filter(&self) -> Vec<Value> {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let statuses: Vec<_> = self.statuses.iter().map(|status| status.as_str()).collect();
        let statuses = (!statuses.is_empty()).then(|| format!(",{},", statuses.join(",")));
        let level = self.priority.map(|priority| i64::from(priority.level()));
        values![
            text(self.owner),
            text(self.kind),
            statuses,
            text(self.subject),
            text(self.id_pattern),
            self.from,
            self.until,
            text(self.outcome),
            level,
        ]
        .into()
    }
}

/// The queue.
pub(crate) struct Queue {
    pub(crate) database: Database,
    pub(crate) rules: Rules,
}

impl Queue {
    /// Enqueues a job, and checks that it gets the predicted position. No other connection may enqueue meanwhile.
    pub(crate) async fn enqueue_as_predicted(
        &mut self,
        job: &NewJob,
        bounds: Bounds,
        now: UnixMillis,
    ) -> Intake {
        let predicted = self.ahead_of(job, now).await;
        let intake = self.enqueue(job, bounds, now).await;
        if let Intake::Accepted(id) = intake {
            let jobs = self.ahead(id).await.expect("it is queued").into_iter().map(|(.., jobs)| jobs);
            assert_eq!(jobs.sum::<i64>(), predicted);
        }
        intake
    }

    pub(crate) async fn enqueue(&mut self, job: &NewJob, bounds: Bounds, now: UnixMillis) -> Intake {
        let idempotency = job.idempotency.clone();
        let [account, level, now, rank] = arrival(job, now);
        let values = values![
            account,
            level,
            now,
            rank,
            job.id.to_string(),
            job.kind.clone(),
            job.subject.clone(),
            job.version.clone(),
            job.owner.clone(),
            job.max_attempts,
            idempotency.as_ref().map(|idempotency| idempotency.key.as_str().to_owned()),
            idempotency.as_ref().map(|idempotency| idempotency.body.to_string()),
            job.payload.clone(),
            job.input.clone(),
            bounds.queued_max,
            bounds.unfinished_per_account_max,
            u32::from(bounds.has_shares),
        ];
        let dialect = self.database.dialect;
        let text = intake::ENQUEUE.text(dialect);
        let mut transaction = self.database.connection.begin().await.unwrap();
        if dialect == Dialect::Postgres {
            transaction.execute(intake::POSTGRES_LOCK_INTAKE).await.unwrap();
        }
        let accepted = bound(text, &values).fetch_optional(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        if accepted.is_some() {
            return Intake::Accepted(job.id);
        }
        if let Some(asked) = &idempotency
            && let Some(earlier) = self.find_by_key(&job.account, asked).await
        {
            return match asked.judge(earlier.idempotency.as_ref().unwrap()) {
                Verdict::Same => Intake::Known(earlier.id),
                Verdict::Conflict => Intake::Conflict,
            };
        }
        Intake::Full(bounds.admit(self.load(&job.account).await).unwrap_err())
    }

    pub(crate) async fn load(&mut self, account: &str) -> Load {
        let load = self.database.row(intake::LOAD, &values![account]).await.unwrap();
        let number = |column: &str| u32::try_from(load.get::<i64, _>(column)).unwrap();
        Load {
            queued: number("queued"),
            queued_of_account: number("queued_of_account"),
            unfinished_of_account: number("unfinished_of_account"),
        }
    }

    /// The jobs ahead of a job that would be submitted now, in all.
    async fn ahead_of(&mut self, job: &NewJob, now: UnixMillis) -> i64 {
        let rows = self.database.rows(view::AHEAD_OF_NEW_JOB, &arrival(job, now)).await;
        rows.iter().map(|row| row.get::<i64, _>("jobs")).sum()
    }

    async fn find_by_key(&mut self, account: &str, asked: &Idempotency) -> Option<Job> {
        let row = self.database.row(intake::FIND_BY_KEY, &values![account, asked.key.as_str()]).await;
        row.as_ref().map(job)
    }

    pub(crate) async fn claim(
        &mut self,
        holder: &str,
        capabilities: &[Capability],
        now: UnixMillis,
    ) -> Option<Job> {
        let (until, capabilities) = (self.rules.lease.until(now).0, capability::json(capabilities));
        // Both statements follow the same rules.
        if now.0 % 2 == 0 {
            let values = values![now.0, until, capabilities, holder];
            return self.database.row(work::CLAIM, &values).await.as_ref().map(job);
        }
        let values = values![now.0, until, capabilities, serde_json::json!([holder]).to_string()];
        self.database.row(work::CLAIM_SEVERAL, &values).await.as_ref().map(job)
    }

    /// Whether a caller cancelled the job. `None`: the lease is lost.
    pub(crate) async fn heartbeat(&mut self, id: JobId, token: LeaseToken, now: UnixMillis) -> Option<bool> {
        let values = values![id.to_string(), token.0, self.rules.lease.until(now).0];
        self.database.row(work::HEARTBEAT, &values).await.as_ref().map(cancel_requested)
    }

    pub(crate) async fn report_stage(
        &mut self,
        id: JobId,
        token: LeaseToken,
        stage: &str,
        now: UnixMillis,
    ) -> Option<bool> {
        let values = values![id.to_string(), token.0, stage, now.0, stage_estimate(stage)];
        self.database.row(work::REPORT_STAGE, &values).await.as_ref().map(cancel_requested)
    }

    pub(crate) async fn complete(
        &mut self,
        id: JobId,
        token: LeaseToken,
        result: Option<String>,
        outcome: &str,
        now: UnixMillis,
    ) -> Option<JobStatus> {
        let expires_at = self.rules.retention.expires_at(now);
        let values = values![id.to_string(), token.0, now.0, "completed", outcome, result, expires_at.0];
        self.database.row(work::FINISH, &values).await.as_ref().map(status)
    }

    pub(crate) async fn fail(
        &mut self,
        id: JobId,
        token: LeaseToken,
        outcome: &str,
        now: UnixMillis,
    ) -> Option<JobStatus> {
        let expires_at = self.rules.retention.expires_at(now);
        let values = values![id.to_string(), token.0, now.0, "failed", outcome, None::<String>, expires_at.0];
        self.database.row(work::FINISH, &values).await.as_ref().map(status)
    }

    pub(crate) async fn retry(
        &mut self,
        id: JobId,
        token: LeaseToken,
        run_at: UnixMillis,
        outcome: &str,
        now: UnixMillis,
    ) -> Option<JobStatus> {
        let expires_at = self.rules.retention.expires_at(now);
        let values = values![now.0, run_at.0, outcome, expires_at.0, id.to_string(), token.0];
        self.database.row(work::RETRY, &values).await.as_ref().map(status)
    }

    pub(crate) async fn release(
        &mut self,
        id: JobId,
        token: LeaseToken,
        now: UnixMillis,
    ) -> Option<JobStatus> {
        let expires_at = self.rules.retention.expires_at(now);
        let values = values![id.to_string(), token.0, now.0, expires_at.0];
        self.database.row(work::RELEASE, &values).await.as_ref().map(status)
    }

    pub(crate) async fn next_due(&mut self, now: UnixMillis) -> Option<i64> {
        self.database.row(work::NEXT_DUE, &values![now.0]).await.unwrap().get("run_at")
    }

    pub(crate) async fn cancel(
        &mut self,
        id: JobId,
        owner: Option<&str>,
        now: UnixMillis,
    ) -> Option<JobStatus> {
        let expires_at = self.rules.retention.expires_at(now);
        let values = values![id.to_string(), owner.map(str::to_owned), now.0, expires_at.0];
        self.database.row(upkeep::CANCEL, &values).await.as_ref().map(status)
    }

    pub(crate) async fn reap(
        &mut self,
        ended_by: UnixMillis,
        run_at: UnixMillis,
        outcome: &str,
        now: UnixMillis,
    ) -> Vec<Job> {
        let expires_at = self.rules.retention.expires_at(now);
        let values = values![now.0, run_at.0, outcome, expires_at.0, ended_by.0];
        self.database.rows(upkeep::REAP, &values).await.iter().map(job).collect()
    }

    pub(crate) async fn abandon(
        &mut self,
        since: UnixMillis,
        capabilities: &[Capability],
        outcome: &str,
        now: UnixMillis,
    ) -> Vec<Job> {
        let expires_at = self.rules.retention.expires_at(now);
        let values = values![now.0, since.0, capability::json(capabilities), outcome, expires_at.0];
        self.database.rows(upkeep::ABANDON, &values).await.iter().map(job).collect()
    }

    pub(crate) async fn settle(&mut self, now: UnixMillis) -> Vec<JobId> {
        let Rules { lease, backoff, retention } = self.rules;
        let values =
            values![now.0, now.after(backoff.cap).0, lease.until(now).0, retention.expires_at(now).0];
        self.database.rows(upkeep::SETTLE, &values).await.iter().map(id).collect()
    }

    pub(crate) async fn expire(&mut self, limit: u32, now: UnixMillis) -> Vec<JobId> {
        self.database.rows(upkeep::EXPIRE, &values![now.0, limit]).await.iter().map(id).collect()
    }

    pub(crate) async fn requeue(&mut self, job: &Job, queued_max: u32, now: UnixMillis) -> Option<JobStatus> {
        let until = self.rules.retention.failed_inputs_until(now);
        let values = values![job.account.as_str(), job.id.to_string(), now.0, until.0, queued_max];
        self.database.row(upkeep::REQUEUE, &values).await.as_ref().map(status)
    }

    pub(crate) async fn doomed_artifacts(&mut self, now: UnixMillis) -> Vec<(i64, String)> {
        let until = self.rules.retention.failed_inputs_until(now);
        let rows = self.database.rows(upkeep::DOOMED_ARTIFACTS, &values![1_000_u32, until.0]).await;
        rows.iter().map(|row| (row.get("seq"), row.get("artifact"))).collect()
    }

    pub(crate) async fn forget_artifact(&mut self, seq: i64, artifact: &str) -> bool {
        self.database.row(upkeep::FORGET_ARTIFACT, &values![seq, artifact]).await.is_some()
    }

    pub(crate) async fn named_artifacts(&mut self) -> Vec<String> {
        let rows = self.database.rows(upkeep::NAMED_ARTIFACTS, &[]).await;
        rows.iter().map(|row| row.get("artifact")).collect()
    }

    pub(crate) async fn delete(&mut self, limit: u32, now: UnixMillis) -> Vec<JobId> {
        let values = values![self.rules.retention.rows_until(now).0, limit];
        self.database.rows(upkeep::DELETE, &values).await.iter().map(id).collect()
    }

    pub(crate) async fn get(&mut self, id: JobId) -> Option<Job> {
        self.database.row(view::GET, &values![id.to_string()]).await.as_ref().map(job)
    }

    pub(crate) async fn list(&mut self, listing: &Listing<'_>) -> Vec<Job> {
        let statement = match (listing.owner, listing.oldest_first) {
            (Some(_), false) => view::LIST,
            (Some(_), true) => view::LIST_OLDEST,
            (None, false) => view::LIST_ALL,
            (None, true) => view::LIST_ALL_OLDEST,
        };
        let mut values = listing.filter();
        values.extend(values![listing.position, listing.limit]);
        self.database.rows(statement, &values).await.iter().map(job).collect()
    }

    pub(crate) async fn count_listed(&mut self, listing: &Listing<'_>) -> i64 {
        self.database.row(view::COUNT_LISTED, &listing.filter()).await.unwrap().get("jobs")
    }

    /// The jobs ahead of a queued job: kind, subject, version and number. `None`: the job is not queued.
    pub(crate) async fn ahead(&mut self, id: JobId) -> Option<Vec<(String, String, String, i64)>> {
        let rows = self.database.rows(view::AHEAD, &values![id.to_string()]).await;
        let is_queued = !rows.is_empty();
        let some = rows.iter().filter(|row| row.get::<i64, _>("jobs") > 0);
        let ahead =
            some.map(|row| (row.get("kind"), row.get("subject"), row.get("version"), row.get("jobs")));
        let ahead = ahead.collect();
        is_queued.then_some(ahead)
    }

    pub(crate) async fn queued(&mut self) -> Vec<JobId> {
        self.database.rows(view::QUEUED, &values![1_000_u32, None::<String>]).await.iter().map(id).collect()
    }

    /// Kind, status, level of the priority, number of jobs.
    pub(crate) async fn counts(&mut self) -> Vec<(String, JobStatus, i64, i64)> {
        let rows = self.database.rows(view::COUNTS, &[]).await;
        rows.iter().map(|row| (row.get("kind"), status(row), row.get("priority"), row.get("jobs"))).collect()
    }

    /// The level of the priority, and since when its oldest job is queued.
    pub(crate) async fn oldest_queued(&mut self) -> Vec<(i64, i64)> {
        let rows = self.database.rows(view::OLDEST_QUEUED, &[]).await;
        rows.iter().map(|row| (row.get("priority"), row.get("enqueued_at"))).collect()
    }

    pub(crate) async fn completed(&mut self, kind: &str, subject: &str) -> Vec<JobId> {
        let rows = self.database.rows(view::COMPLETED, &values![kind, subject, 1_000_u32]).await;
        rows.iter().map(|row| job(row).id).collect()
    }
}

fn id(row: &AnyRow) -> JobId {
    row.get::<String, _>("id").parse().unwrap()
}

fn status(row: &AnyRow) -> JobStatus {
    row.get::<String, _>("status").parse().unwrap()
}

fn cancel_requested(row: &AnyRow) -> bool {
    row.get::<Option<i64>, _>("cancel_requested_at").is_some()
}

fn job(row: &AnyRow) -> Job {
    fn get<'r, T: sqlx::Decode<'r, Any> + sqlx::Type<Any>>(row: &'r AnyRow, column: &str) -> T {
        row.get(column)
    }
    let row = JobRow {
        seq: get(row, "seq"),
        id: get(row, "id"),
        kind: get(row, "kind"),
        subject: get(row, "subject"),
        version: get(row, "version"),
        owner: get(row, "owner"),
        account: get(row, "account"),
        priority: get(row, "priority"),
        rank: get(row, "rank"),
        turn: get(row, "turn"),
        status: get(row, "status"),
        run_at: get(row, "run_at"),
        enqueued_at: get(row, "enqueued_at"),
        started_at: get(row, "started_at"),
        finished_at: get(row, "finished_at"),
        expires_at: get(row, "expires_at"),
        attempts: get(row, "attempts"),
        max_attempts: get(row, "max_attempts"),
        lease_token: get(row, "lease_token"),
        lease_holder: get(row, "lease_holder"),
        lease_until: get(row, "lease_until"),
        cancel_requested_at: get(row, "cancel_requested_at"),
        idempotency_key: get(row, "idempotency_key"),
        body_digest: get(row, "body_digest"),
        payload: get(row, "payload"),
        input: get(row, "input"),
        result: get(row, "result"),
        outcome: get(row, "outcome"),
        stage: get(row, "stage"),
        stage_started_at: get(row, "stage_started_at"),
        stage_estimate: get(row, "stage_estimate"),
    };
    row.try_into().unwrap()
}

/// The first values of [`intake::ENQUEUE`], which find the place of a job that arrives now.
fn arrival(job: &NewJob, now: UnixMillis) -> [Value; 4] {
    let rank = Rank::new(job.priority, now);
    values![job.account.as_str(), i64::from(job.priority.level()), now.0, rank.0]
}
