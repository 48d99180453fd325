//! The start: the time until the server is ready, and whether the first proof is slower.

use super::{
    client::Client,
    fixture::{Fixture, Workload},
    milliseconds, process_stats,
    report::{Figure, Goal, Row, Unit},
    sampling::{self, Summary},
};

/// Proofs after the first. Their median is the time of a usual proof.
const SETTLED_PROOFS: usize = 6;

/// The time from the start of the process until `/readyz` returns 200, minus the start of bb alone.
pub(super) fn until_ready(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let mut ours = || Ok(milliseconds(fixture.serve::<&str>(&[])?.ready_after()));
    let mut bare = || fixture.bb.start();
    let [ours, bare] = sampling::in_turn(fixture.rounds, &mut [&mut ours, &mut bare])?;
    let beyond = ours.iter().zip(&bare).map(|(ours, bare)| ours - bare).collect();
    let figure = |name: &str, samples| Figure::new(name, Unit::Milliseconds, samples);
    Ok(vec![Row::with_goal(
        "process start to ready, keys cached, beyond bb's own start",
        figure("beyond", beyond),
        Goal::AtMost(100.0),
        vec![figure("ready", ours), figure("bb's start", bare)],
    )])
}

/// The first proof of a prover over its later ones, and the peak memory of that prover.
pub(super) fn first_proof(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for workload in fixture.extremes() {
        for width in ["wide", "narrow"] {
            rows.extend(fresh(fixture, workload, width)?);
        }
    }
    Ok(rows)
}

fn fresh(fixture: &Fixture, workload: &Workload, width: &str) -> anyhow::Result<Vec<Row>> {
    let (mut first, mut settled, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    sampling::repeated(fixture.few_rounds(), || {
        let server = fixture.serve(&["--width", width])?;
        let client = Client::new(server.url());
        let prove = || Ok(client.prove(&workload.name, &workload.witness_bytes)?.ms);
        first.push(prove()?);
        settled.push(Summary::of(&sampling::repeated(SETTLED_PROOFS, prove)?).median);
        if process_stats::is_supported() {
            // Only one child has proved, because the requests come one at a time.
            let children = process_stats::children(server.pid())?;
            let peak = children.iter().filter_map(|child| process_stats::peak_mib(child.pid).ok());
            peaks.push(peak.fold(f64::NAN, f64::max));
        }
        Ok(())
    })?;
    let first = Figure::new("first", Unit::Milliseconds, first);
    let settled = Figure::new("later", Unit::Milliseconds, settled);
    let ratio = Figure::ratio(&first, &settled);
    let what = format!("first proof after the start over later ones, {width}");
    let mut rows = vec![Row::without_goal(what, ratio, vec![first, settled]).of(workload)];
    if !peaks.is_empty() {
        let peak = Figure::new("peak", Unit::Mebibytes, peaks);
        let what = format!("memory of the bb that proved, {width}");
        rows.push(Row::without_goal(what, peak, Vec::new()).of(workload));
    }
    Ok(rows)
}
