//! Requests that pages of foreign origins make browsers send: they must do no work.

use std::net::TcpStream;

use edgeprove_protocol::{JobStatus, Problem, ProblemType, headers};
use http::Method;
use tungstenite::{HandshakeError, Message, client::IntoClientRequest as _};

use crate::{
    jobs::JobServer,
    support::{Connection, Response, TestServer, client::Request, samples, wait},
};

const EVIL: &str = "https://evil.example";
const APP: &str = "https://app.example";

/// Opens a WebSocket as a page of this origin does. Returns the code of the problem where it is refused.
#[track_caller]
fn open_socket(server: &TestServer, path: &str, origin: &str) -> Result<Message, String> {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    let mut request = format!("ws://{}{path}", server.address()).into_client_request().unwrap();
    request.headers_mut().insert("origin", origin.parse().unwrap());
    match tungstenite::client(request, stream) {
        Ok((mut socket, _)) => Ok(socket.read().unwrap()),
        Err(HandshakeError::Failure(tungstenite::Error::Http(refusal))) => {
            let body = refusal.body().clone().unwrap_or_default();
            let problem: Problem = serde_json::from_slice(&body).unwrap();
            assert_eq!(refusal.status().as_u16(), problem.status);
            Err(problem.code.as_str().to_owned())
        }
        Err(error) => panic!("{error}"),
    }
}

/// Sends a request for another host than that of the connection.
#[track_caller]
fn named(server: &TestServer, method: &str, path: &str, host: &str) -> Response {
    let mut connection = Connection::open(server.address());
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
    connection.send(head.as_bytes());
    connection.read_response()
}

fn jobs_of(server: &TestServer) -> u64 {
    [JobStatus::Queued, JobStatus::Running, JobStatus::Completed]
        .map(|status| server.count_jobs(status))
        .iter()
        .sum()
}

#[test]
fn a_foreign_page_gets_no_work_done() {
    let job_server = JobServer::start(|s| s.flag("--cors-origin", APP));
    let server = &job_server.server;
    let witness = &samples::range_check().witness;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let cross_site = ("sec-fetch-site", "cross-site");
    for sent in [
        &[("origin", EVIL)][..],
        &[("origin", EVIL), form],
        &[("origin", "null"), ("prefer", "respond-async")],
        &[("origin", EVIL), ("origin", APP)],
        &[cross_site],
        &[cross_site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), form],
    ] {
        for path in ["/api/prove", "/api/prove/range_check", "/v1/proofs?circuit=range_check"] {
            let mut request = Request::new(server.address(), Method::POST, path);
            request.body.clone_from(witness);
            let request = sent.iter().fold(request, |request, (name, value)| request.header(name, value));
            request.send().assert_refused(ProblemType::OriginNotAllowed);
        }
    }
    assert_eq!(jobs_of(server), 0);
    assert_eq!(server.health().prover.proofs, 0);

    // Allowed pages, the server's own pages and clients without pages work.
    let own = format!("http://{}", server.address());
    for origin in [APP, &own] {
        let allowed =
            server.prove_request(witness).header("origin", origin).header("sec-fetch-site", "cross-site");
        allowed.send().assert_proof_of(samples::range_check());
    }
    let job = job_server.submit(witness);
    assert_eq!(job_server.wait_until_finished(&job).status, JobStatus::Completed);
}

#[test]
fn a_foreign_page_sees_no_events() {
    let job_server = JobServer::start(|s| s.flag("--cors-origin", APP));
    let server = &job_server.server;
    let job = job_server.submit(&samples::range_check().witness);
    for path in [&job.links.this, &job.links.proof, &job.links.events] {
        let by_page = server.request(Method::GET, path).header("origin", EVIL);
        by_page.send().assert_refused(ProblemType::OriginNotAllowed);
        let embedded = server.request(Method::GET, path).header("sec-fetch-site", "cross-site");
        embedded.send().assert_refused(ProblemType::OriginNotAllowed);
    }
    let cancel = server.request(Method::DELETE, &job.links.this).header("origin", EVIL);
    cancel.send().assert_refused(ProblemType::OriginNotAllowed);
    for origin in [EVIL, "null", "https://app.example.evil.example"] {
        assert_eq!(open_socket(server, &job.links.events, origin), Err("origin_not_allowed".to_owned()));
    }
    let own = format!("http://{}", server.address());
    for origin in [APP, &own] {
        assert!(open_socket(server, &job.links.events, origin).is_ok(), "{origin}");
    }
    // What describes the service is open: a page could not read it anyway.
    assert_eq!(server.request(Method::GET, "/api/health").header("origin", EVIL).send().status, 200);
}

#[test]
fn a_loopback_server_is_called_by_its_own_name_only() {
    let job_server = JobServer::start(|s| s.flag("--allowed-host", "prove.example"));
    let server = &job_server.server;
    let job = job_server.submit(&samples::range_check().witness);
    let paths = [
        ("POST", "/api/prove"),
        ("POST", "/v1/proofs"),
        ("GET", "/v1/queue"),
        ("GET", "/api/health"),
        ("GET", "/"),
        ("GET", &job.links.this),
        ("GET", &job.links.events),
        ("DELETE", &job.links.this),
    ];
    for (method, path) in paths {
        for host in ["evil.example", "localhost.evil.example:80", "192.0.2.1", ""] {
            named(server, method, path, host).assert_refused(ProblemType::HostNotAllowed);
        }
    }
    for host in ["localhost", "LocalHost:1234", "127.0.0.1", "[::1]:80", "Prove.example", "prove.example:443"]
    {
        assert_eq!(named(server, "GET", "/v1/queue", host).status, 200, "{host}");
    }
    // Probes come from platforms, which name the address that they know.
    assert_eq!(named(server, "GET", "/livez", "10.0.0.7").status, 200);
}

#[test]
fn a_server_for_others_has_any_name_by_default() {
    let server = TestServer::start(|s| s.flag("--listen", "0.0.0.0:0"));
    assert_eq!(named(&server, "GET", "/", "any.example").status, 200);
    server.finish();
    let server = TestServer::start(|s| s.flag("--allowed-host", "*"));
    assert_eq!(named(&server, "GET", "/", "any.example").status, 200);
}

#[test]
fn the_edge_has_checked_origin_and_host_itself() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
        // The requests of this test's checks have no secret.
        s.sample = None;
    });
    let witness = &samples::range_check().witness;
    let by_edge = server.prove_request(witness).header(headers::EDGE_SECRET, SECRET).header("origin", EVIL);
    by_edge.send().assert_proof_of(samples::range_check());
    let by_page = server.prove_request(witness).header("origin", EVIL);
    by_page.send().assert_refused(ProblemType::NotFromTheEdge);
}
