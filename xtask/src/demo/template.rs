//! A circuit that nobody compiled by hand: the server builds it from a template, and proves with it.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use edgeprove_protocol::answer::{CircuitEntry, CircuitStatus};
use serde_json::{Value, json};

use crate::{interrupt, progress, server::Server};

/// A build takes some seconds, and longer on a busy machine.
const BUILD_LIMIT: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(100);

/// Asks for "a private number is from 100 to 500" in a language, proves 123, and shows that 99 has no proof.
pub(super) fn build_and_prove(server: &Server, language: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    let request =
        json!({"templateName": "rangeCheck", "language": language, "params": {"min": 100, "max": 500}});
    let entry = wait_until_ready(server, &server.post_json("/v1/circuits", &request)?.1)?;
    let built = started.elapsed();
    let path = format!("/api/prove/{}", entry.id);
    let inputs = |value: &str| json!({"privateInputs": {"value": value}, "publicInputs": {"context": "7"}});
    let (status, answer) = server.post_json(&path, &inputs("123"))?;
    if status != 200 || answer["verified"] != true {
        bail!("123 was not proved: {answer}");
    }
    let (status, refused) = server.post_json(&path, &inputs("99"))?;
    if status != 422 || refused["code"] != "witness_unsatisfied" {
        bail!("99 is out of range and was not refused: {refused}");
    }
    let what = format!(
        "rangeCheck from 100 to 500 built in {:.1} s; 123 proved and verified, 99 refused",
        built.as_secs_f64()
    );
    progress::done(&format!("template, {language}"), &what);
    Ok(())
}

fn wait_until_ready(server: &Server, answer: &Value) -> anyhow::Result<CircuitEntry> {
    let started = Instant::now();
    let mut entry: CircuitEntry = serde_json::from_value(answer.clone())
        .with_context(|| format!("no circuit was accepted: {answer}"))?;
    while started.elapsed() < BUILD_LIMIT {
        match entry.status {
            CircuitStatus::Ready => return Ok(entry),
            CircuitStatus::Failed => {
                let why = entry.error.map(|problem| problem.detail).unwrap_or_default();
                bail!("the circuit could not be built: {why}");
            }
            CircuitStatus::Pending | CircuitStatus::Loading => thread::sleep(POLL),
        }
        interrupt::check()?;
        let path = format!("/v1/circuits/{}", entry.id);
        entry = server.get(&path, "application/json")?.body_mut().read_json()?;
    }
    bail!("the circuit was not built within {} s", BUILD_LIMIT.as_secs());
}
