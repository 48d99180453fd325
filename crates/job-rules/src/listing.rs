//! Lists of jobs: which jobs, in which order, and the page.

use std::{borrow::Cow, str::FromStr, time::Duration};

use edgeprove_protocol::{JobStatus, Priority, ProblemType};

use crate::time::UnixMillis;

/// Selects jobs: a page of a list. What is `None` or empty selects any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Only jobs of this owner.
    pub owner: Option<String>,
    /// Only jobs of the kind of this name.
    pub kind: Option<String>,
    /// Only jobs of these statuses.
    pub statuses: Vec<JobStatus>,
    /// Only jobs of this subject.
    pub subject: Option<String>,
    /// Only jobs whose ids begin so.
    pub id_prefix: Option<IdPrefix>,
    /// Only jobs that were accepted so long ago or longer.
    pub min_age: Option<Duration>,
    /// Only jobs that were accepted so long ago or later.
    pub max_age: Option<Duration>,
    /// Only jobs whose last attempt failed with this problem.
    pub problem: Option<ProblemType>,
    /// Only jobs of this priority.
    pub priority: Option<Priority>,
    /// The order.
    pub order: ListOrder,
    /// Only jobs that follow this number in the order of arrival: the last one of the previous page.
    pub after: Option<i64>,
    /// Maximum number of jobs.
    pub limit: u32,
}

/// The order of a list of jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListOrder {
    /// The latest first.
    #[default]
    Latest,
    /// The oldest first.
    Oldest,
}

/// The first characters of the id of a job: 1 to 64 of `0-9 a-z -`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPrefix(String);

/// A text with which no id begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ids of jobs begin with 1 to 64 characters of 0-9 a-z -")]
pub struct InvalidIdPrefix;

impl FromStr for IdPrefix {
    type Err = InvalidIdPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidIdPrefix> {
        let is_valid = |c: u8| c.is_ascii_digit() || c.is_ascii_lowercase() || c == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(is_valid) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidIdPrefix)
        }
    }
}

impl IdPrefix {
    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value that the statements of lists bind, or NULL of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterValue<'a> {
    /// A text.
    Text(Option<Cow<'a, str>>),
    /// A whole number.
    Number(Option<i64>),
}

impl Listing {
    /// The first values of [`crate::sql::view::LIST`] and the statements like it.
    #[must_use]
    pub fn filter(&self, now: UnixMillis) -> [FilterValue<'_>; 9] {
        let made = |text: Option<String>| FilterValue::Text(text.map(Cow::Owned));
        let statuses: Vec<_> = self.statuses.iter().copied().map(JobStatus::as_str).collect();
        [
            FilterValue::Text(self.owner.as_deref().map(Cow::Borrowed)),
            FilterValue::Text(self.kind.as_deref().map(Cow::Borrowed)),
            made((!statuses.is_empty()).then(|| format!(",{},", statuses.join(",")))),
            FilterValue::Text(self.subject.as_deref().map(Cow::Borrowed)),
            made(self.id_prefix.as_ref().map(|prefix| format!("{}%", prefix.as_str()))),
            FilterValue::Number(self.max_age.map(|age| now.before(age).0)),
            FilterValue::Number(self.min_age.map(|age| now.before(age).0)),
            made(self.problem.map(|problem| format!("\"code\":\"{}\"", problem.code()))),
            FilterValue::Number(self.priority.map(|priority| priority.level().into())),
        ]
    }
}
