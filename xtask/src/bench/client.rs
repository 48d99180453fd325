//! An HTTP client of the proving server, with one persistent connection.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use edgeprove_protocol::{JobDocument, answer::Timings, headers};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::milliseconds;

/// Longer than the request timeout of every server here.
const LIMIT: Duration = Duration::from_mins(20);
/// The address of the first request's caller.
const FIRST_CALLER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// The header with the caller's address, as Cloudflare sets it.
const CALLER: &str = "cf-connecting-ip";

/// A client with one connection.
#[derive(Debug, Clone)]
pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
}

/// The measurements of one proof, on the client's side.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProofTiming {
    /// From the first byte of the request to the last byte of the response, in milliseconds.
    pub(super) ms: f64,
    /// The `Server-Timing` header, if the server sends one.
    pub(super) timings: Option<Timings>,
}

impl Client {
    /// A client of the server at a URL. The URL has no slash at the end.
    pub(super) fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(LIMIT))
            // The body of an error response goes into the error message.
            .http_status_as_error(false)
            // Between two samples a slower contender may run.
            .max_idle_age(LIMIT)
            .build();
        Self { agent: config.into(), url: url.to_owned() }
    }

    /// Sends a GET request. Returns the time from its first byte to the last byte of the response, in milliseconds.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<f64> {
        let request = self.agent.get(format!("{}{path}", self.url)).header(CALLER, caller());
        let started = Instant::now();
        let mut answer = request.call()?;
        let body = answer.body_mut().read_to_vec()?;
        let ms = milliseconds(started.elapsed());
        if answer.status() != 200 {
            bail!("GET {path} returned {}: {}", answer.status(), String::from_utf8_lossy(&body));
        }
        Ok(ms)
    }

    /// Sends JSON. Returns the time as [`Self::get`] does.
    pub(super) fn post_json(&self, path: &str, body: &Value) -> anyhow::Result<f64> {
        let request = self.agent.post(format!("{}{path}", self.url)).header(CALLER, caller());
        let started = Instant::now();
        let mut answer = request.send_json(body)?;
        let received = answer.body_mut().read_to_vec()?;
        let ms = milliseconds(started.elapsed());
        if answer.status() != 200 {
            bail!("POST {path} returned {}: {}", answer.status(), String::from_utf8_lossy(&received));
        }
        Ok(ms)
    }

    /// Gets a JSON document.
    pub(super) fn get_json<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let mut answer = self.agent.get(format!("{}{path}", self.url)).header(CALLER, caller()).call()?;
        answer.body_mut().read_json().with_context(|| format!("GET {path} returned {}", answer.status()))
    }

    /// Submits a gzipped witness as a job. Returns the time from the first byte of the request to the last byte of the
    /// response, in milliseconds, and the job.
    pub(super) fn submit(&self, circuit: &str, witness: &[u8]) -> anyhow::Result<(f64, JobDocument)> {
        let request = self.post(&format!("/v1/proofs?circuit={circuit}"));
        let started = Instant::now();
        let mut answer = request.send(witness)?;
        let body = answer.body_mut().read_to_vec()?;
        let ms = milliseconds(started.elapsed());
        if answer.status() != 202 {
            bail!("the submission of a job returned {}: {}", answer.status(), String::from_utf8_lossy(&body));
        }
        Ok((ms, serde_json::from_slice(&body)?))
    }

    fn post(&self, path: &str) -> ureq::RequestBuilder<ureq::typestate::WithBody> {
        let request = self.agent.post(format!("{}{path}", self.url));
        request.header("content-type", "application/gzip").header(CALLER, caller())
    }

    /// Proves a gzipped witness, in the default format.
    pub(super) fn prove(&self, circuit: &str, witness: &[u8]) -> anyhow::Result<ProofTiming> {
        Self::send_witness(self.post(&format!("/api/prove/{circuit}")), witness)
    }

    /// As [`Self::prove`], but never from the server's proof cache.
    pub(super) fn prove_uncached(&self, circuit: &str, witness: &[u8]) -> anyhow::Result<ProofTiming> {
        let request = self.post(&format!("/api/prove/{circuit}"));
        Self::send_witness(request.header("cache-control", "no-cache"), witness)
    }

    fn send_witness(
        request: ureq::RequestBuilder<ureq::typestate::WithBody>,
        witness: &[u8],
    ) -> anyhow::Result<ProofTiming> {
        let started = Instant::now();
        let mut answer = request.send(witness)?;
        let body = answer.body_mut().read_to_vec()?;
        let ms = milliseconds(started.elapsed());
        read_answer(ms, answer.status().as_u16(), &body, |name| answer.headers().get(name)?.to_str().ok())
    }
}

/// The address of another caller for each request: the edge limits the rate of one caller.
fn caller() -> String {
    static CALLERS: AtomicU32 = AtomicU32::new(0);
    Ipv4Addr::from_bits(FIRST_CALLER.to_bits() + CALLERS.fetch_add(1, Ordering::Relaxed)).to_string()
}

/// The timing of a response, or an error if it is not a verified proof. `header` returns the value of a header.
fn read_answer<'a>(
    ms: f64,
    status: u16,
    body: &[u8],
    header: impl Fn(&'static str) -> Option<&'a str>,
) -> anyhow::Result<ProofTiming> {
    if status != 200 {
        bail!("the server returned {status}: {}", String::from_utf8_lossy(body));
    }
    if body.is_empty() || !body.len().is_multiple_of(32) {
        bail!("a response of {} bytes is not a proof", body.len());
    }
    if header(headers::VERIFIED).is_some_and(|verified| verified != "true") {
        bail!("the server did not verify its proof, so its time is not comparable");
    }
    let timings = header("server-timing").map(read_timings).transpose()?;
    Ok(ProofTiming { ms, timings })
}

impl ProofTiming {
    /// The client's waiting time without proving and verifying, in milliseconds.
    pub(super) fn rest_ms(&self) -> f64 {
        self.timings.map_or(f64::NAN, |timings| self.ms - timings.prove_ms - timings.verify_ms)
    }
}

/// Parses `upload;dur=0.18, queue;dur=0.00, ...`.
fn read_timings(header: &str) -> anyhow::Result<Timings> {
    let mut timings = Timings::default();
    for stage in header.split(',') {
        let (name, ms) =
            stage.trim().split_once(";dur=").with_context(|| format!("invalid timing: {stage}"))?;
        let ms = ms.parse().with_context(|| format!("invalid time: {stage}"))?;
        match name {
            "upload" => timings.upload_ms = ms,
            "queue" => timings.queue_ms = ms,
            "prove" => timings.prove_ms = ms,
            "verify" => timings.verify_ms = ms,
            "total" => timings.total_ms = ms,
            _ => bail!("unknown stage: {stage}"),
        }
    }
    Ok(timings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_another_caller() {
        assert_ne!(caller(), caller());
    }

    #[test]
    fn the_rest_excludes_proving_and_verifying() {
        let header = "upload;dur=0.25, queue;dur=0.00, prove;dur=100.00, verify;dur=6.00, total;dur=106.50";
        let answered = ProofTiming { ms: 107.5, timings: Some(read_timings(header).unwrap()) };
        assert!((answered.rest_ms() - 1.5).abs() < 1e-9);
        for bad in ["", "prove", "prove;dur=x", "other;dur=1"] {
            assert!(read_timings(bad).is_err(), "{bad:?}");
        }
    }
}
