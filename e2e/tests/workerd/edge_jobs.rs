//! Jobs at the edge: bodies that stream into R2, encrypted, and the queue of the object behind them.

use std::fs;

use edgeprove_e2e::{
    Edge, TestUpstream,
    edge::{EdgeSettings, variant},
};
use edgeprove_protocol::{JobDocument, JobStatus, ProblemType, Target};
use edgeprove_testkit::{
    Response, TestServer,
    client::{Connection, Request},
    eventually, inputs, samples,
    sealed::{Binding, of_witness, sealed_body, sealed_request, sealing_key},
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    bucket::{self, ARTIFACT_KEY, files, witnesses},
    headers::key,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn with_jobs(edge: &mut EdgeSettings) -> &mut EdgeSettings {
    edge.var("JOBS", "edge")
        .var("EDGE_SECRET", SECRET)
        .var("EDGEPROVE_ARTIFACT_KEY", ARTIFACT_KEY)
        .var("API_KEYS", &format!("{},{}", key("alice", "k1"), key("bob", "k2")))
}

/// An edge with jobs in front of a server that never responds to a proof of the circuit `hang`.
fn start_before(upstream: &TestUpstream) -> Edge {
    Edge::start(|e| {
        with_jobs(e).upstream(upstream.address());
    })
}

fn document(response: &Response) -> JobDocument {
    assert_eq!(response.status, 202, "{}", String::from_utf8_lossy(&response.body));
    serde_json::from_slice(&response.body).unwrap()
}

fn submit(edge: &Edge, circuit: &str, body: &[u8]) -> Request {
    edge.prove_request(&format!("/v1/proofs?circuit={circuit}"), body).header("x-api-key", "k1")
}

#[test]
fn a_job_at_the_edge_runs_to_its_proof() {
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
    });
    let edge = Edge::start(|e| {
        with_jobs(e).upstream(server.address());
    });
    let range = samples::range_check();
    let response =
        submit(&edge, "range_check", &range.witness).header("origin", "https://page.example").send();
    let job = document(&response);
    assert_eq!(response.header("location"), job.links.this);
    assert_eq!(response.header("preference-applied"), "respond-async");
    assert!(!response.headers.contains_key("x-edgeprove-artifact-unused"));
    let get = |path: &str, key: &str| edge.request("GET", path).header("x-api-key", key).send();
    let finished = eventually("the job finishes", || {
        let job: JobDocument = serde_json::from_slice(&get(&job.links.this, "k1").body).unwrap();
        job.status.is_finished().then_some(job)
    });
    assert_eq!(finished.status, JobStatus::Completed, "{finished:?}");
    get(&job.links.proof, "k1").assert_proves(range, Target::NoirRecursive);
    // Nobody else sees it.
    for path in [&job.links.this, &job.links.proof, &job.links.events] {
        get(path, "k2").assert_refused(ProblemType::JobNotFound);
        edge.get(path).assert_refused(ProblemType::ApiKeyRequired);
    }
    // A caller that waits gets the proof itself.
    let waited = edge.prove_request("/api/prove/range_check", &range.witness).header("x-api-key", "k1");
    let waited = waited.header("prefer", "wait=60").send();
    waited.assert_proves(range, Target::NoirRecursive);
    assert_eq!(waited.header("preference-applied"), "wait=60");
    // Inputs are stored in the same way, and name the circuit.
    let inputs = edge.request("POST", "/v1/proofs").header("content-type", "application/json");
    let inputs = inputs.header("x-api-key", "k1").header("prefer", "wait=60");
    let mut body = inputs::range_check();
    body["circuitId"] = json!("range_check");
    let proved = Request { body: body.to_string().into_bytes(), ..inputs }.send();
    assert_eq!(proved.status, 200, "{}", String::from_utf8_lossy(&proved.body));
    // What is proved is not stored any longer.
    eventually("the witnesses are deleted", || witnesses(&edge).is_empty().then_some(()));
}

#[test]
fn nothing_that_the_edge_stores_or_logs_shows_a_witness() {
    let upstream = TestUpstream::start();
    let edge = start_before(&upstream);
    let range = samples::range_check();
    document(&submit(&edge, "hang", &range.witness).send());
    let inputs = json!({"privateInputs": {"value": "3737181762"}}).to_string();
    let request = submit(&edge, "hang", inputs.as_bytes()).header("cache-control", "no-store");
    let mut request = Request { body: inputs.clone().into_bytes(), ..request };
    request.head.headers_mut().unwrap().insert("content-type", "application/json".parse().unwrap());
    document(&request.send());

    // A server with the same key reads what the edge stored.
    let stored = witnesses(&edge);
    assert!(stored.contains(&range.witness), "{} objects", stored.len());
    assert!(stored.contains(&inputs.clone().into_bytes()));
    // Nothing in the bucket, in the queue's database or in the log has them in the clear.
    let canaries = [&range.witness[20..52], inputs.as_bytes(), b"3737181762"];
    let all = files(&edge.state());
    assert!(all.len() > 3, "{all:?}");
    for file in all {
        let bytes = fs::read(&file).unwrap_or_default();
        for canary in canaries {
            assert!(!bytes.windows(canary.len()).any(|window| window == canary), "{}", file.display());
        }
        assert!(!samples::contains_secret(&bytes), "{}", file.display());
    }
}

#[test]
fn a_body_that_is_refused_leaves_no_object() {
    let upstream = TestUpstream::start();
    let edge = start_before(&upstream);
    let range = samples::range_check();
    for (body, problem) in [
        (&b"no gzip at all"[..], ProblemType::WitnessNotGzip),
        (b"", ProblemType::WitnessEmpty),
        (&[0x1f], ProblemType::WitnessNotGzip),
    ] {
        submit(&edge, "hang", body).send().assert_refused(problem);
    }
    let typed = |media: &str, body: &str| {
        let request = edge.request("POST", "/v1/proofs").header("content-type", media);
        Request { body: body.as_bytes().to_vec(), ..request.header("x-api-key", "k1") }.send()
    };
    typed("application/json", "{\"privateInputs\": 3737181762,").assert_refused(ProblemType::InvalidRequest);
    typed("application/json", "{\"circuitId\": \"../x\"}").assert_refused(ProblemType::CircuitNotFound);
    typed("text/plain", "x").assert_refused(ProblemType::UnsupportedMediaType);
    let sealed = "application/vnd.edgeprove.sealed; content=\"application/gzip\"";
    typed(sealed, "EPSB too short").assert_refused(ProblemType::SealedBodyInvalid);
    submit(&edge, "hang", &range.witness)
        .header("x-callback-url", "https://hooks.example")
        .send()
        .assert_refused(ProblemType::CallbackNotAllowed);
    submit(&edge, "hang", &range.witness)
        .header("x-priority", "CRITICAL")
        .send()
        .assert_refused(ProblemType::NotAllowed);

    // A body of unknown length, which need not end.
    let mut chunked = Connection::open(edge.address());
    let head = "POST /v1/proofs?circuit=hang HTTP/1.1\r\nHost: edge\r\nX-Api-Key: k1\r\nTransfer-Encoding: chunked\r\n\
                Content-Type: application/gzip\r\n\r\n";
    chunked.send(head.as_bytes());
    let _ = chunked.try_send_chunk(&range.witness);
    chunked.end_sending();
    eventually("no object is left", || bucket::objects(&edge).is_empty().then_some(()));
}

#[test]
fn an_upload_that_breaks_off_leaves_no_object() {
    let upstream = TestUpstream::start();
    let edge = start_before(&upstream);
    let body = samples::gzip_of_zeros(200 << 20);
    assert!(body.len() > 150_000, "{}", body.len());
    for _ in 0..3 {
        let mut connection = Connection::open(edge.address());
        let head = format!(
            "POST /v1/proofs?circuit=hang HTTP/1.1\r\nHost: edge\r\nX-Api-Key: k1\r\nContent-Length: {}\r\n\
             Content-Type: application/gzip\r\n\r\n",
            body.len()
        );
        connection.send(head.as_bytes());
        connection.send(&body[..body.len() / 2]);
        drop(connection);
    }
    document(&submit(&edge, "hang", &body).send());
    edge.logged_times(3, "code", "witness_truncated");
    assert_eq!(witnesses(&edge), [body]);
    assert_eq!(bucket::objects(&edge).len(), 1);
}

#[test]
fn a_repeated_key_finds_its_job_and_stores_nothing_twice() {
    let upstream = TestUpstream::start();
    let edge = start_before(&upstream);
    let range = samples::range_check();
    let send = |body: &[u8], key: &str| {
        let request = edge.prove_request("/v1/proofs?circuit=hang", body).header("x-api-key", key);
        request.header("idempotency-key", "order-7").send()
    };
    let first = document(&send(&range.witness, "k1"));
    assert_eq!(document(&send(&range.witness, "k1")).id, first.id);
    let other = samples::gzip(b"another body");
    send(&other, "k1").assert_refused(ProblemType::IdempotencyKeyReused);
    // Another caller has keys of its own.
    assert_ne!(document(&send(&other, "k2")).id, first.id);
    eventually("each job has one object", || (witnesses(&edge).len() == 2).then_some(()));
}

#[test]
fn a_sealed_body_is_proved_once() {
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
    });
    let edge = Edge::start(|e| {
        with_jobs(e).upstream(server.address());
    });
    let range = samples::range_check();
    let binding = Binding { credential: Some(Sha256::digest("k1").into()), ..of_witness("range_check") };
    let body = sealed_body(&sealing_key(edge.address(), Some("k1")), &binding, &range.witness);
    let send = |path: &str, body: &[u8]| {
        let request = sealed_request(edge.address(), path, "application/gzip", body.to_vec());
        request.header("x-api-key", "k1").header("prefer", "wait=60").send()
    };
    let path = "/v1/proofs?circuit=range_check";
    send(path, &body).assert_proves(range, Target::NoirRecursive);
    send(path, &body).assert_refused(ProblemType::SealedBodyReplayed);
    let mut old = body;
    // The highest byte of the time.
    old[19] = 0xff;
    send(path, &old).assert_refused(ProblemType::SealedAtWrongTime);
}

#[test]
fn jobs_at_the_edge_name_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = TestUpstream::start();
    let without_bucket = variant(dir.path(), |config| drop(config.remove("r2_buckets")));
    let edge = Edge::start(|e| {
        with_jobs(e).upstream(upstream.address()).config(without_bucket);
    });
    let refused = submit(&edge, "hang", b"x").send().assert_refused(ProblemType::EdgeMisconfigured);
    assert!(refused.detail.contains("JOBS") && refused.detail.contains("ARTIFACTS"), "{refused:?}");
    edge.finish();

    let edge = Edge::start(|e| {
        e.upstream(upstream.address()).var("JOBS", "edge");
    });
    let refused = edge.get("/v1/proofs").assert_refused(ProblemType::EdgeMisconfigured);
    assert!(refused.detail.contains("EDGEPROVE_ARTIFACT_KEY"), "{refused:?}");
}
