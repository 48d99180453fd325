//! Circuits from templates: the first proof after a start, and lists of many circuits.

use std::{path::Path, process::Command};

use anyhow::{Context, ensure};
use edgeprove_protocol::answer::CircuitEntry;

use super::{
    client::Client,
    fixture::Fixture,
    report::{Figure, Goal, Row, Unit},
    sampling::{self, Summary},
};
use crate::{interrupt, paths::NpmProject, process, range_circuit, server::Server, setup};

/// The most time of the first proof, without the load of its circuit, over later ones.
const FIRST_MAX: f64 = 1.05;
/// Later proofs of the same server. Their median is the time of a usual proof.
const LATER_PROOFS: usize = 7;
/// The number of circuits in the list.
const CIRCUITS: usize = 1_000;
/// The most time of a page of the list and of one circuit, in milliseconds.
const LOOKUP_MAX_MS: f64 = 5.0;
/// The server's record of a load.
const LOADED: &str = "built circuit loaded";

/// All rows.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    setup::circom()?;
    let data = tempfile::tempdir_in(&fixture.ready.paths.target)
        .context("a folder for circuits cannot be created")?;
    let data = data.path().join("data");
    let server = serve(fixture, &data)?;
    let circuits =
        ["noir", "circom"].map(|language| Ok((language, range_circuit::build(&server, language)?)));
    let circuits = circuits.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    server.stop()?;
    let mut rows = Vec::new();
    for (language, circuit) in &circuits {
        rows.push(first_proof(fixture, &data, circuit)?.with_circuit(format!("rangeCheck, {language}")));
    }
    rows.extend(many(fixture, &data)?);
    Ok(rows)
}

/// A server with these data that can build.
fn serve(fixture: &Fixture, data: &Path) -> anyhow::Result<Server> {
    let toolchain = fixture.ready.paths.npm_project_dir(NpmProject::Circuit);
    let (data, toolchain) = (data.display().to_string(), toolchain.display().to_string());
    fixture.serve(&["--data", &data, "--toolchain", &toolchain, "--log-format", "json"])
}

/// The first proof after a start, which loads the circuit from the store.
fn first_proof(fixture: &Fixture, data: &Path, circuit: &CircuitEntry) -> anyhow::Result<Row> {
    let path = format!("/api/prove/{}", circuit.id);
    let (mut first, mut load, mut later) = (Vec::new(), Vec::new(), Vec::new());
    sampling::repeated(fixture.rounds, || {
        let server = serve(fixture, data)?;
        let client = Client::new(server.url());
        let mut number = 100;
        let mut prove = || {
            // Every proof has other inputs, as those of a user do.
            number += 1;
            client.post_json(&path, &range_circuit::inputs(&number.to_string()))
        };
        first.push(prove()?);
        later.push(Summary::of(&sampling::repeated(LATER_PROOFS, prove)?).median);
        load.push(load_ms(&server)?);
        server.stop()
    })?;
    let beyond = first.iter().zip(&load).map(|(first, load)| first - load).collect();
    let figure = |name: &str, samples| Figure::new(name, Unit::Milliseconds, samples);
    let (beyond, later) = (figure("first without load", beyond), figure("later", later));
    let ratio = Figure::ratio(&beyond, &later);
    let what = "first proof of a built circuit after the start, without its load, over later ones";
    let from = vec![figure("first", first), figure("load", load), later];
    Ok(Row::with_goal(what, ratio, Goal::AtMost(FIRST_MAX), from))
}

/// The time that the server's log states for its only load.
fn load_ms(server: &Server) -> anyhow::Result<f64> {
    let log = server.whole_log()?;
    let record = log.lines().find(|line| line.contains(LOADED)).context("the server loaded no circuit")?;
    let record: serde_json::Value =
        serde_json::from_str(record).with_context(|| format!("the log is not JSON: {record}"))?;
    record["took_ms"].as_f64().with_context(|| format!("no time of a load: {record}"))
}

/// A page of the list and one circuit, of many.
fn many(fixture: &Fixture, data: &Path) -> anyhow::Result<[Row; 2]> {
    let program = process::example(&fixture.ready.paths, "edgeprove-circuit-store", "many_circuits")?;
    interrupt::check()?;
    let mut command = Command::new(&program);
    let output = command.arg(data).arg(CIRCUITS.to_string()).output();
    let output = output.with_context(|| format!("{} cannot be run", program.display()))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {stderr}", program.display());
    let server = serve(fixture, data)?;
    let client = Client::new(server.url());
    let id = String::from_utf8(output.stdout).context("the id of a circuit is not text")?;
    let one = format!("/v1/circuits/{}", id.trim());
    let [list, look_up] = sampling::in_turn(
        fixture.rounds,
        &mut [&mut || client.get("/v1/circuits"), &mut || client.get(&one)],
    )?;
    let row = |what: &str, samples| {
        let figure = Figure::new("time", Unit::Milliseconds, samples);
        let row = Row::with_goal(what, figure, Goal::AtMost(LOOKUP_MAX_MS), Vec::new());
        row.with_circuit(format!("{CIRCUITS} circuits"))
    };
    Ok([row("the first page of the list of circuits", list), row("a look-up of the last circuit", look_up)])
}
