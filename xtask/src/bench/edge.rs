//! What the edge adds: time to each request, and memory while a large one passes through.
//!
//! `wrangler dev` puts proxies of its own before the Worker. They are no part of what is deployed, so time is taken at
//! the Worker's own socket. What a Worker that does nothing else adds is told beside it, and what wrangler's clients see.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, ensure};

use super::{
    client::Answered,
    connection::Connection,
    memory, milliseconds,
    report::{Figure, Goal, Row, Unit},
    rig::{Rig, Workload},
    sampling::{self, Summary},
    uploads,
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
pub(super) fn rows(rig: &Rig) -> anyhow::Result<Vec<Row>> {
    let tools = edge::built()?;
    let server = rig.serve::<&str>(&[])?;
    let scratch = tempfile::tempdir().context("no temporary folder can be made")?;
    let start = |name: &str, config: Option<&Path>| {
        let log = scratch.path().join(name);
        let port = edge::free_port(0)?;
        Edge::start(
            &tools,
            EdgeOptions { port, upstream: Some(server.url()), vars: &[], config, log: Some(&log) },
        )
    };
    let mut edge = start("edge.log", None)?;
    let mut bare = start("bare.log", Some(&bare_worker(rig, scratch.path())?))?;
    let ways = Ways {
        direct: Way::Client(address(server.url())?),
        bare: Way::Proxy(bare.worker_address()?),
        edge: Way::Proxy(edge.worker_address()?),
        wrangler: Way::Client(address(edge.url())?),
    };
    let workload = rig.smallest();
    let measure =
        || Ok(vec![small(rig, ways)?, proof(rig, workload, ways)?, upload(rig, workload, &edge, ways)?]);
    let outcome = measure();
    // One that has ended is what is to be told.
    edge.check()?;
    bare.check()?;
    edge.stop()?;
    bare.stop()?;
    outcome
}

/// Writes a Worker that does nothing but pass on what comes. Gives its configuration.
fn bare_worker(rig: &Rig, dir: &Path) -> anyhow::Result<PathBuf> {
    let ours = rig.ready.places.root.join("wrangler.toml");
    let ours: toml::Table = fs::read_to_string(ours).context("wrangler.toml cannot be read")?.parse()?;
    let date = ours.get("compatibility_date").context("wrangler.toml has no compatibility date")?;
    let config = dir.join("wrangler.toml");
    let write = || {
        fs::write(dir.join("bare_worker.mjs"), include_str!("bare_worker.mjs"))?;
        fs::write(&config, format!("main = \"bare_worker.mjs\"\ncompatibility_date = {date}\n"))
    };
    write().with_context(|| format!("{} cannot be written", dir.display()))?;
    Ok(config)
}

/// The ways to one server.
#[derive(Debug, Clone, Copy)]
struct Ways {
    direct: Way,
    bare: Way,
    edge: Way,
    wrangler: Way,
}

/// Where to go, and as whom.
#[derive(Debug, Clone, Copy)]
enum Way {
    Client(SocketAddr),
    Proxy(SocketAddr),
}

impl Way {
    /// A connection that is warm. Each sample has its own: workerd keeps none that is silent for five seconds.
    fn open(self) -> anyhow::Result<Connection> {
        let mut connection = match self {
            Self::Client(address) => Connection::open(address)?,
            Self::Proxy(address) => Connection::open_as_proxy(address)?,
        };
        connection.get(SMALL)?;
        Ok(connection)
    }
}

fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let address = url.strip_prefix("http://").and_then(|address| address.parse().ok());
    address.with_context(|| format!("{url} is no address"))
}

fn small(rig: &Rig, ways: Ways) -> anyhow::Result<Row> {
    let p50 = |way: Way| {
        let mut connection = way.open()?;
        let times = sampling::repeated(SMALL_REQUESTS, || connection.get(SMALL))?;
        Ok(Summary::of(&times).median)
    };
    let [direct, bare, edge, wrangler] = sampling::in_turn(
        rig.rounds,
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
fn proof(rig: &Rig, workload: &Workload, ways: Ways) -> anyhow::Result<Row> {
    let p50s = |way: Way| {
        let mut connection = way.open()?;
        let prove = || connection.prove(&workload.name, &workload.witness_bytes);
        let proofs = sampling::repeated(PROOFS, prove)?;
        let p50 = |of: fn(&Answered) -> f64| Summary::of(&proofs.iter().map(of).collect::<Vec<_>>()).median;
        Ok((p50(Answered::rest_ms), p50(|answered| answered.ms)))
    };
    let [direct, bare, edge] = sampling::in_turn(
        rig.rounds,
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
fn upload(rig: &Rig, workload: &Workload, edge: &Edge, ways: Ways) -> anyhow::Result<Row> {
    if !memory::is_known() {
        return Ok(Row::skipped(MEMORY, "this system has no /proc to read it from"));
    }
    let upload = uploads::pad(&workload.witness_bytes, UPLOAD_BYTES)?;
    let workerd = memory::descendants(edge.pid(), "workerd")?;
    ensure!(!workerd.is_empty(), "wrangler runs no workerd");
    let sum =
        |of: fn(u32) -> anyhow::Result<f64>| workerd.iter().map(|&pid| of(pid)).sum::<anyhow::Result<f64>>();
    let (mut before, mut peak, mut took) = (Vec::new(), Vec::new(), Vec::new());
    sampling::repeated(rig.few_rounds(), || {
        let mut connection = ways.wrangler.open()?;
        before.push(sum(memory::resident_mib)?);
        workerd.iter().try_for_each(|&pid| memory::forget_peak(pid))?;
        let started = Instant::now();
        connection.prove(&workload.name, &upload)?;
        took.push(milliseconds(started.elapsed()));
        peak.push(sum(memory::peak_mib)?);
        Ok(())
    })?;
    let mib = |name: &str, samples| Figure::new(name, Unit::Mebibytes, samples);
    let grown = mib("grown", beyond(&peak, &before));
    let from =
        vec![mib("before", before), mib("peak", peak), Figure::new("proved after", Unit::Milliseconds, took)];
    Ok(Row::held(MEMORY, grown, Goal::AtMost(GROWTH_MAX_MIB), from))
}
