//! The turns of callers: within a priority, callers take turns, however many jobs one of them has queued.
//!
//! This is start-time fair queueing. A job gets a turn when it arrives: the next number after the last unfinished job of its
//! caller, or, if its caller has none of this priority, a number just after the job that runs now. It goes ahead of the first
//! queued job that has a later turn. A caller's first job therefore starts next, and the further ones alternate with those of
//! other callers.
//!
//! ```text
//! alice queued    0 1 2 3 4 5 …      and 1 runs
//! bob submits     1' 2' 3'
//! order of work   1' 2 2' 3 3' 4 5 …
//! ```
//!
//! To go ahead of a job is to take over its [`Rank`], where that is lower than the job's own. The order of work remains one
//! index over rank, turn and arrival, and no row is rewritten. Ageing holds: a job is passed only by a job that has a lower
//! rank when it arrives, or by one that goes ahead of an older job of a caller who has already had a turn.
//!
//! The first job of a caller also goes ahead of jobs of lower priorities that have had their turn, whatever their age.
//! Otherwise the old jobs of one caller would delay the urgent job of another.

use edgeprove_protocol::Priority;

use crate::{priority::Rank, time::UnixMillis};

/// The distance between the turns of two jobs of one caller, also for SQL.
macro_rules! step {
    () => {
        1024
    };
}
pub(crate) use step;
const STEP: i64 = step!();
/// The distance of a newcomer's turn from the running one, also for SQL. Even if ever new callers arrive, a queued job has its
/// turn after `STEP / NEWCOMER` of them.
macro_rules! newcomer {
    () => {
        16
    };
}
pub(crate) use newcomer;
const NEWCOMER: i64 = newcomer!();
/// The number of priorities.
const LEVELS: usize = Priority::ALL.len();

/// The turn of a job among those of its priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Turn(pub i64);

impl Turn {
    /// A turn after which there is no other.
    const LAST: Self = Self(i64::MAX);
}

/// The place of a job in the order of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderKey {
    /// Its rank.
    pub rank: Rank,
    /// Its turn, which decides between equal ranks.
    pub turn: Turn,
}

/// The turns of one priority, as a caller finds them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnsOfPriority {
    /// The last turn of the caller's own unfinished jobs.
    pub own: Option<Turn>,
    /// The last turn of the running jobs.
    pub running: Option<Turn>,
    /// The first turn of the queued jobs that are due.
    pub queued: Option<Turn>,
}

/// The turns of all priorities, as a caller finds them.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    priority: Priority,
    of: [TurnsOfPriority; LEVELS],
}

impl TurnsOfPriority {
    /// The turn of the caller's next job.
    #[must_use]
    pub fn next(self) -> Turn {
        let newcomer = self.newcomer();
        self.own.map_or(newcomer, |own| newcomer.max(Turn(own.0.saturating_add(STEP))))
    }

    /// The turn of a caller who has no job: just after the running one. Where none runs, or the running one had its turn long
    /// ago and runs again, that of the first queued job.
    fn newcomer(self) -> Turn {
        match (self.running, self.queued) {
            (Some(running), Some(queued)) if running.0 < queued.0.saturating_sub(STEP) => queued,
            (Some(running), _) => Turn(running.0.saturating_add(NEWCOMER)),
            (None, Some(queued)) => queued,
            (None, None) => Turn(0),
        }
    }
}

impl Turns {
    /// The turns for a job of this priority. `of` has them by [`Priority::level`]; those above the job's priority do not matter.
    #[must_use]
    pub fn new(priority: Priority, of: [TurnsOfPriority; LEVELS]) -> Self {
        Self { priority, of }
    }

    /// The turn of the job.
    #[must_use]
    pub fn turn(&self) -> Turn {
        self.own_level().next()
    }

    /// For each priority, by level: the job goes ahead of the first queued job after this turn.
    #[must_use]
    pub fn after(&self) -> [Turn; LEVELS] {
        let level = usize::from(self.priority.level());
        let is_first = self.own_level().own.is_none();
        let mut after = [Turn::LAST; LEVELS];
        for (at, (after, of)) in after.iter_mut().zip(self.of).enumerate() {
            if at == level {
                *after = self.turn();
            } else if at < level && is_first {
                *after = of.newcomer();
            }
        }
        after
    }

    /// The place of the job, which arrives now. `followers` has the ranks of the jobs that [`after`](Self::after) selects, by
    /// level.
    #[must_use]
    pub fn place(&self, now: UnixMillis, followers: [Option<Rank>; LEVELS]) -> OrderKey {
        let level = usize::from(self.priority.level());
        let ahead_of = followers.into_iter().enumerate().filter_map(|(at, rank)| {
            // Turns of different priorities cannot be compared.
            rank.map(|rank| if at == level { rank } else { Rank(rank.0.saturating_sub(1)) })
        });
        let rank = ahead_of.fold(Rank::new(self.priority, now), Rank::min);
        OrderKey { rank, turn: self.turn() }
    }

    fn own_level(&self) -> TurnsOfPriority {
        self.of[usize::from(self.priority.level())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
    const NORMAL: usize = 1;

    /// A queue of jobs of one priority or several, in memory.
    #[derive(Default)]
    struct Queue {
        queued: Vec<(OrderKey, &'static str, Priority)>,
        running: Vec<(OrderKey, &'static str, Priority)>,
        now_ms: i64,
    }

    impl Queue {
        fn submit(&mut self, caller: &'static str, priority: Priority) {
            self.now_ms += 1;
            let of = Priority::ALL.map(|priority| {
                let turns = |jobs: &[(OrderKey, &str, Priority)]| {
                    jobs.iter()
                        .filter(|job| job.2 == priority)
                        .map(|job| (job.0.turn, job.1 == caller))
                        .collect()
                };
                let (queued, running): (Vec<_>, Vec<_>) = (turns(&self.queued), turns(&self.running));
                let own = queued.iter().chain(&running).filter(|(_, own)| *own).map(|(turn, _)| *turn).max();
                let first = queued.iter().map(|(turn, _)| *turn).min();
                let running = running.iter().map(|(turn, _)| *turn).max();
                TurnsOfPriority { own, running, queued: first }
            });
            let turns = Turns::new(priority, of);
            let mut followers = [None; LEVELS];
            for (level, after) in turns.after().into_iter().enumerate() {
                let later = self
                    .queued
                    .iter()
                    .filter(|job| usize::from(job.2.level()) == level && job.0.turn > after);
                followers[level] = later.min_by_key(|job| job.0.turn).map(|job| job.0.rank);
            }
            let place = turns.place(UnixMillis(NOW.0 + self.now_ms), followers);
            self.queued.push((place, caller, priority));
            self.queued.sort_by_key(|job| (job.0.rank, job.0.turn));
        }

        /// Ends the running job, and starts the next one. Returns its caller.
        fn next(&mut self) -> &'static str {
            self.running.clear();
            let job = self.queued.remove(0);
            self.running.push(job);
            job.1
        }

        fn order(&mut self, jobs: usize) -> Vec<&'static str> {
            (0..jobs).map(|_| self.next()).collect()
        }
    }

    #[test]
    fn a_newcomer_starts_next_and_then_alternates() {
        let mut queue = Queue::default();
        (0..1_000).for_each(|_| queue.submit("alice", Priority::Normal));
        assert_eq!(queue.order(500), ["alice"; 500]);
        queue.now_ms += 600_000;
        (0..3).for_each(|_| queue.submit("bob", Priority::Normal));
        queue.submit("carol", Priority::Normal);
        let order = ["bob", "carol", "alice", "bob", "alice", "bob", "alice", "alice"];
        assert_eq!(queue.order(8), order);
    }

    #[test]
    fn further_jobs_of_a_caller_do_not_jump_the_queue() {
        let mut queue = Queue::default();
        (0..3).for_each(|_| queue.submit("alice", Priority::Normal));
        (0..3).for_each(|_| queue.submit("bob", Priority::Normal));
        assert_eq!(queue.order(2), ["alice", "bob"]);
        (0..3).for_each(|_| queue.submit("alice", Priority::Normal));
        assert_eq!(queue.order(7), ["alice", "bob", "alice", "bob", "alice", "alice", "alice"]);
    }

    #[test]
    fn ever_new_callers_do_not_starve_a_queued_job() {
        let mut queue = Queue::default();
        (0..3).for_each(|_| queue.submit("alice", Priority::Normal));
        assert_eq!(queue.next(), "alice");
        let names: Vec<&'static str> = (0..200).map(|number| &*format!("caller {number}").leak()).collect();
        let mut started = Vec::new();
        for name in names {
            queue.submit(name, Priority::Normal);
            started.push(queue.next());
        }
        let of_alice = started.iter().filter(|name| **name == "alice").count();
        assert_eq!(of_alice, 2, "{started:?}");
    }

    #[test]
    fn an_urgent_job_passes_old_jobs_of_a_lower_priority() {
        let mut queue = Queue::default();
        (0..10).for_each(|_| queue.submit("alice", Priority::Low));
        assert_eq!(queue.next(), "alice");
        queue.now_ms += 3_600_000;
        queue.submit("bob", Priority::High);
        assert_eq!(queue.next(), "bob");
        // A LOW job that has not had its turn is passed by no CRITICAL job that arrives long after it.
        let mut queue = Queue::default();
        queue.submit("alice", Priority::Low);
        queue.now_ms += 3_600_000;
        queue.submit("bob", Priority::Critical);
        assert_eq!(queue.order(2), ["alice", "bob"]);
    }

    #[test]
    fn a_job_that_runs_again_turns_no_clock_back() {
        let turns = |running, queued| {
            let mut of = [TurnsOfPriority::default(); LEVELS];
            of[NORMAL] = TurnsOfPriority { own: None, running, queued };
            Turns::new(Priority::Normal, of).turn()
        };
        assert_eq!(turns(Some(Turn(STEP)), Some(Turn(STEP * 9))), Turn(STEP * 9));
        assert_eq!(turns(Some(Turn(STEP)), Some(Turn(STEP * 2))), Turn(STEP + NEWCOMER));
        assert_eq!(turns(None, Some(Turn(STEP))), Turn(STEP));
        assert_eq!(turns(Some(Turn(STEP)), None), Turn(STEP + NEWCOMER));
    }
}
