//! Callers that share a server and must not disturb each other: their idempotency keys, links and shares.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    path::Path,
};

use edgeprove_protocol::{JobDocument, ProblemType, headers};
use http::Method;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{
    jobs::{JobServer, assert_accepted},
    support::{Response, TestServer, processes::Process, samples, settings::Settings, wait},
};

const SECRET: &str = "-4f1c/the+secret=of~this.edge";
const KEY: &str = "alice's key";

/// A server behind an edge that names the addresses of callers.
#[track_caller]
fn start_behind_edge() -> JobServer {
    JobServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
        s.sample = None;
    })
}

/// Submits a job from this address, with an idempotency key.
#[track_caller]
fn submit_from(job_server: &JobServer, address: &str, witness: &[u8]) -> Response {
    let request = job_server.submission(witness).header(headers::IDEMPOTENCY_KEY, "order-1");
    request.header(headers::EDGE_SECRET, SECRET).header(headers::CLIENT_IP, address).send()
}

#[test]
fn idempotency_keys_of_addresses_are_their_own() {
    let job_server = start_behind_edge();
    let witness = &samples::range_check().witness;
    let first = assert_accepted(&submit_from(&job_server, "192.0.2.1", witness));
    let other = assert_accepted(&submit_from(&job_server, "192.0.2.2", witness));
    assert_ne!(first.id, other.id, "another caller's job");
    assert_eq!(assert_accepted(&submit_from(&job_server, "192.0.2.1", witness)).id, first.id);
    let another_witness = &samples::unsatisfied();
    let third = assert_accepted(&submit_from(&job_server, "2001:db8::1", another_witness));
    assert_eq!(assert_accepted(&submit_from(&job_server, "2001:db8::2", another_witness)).id, third.id);
    submit_from(&job_server, "192.0.2.2", another_witness).assert_refused(ProblemType::IdempotencyKeyReused);
}

/// A server with one key, which has these limits.
#[track_caller]
fn start_keyed(limits: &str, change: impl FnOnce(&mut Settings)) -> (JobServer, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    write_key(&file, limits);
    let job_server = JobServer::start(|s| {
        s.flag("--keys-file", &file.display());
        s.sample = None;
        change(s);
    });
    (job_server, folder)
}

fn write_key(file: &Path, limits: &str) {
    let digest = hex::encode(Sha256::digest(KEY));
    fs::write(file, format!("[keys.alice]\nrole = 'user'\nsha256 = ['{digest}']\n{limits}\n")).unwrap();
}

#[track_caller]
fn submit(job_server: &JobServer) -> JobDocument {
    let request = job_server.submission(&samples::range_check().witness);
    assert_accepted(&request.header(headers::API_KEY, KEY).send())
}

#[track_caller]
fn suspend(server: &TestServer) -> Vec<Process> {
    let provers: Vec<_> = server.provers().into_iter().filter(|bb| bb.suspend()).collect();
    assert!(!provers.is_empty());
    provers
}

/// Opens a stream of events. Returns the status and the open stream.
#[track_caller]
fn open_stream(server: &TestServer, path: &str, more: &str) -> (String, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    (line.split(' ').nth(1).unwrap_or_default().to_owned(), stream)
}

#[test]
fn streams_of_a_link_leave_the_owner_its_own() {
    let (job_server, _folder) = start_keyed("", |s| s.flag("--watchers", "8"));
    let server = &job_server.server;
    let provers = suspend(server);
    let job = submit(&job_server);
    let by_link: Vec<_> = (0..5).map(|_| open_stream(server, &job.links.events, "")).collect();
    let statuses: Vec<&str> = by_link.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(statuses, ["200", "200", "200", "200", "429"], "a link has a share of the streams");
    let (path, _) = job.links.events.split_once('?').unwrap();
    let key = format!("X-Api-Key: {KEY}\r\n");
    let by_owner = [open_stream(server, path, &key), open_stream(server, path, &key)];
    assert!(by_owner.iter().all(|(status, _)| status == "200"), "{by_owner:?}");
    for bb in provers {
        bb.resume();
    }
}

#[test]
fn reads_of_a_link_do_not_use_up_the_owners_rate() {
    let (job_server, _folder) = start_keyed("per_minute = 1\nburst = 5", |_| {});
    let server = &job_server.server;
    let job = submit(&job_server);
    let (_, token) = job.links.events.split_once('?').unwrap();
    let by_link = || server.get(&format!("{}?{token}", job.links.this));
    for _ in 0..5 {
        assert_eq!(by_link().status, 200);
    }
    by_link().assert_refused_for_now(ProblemType::RateLimited);
    let by_owner = || server.request(Method::GET, &job.links.this).header(headers::API_KEY, KEY).send();
    for _ in 0..4 {
        assert_eq!(by_owner().status, 200);
    }
    by_owner().assert_refused_for_now(ProblemType::RateLimited);
}

#[test]
fn a_request_with_different_keys_is_refused() {
    let (job_server, _folder) = start_keyed("", |_| {});
    let server = &job_server.server;
    let request = || server.request(Method::GET, "/v1/queue").header(headers::API_KEY, KEY);
    assert_eq!(request().header("authorization", &format!("Bearer {KEY}")).send().status, 200);
    for (name, value) in [(headers::API_KEY, "another"), ("authorization", "Bearer another")] {
        let problem = request().header(name, value).send().assert_refused(ProblemType::InvalidRequest);
        assert!(!problem.detail.contains(KEY) && !problem.detail.contains("another"), "{}", problem.detail);
    }
}
