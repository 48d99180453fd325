//! Queries of requests about jobs, with the parameters and the rules of a server.

use std::{fmt::Write as _, str::FromStr, time::Duration};

use edgeprove_job_rules::listing::{IdPrefix, ListOrder, Listing};
use edgeprove_protocol::{CircuitId, JobStatus, Priority, ProblemType};

use super::{error::JobsError, protocol::Viewer, queue::KIND};

/// The number of jobs on a page by default, and at most.
const PAGE: (u32, u32) = (20, 100);
/// The number of entries of the audit log in an answer by default, and at most.
const AUDIT_PAGE: (u32, u32) = (1_000, 10_000);
/// The longest age: a year.
const AGE_MAX_S: u64 = 366 * 24 * 3600;
/// Maximum length of a quoted value.
const QUOTED_MAX: usize = 40;
/// The owner or kind that selects all.
const ALL: &str = "all";
/// Most parameters of a query.
const PARAMETERS_MAX: usize = 32;

const ALLOWED: &str = "the query allows status (one or several with commas), circuit, id (how it begins), min_age and max_age \
                       (seconds), problem, priority, order (latest or oldest), limit, after (from `next` of the previous page), \
                       total (true), owner and kind (others and all for operators)";
const AUDIT_ALLOWED: &str =
    "the query allows `after` and `limit`, or `last`: whole numbers, as in ?after=100&limit=50";

/// Which jobs are listed, and how the page is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// The jobs.
    pub listing: Listing,
    /// Whether the number of jobs on all pages is wanted.
    pub wants_total: bool,
    /// The parameters that the path of the next page has, too.
    repeated: Vec<(&'static str, String)>,
}

/// Which entries of the audit log are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditQuery {
    /// The entry before the first; `None` for the last entries.
    pub after: Option<u64>,
    /// Maximum number of entries.
    pub limit: u32,
}

/// Names and values of a query, decoded.
fn parameters(query: &str) -> Option<Vec<(String, String)>> {
    let pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    if pairs.len() > PARAMETERS_MAX {
        return None;
    }
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(name)?, decode(value)?))
    };
    pairs.into_iter().map(pair).collect()
}

/// Decodes `%3A` and `+`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).ok()?;
                byte[0]
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The value of a parameter, if the query has it once or more.
#[must_use]
pub fn parameter(query: &str, name: &str) -> Option<String> {
    parameters(query)?.into_iter().find(|(other, _)| other == name).map(|(_, value)| value)
}

impl ListQuery {
    /// Reads the query of a list that this viewer asks for.
    pub fn parse(query: &str, viewer: &Viewer) -> Result<Self, JobsError> {
        let mut listing = Listing {
            owner: Some(viewer.owner.clone()),
            kind: Some(KIND.to_owned()),
            limit: PAGE.0,
            ..Listing::default()
        };
        let (mut wants_total, mut repeated) = (false, Vec::new());
        let (mut seen, mut min_age, mut max_age) = (Vec::new(), None, None);
        for (name, value) in parameters(query).ok_or_else(|| invalid(ALLOWED))? {
            let name = NAMES.iter().copied().find(|known| *known == name).ok_or_else(|| invalid(ALLOWED))?;
            if seen.contains(&name) {
                return Err(invalid(ALLOWED));
            }
            seen.push(name);
            match name {
                "status" => listing.statuses = statuses(&value)?,
                "circuit" => {
                    let circuit: CircuitId = value.parse().map_err(|_| invalid(ALLOWED))?;
                    listing.subject = Some(circuit.to_string());
                }
                "id" => listing.id_prefix = Some(id_prefix(&value)?),
                "min_age" => min_age = Some(age("min_age", &value)?),
                "max_age" => max_age = Some(age("max_age", &value)?),
                "problem" => listing.problem = Some(problem(&value)?),
                "priority" => {
                    let priority = value.parse::<Priority>();
                    listing.priority =
                        Some(priority.map_err(|error| invalid(format!("in `priority`: {error}")))?);
                }
                "order" => listing.order = order(&value)?,
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE.1).contains(limit));
                    listing.limit =
                        limit.ok_or_else(|| invalid(format!("`limit` must be 1 to {}", PAGE.1)))?;
                }
                "after" => listing.after = Some(number(&value)?),
                "total" => wants_total = value.parse().map_err(|_| invalid(ALLOWED))?,
                "owner" => listing.owner = owner(&value, viewer)?,
                _ => listing.kind = kind(&value, viewer)?,
            }
            if !["limit", "after", "total"].contains(&name) {
                repeated.push((name, value));
            }
        }
        listing.min_age = min_age;
        listing.max_age = max_age;
        Ok(Self { listing, wants_total, repeated })
    }

    /// The path of the page after this job. Every value was parsed before; only that of `owner` can need an escape.
    #[must_use]
    pub fn next_page(&self, last: i64) -> String {
        let mut path = format!("/v1/proofs?limit={}&after={last}", self.listing.limit);
        for (name, value) in &self.repeated {
            // Writing to a `String` cannot fail.
            let _ = write!(path, "&{name}={}", value.replace(':', "%3A"));
        }
        path
    }
}

/// The parameters of a list.
const NAMES: [&str; 13] = [
    "status", "circuit", "id", "min_age", "max_age", "problem", "priority", "order", "limit", "after",
    "total", "owner", "kind",
];

impl AuditQuery {
    /// Reads the query of a part of the audit log.
    pub fn parse(query: &str) -> Result<Self, JobsError> {
        let (mut after, mut limit, mut last) = (None, None, None);
        for (name, value) in parameters(query).ok_or_else(|| invalid(AUDIT_ALLOWED))? {
            let member = match name.as_str() {
                "after" => &mut after,
                "limit" => &mut limit,
                "last" => &mut last,
                _ => return Err(invalid(AUDIT_ALLOWED)),
            };
            let number: u64 = value.parse().map_err(|_| invalid(AUDIT_ALLOWED))?;
            if member.replace(number).is_some() {
                return Err(invalid(AUDIT_ALLOWED));
            }
        }
        let bounded = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).min(AUDIT_PAGE.1);
        match (last, after, limit) {
            (Some(last), None, None) => Ok(Self { after: None, limit: bounded(last) }),
            (Some(_), _, _) => Err(invalid("the query allows `last` without `after` and `limit`")),
            (None, after, limit) => {
                Ok(Self { after: Some(after.unwrap_or(0)), limit: limit.map_or(AUDIT_PAGE.0, bounded) })
            }
        }
    }
}

fn invalid(detail: impl Into<String>) -> JobsError {
    JobsError::Invalid(detail.into())
}

fn number<T: FromStr>(text: &str) -> Result<T, JobsError> {
    text.parse().map_err(|_| invalid(ALLOWED))
}

fn statuses(text: &str) -> Result<Vec<JobStatus>, JobsError> {
    let known = || JobStatus::ALL.map(JobStatus::as_str).join(", ");
    if text.split(',').count() > JobStatus::ALL.len() {
        return Err(invalid(format!("`status` must have each of {} at most once", known())));
    }
    let status = |text: &str| {
        let wrong = |_| invalid(format!("`status` must be one of {} (got `{}`)", known(), quoted(text)));
        text.parse().map_err(wrong)
    };
    text.split(',').map(status).collect()
}

fn id_prefix(text: &str) -> Result<IdPrefix, JobsError> {
    text.parse().map_err(|error| invalid(format!("`id`: {error} (got `{}`)", quoted(text))))
}

fn age(name: &str, text: &str) -> Result<Duration, JobsError> {
    let seconds: u64 = number(text)?;
    if seconds > AGE_MAX_S {
        return Err(invalid(format!("`{name}` must be at most {AGE_MAX_S} seconds")));
    }
    Ok(Duration::from_secs(seconds))
}

fn problem(text: &str) -> Result<ProblemType, JobsError> {
    let wrong = || invalid(format!("`problem` must be the code of a problem (got `{}`)", quoted(text)));
    ProblemType::from_code(text).ok_or_else(wrong)
}

fn order(text: &str) -> Result<ListOrder, JobsError> {
    match text {
        "latest" => Ok(ListOrder::Latest),
        "oldest" => Ok(ListOrder::Oldest),
        text => Err(invalid(format!("`order` must be latest or oldest (got `{}`)", quoted(text)))),
    }
}

fn owner(text: &str, viewer: &Viewer) -> Result<Option<String>, JobsError> {
    match text {
        text if text == viewer.owner => Ok(Some(text.to_owned())),
        _ if !viewer.operates => Err(JobsError::OperatorsOnly),
        ALL => Ok(None),
        text => Ok(Some(text.to_owned())),
    }
}

fn kind(text: &str, viewer: &Viewer) -> Result<Option<String>, JobsError> {
    match text {
        KIND => Ok(Some(text.to_owned())),
        ALL if viewer.operates => Ok(None),
        ALL => Err(JobsError::OperatorsOnly),
        _ => Err(invalid(format!("`kind` must be one of {KIND}, {ALL}"))),
    }
}

fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(QUOTED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(operates: bool) -> Viewer {
        Viewer { owner: "key:alice".to_owned(), operates, scope: None, voucher: None }
    }

    fn refused(query: &str) -> String {
        ListQuery::parse(query, &viewer(false)).unwrap_err().to_string()
    }

    #[test]
    fn a_list_has_the_parameters_of_a_server() {
        let query = "status=queued,running&circuit=maze&id=c1&min_age=5&problem=proof_timeout&priority=high&order=oldest\
                     &limit=7&after=12&total=true&owner=key%3Aalice&kind=prove";
        let parsed = ListQuery::parse(query, &viewer(false)).unwrap();
        let listing = &parsed.listing;
        assert_eq!(listing.statuses, [JobStatus::Queued, JobStatus::Running]);
        assert_eq!((listing.limit, listing.after, parsed.wants_total), (7, Some(12), true));
        assert_eq!(listing.min_age, Some(Duration::from_secs(5)));
        assert_eq!(
            parsed.next_page(3),
            "/v1/proofs?limit=7&after=3&status=queued,running&circuit=maze&id=c1&min_age=5&problem=proof_timeout\
             &priority=high&order=oldest&owner=key%3Aalice&kind=prove"
        );
        let next = parsed.next_page(3);
        let again = ListQuery::parse(next.split_once('?').unwrap().1, &viewer(false)).unwrap();
        assert_eq!(again.listing, Listing { after: Some(3), ..parsed.listing });
    }

    #[test]
    fn only_operators_list_the_jobs_of_others() {
        for query in ["owner=all", "owner=key:bob", "owner=anonymous", "kind=all"] {
            let refused = ListQuery::parse(query, &viewer(false));
            assert!(matches!(refused, Err(JobsError::OperatorsOnly)), "{query}");
            assert!(ListQuery::parse(query, &viewer(true)).is_ok(), "{query}");
        }
        let own = ListQuery::parse("", &viewer(true)).unwrap();
        assert_eq!(own.listing.owner.as_deref(), Some("key:alice"));
    }

    #[test]
    fn invalid_parameters_are_named() {
        assert_eq!(refused("limit=0"), "`limit` must be 1 to 100");
        assert!(refused("status=lost").starts_with("`status` must be one of queued, running"));
        assert!(refused("id=A").starts_with("`id`: ids of jobs begin with"));
        let long = "limit=1&".repeat(99);
        for query in ["nonsense=1", "limit=1&limit=2", "after=x", "status=%zz", "circuit=%00", &long] {
            assert!(!refused(query).is_empty(), "{query}");
        }
    }

    #[test]
    fn the_audit_log_is_read_after_an_entry_or_at_its_end() {
        let parse = |query| AuditQuery::parse(query);
        assert_eq!(parse("").unwrap(), AuditQuery { after: Some(0), limit: 1_000 });
        assert_eq!(parse("after=5&limit=99999").unwrap(), AuditQuery { after: Some(5), limit: 10_000 });
        assert_eq!(parse("last=3").unwrap(), AuditQuery { after: None, limit: 3 });
        for query in ["last=3&after=1", "after=x", "actor=x", "after=1&after=2", "last=-1"] {
            assert!(parse(query).is_err(), "{query}");
        }
    }
}
