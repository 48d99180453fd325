//! A proof as an asynchronous job: submit it, follow its events, fetch the proof.

use std::io::{BufRead as _, BufReader};

use anyhow::{Context, bail};
use edgeprove_protocol::{JobDocument, JobStage, JobStatus, answer::ProofAnswer};

use crate::server::Server;

/// The results of a job.
pub(super) struct Followed {
    /// The stages that its events reported, in order.
    pub(super) stages: Vec<JobStage>,
    /// Its proof.
    pub(super) answer: ProofAnswer,
}

/// Submits a witness and follows the job until it has a proof.
pub(super) fn follow(server: &Server, circuit: &str, witness: &[u8]) -> anyhow::Result<Followed> {
    let job = server.submit(circuit, witness)?;
    let mut stages = vec![job.stage];
    let events = server.get(&job.links.events, "text/event-stream")?;
    let mut last = job;
    for line in BufReader::new(events.into_body().into_reader()).lines() {
        let line = line.context("the stream of the job's events broke off")?;
        if let Some(document) = line.strip_prefix("data:") {
            last = serde_json::from_str::<JobDocument>(document.trim())?;
            if stages.last() != Some(&last.stage) {
                stages.push(last.stage);
            }
        }
    }
    if last.status != JobStatus::Completed {
        let why = last.error.map(|problem| problem.detail).unwrap_or_default();
        bail!("the job is {}: {why}", last.status);
    }
    let answer = server.get(&last.links.proof, "application/json")?.body_mut().read_json()?;
    Ok(Followed { stages, answer })
}
