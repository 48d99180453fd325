//! What operators read through the edge.

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    net::TcpStream,
};

use edgeprove_e2e::Edge;
use edgeprove_protocol::{ProblemType, headers};
use edgeprove_testkit::{TestServer, wait};
use sha2::{Digest as _, Sha256};

use crate::headers::key;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// An edge that knows `k2` of alice by its own list of keys, and `k1` of an operator by that of the server.
fn edge_with_an_operator(server: &TestServer) -> Edge {
    let server_keys =
        format!("keys.ops = {{ sha256 = [\"{}\"], role = \"operator\" }}", hex::encode(Sha256::digest("k1")));
    Edge::start(|e| {
        e.upstream(server.address())
            .var("EDGE_SECRET", SECRET)
            .var("API_KEYS", &key("alice", "k2"))
            .var("EDGEPROVE_KEYS", &server_keys);
    })
}

#[test]
fn audit_and_metrics_are_for_operators_only() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    fs::write(&keys, "[keys.ops]\nsha256 = []\nrole = 'operator'\n[keys.alice]\nsha256 = []\n").unwrap();
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
        s.flag("--keys-file", &keys.display());
        s.flag("--audit", &folder.path().join("audit.log").display());
    });
    let edge = edge_with_an_operator(&server);
    let get = |path: &str, key: &str| edge.request("GET", path).header(headers::API_KEY, key).send();

    let metrics = get("/metrics", "k1");
    assert_eq!(metrics.status, 200, "{metrics:?}");
    assert!(String::from_utf8_lossy(&metrics.body).contains("edgeprove_"), "{metrics:?}");
    let audit = get("/v1/audit?limit=5", "k1");
    assert_eq!((audit.status.as_u16(), audit.header("content-type")), (200, "application/x-ndjson"));
    assert!(!audit.header(headers::AUDIT_HEAD).is_empty(), "{audit:?}");
    for path in ["/metrics", "/v1/audit"] {
        get(path, "k2").assert_refused(ProblemType::NotAllowed);
        get(path, "guessed").assert_refused(ProblemType::ApiKeyRequired);
        edge.get(path).assert_refused(ProblemType::ApiKeyRequired);
        assert_eq!(edge.request("HEAD", path).header(headers::API_KEY, "k1").send().status, 200);
    }
    // Probes of the server itself need no key.
    assert_eq!(server.get("/metrics").status, 200);
    assert!(!edge.log().contains(SECRET), "the log contains the secret");
}

#[test]
fn without_keys_or_the_secret_there_are_no_operators() {
    let server = TestServer::start_default();
    let edge = Edge::before(&server);
    let keyed = Edge::start(|e| {
        e.upstream(server.address()).var("API_KEYS", &key("alice", "k2"));
    });
    for path in ["/metrics", "/v1/audit"] {
        edge.get(path).assert_refused(ProblemType::ApiKeyRequired);
        let refused = keyed.request("GET", path).header(headers::API_KEY, "k2").send();
        let problem = refused.assert_refused(ProblemType::NotAllowed);
        assert!(problem.detail.contains("EDGE_SECRET"), "{problem:?}");
    }
    edge.get("/readyz").assert_refused(ProblemType::NotFound);
}

#[test]
fn only_operators_read_a_server_that_ignores_the_edge() {
    // It has no secret, so it ignores which caller the edge names, and its own metrics are open.
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| s.flag("--audit", &folder.path().join("audit.log").display()));
    let edge = edge_with_an_operator(&server);
    let get = |path: &str, key: &str| edge.request("GET", path).header(headers::API_KEY, key).send();
    for path in ["/metrics", "/v1/audit"] {
        get(path, "k2").assert_refused(ProblemType::NotAllowed);
    }
    assert_eq!(get("/metrics", "k1").status, 200);
    // The statistics are for every caller, as the queue.
    for path in ["/v1/stats", "/v1/queue"] {
        assert_eq!(get(path, "k2").status, server.get(path).status, "{path}");
        edge.get(path).assert_refused(ProblemType::ApiKeyRequired);
    }
}

/// The first event of a stream in chunked encoding, whose pieces may end anywhere.
fn first_event(answer: &mut impl BufRead) -> String {
    let line = |answer: &mut dyn BufRead| {
        let mut line = String::new();
        assert!(answer.read_line(&mut line).unwrap() > 0, "the stream ended");
        line.trim_end().to_owned()
    };
    while !line(answer).is_empty() {}
    let mut events = String::new();
    loop {
        let bytes = usize::from_str_radix(&line(answer), 16).unwrap();
        let mut piece = vec![0; bytes + 2];
        answer.read_exact(&mut piece).unwrap();
        events.push_str(std::str::from_utf8(&piece[..bytes]).unwrap());
        if let Some((first, _)) = events.split_once("\n\n") {
            return first.to_owned();
        }
    }
}

#[test]
fn the_board_passes_and_its_changes_are_for_operators() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    fs::write(&keys, "[keys.ops]\nsha256 = []\nrole = 'operator'\n[keys.alice]\nsha256 = []\n").unwrap();
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), SECRET.to_owned()));
        s.flag("--keys-file", &keys.display());
        s.flags.push("--ephemeral-jobs".to_owned());
    });
    let edge = edge_with_an_operator(&server);
    let mut viewer = TcpStream::connect(edge.address()).unwrap();
    viewer.set_read_timeout(Some(wait::LIMIT)).unwrap();
    let (host, header) = (edge.address(), headers::API_KEY);
    write!(viewer, "GET /v1/board/events?container=0 HTTP/1.1\r\nHost: {host}\r\n{header}: k2\r\n\r\n")
        .unwrap();
    let data = first_event(&mut BufReader::new(viewer));
    assert!(data.contains("\"name\":\"alice\"") && data.contains("\"sees_all_jobs\":false"), "{data}");

    let change = |path: &str, key: &str| edge.request("POST", path).header(headers::API_KEY, key).send();
    for path in ["/v1/board/cancel?owner=all", "/v1/board/retry?owner=all"] {
        let answer = change(path, "k1");
        assert_eq!((answer.status.as_u16(), &answer.json()["changed"]), (200, &0.into()), "{answer:?}");
        change(path, "k2").assert_refused(ProblemType::NotAllowed);
    }
}

#[test]
fn statistics_are_for_every_caller_where_there_are_no_keys() {
    let server = TestServer::start_default();
    let stats = Edge::before(&server).get("/v1/stats");
    assert_eq!((stats.status.as_u16(), &stats.json()["proofs"]["success"]), (200, &0.into()), "{stats:?}");
}
