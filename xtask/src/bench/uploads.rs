//! The server's memory during a hundred large uploads at once.

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
const WHAT: &str = "the server's memory without bb, 100 uploads of 20 MB at once";

/// The part of a gzip stream before its deflate data, when it has no optional field.
const GZIP_HEAD_BYTES: usize = 10;
/// An empty stored block. It may stand between any two blocks and adds nothing to the decompressed data.
const EMPTY_BLOCK: [u8; 5] = [0x00, 0x00, 0x00, 0xff, 0xff];

/// One row. Each upload is a valid witness: the server spools all of it, checks it and proves it.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    if !process_stats::is_supported() {
        return Ok(vec![Row::skipped(WHAT, "this system has no /proc")]);
    }
    let workload = fixture.smallest();
    let upload = pad(&workload.witness_bytes, UPLOAD_BYTES)?;
    // On a disk: many machines have less than the 2 GB of memory that a spool in memory would take.
    let spool = tempfile::tempdir_in(&fixture.ready.paths.target)
        .context("a folder for the spool cannot be created")?;
    let spool_dir = spool.path().display().to_string();
    let server = fixture.serve(
        &[
            ["--spool-dir", &spool_dir],
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
        mib("of it anonymous", process_stats::anonymous_mib(server.pid())?),
        Figure::new("all proved after", Unit::Milliseconds, vec![milliseconds(took)]),
    ];
    Ok(vec![Row::with_goal(WHAT, peak, Goal::AtMost(40.0), from)])
}

/// The same gzip stream, padded to at least `bytes` bytes and at most four more.
pub(super) fn pad(gzip: &[u8], bytes: usize) -> anyhow::Result<Vec<u8>> {
    let (head, rest) = gzip.split_at_checked(GZIP_HEAD_BYTES).context("not a gzip stream")?;
    // The magic number, deflate, no flags.
    if head[..4] != [0x1f, 0x8b, 8, 0] {
        bail!("a gzip stream with an optional field is not supported here");
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
