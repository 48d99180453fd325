//! `cargo xtask bench`: measures the server's speed and memory and compares them with goals.
//!
//! `docs/BENCHMARKS.md` describes each row and lists results. Reading order:
//! - [`sampling`]: runs contenders in turn and summarises their samples.
//! - [`fixture`]: the programs and circuits that all rows use.
//! - The rows: [`latency`], [`throughput`], [`efficiency`], [`uploads`], [`startup`], [`wasm`], [`mod@edge`], [`jobs`],
//!   [`groth16`], [`registry`], [`pull`], [`fleet`].
//! - The programs that rows run: [`client`] and [`load`], [`bb_cli`], [`baseline_server`], [`workerd`].
//! - [`process_stats`]: memory and CPU time of processes.
//! - [`report`], [`machine`], [`plot`]: the results as a table, JSON and a picture.

mod baseline_server;
mod bb_cli;
mod client;
mod edge;
mod efficiency;
mod fixture;
mod fleet;
mod groth16;
mod jobs;
mod latency;
mod load;
mod machine;
mod plot;
mod process_stats;
mod pull;
mod registry;
mod report;
mod sampling;
mod startup;
mod throughput;
mod uploads;
mod wasm;
mod wide_circuit;
mod workerd;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{interrupt, progress, setup};
use fixture::Fixture;
use machine::Machine;
use report::{Outcome, Report, Row};

/// Measures the server against its baselines, prints the results and draws them.
///
/// A full run takes twenty minutes to an hour on two cores. Nothing else should run meanwhile. The results are also written
/// to target/bench/bench.json and target/bench/bench.svg.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Measure these rows only.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROW,...")]
    rows: Vec<Kind>,
    /// How many samples to take of measurements of one or two proofs. Longer ones are measured a third as often.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Take three samples. This shows that every row runs; it is not a comparison.
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,
    /// Measure this server instead of building one.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
}

/// Rows that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One proof at a time, against bare bb and against the baseline server; the time beside proving.
    Latency,
    /// Proofs a second for eight clients, against the baseline server.
    Throughput,
    /// The share of the cores that does useful proving work for eight clients.
    Efficiency,
    /// Proofs a second by --width and --prover.
    Policies,
    /// The server's memory during a hundred large uploads.
    Uploads,
    /// The time from the start of the process until it is ready.
    Start,
    /// The first proof after the start, and bb's memory.
    First,
    /// One proof at a time, against bb.js in WebAssembly.
    Wasm,
    /// The time that the edge adds to a request, and its memory during a large upload.
    Edge,
    /// Jobs: the time until one starts, jobs a second without work, a thousand watchers; and a cached proof.
    Jobs,
    /// Groth16 proofs and circom witnesses, against snarkjs in process.
    Groth16,
    /// Circuits from templates: the first proof after a start, and a list of a thousand circuits.
    Registry,
    /// Provers that pull: four over one, with simulated work.
    Pull,
    /// The queue of a fleet: a thousand simulated provers on PostgreSQL.
    Fleet,
}

/// The command.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let ready = setup::server()?;
    let rounds = if args.quick { 3 } else { args.rounds.into() };
    interrupt::watch()?;
    let fixture = Fixture::prepare(ready, args.server.as_deref(), rounds)?;

    let mut machine = Machine::before(&fixture);
    let kinds = if args.rows.is_empty() { Kind::value_variants() } else { &args.rows };
    let mut rows = Vec::new();
    for &kind in kinds {
        let measured = measure(kind, &fixture);
        if interrupt::is_requested() {
            break;
        }
        rows.extend(measured);
    }
    rows.extend(not_measured(&fixture));
    machine.after();
    let report = Report::new(machine, rounds, rows);
    println!("{}\n\n{report}", report.machine);
    // A part of the rows is shown but not stored: it would replace the results of a whole run.
    interrupt::check()?;

    let dir = fixture.ready.paths.target.join("bench");
    let write = || {
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("bench.json"), serde_json::to_vec_pretty(&report)?)?;
        fs::write(dir.join("bench.svg"), plot::draw(&report))?;
        Ok::<_, anyhow::Error>(())
    };
    write().with_context(|| format!("the results cannot be written to {}", dir.display()))?;
    progress::done("results", &format!("{0}/bench.json, {0}/bench.svg", dir.display()));

    match report.rows.iter().filter(|row| matches!(row.outcome, Outcome::Failed { .. })).count() {
        0 => Ok(()),
        failed => bail!("{failed} rows could not be measured"),
    }
}

/// The rows of one kind. An error becomes a row, so that the other rows are still reported.
fn measure(kind: Kind, fixture: &Fixture) -> Vec<Row> {
    let name = kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    eprintln!("  {name}: measuring");
    let rows = match kind {
        Kind::Latency => latency::rows(fixture),
        Kind::Throughput => throughput::against_baseline(fixture),
        Kind::Efficiency => efficiency::rows(fixture),
        Kind::Policies => throughput::policies(fixture),
        Kind::Uploads => uploads::rows(fixture),
        Kind::Start => startup::until_ready(fixture),
        Kind::First => startup::first_proof(fixture),
        Kind::Wasm => wasm::rows(fixture),
        Kind::Edge => edge::rows(fixture),
        Kind::Jobs => jobs::rows(fixture),
        Kind::Groth16 => groth16::rows(fixture),
        Kind::Registry => registry::rows(fixture),
        Kind::Pull => pull::rows(fixture),
        Kind::Fleet => fleet::rows(fixture),
    };
    rows.unwrap_or_else(|error| {
        progress::warn(&format!("{name}: {error:#}"));
        vec![Row::failed(name, format!("{error:#}"))]
    })
}

/// A row for each circuit that cannot be proved here. It shows that the table is not complete.
fn not_measured(fixture: &Fixture) -> impl Iterator<Item = Row> {
    fixture.skipped.iter().map(|(name, why)| Row::skipped(format!("all rows of {name}"), why))
}

/// A duration in milliseconds.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
