//! Circuits that do the same at different sizes, and which to try when one asks too much of the machine.

use edgeprove_protocol::{CircuitId, ProblemType};

/// Circuits that do the same at different sizes, the largest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitFamily(Vec<CircuitId>);

/// A list that makes no family.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the circuit {0} stands twice in one family")]
pub struct CircuitStandsTwice(CircuitId);

impl CircuitFamily {
    /// The family of these circuits, the largest first.
    pub fn new(largest_first: Vec<CircuitId>) -> Result<Self, CircuitStandsTwice> {
        let twice = largest_first.iter().enumerate().find(|(at, id)| largest_first[..*at].contains(id));
        if let Some((_, id)) = twice {
            return Err(CircuitStandsTwice(id.clone()));
        }
        Ok(Self(largest_first))
    }

    /// All of them, the largest first.
    #[must_use]
    pub fn members(&self) -> &[CircuitId] {
        &self.0
    }

    /// The circuit to try after `tried` ended with `problem`: the next smaller one, where the problem was that the
    /// machine had too little for the larger one, and `None` otherwise.
    #[must_use]
    pub fn next_after(&self, tried: &CircuitId, problem: ProblemType) -> Option<&CircuitId> {
        if !problem.fallback() {
            return None;
        }
        let at = self.0.iter().position(|id| id == tried)?;
        self.0.get(at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> CircuitId {
        name.parse().unwrap()
    }

    #[test]
    fn smaller_ones_are_tried_until_there_is_none() {
        let family = CircuitFamily::new(vec![id("maze_64"), id("maze_32"), id("maze_16")]).unwrap();
        let next =
            |tried: &str| family.next_after(&id(tried), ProblemType::ProverCrashed).map(CircuitId::as_str);
        assert_eq!(next("maze_64"), Some("maze_32"));
        assert_eq!(next("maze_32"), Some("maze_16"));
        assert_eq!(next("maze_16"), None);
        assert_eq!(next("range_check"), None, "of another family");
    }

    #[test]
    fn a_fault_of_the_witness_stays_one_with_a_smaller_circuit() {
        let family = CircuitFamily::new(vec![id("large"), id("small")]).unwrap();
        let helped: Vec<_> = ProblemType::ALL
            .iter()
            .filter(|&&problem| family.next_after(&id("large"), problem).is_some())
            .collect();
        let expected: Vec<_> = ProblemType::ALL.iter().filter(|problem| problem.fallback()).collect();
        assert_eq!(helped, expected);
        assert!(helped.contains(&&ProblemType::ProofTimeout));
        assert!(!helped.contains(&&ProblemType::WitnessUnsatisfied));
    }

    #[test]
    fn a_family_has_no_circle() {
        let ids = vec![id("a"), id("b"), id("a")];
        assert_eq!(CircuitFamily::new(ids), Err(CircuitStandsTwice(id("a"))));
    }
}
