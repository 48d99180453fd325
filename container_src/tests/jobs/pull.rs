//! A prover that pulls, request by request: what it may do, and what becomes of its lies.

use std::time::Duration;

use edgeprove_protocol::{JobStatus, ProblemType, work::HeartbeatAnswer};
use edgeprove_testkit::{Connection, TestServer, eventually, samples, wait::LIMIT};
use http::Method;
use serde_json::{Value, json};

use crate::{
    pull_support::{
        FLEET, OTHERS, PullFolder, claim, claim_body, claim_one, completed, path, post, post_as, proof_of,
        report, sample,
    },
    support::{assert_none_twice, assert_proved, assert_whole, entries, verified_entries},
};

#[test]
fn a_job_is_claimed_proved_and_reported() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let outcome = proof_of(&server, sample());
    let id = server.submit(sample());
    let job = claim_one(&server, sample());
    assert_eq!((job.id, job.witnesses.len()), (id, 1));
    assert_eq!(server.job(id).status, JobStatus::Running);

    let witness = server
        .request(Method::GET, &path(id, "witness"))
        .header("x-api-key", FLEET)
        .header("x-lease", &job.lease.0)
        .send();
    assert_eq!((witness.status.as_u16(), witness.header("cache-control")), (200, "no-store"));
    assert!(witness.body == sample().witness, "the witness is another one");

    for stage in ["loading", "waiting", "proving", "verifying"] {
        let beat = json!({"lease": job.lease.0, "stage": stage});
        let response = post(&server, &path(id, "heartbeat"), &beat).send();
        assert_eq!(response.status, 200, "{response:?}");
        let answer: HeartbeatAnswer = serde_json::from_slice(&response.body).unwrap();
        assert!(!answer.cancel_requested);
    }
    assert_eq!(server.job(id).stage.as_str(), "verifying");

    let response = report(&server, &job, &outcome);
    assert_eq!((response.status.as_u16(), response.json()), (200, json!({"status": "completed"})));
    assert_proved(&server, &[id], sample());
    let document = server.job(id);
    assert_eq!(document.attempts, 1);
    server.finish();
    let entries = verified_entries(&folder.0.audit_log());
    assert_whole(&[id], &entries);
}

#[test]
fn the_same_report_twice_has_one_result() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let outcome = proof_of(&server, sample());
    let id = server.submit(sample());
    let job = claim_one(&server, sample());
    // At the same time, and once more afterwards.
    let answers: Vec<_> = std::thread::scope(|scope| {
        let sending: Vec<_> = (0..4).map(|_| scope.spawn(|| report(&server, &job, &outcome))).collect();
        sending.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    for answer in answers.iter().chain([&report(&server, &job, &outcome)]) {
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"status": "completed"})));
    }
    // Also a report of something else, under the lease that has ended.
    let answer = report(&server, &job, &json!("released"));
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"status": "completed"})));
    assert_proved(&server, &[id], sample());
    server.finish();
    assert_none_twice(&[entries(&folder.0.audit_log())]);
}

#[test]
fn a_lease_of_another_prover_is_refused() {
    let folder = PullFolder::new();
    let server = folder.start_server("5s");
    let outcome = proof_of(&server, sample());
    let id = server.submit(sample());
    let first = claim_one(&server, sample());
    // It vanishes: its lease ends, and the job goes to the next one.
    let second = claim_one(&server, sample());
    assert_eq!((first.id, second.id), (id, id));
    assert!(first.lease != second.lease);
    let digest = second.lease.0.split_once('.').unwrap().1;
    for lease in [first.lease.0.as_str(), &format!("3.{digest}"), "2.x", "", "2"] {
        for (resource, body) in [
            ("heartbeat", json!({"lease": lease})),
            ("outcome", json!({"lease": lease, "outcome": "released"})),
            ("outcome", json!({"lease": lease, "outcome": outcome})),
        ] {
            post(&server, &path(id, resource), &body).send().assert_refused(ProblemType::LeaseLost);
        }
        let witness = server.request(Method::GET, &path(id, "witness")).header("x-api-key", FLEET);
        let refused = witness.header("x-lease", lease).send();
        assert!(matches!(refused.status.as_u16(), 400 | 409), "{refused:?}");
        let renewed = post(&server, &path(id, "heartbeat"), &json!({"lease": second.lease.0})).send();
        assert_eq!(renewed.status, 200, "{renewed:?}");
    }
    // The lease of a job is none of another one.
    let other = server.submit(sample());
    let body = json!({"lease": second.lease.0});
    post(&server, &path(other, "heartbeat"), &body).send().assert_refused(ProblemType::LeaseLost);
    assert_eq!(report(&server, &second, &outcome).status, 200);
    assert_proved(&server, &[id], sample());
    assert_eq!(server.job(id).attempts, 2);
}

#[test]
fn a_proof_that_is_not_one_of_the_job_is_rejected() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // The same circuit, and another public input.
    let [mut one, mut other] = [&here, &there].map(|_| [0_u8; 32]);
    (one[31], other[31]) = (5, 7);
    let wanted = samples::square_of_bytes(here.path(), "square", &one);
    let forged = samples::square_of_bytes(there.path(), "square", &other);
    let folder = PullFolder::new();
    let server = TestServer::start(|settings| {
        folder.configure(settings, "15s");
        settings.circuit = Some(wanted.circuit.clone());
        settings.sample = Some(wanted.clone());
    });
    let right = proof_of(&server, &wanted);
    let of_other_inputs = proof_of(&server, &forged);
    let bytes = |outcome: &Value| outcome["completed"]["proof"].as_str().unwrap().to_owned();
    let mut changed = right.clone();
    let mut text = bytes(&right).into_bytes();
    text[400] = if text[400] == b'A' { b'B' } else { b'A' };
    changed["completed"]["proof"] = String::from_utf8(text).unwrap().into();
    let mut relabelled = of_other_inputs.clone();
    relabelled["completed"]["public_inputs"] = right["completed"]["public_inputs"].clone();
    let mut short = right.clone();
    short["completed"]["proof"] = bytes(&right)[..128].into();
    let mut other_index = right.clone();
    other_index["completed"]["witness"] = 1.into();

    for (what, lie) in [
        ("of other inputs", of_other_inputs),
        ("with the inputs of the job", relabelled),
        ("changed", changed),
        ("short", short),
        ("of another witness", other_index),
        ("empty", completed(b"", &[])),
        ("garbage", json!({"completed": {"proof": "????", "public_inputs": []}})),
        ("unsatisfied", json!({"failed": {"code": "witness_unsatisfied", "detail": "believe me"}})),
    ] {
        let id = server.submit(&wanted);
        let job = claim_one(&server, &wanted);
        let refused = report(&server, &job, &lie);
        assert_eq!(refused.status, 422, "{what}: {refused:?}");
        refused.assert_refused(ProblemType::ProofRejected);
        // The attempt has failed, and another prover may try.
        let after = server.job(id);
        assert_eq!(after.status, JobStatus::Queued, "{what}");
        assert_eq!(after.error.unwrap().code, ProblemType::ProofRejected, "{what}");
        report(&server, &job, &right).assert_refused(ProblemType::LeaseLost);
        server.request(Method::DELETE, &format!("/v1/proofs/{id}")).send();
    }
    let id = server.submit(&wanted);
    let job = claim_one(&server, &wanted);
    assert_eq!(report(&server, &job, &right).status, 200);
    assert_proved(&server, &[id], &wanted);
}

#[test]
fn a_witness_that_does_not_satisfy_is_a_failure() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let mut submission = server.submission(sample());
    submission.body = samples::unsatisfied();
    let id = submission.send().assert_accepted().id;
    let job = claim_one(&server, sample());
    let failed = json!({"failed": {"code": "witness_unsatisfied", "detail": "reported by the prover"}});
    let answer = report(&server, &job, &failed);
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"status": "failed"})));
    let problem = server.job(id).error.unwrap();
    assert_eq!(problem.code, ProblemType::WitnessUnsatisfied);
    assert!(!problem.detail.contains("reported by"), "{problem:?}");
}

#[test]
fn other_failures_are_tried_again() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let id = server.submit(sample());
    for attempt in 1..=3 {
        let job = claim_one(&server, sample());
        let failed = json!({"failed": {"code": "out_of_memory", "detail": format!("attempt {attempt}\n")}});
        let status = report(&server, &job, &failed).json()["status"].clone();
        assert_eq!(status, if attempt < 3 { "queued" } else { "failed" });
    }
    let problem = server.job(id).error.unwrap();
    assert_eq!((problem.code, problem.detail.as_str()), (ProblemType::OutOfMemory.into(), "attempt 3"));
    // What is released does not count as an attempt.
    let id = server.submit(sample());
    for _ in 0..4 {
        let job = claim_one(&server, sample());
        assert_eq!(report(&server, &job, &json!("released")).json(), json!({"status": "queued"}));
    }
    assert_eq!(server.job(id).attempts, 0);
}

#[test]
fn a_heartbeat_shows_that_a_job_is_cancelled() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let id = server.submit(sample());
    let job = claim_one(&server, sample());
    assert_eq!(server.request(Method::DELETE, &format!("/v1/proofs/{id}")).send().status, 202);
    let answer = post(&server, &path(id, "heartbeat"), &json!({"lease": job.lease.0})).send();
    assert_eq!(answer.json(), json!({"cancel_requested": true}));
    assert_eq!(report(&server, &job, &json!("released")).json(), json!({"status": "cancelled"}));
    assert_eq!(server.job(id).status, JobStatus::Cancelled);
    server.finish();
    let entries = verified_entries(&folder.0.audit_log());
    assert_whole(&[id], &entries);
}

#[test]
fn only_the_role_prover_pulls_and_it_does_nothing_else() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let id = server.submit(sample());
    let body = claim_body(sample(), 1, 0);
    for (_, key) in OTHERS {
        post_as(&server, key, "/v1/work/claims", &body).send().assert_refused(ProblemType::NotAllowed);
    }
    // Callers without a key are operators here, and no provers.
    let mut anonymous =
        server.request(Method::POST, "/v1/work/claims").header("content-type", "application/json");
    anonymous.body = body.to_string().into_bytes();
    anonymous.send().assert_refused(ProblemType::NotAllowed);
    post_as(&server, "unknown", "/v1/work/claims", &body).send().assert_refused(ProblemType::ApiKeyRequired);

    let job = claim_one(&server, sample());
    for (_, key) in OTHERS {
        let stolen = json!({"lease": job.lease.0, "outcome": "released"});
        post_as(&server, key, &path(id, "outcome"), &stolen).send().assert_refused(ProblemType::NotAllowed);
        let witness = server.request(Method::GET, &path(id, "witness")).header("x-api-key", key);
        witness.header("x-lease", &job.lease.0).send().assert_refused(ProblemType::NotAllowed);
    }
    let as_prover = |method, path: &str| server.request(method, path).header("x-api-key", FLEET);
    server.submission(sample()).header("x-api-key", FLEET).send().assert_refused(ProblemType::NotAllowed);
    as_prover(Method::GET, &format!("/v1/proofs/{id}")).send().assert_refused(ProblemType::JobNotFound);
    as_prover(Method::DELETE, &format!("/v1/proofs/{id}")).send().assert_refused(ProblemType::JobNotFound);
    as_prover(Method::GET, "/v1/scale").send().assert_refused(ProblemType::NotAllowed);
    as_prover(Method::GET, "/v1/audit").send().assert_refused(ProblemType::NotAllowed);
    assert_eq!(as_prover(Method::GET, "/v1/proofs").send().json()["jobs"], json!([]));
}

#[test]
fn callers_without_a_key_cannot_be_provers() {
    let flag = TestServer::fails_to_start(|settings| settings.flag("--anonymous-role", "prover"));
    assert_eq!(flag.code, Some(64));
    assert!(flag.stderr.contains("needs a key"), "{}", flag.stderr);
}

#[test]
fn another_version_is_refused_with_the_remedy() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    server.submit(sample());
    for protocol in [0, 2, 99] {
        // A body of another version may have another form.
        let body = json!({"protocol": protocol, "new": true});
        let problem =
            post(&server, "/v1/work/claims", &body).send().assert_refused(ProblemType::ProverVersionMismatch);
        assert!(problem.detail.contains(&format!("speaks version {protocol}")), "{}", problem.detail);
        assert!(problem.detail.contains("install"), "{}", problem.detail);
    }
    let mut body = claim_body(sample(), 1, 0);
    body["worker"]["backends"] = json!([{"name": "bb", "version": "0.1.2"}]);
    let problem =
        post(&server, "/v1/work/claims", &body).send().assert_refused(ProblemType::ProverVersionMismatch);
    assert!(problem.detail.contains("0.1.2"), "{}", problem.detail);
    // Members that this version does not know are no fault.
    body["worker"]["backends"] = json!([{"name": "another prover", "version": "7"}]);
    body["colour"] = "green".into();
    assert_eq!(post(&server, "/v1/work/claims", &body).send().status, 200);
}

#[test]
fn a_prover_gets_only_what_it_can_prove() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let id = server.submit(sample());
    let mut other_version = claim_body(sample(), 8, 0);
    other_version["circuits"][0]["version"] = "00".repeat(32).into();
    let mut other_circuit = claim_body(sample(), 8, 0);
    other_circuit["circuits"][0]["circuit"] = "maze".into();
    let mut none = claim_body(sample(), 8, 0);
    none["circuits"] = json!([]);
    for body in [other_version, other_circuit, none] {
        let answer = post(&server, "/v1/work/claims", &body).send().json();
        assert_eq!(answer["jobs"], json!([]));
    }
    assert_eq!(claim_one(&server, sample()).id, id);
}

#[test]
fn bad_requests_of_provers_are_named() {
    let folder = PullFolder::new();
    let server = TestServer::start(|settings| {
        folder.configure(settings, "10m");
        settings.flag("--upload-idle", "1s");
    });
    let id = server.submit(sample());
    let claims = "/v1/work/claims";
    let with = |member: &str, value: Value| {
        let mut body = claim_body(sample(), 1, 0);
        body[member] = value;
        body
    };
    let names = ["", "a b", &"x".repeat(65)]
        .map(|name| with("worker", json!({"name": name, "version": "1", "backends": [], "concurrency": 1})));
    let many: Vec<_> = (0..4097).map(|_| json!({"circuit": "a", "version": "1"})).collect();
    for body in names.into_iter().chain([
        json!([]),
        json!({}),
        json!({"protocol": "1"}),
        json!({"protocol": 1}),
        with("max", 0.into()),
        with("max", 65.into()),
        with("circuits", json!("all")),
        with("circuits", json!([{"circuit": "../etc", "version": "1"}])),
        with("circuits", many.into()),
    ]) {
        post(&server, claims, &body).send().assert_refused(ProblemType::InvalidRequest);
    }
    let job = claim_one(&server, sample());
    for (resource, body) in [
        ("heartbeat", json!({"lease": job.lease.0, "stage": "sleeping"})),
        ("heartbeat", json!({})),
        ("outcome", json!({"lease": job.lease.0})),
        ("outcome", json!({"lease": job.lease.0, "outcome": "won"})),
        (
            "outcome",
            json!({"lease": job.lease.0, "outcome": {"failed": {"code": "no_such_code", "detail": ""}}}),
        ),
        (
            "outcome",
            json!({"lease": job.lease.0, "outcome": {"completed": {"proof": 7, "public_inputs": []}}}),
        ),
    ] {
        post(&server, &path(id, resource), &body).send().assert_refused(ProblemType::InvalidRequest);
    }
    let no_id = post(&server, "/v1/work/nothing/heartbeat", &json!({"lease": "1.a"})).send();
    no_id.assert_refused(ProblemType::JobNotFound);
    let plain =
        server.request(Method::POST, claims).header("x-api-key", FLEET).header("content-type", "text/plain");
    plain.send().assert_refused(ProblemType::UnsupportedMediaType);
    // A body without an end, and one that stops.
    for (path, max) in
        [(claims.to_owned(), 1 << 20), (path(id, "heartbeat"), 4 << 10), (path(id, "outcome"), 512 << 10)]
    {
        let mut endless = post(&server, &path, &json!({}));
        endless.body = vec![b' '; max + 1];
        endless.send().assert_refused(ProblemType::InputsTooLarge);
    }
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {FLEET}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{{\"lease\"",
        path(id, "outcome")
    );
    let mut slow = Connection::open(server.address());
    slow.send(head.as_bytes());
    slow.read_response().assert_refused(ProblemType::UploadStalled);
    // The lease was never touched.
    assert_eq!(report(&server, &job, &json!("released")).status, 200);
}

#[test]
fn a_claim_waits_until_there_is_a_job() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| claim(&server, sample(), 1, 20));
        eventually("the claim waits", || {
            let scale = server.get("/v1/scale").json();
            (scale["idle"] == 1).then_some(())
        });
        let id = server.submit(sample());
        assert_eq!(waiting.join().unwrap()[0].id, id);
    });
    assert_eq!(server.get("/v1/scale").json()["idle"], 0);
}

#[test]
fn a_claim_whose_prover_left_takes_no_job() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    let body = claim_body(sample(), 1, 20).to_string();
    let mut connection = Connection::open(server.address());
    let head = format!(
        "POST /v1/work/claims HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {FLEET}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(head.as_bytes());
    let idle = |wanted: u64| {
        eventually("the claim is noticed", || {
            (server.get("/v1/scale").json()["idle"] == wanted).then_some(())
        });
    };
    idle(1);
    drop(connection);
    idle(0);
    let id = server.submit(sample());
    assert_eq!(claim_one(&server, sample()).id, id);
    assert_eq!(server.job(id).attempts, 1);
}

#[test]
fn claims_beyond_the_bound_do_not_wait() {
    let folder = PullFolder::new();
    let server = TestServer::start(|settings| {
        folder.configure(settings, "15s");
        settings.flag("--pull-waiting", "2");
    });
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| claim(&server, sample(), 1, 20));
        eventually("the claim waits", || (server.get("/v1/scale").json()["idle"] == 1).then_some(()));
        // The rest is for other keys.
        let response = post(&server, "/v1/work/claims", &claim_body(sample(), 1, 20)).send_within(LIMIT);
        assert_eq!(response.json()["jobs"], json!([]));
        assert!(!waiting.is_finished(), "the first claim still waits");
        server.submit(sample());
        assert_eq!(waiting.join().unwrap().len(), 1);
    });
}

#[test]
fn a_server_that_drains_answers_waiting_claims() {
    let folder = PullFolder::new();
    let server = folder.start_server("15s");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let started = std::time::Instant::now();
            (claim(&server, sample(), 1, 20).len(), started.elapsed())
        });
        eventually("the claim waits", || (server.get("/v1/scale").json()["idle"] == 1).then_some(()));
        server.signal(rustix::process::Signal::TERM);
        let (jobs, _waited): (usize, Duration) = waiting.join().unwrap();
        assert_eq!(jobs, 0);
    });
    server.finish();
}
