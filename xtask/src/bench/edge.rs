//! What the edge adds: time to each request, and memory while a large one passes through.
//!
//! `wrangler dev` puts proxies before the Worker and a debugger behind it, which hears of every fetch. They are no part
//! of what is deployed, so time is taken of the Worker in workerd alone. What a Worker that does nothing else adds is told
//! beside it, and what wrangler's clients see.

use std::time::Instant;

use anyhow::{Context, ensure};

use super::{
    client::{Answered, Client},
    fixture::{Fixture, Workload},
    milliseconds, process_stats,
    report::{Figure, Goal, Row, Unit},
    sampling::{self, Summary},
    uploads,
    workerd::Workers,
};
use crate::edge::{self, Edge, EdgeOptions};

/// Answered by the server, and quickly.
const SMALL: &str = "/api/health";
/// Small requests of one sample, which is their median.
const SMALL_REQUESTS: usize = 20;
/// Proofs of one sample.
const PROOFS: usize = 3;
/// What the edge may add, in milliseconds.
const ADDED_MAX_MS: f64 = 3.0;

const UPLOAD_BYTES: usize = 50_000_000;
const MEMORY: &str = "what workerd's memory grows by, 50 MB passing through the edge";
/// In MiB. Whoever kept the upload would need three times as much.
const GROWTH_MAX_MIB: f64 = 16.0;

/// All of them from the same edge and server.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let tools = edge::built()?;
    let server = fixture.serve::<&str>(&[])?;
    let scratch = tempfile::tempdir().context("no temporary folder can be made")?;
    let log = scratch.path().join("wrangler.log");
    let port = edge::free_port(0)?;
    let options =
        EdgeOptions { port, upstream: Some(server.url()), vars: &[], config: None, log: Some(&log) };
    let mut edge = Edge::start(&tools, options)?;
    let workers = Workers::start(&tools, server.url(), &scratch.path().join("workerd.log"))?;
    let ways = Ways {
        direct: server.url(),
        bare: &workers.urls().bare,
        edge: &workers.urls().edge,
        wrangler: edge.url(),
    };
    let workload = fixture.smallest();
    let measure = || {
        Ok(vec![
            small(fixture, ways)?,
            proof(fixture, workload, ways)?,
            upload(fixture, workload, &edge, ways)?,
        ])
    };
    let outcome = measure();
    // One that has ended is what is to be told.
    edge.check()?;
    workers.stop()?;
    edge.stop()?;
    outcome
}

/// The ways to one server: URLs without a slash at their end.
#[derive(Debug, Clone, Copy)]
struct Ways<'a> {
    direct: &'a str,
    bare: &'a str,
    edge: &'a str,
    wrangler: &'a str,
}

/// A connection that is warm. Each sample has its own: workerd keeps none that is silent for five seconds.
fn open(url: &str) -> anyhow::Result<Client> {
    let client = Client::new(url);
    client.get(SMALL)?;
    Ok(client)
}

fn small(fixture: &Fixture, ways: Ways<'_>) -> anyhow::Result<Row> {
    let p50 = |way: &str| {
        let client = open(way)?;
        let times = sampling::repeated(SMALL_REQUESTS, || client.get(SMALL))?;
        Ok(Summary::of(&times).median)
    };
    let [direct, bare, edge, wrangler] = sampling::in_turn(
        fixture.rounds,
        &mut [&mut || p50(ways.direct), &mut || p50(ways.bare), &mut || p50(ways.edge), &mut || {
            p50(ways.wrangler)
        }],
    )?;
    let figure = |name: &str, samples| Figure::new(name, Unit::Milliseconds, samples);
    let added = figure("added", beyond(&edge, &direct));
    let from = vec![
        figure("edge", edge),
        figure("direct", direct),
        figure("a bare Worker", bare),
        figure("the edge through wrangler", wrangler),
    ];
    Ok(Row::held("what the edge adds to a small request", added, Goal::AtMost(ADDED_MAX_MS), from))
}

/// Proving and verifying are left out of it: they differ by more from one proof to the next than the edge adds.
fn proof(fixture: &Fixture, workload: &Workload, ways: Ways<'_>) -> anyhow::Result<Row> {
    let p50s = |way: &str| {
        let client = open(way)?;
        let prove = || client.prove(&workload.name, &workload.witness_bytes);
        let proofs = sampling::repeated(PROOFS, prove)?;
        let p50 = |of: fn(&Answered) -> f64| Summary::of(&proofs.iter().map(of).collect::<Vec<_>>()).median;
        Ok((p50(Answered::rest_ms), p50(|answered| answered.ms)))
    };
    let [direct, bare, edge] = sampling::in_turn(
        fixture.rounds,
        &mut [&mut || p50s(ways.direct), &mut || p50s(ways.bare), &mut || p50s(ways.edge)],
    )?;
    let (direct_rest, direct): (Vec<_>, Vec<_>) = direct.into_iter().unzip();
    let bare_rest = bare.into_iter().map(|(rest, _)| rest).collect();
    let (edge_rest, edge): (Vec<_>, Vec<_>) = edge.into_iter().unzip();
    let figure = |name: &str, samples| Figure::new(name, Unit::Milliseconds, samples);
    let added = figure("added", beyond(&edge_rest, &direct_rest));
    let from = vec![
        figure("edge, neither proving nor verifying", edge_rest),
        figure("direct, likewise", direct_rest),
        figure("a bare Worker, likewise", bare_rest),
        figure("POST to the edge", edge),
        figure("direct POST", direct),
    ];
    let what = "what the edge adds to a proof";
    Ok(Row::held(what, added, Goal::AtMost(ADDED_MAX_MS), from).of(workload))
}

/// By how much each sample is more than its baseline of the same round.
fn beyond(samples: &[f64], baseline: &[f64]) -> Vec<f64> {
    samples.iter().zip(baseline).map(|(sample, base)| sample - base).collect()
}

/// Each upload is a sound witness, so that all of it goes through. wrangler's proxies are workerd's too, and count.
fn upload(fixture: &Fixture, workload: &Workload, edge: &Edge, ways: Ways<'_>) -> anyhow::Result<Row> {
    if !process_stats::is_known() {
        return Ok(Row::skipped(MEMORY, "this system has no /proc to read it from"));
    }
    let upload = uploads::pad(&workload.witness_bytes, UPLOAD_BYTES)?;
    let workerd = process_stats::descendants(edge.pid(), "workerd")?;
    ensure!(!workerd.is_empty(), "wrangler runs no workerd");
    let sum =
        |of: fn(u32) -> anyhow::Result<f64>| workerd.iter().map(|&pid| of(pid)).sum::<anyhow::Result<f64>>();
    let (mut before, mut peak, mut took) = (Vec::new(), Vec::new(), Vec::new());
    sampling::repeated(fixture.few_rounds(), || {
        let client = open(ways.wrangler)?;
        before.push(sum(process_stats::resident_mib)?);
        workerd.iter().try_for_each(|&pid| process_stats::forget_peak(pid))?;
        let started = Instant::now();
        client.prove(&workload.name, &upload)?;
        took.push(milliseconds(started.elapsed()));
        peak.push(sum(process_stats::peak_mib)?);
        Ok(())
    })?;
    let mib = |name: &str, samples| Figure::new(name, Unit::Mebibytes, samples);
    let grown = mib("grown", beyond(&peak, &before));
    let from =
        vec![mib("before", before), mib("peak", peak), Figure::new("proved after", Unit::Milliseconds, took)];
    Ok(Row::held(MEMORY, grown, Goal::AtMost(GROWTH_MAX_MIB), from))
}
