//! The rules of the queue of this deployment. They are read from the variables that a server has for the same rules.

use std::time::Duration;

use edgeprove_job_rules::{
    backoff::{Backoff, MAX_ATTEMPTS},
    expiry::Retention,
    lease::LeaseTerms,
    queue_bounds::Bounds,
    transition::Rules,
};

/// Default of the largest number of queued jobs.
const QUEUED_MAX: u32 = 10_000;
/// The largest value of that setting: the queue is read as a whole for the positions in a list.
const QUEUED_LIMIT: u32 = 100_000;
/// The largest number of attempts.
const ATTEMPTS_LIMIT: u32 = 100;
/// The longest lease, and the shortest.
const LEASE_LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));
/// The longest retention: a year.
const RETENTION_LIMIT: Duration = Duration::from_hours(24 * 366);

/// The rules of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobRules {
    /// Leases, delays and retention.
    pub rules: Rules,
    /// How many jobs are accepted.
    pub bounds: Bounds,
    /// The largest number of attempts at a job.
    pub max_attempts: u32,
}

impl Default for JobRules {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            bounds: Bounds { queued_max: QUEUED_MAX, unfinished_per_account_max: u32::MAX, has_shares: true },
            max_attempts: MAX_ATTEMPTS,
        }
    }
}

/// A variable that has no valid value, with what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} must be {expected}")]
pub struct InvalidRule {
    /// The name of the variable.
    pub name: &'static str,
    /// What its value must be.
    pub expected: String,
}

impl JobRules {
    /// Reads the rules. `get` finds the value of a variable; an empty one counts as not set.
    pub fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, InvalidRule> {
        let get = |name: &str| get(name).map(str::trim).filter(|text| !text.is_empty());
        let number = |name: &'static str, max: u32, default: u32| match get(name) {
            None => Ok(default),
            Some(text) => {
                let number = text.parse().ok().filter(|number| (1..=max).contains(number));
                number.ok_or_else(|| InvalidRule { name, expected: format!("a number from 1 to {max}") })
            }
        };
        let time = |name: &'static str, (min, max): (Duration, Duration), default: Duration| match get(name) {
            None => Ok(default),
            Some(text) => {
                let time = humantime::parse_duration(text).ok().filter(|time| (min..=max).contains(time));
                let shown = humantime::format_duration;
                time.ok_or_else(|| InvalidRule {
                    name,
                    expected: format!(
                        "a time from {} to {}, such as {}",
                        shown(min),
                        shown(max),
                        shown(default)
                    ),
                })
            }
        };
        let any = (Duration::ZERO, RETENTION_LIMIT);
        let defaults = Self::default();
        let retention = defaults.rules.retention;
        let per_caller = number("EDGEPROVE_JOBS_PER_CALLER", u32::MAX, u32::MAX)?;
        Ok(Self {
            rules: Rules {
                lease: LeaseTerms {
                    length: time("EDGEPROVE_LEASE", LEASE_LIMITS, defaults.rules.lease.length)?,
                },
                backoff: Backoff::default(),
                retention: Retention {
                    results: time("EDGEPROVE_RESULT_TTL", any, retention.results)?,
                    tombstones: time("EDGEPROVE_TOMBSTONE_TTL", any, retention.tombstones)?,
                    failed_inputs: time("EDGEPROVE_FAILED_WITNESS_TTL", any, retention.failed_inputs)?,
                },
            },
            bounds: Bounds {
                queued_max: number("EDGEPROVE_JOB_QUEUE_MAX", QUEUED_LIMIT, QUEUED_MAX)?,
                unfinished_per_account_max: per_caller,
                has_shares: per_caller == u32::MAX,
            },
            max_attempts: number("EDGEPROVE_JOB_ATTEMPTS", ATTEMPTS_LIMIT, MAX_ATTEMPTS)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &'static str)]) -> Result<JobRules, InvalidRule> {
        JobRules::read(|name| vars.iter().find(|var| var.0 == name).map(|var| var.1))
    }

    #[test]
    fn the_variables_of_a_server_set_the_rules() {
        assert_eq!(read(&[]), Ok(JobRules::default()));
        assert_eq!(read(&[("EDGEPROVE_LEASE", " ")]), Ok(JobRules::default()));
        let rules = read(&[
            ("EDGEPROVE_LEASE", "2s"),
            ("EDGEPROVE_RESULT_TTL", "5m"),
            ("EDGEPROVE_JOB_QUEUE_MAX", "7"),
            ("EDGEPROVE_JOBS_PER_CALLER", "3"),
            ("EDGEPROVE_JOB_ATTEMPTS", "1"),
        ])
        .unwrap();
        assert_eq!(rules.rules.lease.length, Duration::from_secs(2));
        assert_eq!(rules.rules.retention.results, Duration::from_mins(5));
        let bounds = Bounds { queued_max: 7, unfinished_per_account_max: 3, has_shares: false };
        assert_eq!((rules.bounds, rules.max_attempts), (bounds, 1));
    }

    #[test]
    fn an_invalid_rule_is_named_with_what_it_must_be() {
        let text = |name, value| read(&[(name, value)]).unwrap_err().to_string();
        assert_eq!(
            text("EDGEPROVE_LEASE", "1h"),
            "EDGEPROVE_LEASE must be a time from 1s to 10m, such as 15s"
        );
        assert_eq!(
            text("EDGEPROVE_JOB_ATTEMPTS", "0"),
            "EDGEPROVE_JOB_ATTEMPTS must be a number from 1 to 100"
        );
    }
}
