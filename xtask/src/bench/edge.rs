//! The time that the edge adds to each request, and its memory during a large upload.
//!
//! `wrangler dev` puts proxies before the Worker and attaches a debugger that receives an event for every fetch.
//! Neither is deployed, so the time is that of the Worker in workerd alone. The row also lists the time that a bare
//! Worker adds and the time that a client of wrangler waits.

use std::time::Instant;

use anyhow::{Context, ensure};

use super::{
    client::{Client, ProofTiming},
    fixture::{Fixture, Workload},
    milliseconds, process_stats,
    report::{Figure, Goal, Row, Unit},
    sampling::{self, Summary},
    wide_circuit,
    workerd::Workers,
};
use crate::edge::{self, Edge, EdgeOptions};

/// A path that the server answers quickly.
const SMALL: &str = "/api/health";
/// Small requests of one sample. The sample is their median.
const SMALL_REQUESTS: usize = 20;
/// Proofs of one sample.
const PROOFS: usize = 3;
/// The most that the edge may add, in milliseconds.
const ADDED_MAX_MS: f64 = 3.0;

const UPLOAD_BYTES: usize = 50_000_000;
const MEMORY: &str = "growth of workerd's memory, 50 MB through the edge";
/// In MiB. A Worker that stores the upload needs at least three times as much.
const GROWTH_MAX_MIB: f64 = 16.0;

/// All rows, with one edge and one server.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let tools = edge::built()?;
    let scratch = tempfile::tempdir().context("a temporary folder cannot be created")?;
    let circuit = wide_circuit::write(scratch.path(), &fixture.ready.versions.noir.version)?;
    let server = fixture.serve(&["--circuit".as_ref(), circuit.as_os_str()])?;
    let log = scratch.path().join("wrangler.log");
    let port = edge::free_port(0)?;
    let options = EdgeOptions {
        port: port.number(),
        upstream: Some(server.url()),
        vars: &[],
        config: None,
        log: Some(&log),
    };
    let mut edge = Edge::start(&tools, options)?;
    let workers = Workers::start(&tools, server.url(), &scratch.path().join("workerd.log"))?;
    let urls = Urls {
        direct: server.url(),
        bare: &workers.urls().bare,
        edge: &workers.urls().edge,
        wrangler: edge.url(),
    };
    let workload = fixture.smallest();
    let measure =
        || Ok(vec![small(fixture, urls)?, proof(fixture, workload, urls)?, upload(fixture, &edge, urls)?]);
    let outcome = measure();
    // If the edge has ended by itself, that error is the cause of all others.
    edge.check()?;
    workers.stop()?;
    edge.stop()?;
    outcome
}

/// The addresses that lead to one server, without a slash at the end.
#[derive(Debug, Clone, Copy)]
struct Urls<'a> {
    direct: &'a str,
    bare: &'a str,
    edge: &'a str,
    wrangler: &'a str,
}

/// Opens a connection and sends one request. Each sample opens its own: workerd closes a connection that is idle for
/// five seconds.
fn open(url: &str) -> anyhow::Result<Client> {
    let client = Client::new(url);
    client.get(SMALL)?;
    Ok(client)
}

fn small(fixture: &Fixture, urls: Urls<'_>) -> anyhow::Result<Row> {
    let p50 = |url: &str| {
        let client = open(url)?;
        let times = sampling::repeated(SMALL_REQUESTS, || client.get(SMALL))?;
        Ok(Summary::of(&times).median)
    };
    let [direct, bare, edge, wrangler] = sampling::in_turn(
        fixture.rounds,
        &mut [&mut || p50(urls.direct), &mut || p50(urls.bare), &mut || p50(urls.edge), &mut || {
            p50(urls.wrangler)
        }],
    )?;
    let figure = |name: &str, samples| Figure::new(name, Unit::Milliseconds, samples);
    let added = figure("added", differences(&edge, &direct));
    let from = vec![
        figure("edge", edge),
        figure("direct", direct),
        figure("a bare Worker", bare),
        figure("the edge through wrangler", wrangler),
    ];
    Ok(Row::with_goal("time that the edge adds to a small request", added, Goal::AtMost(ADDED_MAX_MS), from))
}

/// The time without proving and verifying: those differ more from one proof to the next than the edge adds.
fn proof(fixture: &Fixture, workload: &Workload, urls: Urls<'_>) -> anyhow::Result<Row> {
    let p50s = |url: &str| {
        let client = open(url)?;
        let prove = || client.prove(&workload.name, &workload.witness_bytes);
        let proofs = sampling::repeated(PROOFS, prove)?;
        let p50 =
            |of: fn(&ProofTiming) -> f64| Summary::of(&proofs.iter().map(of).collect::<Vec<_>>()).median;
        Ok((p50(ProofTiming::rest_ms), p50(|timing| timing.ms)))
    };
    let [direct, bare, edge] = sampling::in_turn(
        fixture.rounds,
        &mut [&mut || p50s(urls.direct), &mut || p50s(urls.bare), &mut || p50s(urls.edge)],
    )?;
    let (direct_rest, direct): (Vec<_>, Vec<_>) = direct.into_iter().unzip();
    let bare_rest = bare.into_iter().map(|(rest, _)| rest).collect();
    let (edge_rest, edge): (Vec<_>, Vec<_>) = edge.into_iter().unzip();
    let figure = |name: &str, samples| Figure::new(name, Unit::Milliseconds, samples);
    let added = figure("added", differences(&edge_rest, &direct_rest));
    let from = vec![
        figure("edge, without proving and verifying", edge_rest),
        figure("direct, likewise", direct_rest),
        figure("a bare Worker, likewise", bare_rest),
        figure("POST to the edge", edge),
        figure("direct POST", direct),
    ];
    let what = "time that the edge adds to a proof";
    Ok(Row::with_goal(what, added, Goal::AtMost(ADDED_MAX_MS), from).of(workload))
}

/// The difference of each sample and its baseline in the same round.
fn differences(samples: &[f64], baseline: &[f64]) -> Vec<f64> {
    samples.iter().zip(baseline).map(|(sample, base)| sample - base).collect()
}

/// Each upload is a valid witness, so all of it passes through. The proxies of wrangler are workerd processes too, and
/// are counted.
fn upload(fixture: &Fixture, edge: &Edge, urls: Urls<'_>) -> anyhow::Result<Row> {
    if !process_stats::is_supported() {
        return Ok(Row::skipped(MEMORY, "this system has no /proc"));
    }
    let upload = wide_circuit::witness(UPLOAD_BYTES)?;
    let workerd = process_stats::descendants(edge.pid(), "workerd")?;
    ensure!(!workerd.is_empty(), "wrangler has no workerd process");
    let sum =
        |of: fn(u32) -> anyhow::Result<f64>| workerd.iter().map(|&pid| of(pid)).sum::<anyhow::Result<f64>>();
    let (mut before, mut peak, mut took) = (Vec::new(), Vec::new(), Vec::new());
    sampling::repeated(fixture.few_rounds(), || {
        let client = open(urls.wrangler)?;
        before.push(sum(process_stats::resident_mib)?);
        workerd.iter().try_for_each(|&pid| process_stats::reset_peak(pid))?;
        let started = Instant::now();
        client.prove(wide_circuit::NAME, &upload)?;
        took.push(milliseconds(started.elapsed()));
        peak.push(sum(process_stats::peak_mib)?);
        Ok(())
    })?;
    let mib = |name: &str, samples| Figure::new(name, Unit::Mebibytes, samples);
    let grown = mib("grown", differences(&peak, &before));
    let from =
        vec![mib("before", before), mib("peak", peak), Figure::new("proved after", Unit::Milliseconds, took)];
    Ok(Row::with_goal(MEMORY, grown, Goal::AtMost(GROWTH_MAX_MIB), from))
}
