//! Callers take turns: one caller's many jobs and requests do not hold up those of another.

use std::{fs, path::Path};

use edgeprove_protocol::{JobDocument, JobId, JobStatus, ProblemType, headers};
use edgeprove_testkit::{
    TestServer, eventually, samples,
    wait::{LONG_LIMIT, within},
};
use http::Method;
use sha2::{Digest as _, Sha256};

use crate::support::{DataFolder, entries, resume, suspend};

const ALICE: &str = "alice's key";
const BOB: &str = "bob's key";
const EDGE_SECRET: &str = "the-secret-of-edge-and-server";

/// Starts a server with the keys of Alice and Bob.
#[track_caller]
fn start_server(folder: &DataFolder, flags: &[(&str, &str)]) -> TestServer {
    let keys = folder.path("keys.toml");
    let entry =
        |name: &str, key: &str| format!("[keys.{name}]\nsha256 = ['{}']\n", hex::encode(Sha256::digest(key)));
    fs::write(&keys, [entry("alice", ALICE), entry("bob", BOB)].concat()).unwrap();
    let keys = [("--keys-file", keys.to_str().unwrap())];
    folder.start_server(&[&keys[..], flags].concat())
}

#[track_caller]
fn submit(server: &TestServer, key: &str) -> JobId {
    server.submission(samples::range_check()).header(headers::API_KEY, key).send().assert_accepted().id
}

#[track_caller]
fn job(server: &TestServer, key: &str, id: JobId) -> JobDocument {
    server.request(Method::GET, &format!("/v1/proofs/{id}")).header(headers::API_KEY, key).send().job()
}

#[track_caller]
fn wait_until_completed(server: &TestServer, key: &str, id: JobId) {
    within(LONG_LIMIT, "the job is completed", || {
        (job(server, key, id).status == JobStatus::Completed).then_some(())
    });
}

/// The callers of the jobs in the order of their starts.
fn callers_by_start(log: &Path) -> Vec<String> {
    let started = entries(log).into_iter().filter(|entry| entry["action"] == "job.started");
    started.map(|entry| entry["actor"].as_str().unwrap_or_default().to_owned()).collect()
}

#[track_caller]
fn wait_for_running_job(server: &TestServer, key: &str, id: JobId) {
    eventually("the job runs", || (job(server, key, id).status == JobStatus::Running).then_some(()));
}

#[test]
fn another_callers_job_starts_next() {
    const JOBS: usize = 60;
    let folder = DataFolder::new();
    let server = start_server(&folder, &[("--job-queue-max", "200"), ("--job-workers", "1")]);
    suspend(&server);
    let running = submit(&server, ALICE);
    wait_for_running_job(&server, ALICE, running);
    let of_alice: Vec<_> = (0..JOBS).map(|_| submit(&server, ALICE)).collect();
    assert_eq!(job(&server, ALICE, of_alice[JOBS - 1]).queue_position, Some(JOBS as u64));
    let of_bob = [(); 2].map(|()| submit(&server, BOB));
    let position = |key, id| job(&server, key, id).queue_position;
    assert_eq!(of_bob.map(|id| position(BOB, id)), [Some(1), Some(3)], "Bob's second job alternates");
    assert_eq!(position(ALICE, of_alice[0]), Some(2));
    assert_eq!(position(ALICE, of_alice[JOBS - 1]), Some(JOBS as u64 + 2));
    resume(&server);
    for id in of_bob {
        wait_until_completed(&server, BOB, id);
    }
    wait_until_completed(&server, ALICE, of_alice[1]);
    let order = callers_by_start(&folder.audit_log());
    let expected = ["alice", "bob", "alice", "bob", "alice"];
    let names: Vec<_> = order.iter().map(|actor| actor.trim_start_matches("key:")).take(5).collect();
    assert_eq!(names, expected, "{order:?}");
    for id in of_alice {
        server.request(Method::DELETE, &format!("/v1/proofs/{id}")).header(headers::API_KEY, ALICE).send();
    }
    server.finish();
}

#[test]
fn no_caller_fills_the_queue() {
    let folder = DataFolder::new();
    let server = start_server(&folder, &[("--job-queue-max", "6"), ("--job-workers", "1")]);
    suspend(&server);
    let running = submit(&server, ALICE);
    wait_for_running_job(&server, ALICE, running);
    let of_alice = [(); 3].map(|()| submit(&server, ALICE));
    let again = || server.submission(samples::range_check()).header(headers::API_KEY, ALICE).send();
    let problem = again().assert_refused_for_now(ProblemType::TooManyJobs);
    assert!(problem.detail.contains('3'), "the detail has the number: {}", problem.detail);
    let by_bob = || server.submission(samples::range_check()).header(headers::API_KEY, BOB).send();
    let of_bob = by_bob().assert_accepted().id;
    by_bob().assert_accepted();
    by_bob().assert_refused_for_now(ProblemType::TooManyJobs);
    resume(&server);
    wait_until_completed(&server, BOB, of_bob);
    for id in of_alice {
        wait_until_completed(&server, ALICE, id);
    }
    again().assert_accepted();
    server.finish();
}

/// Callers without a key have a share by their address, and an IPv6 address by its first 48 bits.
#[test]
fn callers_without_a_key_have_a_share_by_address() {
    let folder = DataFolder::new();
    let server = TestServer::start(|settings| {
        folder.configure(settings);
        settings.flag("--job-workers", "1");
        settings.flag("--jobs-per-caller", "2");
        settings.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), EDGE_SECRET.to_owned()));
    });
    let submission = |address: &str| {
        let request = server.submission(samples::range_check()).header(headers::EDGE_SECRET, EDGE_SECRET);
        request.header(headers::CLIENT_IP, address).send()
    };
    suspend(&server);
    let first = submission("2001:db8:1:1::1").assert_accepted();
    submission("2001:db8:1:2::1").assert_accepted();
    submission("2001:db8:1:3::1").assert_refused_for_now(ProblemType::TooManyJobs);
    let next = submission("192.0.2.1").assert_accepted();
    assert!(next.queue_position <= Some(2), "{next:?}");
    submission("2001:db8:2::1").assert_accepted();
    resume(&server);
    let status = |id: JobId| {
        let request = server.request(Method::GET, &format!("/v1/proofs/{id}"));
        request.header(headers::EDGE_SECRET, EDGE_SECRET).send().job().status
    };
    for id in [first.id, next.id] {
        within(LONG_LIMIT, "the job is completed", || (status(id) == JobStatus::Completed).then_some(()));
    }
    let log = fs::read_to_string(folder.audit_log()).unwrap();
    assert!(!log.contains("192.0.2.1"));
    server.finish();
}

/// A request does not wait for the jobs of a long queue, and a job not for requests without end.
#[test]
fn a_request_takes_turns_with_queued_jobs() {
    const JOBS: usize = 30;
    let folder = DataFolder::new();
    let server = start_server(&folder, &[("--job-queue-max", "100"), ("--job-workers", "4")]);
    suspend(&server);
    let jobs: Vec<_> = (0..JOBS).map(|_| submit(&server, ALICE)).collect();
    wait_until_running_by(&server, 4);
    let address = server.address();
    let request = move |key: &'static str| {
        let witness = &samples::range_check().witness;
        let request = edgeprove_testkit::client::Request::prove(address, "/api/prove", witness);
        std::thread::spawn(move || request.header(headers::API_KEY, key).send_within(LONG_LIMIT))
    };
    let requests = [request(BOB), request(ALICE)];
    eventually("both requests wait", || {
        let prover = server.health().prover;
        (prover.running + prover.waiting >= 6).then_some(())
    });
    resume(&server);
    for request in requests {
        request.join().unwrap().assert_proof_of(samples::range_check());
    }
    let finished = jobs.iter().filter(|id| job(&server, ALICE, **id).status.is_finished()).count();
    assert!(finished < JOBS - 5, "{finished} jobs were proved before both requests");
    for id in jobs {
        server.request(Method::DELETE, &format!("/v1/proofs/{id}")).header(headers::API_KEY, ALICE).send();
    }
    server.finish();
}

#[track_caller]
fn wait_until_running_by(server: &TestServer, jobs: u64) {
    eventually("jobs are running", || {
        let counts = server.request(Method::GET, "/v1/queue").header(headers::API_KEY, BOB).send().json();
        (counts["jobs"]["running"].as_u64() >= Some(jobs)).then_some(())
    });
}

/// With a full queue of waiting requests of one caller, another caller still gets a place.
#[test]
fn a_caller_displaces_the_one_who_has_the_most() {
    let folder = DataFolder::new();
    let server = start_server(&folder, &[("--prover-queue-max", "4"), ("--cores", "1")]);
    for bb in server.provers() {
        bb.suspend();
    }
    let address = server.address();
    let request = move |key: &'static str| {
        let witness = &samples::range_check().witness;
        let request = edgeprove_testkit::client::Request::prove(address, "/api/prove", witness);
        std::thread::spawn(move || request.header(headers::API_KEY, key).send_within(LONG_LIMIT))
    };
    let of_alice: Vec<_> = (0..10).map(|_| request(ALICE)).collect();
    eventually("the queue is full", || (server.health().prover.waiting == 4).then_some(()));
    eventually("the others are refused", || {
        (of_alice.iter().filter(|request| request.is_finished()).count() >= 5).then_some(())
    });
    let of_bob = request(BOB);
    eventually("one of Alice's requests is displaced", || {
        (of_alice.iter().filter(|request| request.is_finished()).count() >= 6).then_some(())
    });
    resume(&server);
    of_bob.join().unwrap().assert_proof_of(samples::range_check());
    let responses: Vec<_> = of_alice.into_iter().map(|request| request.join().unwrap()).collect();
    let (proofs, refused): (Vec<_>, Vec<_>) = responses.iter().partition(|response| response.status == 200);
    assert_eq!((proofs.len(), refused.len()), (4, 6));
    for response in refused {
        response.assert_refused_for_now(ProblemType::ProverBusy);
    }
    server.finish();
}

/// A job whose circuit is no longer loaded delays nobody, and fails after the longest wait.
#[test]
fn a_job_without_its_circuit_delays_nobody() {
    let folder = DataFolder::new();
    let circuits = folder.path("circuits");
    fs::create_dir(&circuits).unwrap();
    let square = samples::square(&circuits, "square", 3);
    let mut server = TestServer::start(|settings| {
        folder.configure(settings);
        settings.circuits = Some(circuits.clone());
        settings.flag("--job-workers", "1");
    });
    suspend(&server);
    let running = server.submit(samples::range_check());
    eventually("the job runs", || (server.job(running).status == JobStatus::Running).then_some(()));
    let lost = server.submit(&square);
    server.kill();

    let flags = [("--job-workers", "1"), ("--job-wait-max", "3s"), ("--result-ttl", "20s")];
    let server = folder.start_server(&flags);
    suspend(&server);
    let next = server.submit(samples::range_check());
    eventually("only this job is ahead", || {
        let position = server.job(next).queue_position;
        (position.is_none_or(|position| position == 1)).then_some(())
    });
    if server.job(lost).status == JobStatus::Queued {
        assert_eq!(server.job(lost).estimated_remaining_ms, None);
    }
    resume(&server);
    let failed = server.wait_until_finished(lost, LONG_LIMIT);
    assert_eq!(failed.status, JobStatus::Failed);
    let problem = failed.error.unwrap();
    assert_eq!(problem.code.known(), Some(ProblemType::CircuitUnavailable));
    assert_eq!(server.wait_until_finished(next, LONG_LIMIT).status, JobStatus::Completed);
    server.finish();
}
