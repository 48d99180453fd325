//! Families of circuits that were built: those of a template that differ in its family parameter only.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use edgeprove_engine::circuits::family::CircuitFamily;
use edgeprove_protocol::CircuitId;

use super::Known;

/// The families of these circuits. A circuit without others is in no family.
pub(super) fn of(known: &BTreeMap<CircuitId, Known>) -> Vec<CircuitFamily> {
    let mut families: BTreeMap<&str, BTreeSet<(Reverse<i64>, &CircuitId)>> = BTreeMap::new();
    for (id, circuit) in known {
        if let Some(place) = &circuit.family {
            families.entry(&place.family).or_default().insert((Reverse(place.size), id));
        }
    }
    let several = families.into_values().filter(|members| members.len() > 1);
    // A set has each circuit once, so that every list is a family.
    several
        .filter_map(|members| {
            CircuitFamily::new(members.into_iter().map(|(_, id)| id.clone()).collect()).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use edgeprove_circuit_store::FamilyPlace;

    use super::*;

    #[test]
    fn circuits_of_a_family_are_ordered_by_their_sizes() {
        let circuit = |id: &str, family: Option<(&str, i64)>| {
            let family = family.map(|(family, size)| FamilyPlace { family: family.to_owned(), size });
            (id.parse().unwrap(), Known { version: "1".to_owned(), family })
        };
        let known = BTreeMap::from([
            circuit("a-9", Some(("a", 9))),
            circuit("a-10", Some(("a", 10))),
            circuit("a-200", Some(("a", 200))),
            circuit("b-9", Some(("b", 9))),
            circuit("c", None),
        ]);
        let families = of(&known);
        let members: Vec<_> = families[0].members().iter().map(CircuitId::as_str).collect();
        assert_eq!((families.len(), members), (1, vec!["a-200", "a-10", "a-9"]));
    }
}
