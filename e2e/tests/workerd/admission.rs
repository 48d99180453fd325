//! Checks that the edge makes before a request reaches the server: keys, origins, methods, paths, sizes and rates.

use edgeprove_e2e::{Edge, TestUpstream, edge::variant};
use edgeprove_protocol::{ProblemType, headers};
use edgeprove_testkit::{Connection, Response};

use crate::headers::key;

#[test]
fn keys_origins_methods_paths_and_sizes_are_checked() {
    let test_upstream = TestUpstream::start();
    let edge = Edge::start(|e| {
        e.upstream(test_upstream.address())
            .var("API_KEYS", &format!("{},{}", key("alice", "k1"), key("bob", "k2")))
            .var("ALLOWED_ORIGINS", "https://app.example,https://*.app.example")
            .var("UPLOAD_MAX", "1KiB");
    });
    let prove = || edge.prove_request("/api/prove", b"a body");

    // Keys.
    let refused = prove().send();
    refused.assert_refused(ProblemType::ApiKeyRequired);
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    prove().header("authorization", "Bearer k3").send().assert_refused(ProblemType::ApiKeyRequired);
    prove().header("authorization", "Basic k1").send().assert_refused(ProblemType::ApiKeyRequired);
    assert_eq!(prove().header("authorization", "Bearer k1").send().status, 200);
    let bob = prove().header("x-api-key", "k2").send();
    assert_eq!(edge.logged("request_id", bob.header(headers::REQUEST_ID))[0]["user"], "bob");
    // Without a key, the health report shows only that the edge works.
    assert!(edge.get("/edge/health").json().get("containers").is_none());
    let knows = edge.request("GET", "/edge/health").header("x-api-key", "k1").send().json();
    // A holder of a key is not an operator, and the address of the upstream is for operators.
    assert_eq!(knows["upstream"], true, "{knows}");
    assert!(!knows.to_string().contains("127.0.0.1"), "{knows}");

    // Origins.
    let from = |origin: &str| prove().header("x-api-key", "k1").header("origin", origin).send();
    for origin in ["https://app.example", "https://eu.app.example"] {
        let response = from(origin);
        assert_eq!((response.status.as_u16(), response.header("access-control-allow-origin")), (200, origin));
        assert!(response.header("vary").contains("Origin"), "{response:?}");
    }
    for origin in ["https://evil.example", "https://app.example.evil.example", "http://app.example", "null"] {
        let response = from(origin);
        response.assert_refused(ProblemType::OriginNotAllowed);
        assert_eq!(response.header("access-control-allow-origin"), "");
    }
    let preflight = edge
        .request("OPTIONS", "/api/prove")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-api-key")
        .send();
    assert_eq!(preflight.status, 204, "{preflight:?}");
    assert!(preflight.header("access-control-allow-methods").contains("POST"));
    assert!(preflight.header("access-control-allow-headers").contains("x-api-key"));

    // Methods and paths.
    let wrong = edge.request("PUT", "/api/prove").send();
    wrong.assert_refused(ProblemType::MethodNotAllowed);
    assert_eq!(wrong.header("allow"), "POST, OPTIONS");
    edge.get("/nothing").assert_refused(ProblemType::NotFound);
    edge.get("/readyz").assert_refused(ProblemType::NotFound);
    edge.get("/_/status").assert_refused(ProblemType::NotFound);
    edge.request("GET", "/v1/proofs").header("x-api-key", "k1").send();

    // Sizes: the declared length is enough, and the body need not be sent. Under wrangler, the response still waits for
    // the body, because wrangler's proxy forwards no response before it has forwarded the whole request.
    let length = "Content-Length: 2000";
    let mut large = Connection::post_head(edge.address(), "/api/prove", &["X-Api-Key: k1", length]);
    edge.logged("code", "witness_too_large");
    large.send(&[0; 2000]);
    let problem = large.read_response().assert_refused(ProblemType::WitnessTooLarge);
    assert!(problem.detail.contains("2000") && problem.detail.contains("1024"), "{problem:?}");
}

#[test]
fn too_many_requests_are_rate_limited() {
    const LIMIT: i64 = 20;
    const REQUESTS_MAX: i64 = 50 * LIMIT;
    let test_upstream = TestUpstream::start();
    let dir = tempfile::tempdir().unwrap();
    let config = variant(dir.path(), |config| {
        config["ratelimits"][0]["simple"]["limit"] = LIMIT.into();
    });
    let edge = Edge::start(|e| {
        e.upstream(test_upstream.address())
            .config(config)
            .var("API_KEYS", &format!("{},{}", key("alice", "k1"), key("bob", "k2")));
    });
    let request = |key: &str| edge.request("GET", "/api/health").header("x-api-key", key).send();
    // The count starts again with each period, and a busy machine may need several periods until the limit is reached.
    let first_refused = |response: Response| (response.status != 200).then_some(response);
    let mut sent = 0;
    let limited = (0..REQUESTS_MAX).find_map(|_| {
        sent += 1;
        first_refused(request("k1"))
    });
    limited.expect("the limit is reached").assert_refused_for_now(ProblemType::RateLimited);
    assert!(sent > LIMIT, "only {} requests were allowed", sent - 1);
    assert_eq!(request("k2").status, 200, "the limit of one caller affects another");
    // Requests with wrong keys are limited too.
    let guess = |number| request(&format!("guess-{number}")).status == 429;
    assert!((0..REQUESTS_MAX).any(guess), "keys can be guessed without a limit");
}
