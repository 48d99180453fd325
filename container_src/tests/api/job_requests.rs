//! Requests with `Prefer` and `Idempotency-Key`, on servers with and without jobs.

use edgeprove_protocol::{JobStatus, ProblemType, Target::NoirRecursive, headers};
use sha2::{Digest as _, Sha256};

use crate::{
    jobs::{JobServer, document},
    support::{Connection, TestServer, client::Request, samples},
};

fn applied(response: &crate::support::Response) -> (u16, &str) {
    (response.status.as_u16(), response.header("preference-applied"))
}

#[test]
fn a_server_without_jobs_proves_while_the_caller_waits() {
    let server = TestServer::start_default();
    let range = samples::range_check();
    for path in ["/api/prove", "/api/prove/range_check", "/v1/proofs?circuit=range_check"] {
        let response =
            server.prove_request_at(path, &range.witness).header("prefer", "x=\"a, b\", wait=100").send();
        response.assert_proves(range, NoirRecursive);
        assert_eq!(applied(&response), (200, "wait=100"), "{path}");
    }
    for preference in ["respond-async, wait=100", "wait=100, respond-async"] {
        let response = server.prove_request(&range.witness).header("prefer", preference).send();
        response.assert_proves(range, NoirRecursive);
        assert_eq!(applied(&response), (200, "wait=100"), "{preference}");
    }
    // Without a time to wait there is no other answer than a job.
    for preference in ["respond-async", "respond-async, wait=soon"] {
        let request = server.prove_request(&range.witness).header("prefer", preference);
        request.send().assert_refused(ProblemType::JobsDisabled);
    }
    let named = server.prove_request(&range.witness).header("prefer", "respond-async, wait=100");
    named.header(headers::IDEMPOTENCY_KEY, "order-1").send().assert_refused(ProblemType::JobsDisabled);
    let unknown = server.prove_request(&range.witness).header("prefer", "wait=soon, respond-async=no").send();
    unknown.assert_proof_of(range);
    assert_eq!(unknown.header("preference-applied"), "");
}

#[test]
fn respond_async_with_wait_waits_first() {
    let job_server = JobServer::start(|_| {});
    let range = samples::range_check();
    let preferring = |first: &str, second: &str| {
        job_server
            .server
            .prove_request(&range.witness)
            .header("prefer", first)
            .header("prefer", second)
            .send()
    };
    let response = preferring("respond-async", "wait=60");
    response.assert_proves(range, NoirRecursive);
    assert_eq!(applied(&response), (200, "wait=60"));

    let (mut first, bb) = job_server.server.suspend_mid_proof();
    let response = preferring("wait=1", "respond-async; x=y");
    assert_eq!(applied(&response), (202, "respond-async, wait=1"));
    let job = document(&response);
    bb.resume();
    first.read_response().assert_proof_of(range);
    assert_eq!(job_server.wait_until_finished(&job).status, JobStatus::Completed);
}

#[test]
fn a_synchronous_request_with_a_key_is_proved_once() {
    let job_server = JobServer::start(|_| {});
    let range = samples::range_check();
    let named = |witness: &[u8]| {
        job_server.server.prove_request(witness).header(headers::IDEMPOTENCY_KEY, "order-7").send()
    };
    let first = named(&range.witness);
    first.assert_proves(range, NoirRecursive);
    assert_eq!(applied(&first), (200, ""));
    // Each proof of a witness is another one, so the same bytes are the same proof.
    assert_eq!(named(&range.witness).body, first.body);
    named(&samples::altered(&range.witness, 0, 7)).assert_refused(ProblemType::IdempotencyKeyReused);
    assert_eq!(job_server.server.count_jobs(JobStatus::Completed), 1);
    let unsatisfied = job_server.server.prove_request(&samples::unsatisfied());
    let response = unsatisfied.header(headers::IDEMPOTENCY_KEY, "order-8").send();
    response.assert_refused(ProblemType::WitnessUnsatisfied);
}

#[test]
fn a_request_with_a_key_that_takes_too_long_can_be_sent_again() {
    let job_server = JobServer::start(|s| s.flag("--request-timeout", "4s"));
    let range = samples::range_check();
    let provers: Vec<_> = job_server.server.provers().into_iter().filter(|bb| bb.suspend()).collect();
    let named = || {
        let request = job_server.server.prove_request(&range.witness);
        request.header(headers::IDEMPOTENCY_KEY, "order-9").send()
    };
    let problem = named().assert_refused(ProblemType::RequestTimeout);
    assert!(problem.detail.contains("Idempotency-Key"), "{}", problem.detail);
    for bb in provers {
        bb.resume();
    }
    named().assert_proves(range, NoirRecursive);
    assert_eq!(job_server.server.count_jobs(JobStatus::Completed), 1);
}

#[test]
fn a_key_is_refused_where_no_job_is_stored() {
    let server = TestServer::start_default();
    let request = server.prove_request(&samples::range_check().witness);
    let response = request.header(headers::IDEMPOTENCY_KEY, "order-7").send();
    let problem = response.assert_refused(ProblemType::JobsDisabled);
    assert!(
        problem.detail.contains("Idempotency-Key") && problem.detail.contains("--data"),
        "{}",
        problem.detail
    );
}

#[test]
fn an_invalid_idempotency_key_is_refused() {
    let job_server = JobServer::start(|_| {});
    let witness = &samples::range_check().witness;
    let to = job_server.server.address();
    let long = format!("Idempotency-Key: {}", "k".repeat(256));
    for lines in [
        &["Idempotency-Key: a", "Idempotency-Key: a"][..],
        // As a proxy joins the two above.
        &["Idempotency-Key: a, a"],
        &["Idempotency-Key: a,b"],
        &["Idempotency-Key: \u{e4}"],
        &[&long],
        &["Idempotency-Key:"],
    ] {
        for path in ["/api/prove", "/v1/proofs?circuit=range_check"] {
            let length = format!("Content-Length: {}", witness.len());
            let mut connection = Connection::post_head(to, path, &[lines, &[&length]].concat());
            connection.send(witness);
            let problem = connection.read_response().assert_refused(ProblemType::InvalidRequest);
            assert!(problem.detail.contains("Idempotency-Key"), "{}", problem.detail);
        }
    }
    assert_eq!(job_server.server.count_jobs(JobStatus::Queued), 0);
    assert_eq!(job_server.artifacts(), 0);
}

#[test]
fn a_header_that_a_proxy_would_join_is_refused_twice() {
    let job_server = JobServer::start(|_| {});
    let witness = &samples::range_check().witness;
    for (name, value) in [
        (headers::PRIORITY, "LOW"),
        (headers::DEADLINE, "60"),
        (headers::TIMEOUT, "5"),
        (headers::MAX_ATTEMPTS, "1"),
    ] {
        let once = |value: &str| job_server.server.prove_request(witness).header(name, value);
        assert_eq!(once(value).send().status, 200, "{name}");
        let joined = once(&format!("{value}, {value}")).send();
        for refused in [once(value).header(name, value).send(), joined] {
            let problem = refused.assert_refused(ProblemType::InvalidRequest);
            assert!(problem.detail.to_lowercase().contains(name), "{problem:?}");
        }
    }
}

#[test]
fn every_proof_has_its_hash() {
    let job_server = JobServer::start(|_| {});
    let range = samples::range_check();
    let as_json = |request: Request| request.header("accept", "application/json").send();
    let job = job_server.wait_until_finished(&job_server.submit(&range.witness));
    let request = |path: &str| job_server.server.request(http::Method::GET, path);
    for response in [
        job_server.server.prove(&range.witness),
        as_json(job_server.server.prove_request(&range.witness)),
        request(&job.links.proof).send(),
    ] {
        let proof = response.assert_proof_of(range);
        assert_eq!(
            response.header(headers::PROOF_HASH),
            format!("0x{}", hex::encode(Sha256::digest(&proof)))
        );
    }
    let stored = as_json(request(&job.links.proof));
    let hash = request(&job.links.proof).send().header(headers::PROOF_HASH).to_owned();
    assert_eq!(
        (stored.header(headers::PROOF_HASH), stored.json()["proof_hash"].as_str()),
        (&*hash, Some(&*hash))
    );
}

#[test]
fn without_a_key_nobody_lists_jobs() {
    let job_server = JobServer::start(|_| {});
    let job = job_server.submit(&samples::range_check().witness);
    for path in ["/v1/proofs", "/v1/proofs?owner=anonymous", "/v1/proofs?limit=1"] {
        job_server.server.get(path).assert_refused(ProblemType::ApiKeyRequired);
    }
    assert_eq!(job_server.wait_until_finished(&job).status, JobStatus::Completed);
    assert!(!job.links.events.contains("token"), "the id is all that protects the job");
}
