//! The server's memory during a hundred large uploads at once.

use std::{thread, time::Instant};

use anyhow::{Context, bail};

use super::{
    client::Client,
    fixture::Fixture,
    milliseconds, process_stats,
    report::{Figure, Goal, Row, Unit},
    wide_circuit,
};
use crate::interrupt;

const UPLOADS: usize = 100;
const UPLOAD_BYTES: usize = 20_000_000;
const WHAT: &str = "the server's memory without bb, 100 uploads of 20 MB at once";

/// One row. Each upload is a valid witness: the server spools all of it, checks it and proves it.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    if !process_stats::is_supported() {
        return Ok(vec![Row::skipped(WHAT, "this system has no /proc")]);
    }
    let upload = wide_circuit::witness(UPLOAD_BYTES)?;
    // On a disk: many machines have less than the 2 GB of memory that a spool in memory would take.
    let spool = tempfile::tempdir_in(&fixture.ready.paths.target)
        .context("a folder for the spool cannot be created")?;
    let spool_dir = spool.path().display().to_string();
    let circuits = tempfile::tempdir().context("a temporary folder cannot be created")?;
    let circuit = wide_circuit::write(circuits.path(), &fixture.ready.versions.noir.version)?;
    let circuit = circuit.display().to_string();
    let server = fixture.serve(
        &[
            ["--circuit", &circuit],
            ["--spool-dir", &spool_dir],
            // All uploads have the same address, and one caller gets half.
            ["--spool-max", "8GiB"],
            // A hundred proofs wait for two cores, longer than the default limits allow.
            ["--request-timeout", "20m"],
            ["--upload-idle", "5m"],
            ["--prover-queue-max", "200"],
            ["--prover-queue-wait", "20m"],
        ]
        .concat(),
    )?;
    let idle = process_stats::peak_mib(server.pid())?;

    let started = Instant::now();
    let work = || {
        interrupt::check()?;
        Client::new(server.url()).prove(wide_circuit::NAME, &upload)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..UPLOADS).map(|_| scope.spawn(work)).collect();
        clients.into_iter().try_for_each(|client| match client.join() {
            Ok(answered) => answered.map(drop),
            Err(_) => bail!("a client panicked"),
        })
    })?;
    let took = started.elapsed();

    let mib = |name: &str, value| Figure::new(name, Unit::Mebibytes, vec![value]);
    let peak = mib("peak", process_stats::peak_mib(server.pid())?);
    let from = vec![
        mib("idle", idle),
        mib("afterwards", process_stats::resident_mib(server.pid())?),
        mib("of it anonymous", process_stats::anonymous_mib(server.pid())?),
        Figure::new("all proved after", Unit::Milliseconds, vec![milliseconds(took)]),
    ];
    Ok(vec![Row::with_goal(WHAT, peak, Goal::AtMost(40.0), from)])
}
