//! Who may work on a job, for how long, and when a worker counts as dead.
//!
//! A worker that claims a job gets a lease: a token, and a time until which nobody else may have the job. It renews the
//! lease from a task of its own, also while the server drains, so that slow work is not taken for death. Whoever keeps
//! house ends the leases that ran out.
//!
//! Tokens fence. Each claim of a job has a higher one than the claim before, and every write of a worker carries its
//! token. A worker that was paused beyond its lease can therefore neither renew nor finish what somebody else has by
//! then. One that is late but was not found out yet is still the holder, and a late renewal counts: throwing away
//! work that nobody repeats would help no one. A worker that cannot reach the database goes on working and tries again;
//! it stops when it is told that its lease is lost.
//!
//! # When the clock jumps
//!
//! Leases end by the database's one clock ([`crate::time`]), which may be set while work is under way.
//!
//! - *Backwards.* A renewal never makes a lease shorter, so live work is safe; but a lease that was written before ends
//!   too late by the jump. No lease can end later than a full length from now, so those that do are cut to that:
//!   [`crate::sql::upkeep::SETTLE`]. The same statement pulls in what else lies in an impossible future.
//! - *Forwards.* All leases seem to have run out at once. [`ClockWatch`] holds the clock against one that cannot be set.
//!   Where the two part, nothing is reaped for one length, in which everybody who lives renews.

use std::time::Duration;

use crate::time::{UnixMillis, millis};

/// Which claim of a job a lease belongs to: 1 for the first, and one more for each further one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseToken(pub i64);

/// A claim that has not ended. Its token is the job's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who has the job: the name of a worker, new with each start of its process. For logs and people; the token decides.
    pub holder: String,
    /// Until when nobody else may have it.
    pub until: UnixMillis,
}

/// How long leases are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms {
    /// How long a job stays with a worker of which nothing is heard.
    pub length: Duration,
}

impl Default for LeaseTerms {
    /// A quarter of a minute: after a crash a job is taken up by others within one try of most callers' patience, and a
    /// database may be away for ten seconds before anybody's work is repeated.
    fn default() -> Self {
        Self { length: Duration::from_secs(15) }
    }
}

impl LeaseTerms {
    /// Until when a lease runs that is given or renewed now.
    #[must_use]
    pub fn until(self, now: UnixMillis) -> UnixMillis {
        now.after(self.length)
    }

    /// How often a lease is renewed: three times in its length, so that one renewal may fail.
    #[must_use]
    pub fn heartbeat_every(self) -> Duration {
        self.length / 3
    }
}

/// What may be done about leases at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// Those that ran out are lost.
    Reap,
    /// Times that were written before the clock went back are to be settled first, and nothing reaped yet.
    Settle,
    /// Nothing is reaped: those that ran out may belong to workers that live.
    Wait,
}

/// Notices that the database's clock was set, or that this process did not run for a while and with it perhaps the
/// workers. Asked before each round of upkeep.
#[derive(Debug, Clone)]
pub struct ClockWatch {
    terms: LeaseTerms,
    last: Option<Reading>,
    /// Nothing is reaped before this, by the clock that cannot be set.
    wait_until: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: UnixMillis,
    steady: Duration,
}

impl ClockWatch {
    /// A watch that has seen nothing yet: its first word is to settle, and it reaps after one length, since the clock
    /// may have been set before.
    #[must_use]
    pub fn new(terms: LeaseTerms) -> Self {
        Self { terms, last: None, wait_until: Duration::ZERO }
    }

    /// Reads both clocks. `wall` is the database's; `steady` counts from any fixed point and cannot be set.
    ///
    /// A third of a lease is let pass unnoticed: a live worker renewed within the last third but one.
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

    /// A watch that looked once a second for so long that it reaps, and the seconds it has seen.
    fn settled() -> (ClockWatch, u32) {
        let mut watch = ClockWatch::new(TERMS);
        let words: Vec<_> = (0..=15).map(|second| look(&mut watch, second, 0)).collect();
        assert_eq!(words[0], Upkeep::Settle);
        assert!(words[1..15].iter().all(|word| *word == Upkeep::Wait), "{words:?}");
        assert_eq!(words[15], Upkeep::Reap);
        (watch, 15)
    }

    /// Looks at this second of the steady clock, with the other one set to this much more.
    fn look(watch: &mut ClockWatch, second: u32, set_by_s: i64) -> Upkeep {
        let wall = UnixMillis(START + (i64::from(second) + set_by_s) * 1_000);
        watch.look(wall, Duration::from_secs(second.into()))
    }

    #[test]
    fn what_runs_evenly_is_reaped() {
        let (mut watch, second) = settled();
        for later in 1..100 {
            assert_eq!(
                look(&mut watch, second + later, i64::from(later) / 50),
                Upkeep::Reap,
                "small steps are none"
            );
        }
    }

    #[test]
    fn a_jump_forwards_gives_everybody_a_lease_to_renew_in() {
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
    fn who_was_stopped_lets_the_others_speak_first() {
        let (mut watch, second) = settled();
        assert_eq!(look(&mut watch, second + 60, 0), Upkeep::Wait);
        assert_eq!(look(&mut watch, second + 62, 0), Upkeep::Wait);
    }
}
