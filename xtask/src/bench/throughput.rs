//! Eight clients at once: the server against the baseline server, and the server's settings against each other.

use super::{
    baseline_server::BaselineServer,
    client::Client,
    fixture::{Fixture, Workload},
    load::{self, Load},
    report::{Figure, Goal, Row, Unit},
    sampling,
};
use crate::server::Server;

/// How many clients wait for a proof at any time.
pub(super) const CLIENTS: usize = 8;
/// Proofs of one sample, for circuit sizes up to 4,096, up to 16,384, and above. They take some seconds. With fewer
/// proofs the end of a sample, when only some clients still wait, would distort the rate.
const PROOFS: [usize; 3] = [64, 32, 24];

fn proofs(workload: &Workload) -> usize {
    match workload.circuit_size {
        0..=4096 => PROOFS[0],
        4097..=16_384 => PROOFS[1],
        _ => PROOFS[2],
    }
}

/// One sample of a server's throughput.
pub(super) fn sample(url: &str, workload: &Workload) -> anyhow::Result<Load> {
    load::run(url, &workload.name, &workload.witness_bytes, CLIENTS, proofs(workload))
}

fn per_second(name: &str, loads: &[Load]) -> Figure {
    Figure::new(name, Unit::ProofsPerSecond, loads.iter().map(|load| load.per_second).collect())
}

/// The waiting time of one client.
fn waits(name: &str, loads: &[Load]) -> [Figure; 2] {
    let figure = |share: &str, of: fn(&Load) -> f64| {
        Figure::new(format!("{name} {share}"), Unit::Milliseconds, loads.iter().map(of).collect())
    };
    [figure("p50", |load| load.p50_ms), figure("p95", |load| load.p95_ms)]
}

/// The server against the baseline server.
pub(super) fn against_baseline(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let server = fixture.serve::<&str>(&[])?;
    let baseline = BaselineServer::start(fixture.bb.clone(), fixture.ready.paths.circuits.clone())?;
    let mut rows = Vec::new();
    for workload in &fixture.workloads {
        let mut ours = || sample(server.url(), workload);
        let mut theirs = || sample(&baseline.url(), workload);
        let [ours, theirs] = sampling::in_turn(fixture.few_rounds(), &mut [&mut ours, &mut theirs])?;
        let (our_rate, their_rate) = (per_second("server", &ours), per_second("baseline server", &theirs));
        let ratio = Figure::ratio(&our_rate, &their_rate);
        let mut from = vec![our_rate, their_rate];
        from.extend(waits("server", &ours));
        from.extend(waits("baseline server", &theirs));
        let what = format!("proofs a second for {CLIENTS} clients over the baseline server");
        rows.push(Row::with_goal(what, ratio, Goal::AtLeast(1.5), from).of(workload));
    }
    Ok(rows)
}

/// The other values of `--width` against `wide`, and `--prover process` against warm provers.
pub(super) fn policies(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let start = |flags: [&str; 2]| fixture.serve(&flags);
    let wide = start(["--width", "wide"])?;
    let narrow = start(["--width", "narrow"])?;
    let auto = start(["--width", "auto"])?;
    let process = start(["--prover", "process"])?;
    let mut rows = Vec::new();
    for workload in &fixture.workloads {
        let mut on_wide = || sample(wide.url(), workload);
        let mut on_narrow = || sample(narrow.url(), workload);
        let mut on_auto = || sample(auto.url(), workload);
        let mut on_process = || sample(process.url(), workload);
        let [on_wide, on_narrow, on_auto, on_process] = sampling::in_turn(
            fixture.few_rounds(),
            &mut [&mut on_wide, &mut on_narrow, &mut on_auto, &mut on_process],
        )?;
        let mut row = |name: &str, loads: &[Load], base_name: &str, base: &[Load]| {
            let (rate, base_rate) = (per_second(name, loads), per_second(base_name, base));
            let ratio = Figure::ratio(&rate, &base_rate);
            let mut from = vec![rate, base_rate];
            from.extend(waits(name, loads));
            from.extend(waits(base_name, base));
            let what = format!("proofs a second for {CLIENTS} clients, {name} over {base_name}");
            rows.push(Row::without_goal(what, ratio, from).of(workload));
        };
        row("narrow", &on_narrow, "wide", &on_wide);
        row("auto", &on_auto, "wide", &on_wide);
        row("process", &on_process, "warm", &on_auto);
    }
    for workload in &fixture.workloads {
        rows.push(lone_process(fixture, workload, &auto, &process)?);
    }
    Ok(rows)
}

/// One proof at a time: a process for each proof against a warm prover.
fn lone_process(
    fixture: &Fixture,
    workload: &Workload,
    warm: &Server,
    process: &Server,
) -> anyhow::Result<Row> {
    let (warm, process) = (Client::new(warm.url()), Client::new(process.url()));
    let mut on_warm = || Ok(warm.prove(&workload.name, &workload.witness_bytes)?.ms);
    let mut on_process = || Ok(process.prove(&workload.name, &workload.witness_bytes)?.ms);
    let [on_warm, on_process] = sampling::in_turn(fixture.rounds, &mut [&mut on_warm, &mut on_process])?;
    let on_warm = Figure::new("warm", Unit::Milliseconds, on_warm);
    let on_process = Figure::new("process", Unit::Milliseconds, on_process);
    let ratio = Figure::ratio(&on_process, &on_warm);
    Ok(Row::without_goal("a lone POST, process over warm", ratio, vec![on_process, on_warm]).of(workload))
}
