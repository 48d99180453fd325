//! A hundred large uploads at once: how much memory the server takes.

use std::{thread, time::Instant};

use anyhow::{Context, bail};

use super::{
    client::Client,
    fixture::Fixture,
    milliseconds, process_stats,
    report::{Figure, Goal, Row, Unit},
};
use crate::interrupt;

const UPLOADS: usize = 100;
const UPLOAD_BYTES: usize = 20_000_000;
const WHAT: &str = "the server's own memory, 100 uploads of 20 MB at once";

/// The part of a gzip stream before its deflate data, when it has no optional field.
const GZIP_HEAD_BYTES: usize = 10;
/// A stored block of no bytes: legal anywhere between blocks, and worth nothing once inflated.
const EMPTY_BLOCK: [u8; 5] = [0x00, 0x00, 0x00, 0xff, 0xff];

/// One row. Each upload is a valid witness, so the server spools and checks all of it and then proves it.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    if !process_stats::is_known() {
        return Ok(vec![Row::skipped(WHAT, "this system has no /proc to read it from")]);
    }
    let workload = fixture.smallest();
    let upload = pad(&workload.witness_bytes, UPLOAD_BYTES)?;
    // On a disk: what is spooled to memory is not the server's own, but 2 GB of it is more than many machines have.
    let spool =
        tempfile::tempdir_in(&fixture.ready.paths.target).context("no folder for the spool can be made")?;
    let spool_dir = spool.path().display().to_string();
    let server = fixture.serve(
        &[
            ["--spool-dir", &spool_dir],
            // All of them wait for two cores, longer than one should in earnest.
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
        interrupt::go_on()?;
        Client::new(server.url()).prove(&workload.name, &upload)
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
        mib("of it no file's", process_stats::anonymous_mib(server.pid())?),
        Figure::new("all proved after", Unit::Milliseconds, vec![milliseconds(took)]),
    ];
    Ok(vec![Row::held(WHAT, peak, Goal::AtMost(40.0), from)])
}

/// The same gzip stream, as many bytes long as asked for or a few more.
pub(super) fn pad(gzip: &[u8], bytes: usize) -> anyhow::Result<Vec<u8>> {
    let (head, rest) = gzip.split_at_checked(GZIP_HEAD_BYTES).context("no gzip stream")?;
    // Magic, deflate, no flags.
    if head[..4] != [0x1f, 0x8b, 8, 0] {
        bail!("a gzip stream with an optional field, which is not looked for here");
    }
    let blocks = bytes.saturating_sub(gzip.len()).div_ceil(EMPTY_BLOCK.len());
    Ok([head, &EMPTY_BLOCK.repeat(blocks), rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_keeps_head_and_rest() {
        let gzip: Vec<u8> = [&[0x1f, 0x8b, 8, 0][..], &[7; 20]].concat();
        let padded = pad(&gzip, 100).unwrap();
        assert_eq!(padded.len(), 24 + 80);
        assert_eq!(padded[..10], gzip[..10]);
        assert_eq!(padded[10..15], EMPTY_BLOCK);
        assert_eq!(padded[90..], gzip[10..]);
        assert_eq!(pad(&gzip, 0).unwrap(), gzip);
        assert!(pad(&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0, 0], 50).is_err());
        assert!(pad(&gzip[..9], 50).is_err());
    }
}
