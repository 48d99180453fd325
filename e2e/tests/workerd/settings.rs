//! Settings and bindings with faults: every answer names them, and nothing is proved.

use std::fs;

use edgeprove_e2e::{Edge, StandIn, edge::variant};
use edgeprove_protocol::ProblemType;
use edgeprove_testkit::{TestServer, samples};

#[test]
fn faults_are_told_all_at_once_by_name_and_secrets_are_not_quoted() {
    let stand_in = StandIn::start();
    let edge = Edge::start(|e| {
        e.upstream(stand_in.address())
            .var("SLEEP_AFTER", "soon")
            .var("MAX_INSTANCES", "many")
            .var("EDGE_SECRET", "short")
            .var("API_KEYS", "no-digest-of-mine");
    });
    for path in ["/", "/edge/health", "/api/health"] {
        let problem = edge.get(path).refused(ProblemType::EdgeMisconfigured);
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
fn another_secret_than_the_servers_is_the_deployers_fault() {
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_EDGE_SECRET".to_owned(), "0123456789abcdef-server".to_owned()));
    });
    let edge = Edge::start(|e| {
        e.upstream(server.address()).var("EDGE_SECRET", "0123456789abcdef-other");
    });
    let refused = edge.posting("/api/prove", &samples::range().witness).send();
    let problem = refused.refused(ProblemType::EdgeMisconfigured);
    assert!(problem.detail.contains("EDGE_SECRET"), "{problem:?}");
}

#[test]
fn a_binding_that_is_missing_is_named() {
    let stand_in = StandIn::start();
    let dir = tempfile::tempdir().unwrap();
    let config = variant(dir.path(), |config| {
        config.remove("ratelimits");
    });
    assert!(!fs::read_to_string(&config).unwrap().contains("RATE_LIMITER"));
    let edge = Edge::start(|e| {
        e.upstream(stand_in.address()).config(config);
    });
    let problem = edge.get("/api/health").refused(ProblemType::EdgeMisconfigured);
    assert!(
        problem.detail.contains("RATE_LIMITER") && problem.detail.contains("wrangler.toml"),
        "{problem:?}"
    );
    assert_eq!(edge.get("/edge/health").status, 200);
}
