//! One proof at a time: ours against bare bb and against the seeds' way, and what goes into it beside proving.

use super::{
    baseline_server::BaselineServer,
    bb_cli::{self, Bb, Key},
    client::{Answered, Client},
    fixture::{Fixture, Workload},
    report::{Figure, Goal, Row, Unit},
    sampling,
};
use crate::server::Server;

/// Circuits of up to so many rows are held to the stricter goal: there the start of a process, which a warm prover
/// saves, weighs more than the verification, which only we do.
const SMALL_ROWS: u64 = 4096;

/// The rows of each circuit are from the same rounds.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let server = fixture.serve::<&str>(&[])?;
    let seeds = BaselineServer::start(fixture.bb.clone(), fixture.ready.paths.circuits.clone())?;
    let mut rows = Vec::new();
    for workload in &fixture.workloads {
        rows.extend(one(fixture, workload, &server, &seeds)?);
    }
    Ok(rows)
}

fn one(
    fixture: &Fixture,
    workload: &Workload,
    server: &Server,
    seeds: &BaselineServer,
) -> anyhow::Result<[Row; 5]> {
    let Workload { name, witness_bytes, .. } = workload;
    let (client, seeds_client) = (Client::new(server.url()), Client::new(&seeds.url()));
    let out = bb_cli::scratch()?;
    let mut ours = || client.prove(name, witness_bytes);
    let prove_with = |bb: &Bb| {
        let ms = bb.prove(&workload.circuit, &workload.witness, Key::Ready(&workload.key), out.path())?;
        Ok(Answered { ms, timings: None })
    };
    let newer = Bb { newer_msm: true, ..fixture.bb.clone() };
    let mut bare = || prove_with(&fixture.bb);
    let mut bare_newer = || prove_with(&newer);
    let mut theirs = || seeds_client.prove(name, witness_bytes);
    let [ours, bare, bare_newer, theirs] =
        sampling::in_turn(fixture.rounds, &mut [&mut ours, &mut bare, &mut bare_newer, &mut theirs])?;

    let figure = |name: &str, samples: &[Answered], of: fn(&Answered) -> f64| {
        Figure::new(name, Unit::Milliseconds, samples.iter().map(of).collect())
    };
    let whole = |answered: &Answered| answered.ms;
    let stage = |name: &str, of: fn(&Answered) -> f64| figure(name, &ours, of);
    let post = figure("POST", &ours, whole);
    let bare = figure("bb prove -k", &bare, whole);
    let bare_newer = figure("bb prove -k, newer MSM", &bare_newer, whole);
    let theirs = figure("the seeds' POST", &theirs, whole);
    let stages = vec![
        stage("upload", |a| a.timings.map_or(f64::NAN, |t| t.upload_ms)),
        stage("prove", |a| a.timings.map_or(f64::NAN, |t| t.prove_ms)),
        stage("verify", |a| a.timings.map_or(f64::NAN, |t| t.verify_ms)),
    ];
    let verify = stages[2].clone();

    let bound = if workload.rows <= SMALL_ROWS { 1.0 } else { 1.02 };
    let rows = [
        Row::held(
            "warm POST, verified, over bb prove -k",
            Figure::ratio(&post, &bare),
            Goal::AtMost(bound),
            vec![post.clone(), bare],
        ),
        Row::told(
            "warm POST, verified, over bb prove -k with the newer MSM",
            Figure::ratio(&post, &bare_newer),
            vec![post.clone(), bare_newer],
        ),
        Row::held(
            "warm POST, verified, over the seeds' POST",
            Figure::ratio(&post, &theirs),
            Goal::AtMost(0.85),
            vec![post, theirs],
        ),
        Row::held(
            "all of a POST but proving and verifying",
            stage("rest", Answered::rest_ms),
            Goal::AtMost(5.0),
            stages,
        ),
        Row::told("verifying a proof", verify, Vec::new()),
    ];
    Ok(rows.map(|row| row.of(workload)))
}
