//! Groth16: our prover and our witness computation against snarkjs, in process.

use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::{
    fixture::Fixture,
    report::{Figure, Goal, Row, Unit},
};
use crate::{interrupt, process, setup};

/// The most time of a proof and its verification over snarkjs's, which does not verify.
const PROVING_MAX: f64 = 0.2;
/// The most time of a large witness over snarkjs's.
const WITNESS_MAX: f64 = 1.0;
/// Witnesses of fewer constraints take less than a millisecond, so they have no goal.
const LARGE: u32 = 10_000;

/// A line of `crates/groth16/examples/against_snarkjs.rs`.
#[derive(Debug, Deserialize)]
struct Comparison {
    what: String,
    constraints: u32,
    ours: Vec<f64>,
    snarkjs: Vec<f64>,
}

/// A row for each comparison.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    setup::circom()?;
    let program = process::example(&fixture.ready.paths, "edgeprove-groth16", "against_snarkjs")?;
    interrupt::check()?;
    let mut command = Command::new(&program);
    command.arg(fixture.rounds.to_string()).arg(fixture.cores.to_string());
    let output = command.output().with_context(|| format!("{} cannot be run", program.display()))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {stderr}", program.display());
    let lines = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Comparison>();
    lines.map(|line| Ok(row(line?))).collect()
}

fn row(compared: Comparison) -> Row {
    let figure = |name: &str, samples| Figure::new(name, Unit::Milliseconds, samples);
    let (ours, snarkjs) = (figure("ours", compared.ours), figure("snarkjs", compared.snarkjs));
    let ratio = Figure::ratio(&ours, &snarkjs);
    let from = vec![ours, snarkjs];
    let row = if compared.what == "prove" {
        Row::with_goal(
            "Groth16 proof with verification over snarkjs's proof",
            ratio,
            Goal::AtMost(PROVING_MAX),
            from,
        )
    } else if compared.constraints >= LARGE {
        Row::with_goal("circom witness over snarkjs's", ratio, Goal::AtMost(WITNESS_MAX), from)
    } else {
        Row::without_goal("circom witness over snarkjs's", ratio, from)
    };
    row.with_circuit(format!("{} constraints", compared.constraints))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_witnesses_and_all_proofs_have_a_goal() {
        let compared = |what: &str, constraints| {
            let row = row(Comparison {
                what: what.to_owned(),
                constraints,
                ours: vec![1.0, 3.0],
                snarkjs: vec![10.0, 10.0],
            });
            serde_json::to_value(row).unwrap()
        };
        assert_eq!(compared("prove", 100)["goal"], serde_json::json!({"at_most": 0.2}));
        assert_eq!(compared("prove", 100)["figure"]["summary"]["median"], 0.2);
        assert_eq!(compared("witness", 100)["goal"], serde_json::Value::Null);
        assert_eq!(compared("witness", 30_000)["goal"], serde_json::json!({"at_most": 1.0}));
        assert_eq!(compared("witness", 30_000)["circuit"], "30000 constraints");
    }
}
