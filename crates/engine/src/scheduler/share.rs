//! Who gets how many cores, and whether there is memory for it. Pure: given what is free, it says what to do.

use super::WidthPolicy;
use edgeprove_prover::IdleMemory;

/// What is given out, and what there is.
#[derive(Debug, Clone)]
pub(super) struct Books {
    pub policy: WidthPolicy,
    pub cores: usize,
    pub cores_free: usize,
    /// Memory that proofs may take together, in bytes.
    pub memory_max: u64,
    /// Memory that proofs at work are expected to take at most, in bytes.
    pub memory_reserved: u64,
    pub running: usize,
}

/// What becomes of whoever is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It starts with so many cores, and so many bytes are promised to it.
    Grant { width: usize, bytes: u64 },
    /// It starts once provers without work have given back what they hold.
    Shed,
    /// It waits until another proof ends.
    Wait,
    /// It would never start.
    Never { needed_bytes: u64 },
}

impl Books {
    /// Decides on whoever is next of `waiting`, itself among them. `expected` tells how many bytes a proof of so many
    /// cores takes, `idle` what provers without work hold.
    ///
    /// Nobody behind it is looked at, even if there were memory for a smaller circuit: else a large one would never
    /// find the memory it waits for.
    pub(super) fn decide(
        &self,
        waiting: usize,
        expected: impl Fn(usize) -> u64,
        idle: impl Fn(usize) -> IdleMemory,
    ) -> Decision {
        let widths = widths(self.policy, self.cores);
        let Some(widest) = widths.iter().rev().copied().find(|&width| expected(width) <= self.memory_max)
        else {
            let needed_bytes = widths.first().map_or(0, |&width| expected(width));
            return Decision::Never { needed_bytes };
        };
        if self.cores_free == 0 {
            return Decision::Wait;
        }
        let memory_free = self.memory_max.saturating_sub(self.memory_reserved);
        // Cores are not divided among more proofs than there is memory for.
        let side_by_side = usize::try_from(memory_free / expected(widths[0]).max(1)).unwrap_or(usize::MAX);
        let width =
            width(self.policy, self.cores, self.cores_free, waiting.min(side_by_side.max(1))).min(widest);
        // A wide proof waits until all cores are free.
        if width > self.cores_free {
            return Decision::Wait;
        }
        let (expected, idle) = (expected(width), idle(width));
        // A prover that holds more than the proof takes does not give it back for that.
        let bytes = expected.max(idle.seat_bytes);
        if bytes.saturating_add(idle.others_bytes) <= memory_free {
            return Decision::Grant { width, bytes };
        }
        let seat = expected.max(idle.seat_bytes.saturating_sub(idle.seat_reclaimable_bytes));
        let others = idle.others_bytes.saturating_sub(idle.others_reclaimable_bytes);
        let would_do = seat.saturating_add(others) <= memory_free;
        let is_some = idle.seat_reclaimable_bytes > 0 || idle.others_reclaimable_bytes > 0;
        if is_some && (would_do || self.running == 0) {
            return Decision::Shed;
        }
        // What fresh provers hold must not keep the last one waiting for ever.
        if self.running == 0 { Decision::Grant { width, bytes: expected } } else { Decision::Wait }
    }
}

/// Every width that is given out, ascending: under [`WidthPolicy::Auto`] the powers of two below all cores, and all.
pub(super) fn widths(policy: WidthPolicy, cores: usize) -> Vec<usize> {
    match policy {
        WidthPolicy::Wide => vec![cores.max(1)],
        WidthPolicy::Narrow => vec![1],
        WidthPolicy::Auto => {
            let powers = std::iter::successors(Some(1), |width| Some(width * 2));
            powers.take_while(|&width| width < cores).chain([cores.max(1)]).collect()
        }
    }
}

fn width(policy: WidthPolicy, cores: usize, free: usize, waiting: usize) -> usize {
    match policy {
        WidthPolicy::Wide => cores,
        WidthPolicy::Narrow => 1,
        WidthPolicy::Auto => {
            let share = (free / waiting.max(1)).max(1);
            widths(policy, cores).into_iter().rev().find(|&w| w <= share).unwrap_or(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: IdleMemory =
        IdleMemory { seat_bytes: 0, others_bytes: 0, seat_reclaimable_bytes: 0, others_reclaimable_bytes: 0 };

    /// Two free cores and 100 bytes.
    fn books() -> Books {
        Books {
            policy: WidthPolicy::Auto,
            cores: 2,
            cores_free: 2,
            memory_max: 100,
            memory_reserved: 0,
            running: 0,
        }
    }

    /// One proof at work, on one core.
    fn busy(promised: u64) -> Books {
        Books { cores_free: 1, memory_reserved: promised, running: 1, ..books() }
    }

    fn granted(width: usize, bytes: u64) -> Decision {
        Decision::Grant { width, bytes }
    }

    #[test]
    fn width_is_shared_out_by_the_queue() {
        for (cores, free, waiting, expected) in [
            (2, 2, 1, 2),
            (2, 2, 2, 1),
            (2, 1, 1, 1),
            (4, 4, 2, 2),
            (4, 4, 3, 1),
            (6, 6, 1, 6),
            (6, 5, 1, 4),
            (1, 1, 9, 1),
        ] {
            let got = width(WidthPolicy::Auto, cores, free, waiting);
            assert_eq!(got, expected, "{cores} cores, {free} free, {waiting} waiting");
        }
        assert_eq!(widths(WidthPolicy::Auto, 1), [1]);
        assert_eq!(widths(WidthPolicy::Auto, 6), [1, 2, 4, 6]);
        assert_eq!(widths(WidthPolicy::Wide, 6), [6]);
    }

    #[test]
    fn a_proof_waits_for_the_memory_of_the_one_before() {
        assert_eq!(busy(40).decide(1, |_| 60, |_| NONE), granted(1, 60));
        assert_eq!(busy(41).decide(1, |_| 60, |_| NONE), Decision::Wait);
        assert_eq!(books().decide(1, |_| 60, |_| NONE), granted(2, 60));
    }

    #[test]
    fn cores_are_not_divided_among_more_proofs_than_there_is_memory_for() {
        assert_eq!(books().decide(5, |_| 50, |_| NONE), granted(1, 50));
        assert_eq!(books().decide(5, |_| 51, |_| NONE), granted(2, 51), "the second would have to wait");
    }

    #[test]
    fn a_proof_that_is_too_large_on_all_cores_gets_fewer() {
        let expected = |width: usize| 60 + 30 * width as u64;
        assert_eq!(books().decide(1, expected, |_| NONE), granted(1, 90));
    }

    #[test]
    fn a_proof_that_is_too_large_on_one_core_never_starts() {
        let never = Decision::Never { needed_bytes: 101 };
        assert_eq!(books().decide(1, |width| 100 + width as u64, |_| NONE), never);
        assert_eq!(busy(100).decide(1, |_| 101, |_| NONE), never, "whatever else is at work");
        let wide = Books { policy: WidthPolicy::Wide, ..books() };
        let never = Decision::Never { needed_bytes: 102 };
        assert_eq!(wide.decide(1, |width| 100 + width as u64, |_| NONE), never);
    }

    #[test]
    fn what_idle_provers_hold_counts_and_is_given_back_when_it_is_wanted() {
        let idle = |seat, others, reclaimable| {
            move |_| IdleMemory {
                seat_bytes: seat,
                others_bytes: others,
                others_reclaimable_bytes: reclaimable,
                ..NONE
            }
        };
        assert_eq!(books().decide(1, |_| 60, idle(30, 40, 60)), granted(2, 60));
        assert_eq!(books().decide(1, |_| 60, idle(30, 41, 60)), Decision::Shed);
        assert_eq!(books().decide(1, |_| 20, idle(80, 10, 60)), granted(2, 80), "its prover holds more");
        assert_eq!(busy(50).decide(1, |_| 45, idle(5, 40, 35)), Decision::Shed);
        assert_eq!(busy(50).decide(1, |_| 46, idle(5, 40, 35)), Decision::Wait, "it would not be enough");
        assert_eq!(books().decide(1, |_| 95, idle(5, 10, 0)), granted(2, 95), "fresh ones do not count");
    }

    #[test]
    fn whatever_is_expected_somebody_gets_on() {
        // No proof at work and cores free: a decision to wait would be for ever.
        for expected in 0..=100 {
            for held in 0..=100 {
                let idle = |_| IdleMemory { seat_bytes: held, others_bytes: held, ..NONE };
                let decision = books().decide(3, |_| expected, idle);
                assert!(matches!(decision, Decision::Grant { .. }), "{expected} {held} {decision:?}");
            }
        }
    }
}
