//! Lists of jobs.

use std::borrow::Cow;

use edgeprove_job_rules::{job::Job, listing::FilterValue, sql::view, time::UnixMillis};

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
        let rows = session.rows(statement, filter(listing, now).into_iter().chain(page)).await?;
        Ok(rows.iter().map(read_job).collect::<Result<_, _>>()?)
    }

    /// Counts the jobs that a listing selects, on all its pages.
    pub async fn count_listed(&self, listing: &Listing) -> Result<u64, QueueError> {
        let (mut session, now) = self.begin(Durability::Read).await?;
        let row = session.row(view::COUNT_LISTED, filter(listing, now)).await?;
        Ok(row.as_ref().map(|row| count(row, "jobs")).transpose()?.unwrap_or_default())
    }
}

/// The first values of the statements.
fn filter(listing: &Listing, now: UnixMillis) -> [Value; 9] {
    listing.filter(now).map(|value| match value {
        FilterValue::Text(text) => Value::Text(text.map(Cow::into_owned)),
        FilterValue::Number(number) => Value::Int(number),
    })
}
