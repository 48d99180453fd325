//! Jobs through the edge: handed in, followed, called off, fetched.

use std::{net::TcpStream, path::Path};

use edgeprove_e2e::Edge;
use edgeprove_protocol::{JobDocument, JobStage, JobStatus, ProblemType, Target, job::JobPage};
use edgeprove_testkit::{Answer, TestServer, client::Ask, eventually, samples, wait::PATIENCE};
use tungstenite::{Message, client::IntoClientRequest as _};

use crate::hop::key;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A server that keeps jobs here, and takes requests from its edge alone.
fn keeping(data: &Path) -> TestServer {
    TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
        s.flag("--data", &data.display());
    })
}

fn document(answer: &Answer) -> JobDocument {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("no job ({error}): {answer:?}"))
}

/// The job that a request was taken in as, once all that stands around it is right.
#[track_caller]
fn accepted(answer: &Answer) -> JobDocument {
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    let job = document(answer);
    assert_eq!(answer.header("location"), job.links.this);
    assert_eq!(answer.header("preference-applied"), "respond-async");
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{answer:?}");
    job
}

/// What server-sent events tell until they end: the name of each and the job as it was.
#[track_caller]
fn events(ask: Ask) -> Vec<(String, JobDocument)> {
    let answer = ask.send();
    assert_eq!(answer.header("content-type"), "text/event-stream", "{answer:?}");
    let (mut told, mut name) = (Vec::new(), String::new());
    for line in std::str::from_utf8(&answer.body).unwrap().lines() {
        if let Some(event) = line.strip_prefix("event: ") {
            event.clone_into(&mut name);
        }
        if let Some(data) = line.strip_prefix("data: ") {
            told.push((name.clone(), serde_json::from_str(data).unwrap()));
        }
    }
    told
}

#[test]
fn a_job_goes_from_its_submission_to_the_verified_proof_and_is_its_submitters_alone() {
    let data = tempfile::tempdir().unwrap();
    let server = keeping(data.path());
    let edge = Edge::start(|e| {
        e.upstream(server.address())
            .var("EDGE_SECRET", SECRET)
            .var("API_KEYS", &format!("{},{}", key("alice", "k1"), key("bob", "k2")));
    });
    let range = samples::range();
    let as_alice = |ask: Ask| ask.header("x-api-key", "k1");
    let get = |path: &str, key: &str| edge.ask("GET", path).header("x-api-key", key).send();

    // Either way to hand one in, and a page may read where it is.
    let answer = as_alice(edge.posting("/v1/proofs?circuit=range_check", &range.witness))
        .header("origin", "https://page.example")
        .send();
    let first = accepted(&answer);
    for name in ["location", "preference-applied", "x-proof-cache", "retry-after"] {
        assert!(answer.header("access-control-expose-headers").contains(name), "{name}: {answer:?}");
    }
    let told = events(as_alice(edge.ask("GET", &first.links.events)));
    let (name, last) = told.last().expect("something is told");
    assert_eq!((name.as_str(), last.status, last.stage), ("done", JobStatus::Completed, JobStage::Done));
    assert!(told.is_sorted_by_key(|(_, job)| job.progress), "{told:?}");
    get(&first.links.proof, "k1").proves(range, Target::NoirRecursive);
    assert_eq!(edge.ask("HEAD", &first.links.this).header("x-api-key", "k1").send().status, 200);

    // The same request again is the same job, another under its name is refused.
    let named = |target: &str| {
        as_alice(edge.posting(&format!("/api/prove?target={target}"), &range.witness))
            .header("prefer", "respond-async")
            .header("idempotency-key", "order-7")
            .send()
    };
    let second = accepted(&named("evm"));
    assert_ne!(second.id, first.id);
    assert_eq!(document(&named("evm")).id, second.id);
    named("noir-recursive").refused(ProblemType::IdempotencyKeyReused);

    // A socket tells the same.
    let mut request =
        format!("ws://{}{}", edge.address(), second.links.events).into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", "k1".parse().unwrap());
    let connection = TcpStream::connect(edge.address()).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut socket, _) = tungstenite::client(request, connection).unwrap();
    let mut seen = Vec::new();
    while let Ok(message) = socket.read() {
        if let Message::Text(text) = message {
            let told: serde_json::Value = serde_json::from_str(&text).unwrap();
            seen.push(serde_json::from_value::<JobDocument>(told["job"].clone()).unwrap());
        }
    }
    assert_eq!(seen.last().map(|job| job.status), Some(JobStatus::Completed), "{seen:?}");
    get(&second.links.proof, "k1").proves(range, Target::Evm);

    // Who waits long enough gets the proof itself.
    let waited = as_alice(edge.posting("/api/prove", &range.witness)).header("prefer", "wait=60").send();
    waited.proves(range, Target::NoirRecursive);
    assert_eq!(waited.header("preference-applied"), "wait=60");

    // To others none of it exists.
    for method in ["GET", "DELETE"] {
        let others = edge.ask(method, &first.links.this).header("x-api-key", "k2").send();
        others.refused(ProblemType::JobNotFound);
    }
    edge.get(&first.links.this).refused(ProblemType::ApiKeyRequired);
    let page = |path: &str, key: &str| -> JobPage { serde_json::from_slice(&get(path, key).body).unwrap() };
    let latest = page("/v1/proofs?limit=2", "k1");
    assert_eq!((latest.jobs.len(), latest.jobs[1].id), (2, second.id));
    let rest = page(&latest.next.expect("there is another page"), "k1");
    assert_eq!(rest.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [first.id]);
    assert_eq!(page("/v1/proofs", "k2").jobs, []);
    assert_eq!(get("/v1/queue", "k1").json()["jobs"]["completed"], 3);

    let line = &edge.logged("route", "/v1/proofs/{id}/events")[0];
    assert_eq!(line["user"], "alice", "{line}");
}

#[test]
fn a_job_is_called_off_whether_it_waits_or_is_worked_on() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| {
        s.flag("--data", &data.path().display());
        s.flag("--job-workers", "1");
    });
    let edge = Edge::before(&server);
    let submit = || accepted(&edge.posting("/v1/proofs", &samples::range().witness).send());
    let cancel = |job: &JobDocument| edge.ask("DELETE", &job.links.this).send();
    let now = |job: &JobDocument| document(&edge.get(&job.links.this));

    let preflight = edge
        .ask("OPTIONS", "/v1/proofs/some")
        .header("origin", "https://page.example")
        .header("access-control-request-method", "DELETE")
        .header("access-control-request-headers", "authorization,prefer,idempotency-key,last-event-id")
        .send();
    assert_eq!(preflight.status, 204, "{preflight:?}");
    assert!(preflight.header("access-control-allow-methods").contains("DELETE"), "{preflight:?}");
    for name in [
        "authorization",
        "cache-control",
        "idempotency-key",
        "last-event-id",
        "prefer",
        "x-deadline",
        "x-priority",
    ] {
        assert!(preflight.header("access-control-allow-headers").contains(name), "{name}: {preflight:?}");
    }

    for bb in server.provers() {
        bb.freeze();
    }
    let at_work = submit();
    eventually("it is worked on", || {
        let status = document(&server.get(&at_work.links.this)).status;
        (status == JobStatus::Running).then_some(())
    });
    let waiting = submit();
    assert_eq!(now(&waiting).queue_position, Some(1));
    edge.get(&waiting.links.proof).refused_for_now(ProblemType::ProofNotReady);
    let gone = cancel(&waiting);
    assert_eq!((gone.status.as_u16(), document(&gone).status), (200, JobStatus::Cancelled));
    assert_eq!(cancel(&at_work).status, 202);
    let told = events(edge.ask("GET", &at_work.links.events));
    assert_eq!(told.last().map(|(_, job)| job.status), Some(JobStatus::Cancelled), "{told:?}");
    edge.get(&at_work.links.proof).refused(ProblemType::JobCancelled);
    for bb in server.provers() {
        bb.signal(rustix::process::Signal::CONT);
    }
    eventually("the server has its provers again", || {
        edge.posting("/api/prove", &samples::range().witness).send().status.is_success().then_some(())
    });
}

#[test]
fn a_server_that_keeps_no_jobs_says_so_in_its_own_words_and_what_is_an_operators_stays_behind() {
    let server = TestServer::plain();
    let edge = Edge::before(&server);
    let witness = &samples::range().witness;
    let refusals = [
        edge.posting("/v1/proofs", witness).send(),
        edge.posting("/api/prove", witness).header("prefer", "respond-async").send(),
        edge.get("/v1/proofs/01234567-89ab-4def-8123-456789abcdef"),
    ];
    let own = server.posting_to("/v1/proofs", witness).send().refused(ProblemType::JobsDisabled);
    assert!(own.detail.contains("DATABASE_URL") && own.detail.contains("EDGEPROVE_DATA"), "{own:?}");
    for answer in refusals {
        assert_eq!(answer.refused(ProblemType::JobsDisabled).detail, own.detail);
    }
    // Whoever bears no key is nobody in particular, and everybody's jobs are not shown.
    edge.get("/v1/proofs").refused(ProblemType::ApiKeyRequired);
    for path in ["/v1/audit", "/metrics", "/livez"] {
        assert_ne!(server.get(path).status, 405, "{path}");
        edge.get(path).refused(ProblemType::NotFound);
    }
    let index = edge.get("/").json()["endpoints"].to_string();
    for path in ["/v1/proofs", "/v1/proofs/{id}/events", "/v1/queue"] {
        assert!(index.contains(path), "{index}");
    }
}
