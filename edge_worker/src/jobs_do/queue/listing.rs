//! Pages of jobs.

use super::{Queue, QueueError};
use crate::jobs_do::database::Value;
use edgeprove_job_rules::{
    job::Job,
    listing::{FilterValue, ListOrder, Listing},
    sql::view,
    time::UnixMillis,
};

/// A page of jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// The number after which the next page starts; `None` on the last.
    pub next: Option<i64>,
    /// The number of jobs on all pages, if it was wanted.
    pub total: Option<u64>,
}

impl Queue {
    /// Reads a page of jobs, and their number if it is wanted.
    pub fn list(&self, listing: &Listing, wants_total: bool, now: UnixMillis) -> Result<Page, QueueError> {
        let statement = match (&listing.owner, listing.order) {
            (Some(_), ListOrder::Latest) => view::LIST,
            (Some(_), ListOrder::Oldest) => view::LIST_OLDEST,
            (None, ListOrder::Latest) => view::LIST_ALL,
            (None, ListOrder::Oldest) => view::LIST_ALL_OLDEST,
        };
        let mut values = filter(listing, now);
        let total = if wants_total {
            let row = self.rows(view::COUNT_LISTED, &values)?.pop();
            row.map(|row| row.count("jobs")).transpose()?
        } else {
            None
        };
        // One more than the page shows: if it exists, there is another page.
        values.extend([listing.after.into(), i64::from(listing.limit).saturating_add(1).into()]);
        let mut jobs = self.jobs(statement, &values)?;
        let has_next = jobs.len() > listing.limit as usize;
        jobs.truncate(listing.limit as usize);
        let next = jobs.last().filter(|_| has_next).map(|last| last.seq);
        Ok(Page { jobs, next, total })
    }
}

/// The first values of the statements.
fn filter(listing: &Listing, now: UnixMillis) -> Vec<Value<'_>> {
    let value = |value| match value {
        FilterValue::Text(text) => text.map_or(Value::Null, Value::Text),
        FilterValue::Number(number) => number.map_or(Value::Null, Value::Integer),
    };
    listing.filter(now).into_iter().map(value).collect()
}
