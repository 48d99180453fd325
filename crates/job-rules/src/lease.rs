//! Leases: which worker has a job, until when, and when a worker counts as dead.
//!
//! A worker that claims a job gets a lease: a fencing token, and a time until which no other worker may have the job. A separate
//! task renews the lease, also while the server drains, so that slow work does not look like a dead worker. Upkeep ends
//! expired leases.
//!
//! Each claim of a job has a higher token than the claim before, and every write of a worker carries its token. A worker that
//! was paused beyond its lease can therefore neither renew nor finish a job that another worker has. If no other worker has
//! claimed the job yet, a late renewal counts: to throw the work away would help nobody. A worker that cannot reach the
//! database goes on and tries again; it stops when the database answers that its lease is lost.
//!
//! # When the clock jumps
//!
//! Leases end by the database's clock ([`crate::time`]), which may be set while jobs run.
//!
//! - *Backwards.* A renewal never shortens a lease, so live work is safe. But a lease that was written before the jump ends too
//!   late. No lease can end later than a full length from now, so longer ones are cut to that:
//!   [`crate::sql::upkeep::SETTLE`]. The same statement moves other times that are too late.
//! - *Forwards.* All leases seem to have expired at once. [`ClockWatch`] compares the clock with one that cannot be set. If they
//!   differ, no lease is ended for one length, in which every live worker renews.

use std::time::Duration;

use crate::time::{UnixMillis, millis};

/// The fencing token of a claim: 1 for the first claim of a job, and one more for each further claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseToken(pub i64);

/// A claim that has not ended. Its token is in [`Job::lease_token`](crate::job::Job::lease_token).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The name of the worker's process, new with each start. It is for logs and people; the token decides.
    pub holder: String,
    /// The time until which no other worker may have the job.
    pub until: UnixMillis,
}

/// The holder of the leases of a prover that pulls its jobs: `key` is the name of its API key, and `worker` the name of its
/// process. Neither has a space.
#[must_use]
pub fn pull_holder(key: &str, worker: &str) -> String {
    format!("{PULL_PREFIX}{key} {worker}")
}

/// The pattern of all holders of [`pull_holder`], for LIKE.
pub const PULL_HOLDERS: &str = "pull %";
/// What such holders begin with. No name of a server has a space.
const PULL_PREFIX: &str = "pull ";

/// The length of leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms {
    /// Lease duration. A job whose worker stays silent this long is retried.
    pub length: Duration,
}

impl Default for LeaseTerms {
    /// 15 seconds: after a crash another server retries the job soon, and a database outage of ten seconds causes no work to be
    /// repeated.
    fn default() -> Self {
        Self { length: Duration::from_secs(15) }
    }
}

impl LeaseTerms {
    /// The end of a lease that is given or renewed now.
    #[must_use]
    pub fn until(self, now: UnixMillis) -> UnixMillis {
        now.after(self.length)
    }

    /// The interval of renewals: a third of the length, so that one renewal may fail.
    #[must_use]
    pub fn heartbeat_every(self) -> Duration {
        self.length / 3
    }
}

/// The next step of the upkeep of leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// End the expired leases.
    Reap,
    /// Settle times that were written before the clock was set back. End no lease yet.
    Settle,
    /// End no lease: expired ones may belong to live workers.
    Wait,
}

/// Detects that the database's clock was set, or that this process, and perhaps the workers with it, was paused. Upkeep
/// calls it before each round.
#[derive(Debug, Clone)]
pub struct ClockWatch {
    terms: LeaseTerms,
    last: Option<Reading>,
    /// No lease is ended before this time of the steady clock.
    wait_until: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: UnixMillis,
    steady: Duration,
}

impl ClockWatch {
    /// A watch without a reading. Its first step is [`Upkeep::Settle`], and it ends leases after one length at the earliest,
    /// since the clock may have been set before.
    #[must_use]
    pub fn new(terms: LeaseTerms) -> Self {
        Self { terms, last: None, wait_until: Duration::ZERO }
    }

    /// Compares both clocks. `wall` is the database's; `steady` counts from a fixed point and cannot be set.
    ///
    /// Differences of up to a third of a lease are ignored, since a live worker has renewed before that matters.
    pub fn look(&mut self, wall: UnixMillis, steady: Duration) -> Upkeep {
        let last = self.last.replace(Reading { wall, steady });
        let third = self.terms.heartbeat_every();
        let Some(last) = last else {
            self.wait_until = steady.saturating_add(self.terms.length);
            return Upkeep::Settle;
        };
        let passed = steady.saturating_sub(last.steady);
        let jump_ms = wall.0.saturating_sub(last.wall.after(passed).0);
        if jump_ms.saturating_abs() > millis(third) || passed > third {
            self.wait_until = steady.saturating_add(self.terms.length);
        }
        if jump_ms < -millis(third) {
            Upkeep::Settle
        } else if steady < self.wait_until {
            Upkeep::Wait
        } else {
            Upkeep::Reap
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: LeaseTerms = LeaseTerms { length: Duration::from_secs(15) };
    const START: i64 = 1_700_000_000_000;

    /// A watch that looked once a second until it ends leases, and the number of seconds.
    fn settled() -> (ClockWatch, u32) {
        let mut watch = ClockWatch::new(TERMS);
        let words: Vec<_> = (0..=15).map(|second| look(&mut watch, second, 0)).collect();
        assert_eq!(words[0], Upkeep::Settle);
        assert!(words[1..15].iter().all(|word| *word == Upkeep::Wait), "{words:?}");
        assert_eq!(words[15], Upkeep::Reap);
        (watch, 15)
    }

    /// Looks at this second of the steady clock, with the wall clock set to this much more.
    fn look(watch: &mut ClockWatch, second: u32, set_by_s: i64) -> Upkeep {
        let wall = UnixMillis(START + (i64::from(second) + set_by_s) * 1_000);
        watch.look(wall, Duration::from_secs(second.into()))
    }

    #[test]
    fn leases_end_while_the_clock_runs_evenly() {
        let (mut watch, second) = settled();
        for later in 1..100 {
            assert_eq!(
                look(&mut watch, second + later, i64::from(later) / 50),
                Upkeep::Reap,
                "small steps are ignored"
            );
        }
    }

    #[test]
    fn a_jump_forwards_delays_the_end_of_leases() {
        let (mut watch, second) = settled();
        for later in 1..=15 {
            assert_eq!(look(&mut watch, second + later, 3_600), Upkeep::Wait);
        }
        assert_eq!(look(&mut watch, second + 16, 3_600), Upkeep::Reap);
    }

    #[test]
    fn a_jump_backwards_is_settled_once() {
        let (mut watch, second) = settled();
        assert_eq!(look(&mut watch, second + 1, -3_600), Upkeep::Settle);
        for later in 2..=15 {
            assert_eq!(look(&mut watch, second + later, -3_600), Upkeep::Wait);
        }
        assert_eq!(look(&mut watch, second + 16, -3_600), Upkeep::Reap);
    }

    #[test]
    fn a_pause_of_the_process_delays_the_end_of_leases() {
        let (mut watch, second) = settled();
        assert_eq!(look(&mut watch, second + 60, 0), Upkeep::Wait);
        assert_eq!(look(&mut watch, second + 62, 0), Upkeep::Wait);
    }
}
