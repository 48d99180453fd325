//! Provers that pull, with simulated work: each sleeps in the place of a proof, and returns one that was made before. The requests are
//! real, and the server verifies every proof. So the row shows what the server and its queue add when provers are added, also
//! on a machine with fewer cores than provers.

use std::{
    fs,
    io::Read as _,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{
    JobStatus,
    answer::ProofAnswer,
    headers,
    work::{ClaimAnswer, OutcomeAnswer},
};
use flate2::read::GzDecoder;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    client::Client,
    fixture::{Fixture, Workload},
    report::{Figure, Goal, Row, Unit},
    sampling,
};
use crate::digest;

/// The time that a prover sleeps in the place of a proof.
const WORK: Duration = Duration::from_millis(400);
/// The number of provers.
const PROVERS: usize = 4;
/// The jobs of all provers together, and of one alone: each prover has as many.
const JOBS: usize = 200;
/// The least gain of four provers over one.
const GAIN_MIN: f64 = 3.5;
const KEY: &str = "the key of the provers of the benchmark";
/// Longer than a claim waits.
const LIMIT: Duration = Duration::from_mins(2);

/// The row.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let workload = fixture.smallest();
    let folder =
        tempfile::tempdir_in(&fixture.ready.paths.target).context("a folder for jobs cannot be created")?;
    let keys = folder.path().join("keys.toml");
    let digest = digest::of_bytes(KEY.as_bytes());
    let text =
        format!("[anonymous]\nallowed = true\n[keys.fleet]\nsha256 = [\"{digest}\"]\nrole = \"prover\"\n");
    fs::write(&keys, text).context("the keys cannot be written")?;
    let data = folder.path().join("data").display().to_string();
    let keys = keys.display().to_string();
    let flags = ["--data", &data, "--keys-file", &keys, "--roles", "server", "--job-queue-max", "1000"];
    let server = fixture.serve(&flags)?;
    let fleet = Fleet::new(server.url(), workload)?;
    let mut one = || fleet.run(1, JOBS / PROVERS);
    let mut four = || fleet.run(PROVERS, JOBS);
    let [one, four] = sampling::in_turn(fixture.few_rounds(), &mut [&mut one, &mut four])?;
    let one = Figure::new("one prover", Unit::JobsPerSecond, one);
    let four = Figure::new("four provers", Unit::JobsPerSecond, four);
    let what = format!("four provers that pull over one, with simulated work of {} ms", WORK.as_millis());
    Ok(vec![
        Row::with_goal(what, Figure::ratio(&four, &one), Goal::AtLeast(GAIN_MIN), vec![four, one])
            .of(workload),
    ])
}

/// Provers whose work is simulated.
struct Fleet<'a> {
    url: String,
    workload: &'a Workload,
    agent: ureq::Agent,
    /// The version of the circuit.
    version: String,
    /// A proof, as its prover reports it.
    proof: Value,
}

impl<'a> Fleet<'a> {
    fn new(url: &str, workload: &'a Workload) -> anyhow::Result<Self> {
        let config =
            ureq::Agent::config_builder().timeout_global(Some(LIMIT)).http_status_as_error(false).build();
        let agent: ureq::Agent = config.into();
        let path = format!("{url}/api/prove/{}", workload.name);
        let request = agent.post(path).header("accept", "application/json");
        let mut answer =
            request.header("content-type", "application/gzip").send(&workload.witness_bytes[..])?;
        ensure!(answer.status() == 200, "the proof to return could not be made: {}", answer.status());
        let answer: ProofAnswer = answer.body_mut().read_json()?;
        let timings = json!({"upload_ms": 0, "queue_ms": 0, "prove_ms": 1, "verify_ms": 1, "total_ms": 2});
        let proof = json!({"proof": answer.proof, "public_inputs": answer.public_inputs, "timings": timings});
        let version = version(workload)?;
        Ok(Self { url: url.to_owned(), workload, agent, version, proof })
    }

    /// Submits jobs, lets so many provers prove them, and returns the jobs a second.
    fn run(&self, provers: usize, jobs: usize) -> anyhow::Result<f64> {
        let client = Client::new(&self.url);
        for _ in 0..jobs {
            client.submit(&self.workload.name, &self.workload.witness_bytes)?;
        }
        let left = AtomicUsize::new(jobs);
        let started = Instant::now();
        thread::scope(|scope| {
            let running: Vec<_> = (0..provers)
                .map(|number| {
                    scope.spawn({
                        let left = &left;
                        move || self.prove(number, left)
                    })
                })
                .collect();
            running.into_iter().try_for_each(|prover| match prover.join() {
                Ok(ended) => ended,
                Err(_) => bail!("a prover of the benchmark panicked"),
            })
        })?;
        #[expect(clippy::cast_precision_loss, reason = "some hundred jobs")]
        Ok(jobs as f64 / started.elapsed().as_secs_f64())
    }

    /// Proves jobs, one after the other, until none is left.
    fn prove(&self, number: usize, left: &AtomicUsize) -> anyhow::Result<()> {
        let claim = json!({
            "protocol": 1,
            "worker": {"name": format!("bench-{number}"), "version": "1", "backends": [], "concurrency": 1},
            "circuits": [{"circuit": self.workload.name, "version": self.version}],
            "max": 1,
            "wait_s": 1,
        });
        while left.load(Ordering::Relaxed) > 0 {
            let claimed: ClaimAnswer = self.post("/v1/work/claims", &claim)?;
            for job in claimed.jobs {
                thread::sleep(WORK);
                let outcome = json!({"lease": job.lease, "outcome": {"completed": self.proof}});
                let ended: OutcomeAnswer = self.post(&format!("/v1/work/{}/outcome", job.id), &outcome)?;
                ensure!(ended.status == JobStatus::Completed, "a job is {}", ended.status);
                left.fetch_sub(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> anyhow::Result<T> {
        let request = self.agent.post(format!("{}{path}", self.url)).header(headers::API_KEY, KEY);
        let mut answer = request.send_json(body)?;
        let status = answer.status();
        let text = answer.body_mut().read_to_string()?;
        ensure!(status == 200, "POST {path} returned {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("POST {path} returned {text}"))
    }
}

/// The version of a circuit of Noir: SHA-256 of its program.
fn version(workload: &Workload) -> anyhow::Result<String> {
    let read = || {
        let file: Value = serde_json::from_slice(&fs::read(&workload.circuit)?)?;
        let compressed = STANDARD.decode(file["bytecode"].as_str().unwrap_or_default())?;
        let mut program = Vec::new();
        GzDecoder::new(&compressed[..]).read_to_end(&mut program)?;
        Ok::<_, anyhow::Error>(digest::of_bytes(&program))
    };
    read().with_context(|| format!("{} cannot be read", workload.circuit.display()))
}
