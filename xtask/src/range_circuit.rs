//! A circuit that nobody compiled by hand: "a private number is from 100 to 500", which the server builds from a template.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use edgeprove_protocol::answer::{CircuitEntry, CircuitStatus};
use serde_json::{Value, json};

use crate::{interrupt, server::Server};

/// A build takes some seconds, and longer on a busy machine.
const BUILD_LIMIT: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(100);

/// Inputs of the circuit, as the body of a request for a proof. Numbers from 100 to 500 have one.
pub(crate) fn inputs(number: &str) -> Value {
    json!({"privateInputs": {"value": number}, "publicInputs": {"context": "7"}})
}

/// Requests the circuit in a language, `noir` or `circom`, and waits until it is ready.
pub(crate) fn build(server: &Server, language: &str) -> anyhow::Result<CircuitEntry> {
    let request =
        json!({"templateName": "rangeCheck", "language": language, "params": {"min": 100, "max": 500}});
    let started = Instant::now();
    let (_, answer) = server.post_json("/v1/circuits", &request)?;
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
