//! A server that shares a secret with its edge: which requests it serves, which headers it trusts, and what it reports
//! to the edge.

use std::{fs, process::Command};

use edgeprove_protocol::{JobDocument, Load, ProblemType, Target, headers};
use http::Method;
use serde_json::Value;

use crate::support::{
    Connection, Response, TestServer, client::Request, eventually, paths, processes, samples,
    settings::Settings, wait,
};

const SECRET: &str = "-4f1c/the+secret=of~this.edge";
const CLIENT: (&str, &str) = (headers::CLIENT_IP, "2001:db8::7");
const USER: (&str, &str) = (headers::AUTHENTICATED_USER, "alice-2.dev_x");

fn set_secret(settings: &mut Settings) {
    settings.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
}

/// A server with an edge secret. At its end, its log contains neither the secret nor headers.
struct EdgeOnlyServer(TestServer);

impl EdgeOnlyServer {
    #[track_caller]
    fn start(change: impl FnOnce(&mut Settings)) -> Self {
        Self(TestServer::start(|settings| {
            set_secret(settings);
            change(settings);
        }))
    }

    /// A request of the edge.
    fn edge_request(&self, method: Method, path: &str) -> Request {
        self.0.request(method, path).header(headers::EDGE_SECRET, SECRET)
    }

    #[track_caller]
    fn finish(self) {
        let log = self.0.log();
        assert!(!log.contains(SECRET), "the log contains the secret");
        assert!(!log.contains(headers::EDGE_SECRET), "the log contains headers");
        self.0.finish();
    }
}

/// Waits for the line of a request in the log, which must be its only line.
#[track_caller]
fn only_line_of(server: &TestServer, response: &Response) -> Value {
    let line = server.wait_for_request_line(response);
    let id = &line["span"]["request_id"];
    let lines = server.log_lines().into_iter().filter(|other| other["span"]["request_id"] == *id);
    assert_eq!(lines.filter(|line| line["route"].is_string()).count(), 1);
    line
}

#[track_caller]
fn load(response: &Response) -> Load {
    let text = response.header(headers::PROVER_LOAD);
    text.parse().unwrap_or_else(|error| panic!("{error}: {text:?} in {response:?}"))
}

const IDLE: Load = Load { running: 0, waiting: 0, cores: 2 };

#[test]
fn only_requests_with_the_edge_secret_are_served() {
    let edge_only = EdgeOnlyServer::start(|s| s.flag("--cors-origin", "*"));
    let server = &edge_only.0;
    let range = &samples::range_check().witness;
    let requests_without_secret = || {
        let get =
            ["/", "/api/health", "/health", "/problems/internal", "/nothing?/livez", "/livez/", "//readyz"];
        let mut requests: Vec<Request> = get.iter().map(|path| server.request(Method::GET, path)).collect();
        requests.push(server.prove_request(range));
        requests.push(server.prove_request_at("/api/prove/range_check", range));
        requests.push(server.request(Method::DELETE, "/api/prove"));
        let preflight = server.request(Method::OPTIONS, "/api/prove").header("origin", "https://app.example");
        requests.push(preflight.header("access-control-request-method", "POST"));
        requests
    };
    for request in requests_without_secret() {
        let response = request.header(CLIENT.0, CLIENT.1).header(USER.0, USER.1).send();
        response.assert_refused(ProblemType::NotFromTheEdge);
        assert_eq!(load(&response), IDLE);
        let line = only_line_of(server, &response);
        assert_eq!(line["code"], "not_from_the_edge");
        assert!(
            line.get("client_ip").is_none() && line.get("user").is_none(),
            "an untrusted header is used: {line}"
        );
    }
    let almost = [&SECRET[1..], &SECRET.to_uppercase(), &format!("{SECRET}x"), "", "EdgeSecret(…)"];
    for (request, wrong) in requests_without_secret().into_iter().zip(almost.into_iter().cycle()) {
        let response = request.header(headers::EDGE_SECRET, wrong).header(CLIENT.0, CLIENT.1).send();
        let problem = response.assert_refused(ProblemType::NotFromTheEdge);
        assert!(!problem.detail.contains(SECRET));
        assert!(only_line_of(server, &response).get("client_ip").is_none());
    }
    for request in requests_without_secret() {
        let twice = request.header(headers::EDGE_SECRET, "first").header(headers::EDGE_SECRET, SECRET);
        twice.send().assert_refused(ProblemType::NotFromTheEdge);
    }
    edge_only.finish();
}

#[test]
fn the_edges_headers_are_trusted() {
    let edge_only = EdgeOnlyServer::start(|_| {});
    let server = &edge_only.0;
    let range = samples::range_check();
    let mut request =
        edge_only.edge_request(Method::POST, "/api/prove").header("content-type", "application/gzip");
    request.body.clone_from(&range.witness);
    let response =
        request.header(CLIENT.0, CLIENT.1).header(USER.0, USER.1).header("x-request-id", "edge-1").send();
    response.assert_proves(range, Target::NoirRecursive);
    assert_eq!(response.header(headers::REQUEST_ID), "edge-1");
    assert_eq!(load(&response), IDLE);
    let line = only_line_of(server, &response);
    assert_eq!((&line["client_ip"], &line["user"]), (&CLIENT.1.into(), &USER.1.into()));
    assert!(line["prove_ms"].is_number(), "{line}");

    let refused = edge_only.edge_request(Method::GET, "/nothing").header(CLIENT.0, "192.0.2.1").send();
    refused.assert_refused(ProblemType::NotFound);
    let line = only_line_of(server, &refused);
    assert_eq!(line["client_ip"], "192.0.2.1");
    assert!(line.get("user").is_none(), "{line}");

    let long = "n".repeat(headers::USER_MAX_BYTES + 1);
    for (ip, user) in
        [("192.0.2.1, 192.0.2.2", "a b"), ("nowhere", "a\"b"), ("", ""), ("192.0.2.1:80", &long)]
    {
        let request = edge_only.edge_request(Method::GET, "/").header(CLIENT.0, ip).header(USER.0, user);
        let response = request.send();
        assert_eq!(response.status, 200);
        let line = only_line_of(server, &response);
        assert!(line.get("client_ip").is_none() && line.get("user").is_none(), "{line}");
    }
    edge_only.finish();
}

/// A job is submitted through the edge, by this caller or by one without a key.
#[track_caller]
fn submitted(edge_only: &EdgeOnlyServer, user: Option<&str>) -> JobDocument {
    let mut request =
        edge_only.edge_request(Method::POST, "/v1/proofs").header("content-type", "application/gzip");
    request.body.clone_from(&samples::range_check().witness);
    let request = match user {
        Some(user) => request.header(USER.0, user),
        None => request,
    };
    let response = request.send();
    assert_eq!(response.status, 202, "{response:?}");
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn a_caller_by_link_may_read_the_job_of_its_token_only() {
    let data = tempfile::tempdir().unwrap();
    let edge_only = EdgeOnlyServer::start(|s| s.flag("--data", &data.path().display()));
    let [of_alice, of_nobody] = [Some("alice"), None].map(|user| submitted(&edge_only, user));
    let token = of_alice.links.events.split_once('?').unwrap().1;
    let by_link = |method: Method, path: &str| {
        edge_only.edge_request(method, path).header(headers::LINK_ONLY, "1").header(CLIENT.0, CLIENT.1)
    };
    let read = by_link(Method::GET, &format!("{}?{token}", of_alice.links.this)).send();
    assert_eq!(read.status, 200, "{read:?}");
    assert_eq!(by_link(Method::GET, &of_alice.links.events).send().status, 200);

    // This server accepts callers without a key, and this caller is still none of them.
    let without_key = edge_only.edge_request(Method::GET, &of_nobody.links.this).send();
    assert_eq!(without_key.status, 200, "{without_key:?}");
    for path in [
        of_nobody.links.this.clone(),
        format!("{}?{token}", of_nobody.links.this),
        format!("{}?token=1.x", of_nobody.links.this),
        format!("{}?{token}&{token}", of_alice.links.this),
        format!("{}?{token}", of_alice.links.proof),
        of_alice.links.this.clone(),
        "/v1/queue".to_owned(),
    ] {
        by_link(Method::GET, &path).send().assert_refused(ProblemType::ApiKeyRequired);
    }
    let as_alice = by_link(Method::GET, &of_alice.links.this).header(USER.0, "alice").send();
    as_alice.assert_refused(ProblemType::ApiKeyRequired);
    let cancel = by_link(Method::DELETE, &format!("{}?{token}", of_alice.links.this)).send();
    cancel.assert_refused(ProblemType::ApiKeyRequired);
    let wrong = by_link(Method::GET, &format!("{}?token=1.x", of_alice.links.this)).send();
    let problem = wrong.assert_refused(ProblemType::ApiKeyRequired);
    assert!(problem.detail.contains("token"), "{problem:?}");
    edge_only.finish();
}

#[test]
fn a_request_whose_caller_left_is_logged_with_the_caller() {
    let edge_only = EdgeOnlyServer::start(|_| {});
    let server = &edge_only.0;
    let witness = &samples::range_check().witness;
    let provers = server.provers();
    assert!(provers.iter().all(|bb| bb.suspend()));
    let lines = [
        format!("Content-Length: {}", witness.len()),
        format!("X-Edge-Secret: {SECRET}"),
        format!("{}: {}", CLIENT.0, CLIENT.1),
    ];
    let lines = lines.each_ref().map(String::as_str);
    let mut client = Connection::post_head(server.address(), "/api/prove", &lines);
    client.send(witness);
    eventually("a proof runs", || (load(&server.get("/livez")).running == 1).then_some(()));
    drop(client);
    let line = server.wait_for_log_line("the request is logged", |line| line["route"] == "/api/prove");
    assert_eq!(line["client_ip"], CLIENT.1);
    // The request had no response, and therefore no status.
    assert!(line.get("status").is_none(), "{line}");
    for bb in provers {
        bb.resume();
    }
    edge_only.finish();
}

#[test]
fn probes_need_no_secret() {
    let edge_only = EdgeOnlyServer::start(|_| {});
    let server = &edge_only.0;
    for path in ["/livez", "/readyz"] {
        let requests = [
            server.request(Method::GET, path),
            server.request(Method::GET, path).header(headers::EDGE_SECRET, "another"),
            edge_only.edge_request(Method::GET, path),
        ];
        for request in requests {
            let response = request.send();
            assert_eq!(response.status, 200);
            assert_eq!(load(&response), IDLE);
        }
    }
    let ready = server.get("/readyz").json();
    assert_eq!(ready, serde_json::json!({ "status": "ready", "running": 0, "waiting": 0 }));

    for secret in ["", "short", SECRET] {
        let mut check = Command::new(paths::edgeprove());
        check.env_clear().args(["healthcheck", "--listen", &server.address().to_string()]);
        let output = processes::run(check.env("EDGEPROVE_EDGE_SECRET", secret), wait::LIMIT);
        assert!(output.status.success(), "{output:?}");
    }
    edge_only.finish();
}

#[test]
fn an_upload_without_the_secret_is_refused_at_once() {
    let edge_only = EdgeOnlyServer::start(|_| {});
    let server = &edge_only.0;
    // The body is never sent.
    let mut upload = Connection::post_head(server.address(), "/api/prove", &["Content-Length: 50000000"]);
    upload.read_response().assert_refused(ProblemType::NotFromTheEdge);
    let lines =
        ["Content-Length: 1000", "Expect: 100-continue", "X-Edge-Secret: another-secret-of-another-edge"];
    for _ in 0..20 {
        let mut upload = Connection::post_head(server.address(), "/api/prove", &lines);
        // This is the first response, so no `100 Continue` came before it.
        upload.read_response().assert_refused(ProblemType::NotFromTheEdge);
    }
    // This client sends the whole body before it reads the response.
    let large = vec![b'x'; 16 << 20];
    for path in ["/api/prove", "/nothing"] {
        server.prove_request_at(path, &large).send().assert_refused(ProblemType::NotFromTheEdge);
    }
    assert!(server.spool_files().is_empty());
    edge_only.finish();
}

#[test]
fn without_a_secret_the_edges_headers_are_ignored() {
    let server = TestServer::start_default();
    let requests = [
        server.request(Method::GET, "/"),
        server.request(Method::GET, "/").header(headers::EDGE_SECRET, SECRET),
        server.request(Method::GET, "/").header(headers::EDGE_SECRET, ""),
    ];
    for request in requests {
        let response = request.header(CLIENT.0, CLIENT.1).header(USER.0, USER.1).send();
        assert_eq!(response.status, 200);
        let line = only_line_of(&server, &response);
        assert!(line.get("client_ip").is_none() && line.get("user").is_none(), "{line}");
    }
    assert!(!server.log().contains(SECRET));
}

#[test]
fn every_response_reports_the_load() {
    let server = TestServer::start(|s| s.flag("--cors-origin", "*"));
    let (mut client, bb) = server.suspend_mid_proof();
    let waiter = Connection::post(server.address(), "/api/prove", &samples::range_check().witness);
    let busy = Load { running: 1, waiting: 1, cores: 2 };
    eventually("one request waits", || (load(&server.get("/livez")) == busy).then_some(()));
    let responses = [
        server.get("/"),
        server.get("/readyz"),
        server.get("/api/health"),
        server.get("/nothing"),
        server.request(Method::PUT, "/api/prove").send(),
        server.prove(b"no witness"),
        server.request(Method::OPTIONS, "/api/prove").header("origin", "https://app.example").send(),
    ];
    for response in responses {
        assert_eq!(load(&response), busy, "{response:?}");
        let exposed = response.header("access-control-expose-headers").to_ascii_lowercase();
        assert!(!exposed.contains(headers::PROVER_LOAD), "pages may read the load: {exposed}");
    }
    bb.resume();
    client.read_response().assert_proof_of(samples::range_check());
    drop(waiter);
    eventually("nothing runs", || (load(&server.get("/livez")) == IDLE).then_some(()));
}

#[test]
fn an_invalid_secret_is_reported_but_not_shown() {
    let long = "s".repeat(headers::EDGE_SECRET_MAX_BYTES + 1);
    for bad in ["", "fifteen-letters", "sixteen letters!", "0123456789abcdef\n", "0123456789abcdé-f", &long]
    {
        let failed = TestServer::fails_to_start(|s| {
            s.flag("--prover-queue-max", &0);
            s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), bad.to_owned()));
        });
        assert_eq!(failed.code, Some(64), "{}", failed.stderr);
        for part in ["--edge-secret", "EDGEPROVE_EDGE_SECRET", "16", "256", "--prover-queue-max"] {
            assert!(failed.stderr.contains(part), "{part:?} is not in: {}", failed.stderr);
        }
        assert!(
            bad.is_empty() || !failed.stderr.contains(bad.trim()),
            "the message contains the secret: {}",
            failed.stderr
        );
    }
    let failed = TestServer::fails_to_start(|s| s.flag("--edge-secret", "-4f1c"));
    assert_eq!(failed.code, Some(64), "{}", failed.stderr);
    assert!(!failed.stderr.contains("4f1c"), "{}", failed.stderr);
}

#[test]
fn help_does_not_show_the_secret() {
    for page in ["--help", "-h"] {
        let mut help = Command::new(paths::edgeprove());
        help.env_clear().args(["serve", page]).env("EDGEPROVE_EDGE_SECRET", SECRET);
        let output = processes::run(&mut help, wait::LIMIT);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("EDGEPROVE_EDGE_SECRET") && !text.contains(SECRET), "{text}");
    }
}

#[test]
fn metrics_through_the_edge_are_for_operators() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    fs::write(&keys, "[keys.ops]\nsha256 = []\nrole = 'operator'\n").unwrap();
    let server = EdgeOnlyServer::start(|s| s.flag("--keys-file", &keys.display()));
    let get = |name: &str| {
        server.edge_request(Method::GET, "/metrics").header(headers::AUTHENTICATED_USER, name).send()
    };
    assert_eq!(get("ops").status, 200);
    get("alice").assert_refused(ProblemType::NotAllowed);
    // A monitor beside the server has neither a key nor the secret.
    assert_eq!(server.0.get("/metrics").status, 200);
    server.finish();
}
