//! Sealed witnesses and inputs through the edge: nothing on the way can read them.

use std::{collections::HashSet, fs, path::Path};

use edgeprove_e2e::{Edge, Recorder};
use edgeprove_protocol::{JobDocument, JobStatus, ProblemType, Target};
use edgeprove_testkit::{
    Response, TestServer,
    client::Request,
    eventually, inputs, samples,
    sealed::{Binding, of_inputs, of_witness, sealed_body, sealed_request, sealing_key},
};
use sha2::{Digest as _, Sha256};

use crate::headers::key;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// The length of the sequences that are searched for.
const PART_BYTES: usize = 12;

/// The sequences of bytes of a witness, compressed and not.
struct Parts(HashSet<[u8; PART_BYTES]>);

impl Parts {
    fn of(witness: &[u8]) -> Self {
        let values = samples::decompress(witness);
        // All gzip streams begin alike, and sequences of few different bytes are anywhere.
        let windows = witness[PART_BYTES..].windows(PART_BYTES).chain(values.windows(PART_BYTES));
        let is_special = |part: &&[u8]| part.iter().collect::<HashSet<_>>().len() >= PART_BYTES / 2;
        let parts: HashSet<_> = windows.filter(is_special).map(|part| part.try_into().unwrap()).collect();
        assert!(parts.len() > 40, "{} sequences", parts.len());
        Self(parts)
    }

    fn are_in(&self, bytes: &[u8]) -> bool {
        bytes.windows(PART_BYTES).any(|window| self.0.contains(window)) || samples::contains_secret(bytes)
    }

    #[track_caller]
    fn assert_in_no_file(&self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                self.assert_in_no_file(&entry);
            } else {
                assert!(!self.are_in(&fs::read(&entry).unwrap()), "{}", entry.display());
            }
        }
    }
}

fn bound_to(key: &str, binding: Binding) -> Binding {
    Binding { credential: Some(Sha256::digest(key).into()), ..binding }
}

#[test]
fn nothing_between_a_caller_and_the_server_can_read_a_witness() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
        s.flag("--data", &data.path().join("data").display());
        s.flag("--audit", &data.path().join("audit.jsonl").display());
    });
    let behind = Recorder::before(server.address());
    let edge = Edge::start(|e| {
        e.upstream(behind.address())
            .var("EDGE_SECRET", SECRET)
            .var("API_KEYS", &format!("{},{}", key("alice", "k1"), key("bob", "k2")));
    });
    let front = Recorder::before(edge.address());
    let to = front.address();
    let range = samples::range_check();
    let document = inputs::range_check().to_string();
    let parts = Parts::of(&range.witness);
    let service_key = sealing_key(to, Some("k1"));
    let sealed =
        |binding: Binding, plaintext: &[u8]| sealed_body(&service_key, &bound_to("k1", binding), plaintext);
    let send = |path: &str, content: &str, body: &[u8], key: &str| -> Response {
        sealed_request(to, path, content, body.to_vec()).header("x-api-key", key).send()
    };
    let job = |response: &Response| -> JobDocument {
        assert_eq!(response.status, 202, "{response:?}");
        let job: JobDocument = serde_json::from_slice(&response.body).unwrap();
        let get = |path: &str| Request::new(to, http::Method::GET, path).header("x-api-key", "k1").send();
        let done = eventually("the job has finished", || {
            let job: JobDocument = serde_json::from_slice(&get(&job.links.this).body).unwrap();
            job.status.is_finished().then_some(job)
        });
        assert_eq!(done.status, JobStatus::Completed, "{done:?}");
        get(&done.links.proof).assert_proves(range, Target::NoirRecursive);
        done
    };

    let (prove, submit) = ("/api/prove/range_check", "/v1/proofs?circuit=range_check");
    let (gzip, json) = ("application/gzip", "application/json");
    let body = sealed(of_witness("range_check"), &range.witness);
    // Another caller, another circuit and a changed byte are refused before the body is used.
    send(prove, gzip, &body, "k2").assert_refused(ProblemType::SealedBodyInvalid);
    send("/api/prove", gzip, &body, "k1").assert_refused(ProblemType::SealedBodyInvalid);
    let mut changed = body.clone();
    *changed.last_mut().unwrap() ^= 1;
    send(prove, gzip, &changed, "k1").assert_refused(ProblemType::SealedBodyInvalid);
    send(prove, gzip, &body, "k1").assert_proves(range, Target::NoirRecursive);
    send(prove, gzip, &body, "k1").assert_refused(ProblemType::SealedBodyReplayed);
    send(submit, gzip, &body, "k1").assert_refused(ProblemType::SealedBodyReplayed);
    let by_inputs = sealed(of_inputs("range_check"), document.as_bytes());
    send(prove, json, &by_inputs, "k1").assert_proves(range, Target::NoirRecursive);
    job(&send(submit, gzip, &sealed(of_witness("range_check"), &range.witness), "k1"));
    job(&send(submit, json, &sealed(of_inputs("range_check"), document.as_bytes()), "k1"));
    let unsatisfied = sealed(of_witness("range_check"), &samples::unsatisfied());
    send(prove, gzip, &unsatisfied, "k1").assert_refused(ProblemType::WitnessUnsatisfied);

    for (side, recorder) in [("before", &front), ("behind", &behind)] {
        let recorded = recorder.recorded();
        assert!(recorded.len() > 10 * range.witness.len(), "{} bytes", recorded.len());
        assert!(!parts.are_in(&recorded), "a part of the witness is in the traffic {side} the edge");
    }
    parts.assert_in_no_file(data.path());
    assert!(!parts.are_in(edge.log().as_bytes()) && !parts.are_in(server.log().as_bytes()));
    // In the clear, the same search finds it.
    let plain = Request::prove(to, prove, &range.witness).header("x-api-key", "k1").send();
    plain.assert_proves(range, Target::NoirRecursive);
    assert!(parts.are_in(&front.recorded()) && parts.are_in(&behind.recorded()));
    edge.finish();
}

/// A server that does not know its edge has no callers, so what they sealed is bound to the key that the edge checked.
#[test]
fn an_edge_without_a_common_secret_passes_sealed_bodies_too() {
    let server = TestServer::start_default();
    let edge = Edge::start(|e| {
        e.upstream(server.address()).var("API_KEYS", &key("alice", "k1"));
    });
    let service_key = sealing_key(edge.address(), Some("k1"));
    let range = samples::range_check();
    let body = sealed_body(&service_key, &bound_to("k1", of_witness("")), &range.witness);
    let send = |body: Vec<u8>| {
        let request = sealed_request(edge.address(), "/api/prove", "application/gzip", body);
        request.header("authorization", "Bearer k1").send()
    };
    send(body).assert_proves(range, Target::NoirRecursive);
    let of_nobody = sealed_body(&service_key, &of_witness(""), &range.witness);
    send(of_nobody).assert_refused(ProblemType::SealedBodyInvalid);
    edge.finish();
}
