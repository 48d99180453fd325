//! A client that proves over HTTP, on a connection that it keeps.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use edgeprove_protocol::{JobDocument, answer::Timings, headers};
use serde::de::DeserializeOwned;

use super::milliseconds;

/// Longer than any server here lets a request take.
const LIMIT: Duration = Duration::from_mins(20);
/// The first of the addresses that callers have here.
const FIRST_CALLER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// Who asks the edge.
const CALLER: &str = "cf-connecting-ip";

/// One client: one connection.
#[derive(Debug, Clone)]
pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
}

/// A proof, from the client's side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    /// From the request's first byte to the answer's last, in milliseconds.
    pub(super) ms: f64,
    /// What the server says of it, where it says anything.
    pub(super) timings: Option<Timings>,
}

impl Client {
    /// A client of the server at a URL without a slash at its end.
    pub(super) fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(LIMIT))
            // The answer of a server that refuses is worth reading.
            .http_status_as_error(false)
            // Between two samples a slower contender may have its turn.
            .max_idle_age(LIMIT)
            .build();
        Self { agent: config.into(), url: url.to_owned() }
    }

    /// Gets what is at a path. In milliseconds, from the request's first byte to the answer's last.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<f64> {
        let request = self.agent.get(format!("{}{path}", self.url)).header(CALLER, caller());
        let started = Instant::now();
        let mut answer = request.call()?;
        let body = answer.body_mut().read_to_vec()?;
        let ms = milliseconds(started.elapsed());
        if answer.status() != 200 {
            bail!("GET {path} is answered {}: {}", answer.status(), String::from_utf8_lossy(&body));
        }
        Ok(ms)
    }

    /// The document at a path.
    pub(super) fn get_json<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let mut answer = self.agent.get(format!("{}{path}", self.url)).header(CALLER, caller()).call()?;
        answer.body_mut().read_json().with_context(|| format!("GET {path} is answered {}", answer.status()))
    }

    /// Hands a gzipped witness in as a job. In milliseconds, from the request's first byte to the answer's last.
    pub(super) fn submit(&self, circuit: &str, witness: &[u8]) -> anyhow::Result<(f64, JobDocument)> {
        let request = self.posting(&format!("/v1/proofs?circuit={circuit}"));
        let started = Instant::now();
        let mut answer = request.send(witness)?;
        let body = answer.body_mut().read_to_vec()?;
        let ms = milliseconds(started.elapsed());
        if answer.status() != 202 {
            bail!("a job is answered {}: {}", answer.status(), String::from_utf8_lossy(&body));
        }
        Ok((ms, serde_json::from_slice(&body)?))
    }

    fn posting(&self, path: &str) -> ureq::RequestBuilder<ureq::typestate::WithBody> {
        let request = self.agent.post(format!("{}{path}", self.url));
        request.header("content-type", "application/gzip").header(CALLER, caller())
    }

    /// Proves a gzipped witness, in the default format.
    pub(super) fn prove(&self, circuit: &str, witness: &[u8]) -> anyhow::Result<Answered> {
        Self::proved(self.posting(&format!("/api/prove/{circuit}")), witness)
    }

    /// The same, and not from what the server remembers.
    pub(super) fn prove_anew(&self, circuit: &str, witness: &[u8]) -> anyhow::Result<Answered> {
        let request = self.posting(&format!("/api/prove/{circuit}"));
        Self::proved(request.header("cache-control", "no-cache"), witness)
    }

    fn proved(
        request: ureq::RequestBuilder<ureq::typestate::WithBody>,
        witness: &[u8],
    ) -> anyhow::Result<Answered> {
        let started = Instant::now();
        let mut answer = request.send(witness)?;
        let body = answer.body_mut().read_to_vec()?;
        let ms = milliseconds(started.elapsed());
        answered(ms, answer.status().as_u16(), &body, |name| answer.headers().get(name)?.to_str().ok())
    }
}

/// Each request is another caller's, as Cloudflare tells the edge: one that asks too often is refused.
fn caller() -> String {
    static CALLERS: AtomicU32 = AtomicU32::new(0);
    Ipv4Addr::from_bits(FIRST_CALLER.to_bits() + CALLERS.fetch_add(1, Ordering::Relaxed)).to_string()
}

/// What an answer came to, unless it is no verified proof. `header` finds one by its name.
fn answered<'a>(
    ms: f64,
    status: u16,
    body: &[u8],
    header: impl Fn(&'static str) -> Option<&'a str>,
) -> anyhow::Result<Answered> {
    if status != 200 {
        bail!("the server answers {status}: {}", String::from_utf8_lossy(body));
    }
    if body.is_empty() || !body.len().is_multiple_of(32) {
        bail!("an answer of {} bytes is no proof", body.len());
    }
    if header(headers::VERIFIED).is_some_and(|verified| verified != "true") {
        bail!("the server did not verify its proof, so its time says nothing");
    }
    let timings = header("server-timing").map(read_timings).transpose()?;
    Ok(Answered { ms, timings })
}

impl Answered {
    /// What the client waited for other than proving and verifying, in milliseconds.
    pub(super) fn rest_ms(&self) -> f64 {
        self.timings.map_or(f64::NAN, |timings| self.ms - timings.prove_ms - timings.verify_ms)
    }
}

/// Reads `upload;dur=0.18, queue;dur=0.00, ...`.
fn read_timings(header: &str) -> anyhow::Result<Timings> {
    let mut timings = Timings::default();
    for stage in header.split(',') {
        let (name, ms) = stage.trim().split_once(";dur=").with_context(|| format!("no timing: {stage}"))?;
        let ms = ms.parse().with_context(|| format!("no time: {stage}"))?;
        match name {
            "upload" => timings.upload_ms = ms,
            "queue" => timings.queue_ms = ms,
            "prove" => timings.prove_ms = ms,
            "verify" => timings.verify_ms = ms,
            "total" => timings.total_ms = ms,
            _ => bail!("an unknown stage: {stage}"),
        }
    }
    Ok(timings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_another_callers() {
        assert_ne!(caller(), caller());
    }

    #[test]
    fn what_is_left_is_neither_proving_nor_verifying() {
        let header = "upload;dur=0.25, queue;dur=0.00, prove;dur=100.00, verify;dur=6.00, total;dur=106.50";
        let answered = Answered { ms: 107.5, timings: Some(read_timings(header).unwrap()) };
        assert!((answered.rest_ms() - 1.5).abs() < 1e-9);
        for bad in ["", "prove", "prove;dur=x", "other;dur=1"] {
            assert!(read_timings(bad).is_err(), "{bad:?}");
        }
    }
}
