//! One proof at a time: the server against bare bb and against the baseline server, and the time beside proving.

use super::{
    baseline_server::BaselineServer,
    bb_cli::{self, Bb, Key},
    client::{Client, ProofTiming},
    fixture::{Fixture, Workload},
    report::{Figure, Goal, Row, Unit},
    sampling,
};
use crate::server::Server;

/// The largest circuit size with the stricter goal. At such a size the start of a process, which a warm prover saves,
/// takes longer than the verification, which bare bb does not do.
const SMALL_CIRCUIT_SIZE: u64 = 4096;

/// Five rows for each circuit, all from the same rounds.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let server = fixture.serve::<&str>(&[])?;
    let baseline = BaselineServer::start(fixture.bb.clone(), fixture.ready.paths.circuits.clone())?;
    let mut rows = Vec::new();
    for workload in &fixture.workloads {
        rows.extend(one(fixture, workload, &server, &baseline)?);
    }
    Ok(rows)
}

fn one(
    fixture: &Fixture,
    workload: &Workload,
    server: &Server,
    baseline: &BaselineServer,
) -> anyhow::Result<[Row; 5]> {
    let Workload { name, witness_bytes, .. } = workload;
    let (client, baseline_client) = (Client::new(server.url()), Client::new(&baseline.url()));
    let out = bb_cli::scratch()?;
    let mut ours = || client.prove(name, witness_bytes);
    let prove_with = |bb: &Bb| {
        let ms = bb.prove(&workload.circuit, &workload.witness, Key::Ready(&workload.key), out.path())?;
        Ok(ProofTiming { ms, timings: None })
    };
    let newer = Bb { newer_msm: true, ..fixture.bb.clone() };
    let mut bare = || prove_with(&fixture.bb);
    let mut bare_newer = || prove_with(&newer);
    let mut theirs = || baseline_client.prove(name, witness_bytes);
    let [ours, bare, bare_newer, theirs] =
        sampling::in_turn(fixture.rounds, &mut [&mut ours, &mut bare, &mut bare_newer, &mut theirs])?;

    let figure = |name: &str, samples: &[ProofTiming], of: fn(&ProofTiming) -> f64| {
        Figure::new(name, Unit::Milliseconds, samples.iter().map(of).collect())
    };
    let whole = |timing: &ProofTiming| timing.ms;
    let stage = |name: &str, of: fn(&ProofTiming) -> f64| figure(name, &ours, of);
    let post = figure("POST", &ours, whole);
    let bare = figure("bb prove -k", &bare, whole);
    let bare_newer = figure("bb prove -k, newer MSM", &bare_newer, whole);
    let theirs = figure("POST to the baseline server", &theirs, whole);
    let stages = vec![
        stage("upload", |a| a.timings.map_or(f64::NAN, |t| t.upload_ms)),
        stage("prove", |a| a.timings.map_or(f64::NAN, |t| t.prove_ms)),
        stage("verify", |a| a.timings.map_or(f64::NAN, |t| t.verify_ms)),
    ];
    let verify = stages[2].clone();

    let bound = if workload.circuit_size <= SMALL_CIRCUIT_SIZE { 1.0 } else { 1.02 };
    let rows = [
        Row::with_goal(
            "warm POST, verified, over bb prove -k",
            Figure::ratio(&post, &bare),
            Goal::AtMost(bound),
            vec![post.clone(), bare],
        ),
        Row::without_goal(
            "warm POST, verified, over bb prove -k with the newer MSM",
            Figure::ratio(&post, &bare_newer),
            vec![post.clone(), bare_newer],
        ),
        Row::with_goal(
            "warm POST, verified, over POST to the baseline server",
            Figure::ratio(&post, &theirs),
            Goal::AtMost(0.85),
            vec![post, theirs],
        ),
        Row::with_goal(
            "a POST without proving and verifying",
            stage("rest", ProofTiming::rest_ms),
            Goal::AtMost(5.0),
            stages,
        ),
        Row::without_goal("verifying a proof", verify, Vec::new()),
    ];
    Ok(rows.map(|row| row.of(workload)))
}
