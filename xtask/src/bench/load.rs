//! A load of many clients: each sends its next request when it has the response to the last one.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use anyhow::bail;
use parking_lot::Mutex;

use super::{
    client::Client,
    sampling::{quantile, sorted},
};
use crate::interrupt;

/// The measurements of one load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Proofs a second, from the first request to the last response.
    pub(super) per_second: f64,
    /// Median and 95th percentile of the time of one request, in milliseconds.
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
}

/// Requests `proofs` proofs with `clients` clients at a time. The first request that fails ends the load.
#[allow(clippy::cast_precision_loss, reason = "some tens of proofs")]
pub(super) fn run(
    url: &str,
    circuit: &str,
    witness: &[u8],
    clients: usize,
    proofs: usize,
) -> anyhow::Result<Load> {
    let taken = AtomicUsize::new(0);
    let times = Mutex::new(Vec::with_capacity(proofs));
    let work = || {
        let client = Client::new(url);
        while taken.fetch_add(1, Ordering::Relaxed) < proofs {
            interrupt::check()?;
            let answered = client.prove(circuit, witness).inspect_err(|_| {
                // The other clients start no more requests.
                taken.store(proofs, Ordering::Relaxed);
            })?;
            times.lock().push(answered.ms);
        }
        Ok(())
    };
    let started = Instant::now();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
        clients.into_iter().try_for_each(|client| match client.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a client panicked"),
        })
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let times = sorted(&times.into_inner());
    Ok(Load {
        per_second: proofs as f64 / seconds,
        p50_ms: quantile(&times, 0.5),
        p95_ms: quantile(&times, 0.95),
    })
}
