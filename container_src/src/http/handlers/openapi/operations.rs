//! The operations, by group of endpoints.
//!
//! A new endpoint needs an operation here: a test compares them with the table of endpoints.

mod circuits;
mod figures;
mod jobs;
mod operators;
mod proofs;
mod service;
mod work;

use serde_json::{Value, json};

use super::operation::Operation;

/// Every operation, in the order of the document.
#[must_use]
pub fn all() -> Vec<Operation> {
    let groups = [
        proofs::operations(),
        jobs::operations(),
        circuits::operations(),
        service::operations(),
        figures::operations(),
        operators::operations(),
        work::operations(),
    ];
    groups.into_iter().flatten().collect()
}

/// A text.
fn text() -> Value {
    json!({ "type": "string" })
}

/// A whole number within bounds.
fn whole(min: u64, max: u64) -> Value {
    json!({ "type": "integer", "minimum": min, "maximum": max })
}

/// One of some words.
fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({ "type": "string", "enum": words.into_iter().collect::<Vec<_>>() })
}

/// The name of a circuit.
fn circuit() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" })
}

/// The verifier that a proof is for.
fn target() -> Value {
    one_of(["default", "noir-recursive", "evm", "groth16"])
}
