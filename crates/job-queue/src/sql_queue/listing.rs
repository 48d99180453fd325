//! Lists of jobs.

use edgeprove_job_rules::{job::Job, sql::view, time::UnixMillis};
use edgeprove_protocol::{JobStatus, ProblemType};

use super::{
    SqlQueue,
    rows::{count, read_job},
};
use crate::{
    queue_types::{ListOrder, Listing, QueueError},
    store::{
        Durability,
        session::{Value, values},
    },
};

impl SqlQueue {
    /// Reads a page of jobs.
    pub async fn list(&self, listing: &Listing) -> Result<Vec<Job>, QueueError> {
        let statement = match (&listing.owner, listing.order) {
            (Some(_), ListOrder::Latest) => view::LIST,
            (Some(_), ListOrder::Oldest) => view::LIST_OLDEST,
            (None, ListOrder::Latest) => view::LIST_ALL,
            (None, ListOrder::Oldest) => view::LIST_ALL_OLDEST,
        };
        let (mut session, now) = self.begin(Durability::Read).await?;
        let page = values![listing.after, listing.limit];
        let rows = session.rows(statement, listing.filter(now).into_iter().chain(page)).await?;
        Ok(rows.iter().map(read_job).collect::<Result<_, _>>()?)
    }

    /// Counts the jobs that a listing selects, on all its pages.
    pub async fn count_listed(&self, listing: &Listing) -> Result<u64, QueueError> {
        let (mut session, now) = self.begin(Durability::Read).await?;
        let row = session.row(view::COUNT_LISTED, listing.filter(now)).await?;
        Ok(row.as_ref().map(|row| count(row, "jobs")).transpose()?.unwrap_or_default())
    }
}

impl Listing {
    /// The first values of the statements.
    fn filter(&self, now: UnixMillis) -> [Value; 9] {
        let statuses: Vec<_> = self.statuses.iter().copied().map(JobStatus::as_str).collect();
        let code = |problem: ProblemType| format!("\"code\":\"{}\"", problem.code());
        values![
            self.owner.as_deref(),
            self.kind.as_deref(),
            (!statuses.is_empty()).then(|| format!(",{},", statuses.join(","))),
            self.subject.as_deref(),
            self.id_prefix.as_ref().map(|prefix| format!("{}%", prefix.as_str())),
            self.max_age.map(|age| now.before(age).0),
            self.min_age.map(|age| now.before(age).0),
            self.problem.map(code),
            self.priority.map(|priority| i64::from(priority.level())),
        ]
    }
}
