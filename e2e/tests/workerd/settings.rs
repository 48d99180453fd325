//! Invalid settings and missing bindings: every response names them.

use std::fs;

use edgeprove_e2e::{Edge, TestUpstream, edge::variant};
use edgeprove_protocol::ProblemType;
use edgeprove_testkit::{TestServer, samples};

#[test]
fn all_invalid_settings_are_reported_without_secrets() {
    let test_upstream = TestUpstream::start();
    let edge = Edge::start(|e| {
        e.upstream(test_upstream.address())
            .var("SLEEP_AFTER", "soon")
            .var("MAX_INSTANCES", "many")
            .var("EDGE_SECRET", "short")
            .var("API_KEYS", "no-digest-of-mine");
    });
    for path in ["/", "/edge/health", "/api/health"] {
        let problem = edge.get(path).assert_refused(ProblemType::EdgeMisconfigured);
        for name in ["SLEEP_AFTER", "MAX_INSTANCES", "EDGE_SECRET", "API_KEYS"] {
            assert!(problem.detail.contains(name), "{problem:?}");
        }
        assert!(
            !problem.detail.contains("short") && !problem.detail.contains("no-digest-of-mine"),
            "{problem:?}"
        );
    }
}

#[test]
fn a_secret_that_differs_from_the_servers_is_reported() {
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), "0123456789abcdef-server".to_owned()));
    });
    let edge = Edge::start(|e| {
        e.upstream(server.address()).var("EDGE_SECRET", "0123456789abcdef-other");
    });
    let refused = edge.prove_request("/api/prove", &samples::range_check().witness).send();
    let problem = refused.assert_refused(ProblemType::EdgeMisconfigured);
    assert!(problem.detail.contains("EDGE_SECRET"), "{problem:?}");
}

#[test]
fn a_missing_binding_is_reported() {
    let test_upstream = TestUpstream::start();
    let dir = tempfile::tempdir().unwrap();
    let config = variant(dir.path(), |config| {
        config.remove("ratelimits");
    });
    assert!(!fs::read_to_string(&config).unwrap().contains("RATE_LIMITER"));
    let edge = Edge::start(|e| {
        e.upstream(test_upstream.address()).config(config);
    });
    let problem = edge.get("/api/health").assert_refused(ProblemType::EdgeMisconfigured);
    assert!(
        problem.detail.contains("RATE_LIMITER") && problem.detail.contains("wrangler.toml"),
        "{problem:?}"
    );
    assert_eq!(edge.get("/edge/health").status, 200);
}
