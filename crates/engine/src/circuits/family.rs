//! Families of circuits: the same statement at several sizes.
//!
//! When the machine has too little time or memory for one circuit of a family, a smaller one may still be proved.

use edgeprove_protocol::{CircuitId, ProblemType};

/// Circuits that prove the same statement at different sizes, the largest first.
///
/// ```
/// use edgeprove_engine::circuits::family::CircuitFamily;
/// use edgeprove_protocol::ProblemType;
///
/// let (large, small) = ("maze_64".parse().unwrap(), "maze_32".parse().unwrap());
/// let family = CircuitFamily::new(vec![large, small]).unwrap();
/// let [large, small] = family.members() else { unreachable!() };
/// assert_eq!(family.next_after(large, ProblemType::ProofTimeout), Some(small));
/// assert_eq!(family.next_after(large, ProblemType::WitnessUnsatisfied), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitFamily(Vec<CircuitId>);

/// A list of circuits is no family, since one circuit is in it twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the circuit {0} appears twice")]
pub struct RepeatedCircuit(CircuitId);

impl CircuitFamily {
    /// Makes a family of these circuits, the largest first.
    pub fn new(largest_first: Vec<CircuitId>) -> Result<Self, RepeatedCircuit> {
        let repeated = largest_first.iter().enumerate().find(|(at, id)| largest_first[..*at].contains(id));
        if let Some((_, id)) = repeated {
            return Err(RepeatedCircuit(id.clone()));
        }
        Ok(Self(largest_first))
    }

    /// All circuits of the family, the largest first.
    #[must_use]
    pub fn members(&self) -> &[CircuitId] {
        &self.0
    }

    /// The circuit to try after `tried` failed with `problem`: the next smaller one if the machine had too little for
    /// the larger one, and `None` for every other problem.
    #[must_use]
    pub fn next_after(&self, tried: &CircuitId, problem: ProblemType) -> Option<&CircuitId> {
        if !problem.fallback() {
            return None;
        }
        let at = self.position(tried)?;
        self.0.get(at + 1)
    }

    /// Whether `smaller` comes after `larger` in this family.
    #[must_use]
    pub fn is_smaller(&self, smaller: &CircuitId, larger: &CircuitId) -> bool {
        matches!((self.position(larger), self.position(smaller)), (Some(larger), Some(smaller)) if larger < smaller)
    }

    fn position(&self, wanted: &CircuitId) -> Option<usize> {
        self.0.iter().position(|id| id == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> CircuitId {
        name.parse().unwrap()
    }

    #[test]
    fn next_is_the_next_smaller_member() {
        let family = CircuitFamily::new(vec![id("maze_64"), id("maze_32"), id("maze_16")]).unwrap();
        let next =
            |tried: &str| family.next_after(&id(tried), ProblemType::ProverCrashed).map(CircuitId::as_str);
        assert_eq!(next("maze_64"), Some("maze_32"));
        assert_eq!(next("maze_32"), Some("maze_16"));
        assert_eq!(next("maze_16"), None);
        assert_eq!(next("range_check"), None, "of another family");
        assert!(family.is_smaller(&id("maze_16"), &id("maze_64")));
        assert!(!family.is_smaller(&id("maze_64"), &id("maze_16")));
        assert!(!family.is_smaller(&id("maze_64"), &id("maze_64")));
    }

    #[test]
    fn only_problems_of_the_machine_lead_to_a_smaller_one() {
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
    fn a_family_has_each_circuit_once() {
        let ids = vec![id("a"), id("b"), id("a")];
        assert_eq!(CircuitFamily::new(ids), Err(RepeatedCircuit(id("a"))));
    }
}
