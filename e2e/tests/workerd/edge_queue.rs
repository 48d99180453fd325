//! Jobs whose queue is a Durable Object of the edge, and whose bodies and proofs are in R2: workerd's own, with a real server
//! as the prover.

use std::collections::{BTreeMap, BTreeSet};

use edgeprove_e2e::Edge;
use edgeprove_job_rules::audit::Verifier;
use edgeprove_protocol::{
    JobDocument, JobId, JobStage, JobStatus, ProblemType, Target, headers, job::JobPage,
};
use edgeprove_testkit::{Response, TestServer, client::Request, eventually, samples};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::headers::key;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ARTIFACT_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// Jobs of the test with a crash.
const JOBS: usize = 50;

/// A server without jobs of its own, which serves only its edge.
fn start_prover() -> TestServer {
    TestServer::start(|s| s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned())))
}

/// An edge with jobs, which knows alice by `k1`, bob by `k2`, and an operator by `ops`.
fn start_edge(server: &TestServer) -> Edge {
    let operators = format!(
        "keys.ops = {{ sha256 = [\"{}\"], role = \"operator\" }}",
        hex::encode(Sha256::digest("ops"))
    );
    Edge::start(|e| {
        e.upstream(server.address())
            .var("JOBS", "edge")
            .var("EDGE_SECRET", SECRET)
            .var("EDGEPROVE_ARTIFACT_KEY", ARTIFACT_KEY)
            .var("API_KEYS", &format!("{},{}", key("alice", "k1"), key("bob", "k2")))
            .var("EDGEPROVE_KEYS", &operators);
    })
}

fn with_key(edge: &Edge, method: &str, path: &str, key: &str) -> Request {
    edge.request(method, path).header(headers::API_KEY, key)
}

fn document(response: &Response) -> JobDocument {
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("no job ({error}): {response:?}"))
}

#[track_caller]
fn submit(edge: &Edge, witness: &[u8], idempotency_key: &str) -> JobDocument {
    let request = edge.prove_request("/v1/proofs?circuit=range_check", witness);
    let response =
        request.header(headers::API_KEY, "k1").header(headers::IDEMPOTENCY_KEY, idempotency_key).send();
    assert_eq!(response.status, 202, "{}", String::from_utf8_lossy(&response.body));
    let job = document(&response);
    assert_eq!(response.header("location"), job.links.this);
    job
}

/// Follows a job to its end. The limit of requests does not allow polling.
#[track_caller]
fn finished(edge: &Edge, job: JobId) -> JobDocument {
    let events = with_key(edge, "GET", &format!("/v1/proofs/{job}/events"), "k1").send();
    let text = String::from_utf8_lossy(&events.body).into_owned();
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
    serde_json::from_str(last.unwrap_or_else(|| panic!("no event: {events:?}"))).unwrap()
}

/// All jobs of alice, by id.
#[track_caller]
fn jobs(edge: &Edge) -> BTreeMap<JobId, JobDocument> {
    let (mut jobs, mut next) = (BTreeMap::new(), Some("/v1/proofs?limit=20".to_owned()));
    while let Some(path) = next {
        let response = with_key(edge, "GET", &path, "k1").send();
        assert_eq!(response.status, 200, "{response:?}");
        let page: JobPage = serde_json::from_slice(&response.body).unwrap();
        jobs.extend(page.jobs.into_iter().map(|job| (job.id, job)));
        next = page.next;
    }
    jobs
}

/// The entries of the audit log, whose chain is whole.
#[track_caller]
fn audited(edge: &Edge) -> Vec<Value> {
    let response = with_key(edge, "GET", "/v1/audit", "ops").send();
    assert_eq!(response.status, 200, "{response:?}");
    let (mut verifier, mut entries) = (Verifier::default(), Vec::new());
    for line in std::str::from_utf8(&response.body).unwrap().lines() {
        verifier.take(line).unwrap();
        entries.push(serde_json::from_str::<Value>(line).unwrap()["entry"].take());
    }
    assert_eq!(verifier.finish().unwrap().head.to_string(), response.header(headers::AUDIT_HEAD));
    entries
}

#[test]
fn a_job_of_the_edge_runs_to_its_proof() {
    let server = start_prover();
    let edge = start_edge(&server);
    let range = samples::range_check();
    let job = submit(&edge, &range.witness, "order-1");
    assert_eq!((job.owner.as_deref(), job.attempts, job.max_attempts), (None, job.attempts, 3));

    let events = with_key(&edge, "GET", &job.links.events, "k1").send();
    assert_eq!(events.header("content-type"), "text/event-stream", "{events:?}");
    let text = String::from_utf8_lossy(&events.body).into_owned();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let seen: Vec<JobDocument> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    let last = seen.last().unwrap();
    assert_eq!((last.status, last.stage, last.progress), (JobStatus::Completed, JobStage::Done, 100));
    assert!(seen.is_sorted_by_key(|job| job.progress), "{seen:?}");
    // A client that has seen the last event gets none.
    let id = text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap();
    let again = with_key(&edge, "GET", &job.links.events, "k1").header("last-event-id", id).send();
    assert_eq!(again.status, 204, "{again:?}");

    let proof = |key: &str, accept: &str| {
        with_key(&edge, "GET", &job.links.proof, key).header("accept", accept).send()
    };
    proof("k1", "*/*").assert_proves(range, Target::NoirRecursive);
    let json: Value = serde_json::from_slice(&proof("k1", "application/json").body).unwrap();
    assert_eq!((&json["circuit"], &json["verified"]), (&"range_check".into(), &true.into()));
    proof("k2", "*/*").assert_refused(ProblemType::JobNotFound);
    assert_eq!(submit(&edge, &range.witness, "order-1").id, job.id, "the same request");

    // A witness that proves nothing fails for good, and a job can be cancelled while it waits or runs.
    let failing = submit(&edge, &samples::unsatisfied(), "order-2");
    let failed = eventually("the job fails", || {
        let job = document(&with_key(&edge, "GET", &failing.links.this, "k1").send());
        (job.status == JobStatus::Failed).then_some(job)
    });
    let error = failed.error.unwrap();
    assert_eq!((error.code, failed.attempts), (ProblemType::WitnessUnsatisfied.into(), 1));
    let refused = with_key(&edge, "DELETE", &failing.links.this, "k1").send();
    refused.assert_refused(ProblemType::JobAlreadyFinished);

    let metrics = with_key(&edge, "GET", "/metrics", "ops").send();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in [
        "edgeprove_jobs_accepted_total{kind=\"prove\",priority=\"NORMAL\"} 2",
        "edgeprove_jobs_finished_total{kind=\"prove\",outcome=\"completed\"} 1",
        "edgeprove_jobs_failures_total{kind=\"prove\",code=\"witness_unsatisfied\"} 1",
    ] {
        assert!(metrics.lines().any(|of_metrics| of_metrics == line), "{line}: {metrics}");
    }
    with_key(&edge, "GET", "/metrics", "k1").send().assert_refused(ProblemType::NotAllowed);
    let actions: BTreeSet<String> =
        audited(&edge).iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect();
    for action in ["job.accepted", "job.started", "job.completed", "job.fetched", "job.failed"] {
        assert!(actions.contains(action), "{action}: {actions:?}");
    }
}

#[test]
fn no_job_is_lost_or_proved_twice_when_workerd_dies() {
    let server = start_prover();
    let mut edge = start_edge(&server);
    let range = samples::range_check();
    let submitted: Vec<JobId> =
        (0..JOBS).map(|number| submit(&edge, &range.witness, &format!("order-{number}")).id).collect();
    // Jobs of one caller run in their order, so that later ones wait or run now.
    assert_eq!(finished(&edge, submitted[JOBS / 5]).status, JobStatus::Completed);
    edge.crash_and_start_again();
    let before = jobs(&edge);
    assert_eq!(before.len(), JOBS);
    let is_completed = |job: &&JobDocument| job.status == JobStatus::Completed;
    let completed = before.values().filter(is_completed).count();
    assert!((JOBS / 5..JOBS).contains(&completed), "{completed} of {JOBS} were completed at the crash");
    for id in &submitted {
        let job = finished(&edge, *id);
        assert_eq!((job.id, job.status), (*id, JobStatus::Completed));
        let proof = with_key(&edge, "GET", &job.links.proof, "k1").send();
        proof.assert_proves(range, Target::NoirRecursive);
    }
    let mut completed = BTreeMap::<String, usize>::new();
    for entry in audited(&edge).iter().filter(|entry| entry["action"] == "job.completed") {
        *completed.entry(entry["job_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(completed.len(), JOBS);
    assert!(completed.values().all(|times| *times == 1), "{completed:?}");
    // The same requests still get the same jobs.
    assert_eq!(submit(&edge, &range.witness, "order-7").id, submitted[7]);
}

#[test]
fn a_prover_that_is_down_costs_no_attempt() {
    let server = start_prover();
    let edge = start_edge(&server);
    drop(server);
    let range = samples::range_check();
    let job = submit(&edge, &range.witness, "order-1");
    let shown = || document(&with_key(&edge, "GET", &job.links.this, "k1").send());
    edge.logged("event", "container_not_woken_for_jobs");
    assert_eq!((shown().status, shown().attempts), (JobStatus::Queued, 0));
    let cancelled = with_key(&edge, "DELETE", &job.links.this, "k1").send();
    assert_eq!((cancelled.status.as_u16(), document(&cancelled).status), (200, JobStatus::Cancelled));
}
