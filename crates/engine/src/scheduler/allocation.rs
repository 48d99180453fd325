//! The cores and the memory of the next proof.
//!
//! A pure decision: from the free cores and memory follow whether the next proof starts and with how many cores.

use super::WidthPolicy;
use edgeprove_prover::IdleMemory;

/// The cores and the memory that proofs have, and those that are free.
#[derive(Debug, Clone)]
pub(super) struct Allocation {
    pub policy: WidthPolicy,
    pub cores: usize,
    pub cores_free: usize,
    /// The memory budget of all proofs together, in bytes.
    pub memory_max: u64,
    /// The memory that running proofs are expected to use at most, in bytes.
    pub memory_reserved: u64,
    pub running: usize,
}

/// The decision on the next proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It starts with so many cores, and so many bytes are reserved for it.
    Start { width: usize, bytes: u64 },
    /// It starts once idle provers have returned memory.
    ReclaimMemory,
    /// It waits until another proof ends.
    Wait,
    /// It can never start.
    Never { needed_bytes: u64 },
}

impl Allocation {
    /// Decides on the first of `waiting` proofs. `expected` gives the bytes of a proof with so many cores, `idle` the
    /// memory of idle provers.
    ///
    /// The proofs behind it never overtake, even if a smaller circuit would fit: otherwise a large one might never find
    /// the memory it waits for.
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
        // Cores are not divided among more proofs than the memory allows.
        let side_by_side = usize::try_from(memory_free / expected(widths[0]).max(1)).unwrap_or(usize::MAX);
        let width =
            width(self.policy, self.cores, self.cores_free, waiting.min(side_by_side.max(1))).min(widest);
        // A wide proof waits until all cores are free.
        if width > self.cores_free {
            return Decision::Wait;
        }
        let (expected, idle) = (expected(width), idle(width));
        // A prover that holds more than the proof needs does not return the rest.
        let bytes = expected.max(idle.next_bytes);
        if bytes.saturating_add(idle.others_bytes) <= memory_free {
            return Decision::Start { width, bytes };
        }
        let own = expected.max(idle.next_bytes.saturating_sub(idle.next_reclaimable_bytes));
        let others = idle.others_bytes.saturating_sub(idle.others_reclaimable_bytes);
        let is_enough = own.saturating_add(others) <= memory_free;
        let is_reclaimable = idle.next_reclaimable_bytes > 0 || idle.others_reclaimable_bytes > 0;
        if is_reclaimable && (is_enough || self.running == 0) {
            return Decision::ReclaimMemory;
        }
        // The memory of fresh provers must not keep the only proof waiting for ever.
        if self.running == 0 { Decision::Start { width, bytes: expected } } else { Decision::Wait }
    }
}

/// Every width that a proof may get, ascending. [`WidthPolicy::Auto`] has the powers of two below the number of cores,
/// and all cores.
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
        IdleMemory { next_bytes: 0, others_bytes: 0, next_reclaimable_bytes: 0, others_reclaimable_bytes: 0 };

    /// Two free cores and 100 bytes.
    fn idle_machine() -> Allocation {
        Allocation {
            policy: WidthPolicy::Auto,
            cores: 2,
            cores_free: 2,
            memory_max: 100,
            memory_reserved: 0,
            running: 0,
        }
    }

    /// One running proof, on one core.
    fn busy(reserved: u64) -> Allocation {
        Allocation { cores_free: 1, memory_reserved: reserved, running: 1, ..idle_machine() }
    }

    fn starts(width: usize, bytes: u64) -> Decision {
        Decision::Start { width, bytes }
    }

    #[test]
    fn width_follows_the_number_of_waiting_proofs() {
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
    fn a_proof_waits_until_its_memory_is_free() {
        assert_eq!(busy(40).decide(1, |_| 60, |_| NONE), starts(1, 60));
        assert_eq!(busy(41).decide(1, |_| 60, |_| NONE), Decision::Wait);
        assert_eq!(idle_machine().decide(1, |_| 60, |_| NONE), starts(2, 60));
    }

    #[test]
    fn cores_are_divided_among_as_many_proofs_as_fit() {
        assert_eq!(idle_machine().decide(5, |_| 50, |_| NONE), starts(1, 50));
        assert_eq!(
            idle_machine().decide(5, |_| 51, |_| NONE),
            starts(2, 51),
            "the second would have to wait"
        );
    }

    #[test]
    fn a_proof_too_large_for_all_cores_gets_fewer() {
        let expected = |width: usize| 60 + 30 * width as u64;
        assert_eq!(idle_machine().decide(1, expected, |_| NONE), starts(1, 90));
    }

    #[test]
    fn a_proof_too_large_for_one_core_never_starts() {
        let never = Decision::Never { needed_bytes: 101 };
        assert_eq!(idle_machine().decide(1, |width| 100 + width as u64, |_| NONE), never);
        assert_eq!(busy(100).decide(1, |_| 101, |_| NONE), never, "also while other proofs run");
        let wide = Allocation { policy: WidthPolicy::Wide, ..idle_machine() };
        let never = Decision::Never { needed_bytes: 102 };
        assert_eq!(wide.decide(1, |width| 100 + width as u64, |_| NONE), never);
    }

    #[test]
    fn idle_memory_counts_and_is_reclaimed_when_needed() {
        let idle = |next, others, reclaimable| {
            move |_| IdleMemory {
                next_bytes: next,
                others_bytes: others,
                others_reclaimable_bytes: reclaimable,
                ..NONE
            }
        };
        assert_eq!(idle_machine().decide(1, |_| 60, idle(30, 40, 60)), starts(2, 60));
        assert_eq!(idle_machine().decide(1, |_| 60, idle(30, 41, 60)), Decision::ReclaimMemory);
        assert_eq!(
            idle_machine().decide(1, |_| 20, idle(80, 10, 60)),
            starts(2, 80),
            "its prover holds more memory"
        );
        assert_eq!(busy(50).decide(1, |_| 45, idle(5, 40, 35)), Decision::ReclaimMemory);
        assert_eq!(busy(50).decide(1, |_| 46, idle(5, 40, 35)), Decision::Wait, "it would not suffice");
        assert_eq!(
            idle_machine().decide(1, |_| 95, idle(5, 10, 0)),
            starts(2, 95),
            "the memory of fresh provers does not count"
        );
    }

    #[test]
    fn an_idle_machine_never_makes_a_proof_wait() {
        // No proof runs, so none would end a wait.
        for expected in 0..=100 {
            for held in 0..=100 {
                let idle = |_| IdleMemory { next_bytes: held, others_bytes: held, ..NONE };
                let decision = idle_machine().decide(3, |_| expected, idle);
                assert!(matches!(decision, Decision::Start { .. }), "{expected} {held} {decision:?}");
            }
        }
    }
}
