//! Invalid settings and missing bindings: every response names them.

use std::fs;

use edgeprove_e2e::{
    Edge, TestUpstream,
    edge::{STORE, variant},
};
use edgeprove_protocol::ProblemType;
use edgeprove_testkit::{TestServer, samples};
use toml::Value;

use crate::headers::key;

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

#[test]
fn settings_that_are_no_texts_take_effect() {
    let test_upstream = TestUpstream::start();
    let dir = tempfile::tempdir().unwrap();
    let config = variant(dir.path(), |config| {
        let vars = config["vars"].as_table_mut().unwrap();
        let origins = ["https://app.example:443", "HTTPS://Other.example"].map(Value::from);
        vars.insert("ALLOWED_ORIGINS".to_owned(), Value::Array(origins.to_vec()));
        vars.insert("ALLOW_CREDENTIALS".to_owned(), true.into());
        vars.insert("MAX_INSTANCES".to_owned(), 2.into());
    });
    let edge = Edge::start(|e| {
        // A tool wrote the secret with a newline at its end.
        e.upstream(test_upstream.address()).config(config).var("EDGE_SECRET", "0123456789abcdef\n");
    });
    let from = |origin: &str| edge.prove_request("/api/prove", b"a body").header("origin", origin).send();
    for origin in ["https://app.example", "https://other.example"] {
        let response = from(origin);
        assert_eq!((response.status.as_u16(), response.header("access-control-allow-origin")), (200, origin));
        assert_eq!(response.header("access-control-allow-credentials"), "true");
        assert!(response.json()["headers"].to_string().contains("[\"x-edge-secret\",\"0123456789abcdef\"]"));
    }
    from("https://evil.example").assert_refused(ProblemType::OriginNotAllowed);
}

#[test]
fn keys_of_the_secrets_store_are_those_of_the_edge() {
    let test_upstream = TestUpstream::start();
    let dir = tempfile::tempdir().unwrap();
    let config = variant(dir.path(), |config| {
        let stored = ["API_KEYS", "EDGE_SECRET"].map(|name| {
            let entry = [("binding", name), ("store_id", STORE), ("secret_name", name)];
            let entry = entry.map(|(name, value)| (name.to_owned(), Value::from(value)));
            Value::Table(entry.into_iter().collect())
        });
        config.insert("secrets_store_secrets".to_owned(), Value::Array(stored.to_vec()));
    });
    let edge = Edge::start(|e| {
        e.upstream(test_upstream.address())
            .config(config)
            .stored_secret("API_KEYS", &format!("{}\n", key("alice", "k1")))
            .stored_secret("EDGE_SECRET", "0123456789abcdef");
    });
    let by = |key: &str| edge.prove_request("/api/prove", b"a body").header("x-api-key", key).send();
    let admitted = by("k1");
    assert_eq!(admitted.status, 200, "{admitted:?}");
    let received = admitted.json()["headers"].to_string();
    for header in ["[\"x-edge-secret\",\"0123456789abcdef\"]", "[\"x-authenticated-user\",\"alice\"]"] {
        assert!(received.contains(header), "{received}");
    }
    by("k2").assert_refused(ProblemType::ApiKeyRequired);
    edge.prove_request("/api/prove", b"a body").send().assert_refused(ProblemType::ApiKeyRequired);
}

#[test]
fn a_restriction_that_cannot_be_read_admits_nobody() {
    let test_upstream = TestUpstream::start();
    let dir = tempfile::tempdir().unwrap();
    let config = variant(dir.path(), |config| {
        let vars = config["vars"].as_table_mut().unwrap();
        vars.insert("ALLOWED_ORIGINS".to_owned(), Value::Array(Vec::new()));
        vars.insert("SLEEP_AFTER".to_owned(), Value::Array(vec!["5m".into()]));
        let stored = [("binding", "API_KEYS"), ("store_id", "none"), ("secret_name", "none")];
        let stored = stored.map(|(name, value)| (name.to_owned(), Value::from(value)));
        let stored = Value::Table(stored.into_iter().collect());
        config.insert("secrets_store_secrets".to_owned(), Value::Array(vec![stored]));
    });
    let edge = Edge::start(|e| {
        e.upstream(test_upstream.address()).config(config).var("EDGE_SECRET", "\n");
    });
    // Settings that could not be read are read again for the next request.
    for path in ["/edge/health", "/api/health"] {
        let problem = edge.get(path).assert_refused(ProblemType::EdgeMisconfigured);
        for name in ["ALLOWED_ORIGINS", "SLEEP_AFTER", "EDGE_SECRET", "API_KEYS: the Secrets Store"] {
            assert!(problem.detail.contains(name), "{problem:?}");
        }
    }
}
