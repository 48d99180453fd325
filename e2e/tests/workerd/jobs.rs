//! Jobs through the edge: submitted, followed, cancelled and fetched.

use std::{net::TcpStream, path::Path};

use edgeprove_e2e::Edge;
use edgeprove_protocol::{JobDocument, JobStage, JobStatus, ProblemType, Target, job::JobPage};
use edgeprove_testkit::{Response, TestServer, client::Request, eventually, samples, wait::LIMIT};
use tungstenite::{Message, client::IntoClientRequest as _};

use crate::headers::key;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Starts a server that stores jobs in this folder and serves only its edge.
fn start_job_server(data: &Path) -> TestServer {
    TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
        s.flag("--data", &data.display());
    })
}

fn document(response: &Response) -> JobDocument {
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("no job ({error}): {response:?}"))
}

/// Checks the response to a submission, and returns the job.
#[track_caller]
fn assert_accepted(response: &Response) -> JobDocument {
    assert_eq!(response.status, 202, "{}", String::from_utf8_lossy(&response.body));
    let job = document(response);
    assert_eq!(response.header("location"), job.links.this);
    assert_eq!(response.header("preference-applied"), "respond-async");
    assert!(response.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{response:?}");
    job
}

/// Reads server-sent events to their end: the name of each, and the job at that time.
#[track_caller]
fn events(request: Request) -> Vec<(String, JobDocument)> {
    let response = request.send();
    assert_eq!(response.header("content-type"), "text/event-stream", "{response:?}");
    let (mut events, mut name) = (Vec::new(), String::new());
    for line in std::str::from_utf8(&response.body).unwrap().lines() {
        if let Some(event) = line.strip_prefix("event: ") {
            event.clone_into(&mut name);
        }
        if let Some(data) = line.strip_prefix("data: ") {
            events.push((name.clone(), serde_json::from_str(data).unwrap()));
        }
    }
    events
}

#[test]
fn a_job_runs_to_its_proof_for_its_submitter_only() {
    let data = tempfile::tempdir().unwrap();
    let server = start_job_server(data.path());
    let edge = Edge::start(|e| {
        e.upstream(server.address())
            .var("EDGE_SECRET", SECRET)
            .var("API_KEYS", &format!("{},{}", key("alice", "k1"), key("bob", "k2")));
    });
    let range = samples::range_check();
    let as_alice = |request: Request| request.header("x-api-key", "k1");
    let get = |path: &str, key: &str| edge.request("GET", path).header("x-api-key", key).send();

    // A job is submitted, and a page may read the headers of the response.
    let response = as_alice(edge.prove_request("/v1/proofs?circuit=range_check", &range.witness))
        .header("origin", "https://page.example")
        .send();
    let first = assert_accepted(&response);
    for name in ["location", "preference-applied", "x-proof-cache", "retry-after"] {
        assert!(response.header("access-control-expose-headers").contains(name), "{name}: {response:?}");
    }
    let seen = events(as_alice(edge.request("GET", &first.links.events)));
    let (name, last) = seen.last().expect("there are events");
    assert_eq!((name.as_str(), last.status, last.stage), ("done", JobStatus::Completed, JobStage::Done));
    assert!(seen.is_sorted_by_key(|(_, job)| job.progress), "{seen:?}");
    get(&first.links.proof, "k1").assert_proves(range, Target::NoirRecursive);
    assert_eq!(edge.request("HEAD", &first.links.this).header("x-api-key", "k1").send().status, 200);

    // The same request with the same key returns the same job, and another request with this key is refused.
    let named = |target: &str| {
        as_alice(edge.prove_request(&format!("/api/prove?target={target}"), &range.witness))
            .header("prefer", "respond-async")
            .header("idempotency-key", "order-7")
            .send()
    };
    let second = assert_accepted(&named("evm"));
    assert_ne!(second.id, first.id);
    assert_eq!(document(&named("evm")).id, second.id);
    named("noir-recursive").assert_refused(ProblemType::IdempotencyKeyReused);

    // A WebSocket carries the same events.
    let mut request =
        format!("ws://{}{}", edge.address(), second.links.events).into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", "k1".parse().unwrap());
    let connection = TcpStream::connect(edge.address()).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    let (mut socket, _) = tungstenite::client(request, connection).unwrap();
    let mut seen = Vec::new();
    while let Ok(message) = socket.read() {
        if let Message::Text(text) = message {
            let event: serde_json::Value = serde_json::from_str(&text).unwrap();
            seen.push(serde_json::from_value::<JobDocument>(event["job"].clone()).unwrap());
        }
    }
    assert_eq!(seen.last().map(|job| job.status), Some(JobStatus::Completed), "{seen:?}");
    get(&second.links.proof, "k1").assert_proves(range, Target::Evm);

    // A caller that waits long enough gets the proof itself.
    let waited =
        as_alice(edge.prove_request("/api/prove", &range.witness)).header("prefer", "wait=60").send();
    waited.assert_proves(range, Target::NoirRecursive);
    assert_eq!(waited.header("preference-applied"), "wait=60");

    // Other callers cannot see the job.
    for method in ["GET", "DELETE"] {
        let others = edge.request(method, &first.links.this).header("x-api-key", "k2").send();
        others.assert_refused(ProblemType::JobNotFound);
    }
    edge.get(&first.links.this).assert_refused(ProblemType::ApiKeyRequired);
    let page = |path: &str, key: &str| -> JobPage { serde_json::from_slice(&get(path, key).body).unwrap() };
    let latest = page("/v1/proofs?limit=2", "k1");
    assert_eq!((latest.jobs.len(), latest.jobs[1].id), (2, second.id));
    let rest = page(&latest.next.expect("there is a second page"), "k1");
    assert_eq!(rest.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [first.id]);
    assert_eq!(page("/v1/proofs", "k2").jobs, []);
    assert_eq!(get("/v1/queue", "k1").json()["jobs"]["completed"], 3);

    let line = &edge.logged("route", "/v1/proofs/{id}/events")[0];
    assert_eq!(line["user"], "alice", "{line}");
}

#[test]
fn a_page_follows_a_job_by_the_token_of_its_link() {
    let data = tempfile::tempdir().unwrap();
    let server = start_job_server(data.path());
    let edge = Edge::start(|e| {
        e.upstream(server.address()).var("EDGE_SECRET", SECRET).var("API_KEYS", &key("alice", "k1"));
    });
    let witness = &samples::range_check().witness;
    let submit = || {
        let request = edge.prove_request("/v1/proofs", witness).header("x-api-key", "k1");
        assert_accepted(&request.send())
    };
    let (job, other) = (submit(), submit());
    let (events_path, token) = job.links.events.split_once('?').expect("the link has a token");

    // A page sends neither a key nor any other header of its own.
    let response = edge.request("GET", &job.links.events).header("origin", "https://page.example").send();
    assert_eq!(response.header("access-control-allow-origin"), "*", "{response:?}");
    let line = &edge.logged("request_id", response.header("x-request-id"))[0];
    assert_eq!(line["user"], serde_json::Value::Null, "{line}");
    let seen = events(edge.request("GET", &job.links.events));
    assert_eq!(
        seen.last().map(|(name, job)| (name.as_str(), job.status)),
        Some(("done", JobStatus::Completed))
    );
    let connection = TcpStream::connect(edge.address()).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    let url = format!("ws://{}{}", edge.address(), other.links.events);
    let (mut socket, _) = tungstenite::client(url.into_client_request().unwrap(), connection).unwrap();
    let mut last = None;
    while let Ok(message) = socket.read() {
        if let Message::Text(text) = message {
            last = Some(text);
        }
    }
    assert!(last.is_some_and(|text| text.contains("\"status\":\"completed\"")));
    let read = document(&edge.get(&format!("{}?{token}", job.links.this)));
    assert_eq!((read.id, read.status), (job.id, JobStatus::Completed));
    assert_eq!(read.links.events, events_path, "a token does not renew itself");

    // The container refuses a wrong token, and the edge everything else.
    let without_key = server.prove_request_at("/v1/proofs", witness).header("x-edge-secret", SECRET);
    let anonymous = document(&without_key.send());
    let wrong = format!("{}1", token.replace("token=", "token=1"));
    for path in [
        format!("{}?{wrong}", job.links.this),
        format!("{events_path}?{wrong}"),
        format!("{}?{token}", other.links.this),
        format!("{}?{token}", anonymous.links.this),
    ] {
        let problem = edge.get(&path).assert_refused(ProblemType::ApiKeyRequired);
        assert!(problem.detail.contains("token"), "{path}: {problem:?}");
    }
    for (method, path) in [
        ("GET", format!("{}?{token}", job.links.proof)),
        ("DELETE", format!("{}?{token}", job.links.this)),
        ("GET", format!("{}?{token}&{token}", job.links.this)),
        ("GET", format!("/v1/proofs?{token}")),
        ("GET", format!("/v1/queue?{token}")),
        ("GET", anonymous.links.this),
        ("GET", job.links.this.clone()),
    ] {
        edge.request(method, &path).send().assert_refused(ProblemType::ApiKeyRequired);
    }
    let forged = edge.request("GET", &format!("{}?{token}", job.links.proof));
    let forged = forged.header("x-authenticated-user", "alice").header("x-edge-secret", SECRET).send();
    forged.assert_refused(ProblemType::ApiKeyRequired);
    let guessed = edge.request("GET", &job.links.events).header("x-api-key", "guessed").send();
    guessed.assert_refused(ProblemType::ApiKeyRequired);
    assert!(!edge.log().contains(token), "the log contains the token");
}

#[test]
fn a_queued_or_running_job_can_be_cancelled() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| {
        s.flag("--data", &data.path().display());
        s.flag("--job-workers", "1");
    });
    let edge = Edge::before(&server);
    let submit =
        || assert_accepted(&edge.prove_request("/v1/proofs", &samples::range_check().witness).send());
    let cancel = |job: &JobDocument| edge.request("DELETE", &job.links.this).send();
    let now = |job: &JobDocument| document(&edge.get(&job.links.this));

    let names = "authorization,cache-control,idempotency-key,last-event-id,prefer,x-deadline,x-priority";
    let preflight = edge
        .request("OPTIONS", "/v1/proofs/some")
        .header("origin", "https://page.example")
        .header("access-control-request-method", "DELETE")
        .header("access-control-request-headers", names)
        .send();
    assert_eq!(preflight.status, 204, "{preflight:?}");
    assert!(preflight.header("access-control-allow-methods").contains("DELETE"), "{preflight:?}");
    for name in names.split(',') {
        assert!(preflight.header("access-control-allow-headers").contains(name), "{name}: {preflight:?}");
    }

    for bb in server.provers() {
        bb.suspend();
    }
    let running = submit();
    eventually("the job runs", || {
        let status = document(&server.get(&running.links.this)).status;
        (status == JobStatus::Running).then_some(())
    });
    let waiting = submit();
    assert_eq!(now(&waiting).queue_position, Some(1));
    edge.get(&waiting.links.proof).assert_refused_for_now(ProblemType::ProofNotReady);
    let cancelled = cancel(&waiting);
    assert_eq!((cancelled.status.as_u16(), document(&cancelled).status), (200, JobStatus::Cancelled));
    assert_eq!(cancel(&running).status, 202);
    let seen = events(edge.request("GET", &running.links.events));
    assert_eq!(seen.last().map(|(_, job)| job.status), Some(JobStatus::Cancelled), "{seen:?}");
    edge.get(&running.links.proof).assert_refused(ProblemType::JobCancelled);
    for bb in server.provers() {
        bb.resume();
    }
    eventually("the server proves again", || {
        edge.prove_request("/api/prove", &samples::range_check().witness)
            .send()
            .status
            .is_success()
            .then_some(())
    });
}

#[test]
fn jobs_are_refused_by_a_server_that_cannot_store_them() {
    let server = TestServer::start_default();
    let edge = Edge::before(&server);
    let witness = &samples::range_check().witness;
    let refusals = [
        edge.prove_request("/v1/proofs", witness).send(),
        edge.prove_request("/api/prove", witness).header("prefer", "respond-async").send(),
        edge.get("/v1/proofs/01234567-89ab-4def-8123-456789abcdef"),
    ];
    let own = server.prove_request_at("/v1/proofs", witness).send().assert_refused(ProblemType::JobsDisabled);
    assert!(own.detail.contains("DATABASE_URL") && own.detail.contains("EDGEPROVE_DATA"), "{own:?}");
    for response in refusals {
        assert_eq!(response.assert_refused(ProblemType::JobsDisabled).detail, own.detail);
    }
    // Without keys, callers cannot be distinguished, so there is no list of jobs.
    edge.get("/v1/proofs").assert_refused(ProblemType::ApiKeyRequired);
    for path in ["/livez", "/readyz"] {
        assert_eq!(server.get(path).status, 200, "{path}");
        edge.get(path).assert_refused(ProblemType::NotFound);
    }
    let index = edge.get("/").json()["endpoints"].to_string();
    for path in ["/v1/proofs", "/v1/proofs/{id}/events", "/v1/queue"] {
        assert!(index.contains(path), "{index}");
    }
}
