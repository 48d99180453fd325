//! Who may pass: decided before anything reaches a server.

use edgeprove_e2e::{Edge, StandIn, edge::variant};
use edgeprove_protocol::{ProblemType, headers};
use edgeprove_testkit::Connection;

use crate::hop::key;

#[test]
fn keys_origins_methods_paths_and_sizes_are_held_against_the_settings() {
    let stand_in = StandIn::start();
    let edge = Edge::start(|e| {
        e.upstream(stand_in.address())
            .var("API_KEYS", &format!("{},{}", key("alice", "k1"), key("bob", "k2")))
            .var("ALLOWED_ORIGINS", "https://app.example,https://*.app.example")
            .var("UPLOAD_MAX", "1KiB");
    });
    let prove = || edge.posting("/api/prove", b"a body");

    // Keys.
    let refused = prove().send();
    refused.refused(ProblemType::ApiKeyRequired);
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    prove().header("authorization", "Bearer k3").send().refused(ProblemType::ApiKeyRequired);
    prove().header("authorization", "Basic k1").send().refused(ProblemType::ApiKeyRequired);
    assert_eq!(prove().header("authorization", "Bearer k1").send().status, 200);
    let bob = prove().header("x-api-key", "k2").send();
    assert_eq!(edge.logged("request_id", bob.header(headers::REQUEST_ID))[0]["user"], "bob");
    // Who has no key hears that the edge works, and nothing more.
    assert!(edge.get("/edge/health").json().get("containers").is_none());
    let knows = edge.ask("GET", "/edge/health").header("x-api-key", "k1").send().json();
    assert!(knows["upstream"].as_str().unwrap().contains("127.0.0.1"), "{knows}");

    // Origins.
    let from = |origin: &str| prove().header("x-api-key", "k1").header("origin", origin).send();
    for origin in ["https://app.example", "https://eu.app.example"] {
        let answer = from(origin);
        assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, origin));
        assert!(answer.header("vary").contains("Origin"), "{answer:?}");
    }
    for origin in ["https://evil.example", "https://app.example.evil.example", "http://app.example", "null"] {
        let answer = from(origin);
        answer.refused(ProblemType::OriginNotAllowed);
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    let preflight = edge
        .ask("OPTIONS", "/api/prove")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-api-key")
        .send();
    assert_eq!(preflight.status, 204, "{preflight:?}");
    assert!(preflight.header("access-control-allow-methods").contains("POST"));
    assert!(preflight.header("access-control-allow-headers").contains("x-api-key"));

    // Methods and paths.
    let wrong = edge.ask("PUT", "/api/prove").send();
    wrong.refused(ProblemType::MethodNotAllowed);
    assert_eq!(wrong.header("allow"), "POST, OPTIONS");
    edge.get("/nothing").refused(ProblemType::NotFound);
    edge.get("/readyz").refused(ProblemType::NotFound);
    edge.get("/_/status").refused(ProblemType::NotFound);
    edge.ask("GET", "/v1/proofs").header("x-api-key", "k1").send();

    // Sizes: the announcement is enough, the body need not come. The answer waits for it all the same under wrangler,
    // which stands between and passes on no answer before it has passed on the request.
    let length = "Content-Length: 2000";
    let mut large = Connection::post_head(edge.address(), "/api/prove", &["X-Api-Key: k1", length]);
    edge.logged("code", "witness_too_large");
    large.send(&[0; 2000]);
    let problem = large.answer().refused(ProblemType::WitnessTooLarge);
    assert!(problem.detail.contains("2000") && problem.detail.contains("1024"), "{problem:?}");
}

#[test]
fn who_asks_too_often_is_told_to_wait() {
    const LIMIT: i64 = 20;
    let stand_in = StandIn::start();
    let dir = tempfile::tempdir().unwrap();
    let config = variant(dir.path(), |config| {
        config["ratelimits"][0]["simple"]["limit"] = LIMIT.into();
    });
    let edge = Edge::start(|e| {
        e.upstream(stand_in.address())
            .config(config)
            .var("API_KEYS", &format!("{},{}", key("alice", "k1"), key("bob", "k2")));
    });
    let ask = |key: &str| edge.ask("GET", "/api/health").header("x-api-key", key).send();
    // A period may end in between; two of them do not.
    let answers: Vec<_> = (0..=2 * LIMIT).map(|_| ask("k1")).collect();
    let limited = answers.iter().position(|answer| answer.status != 200).expect("the limit is never reached");
    assert!(limited >= usize::try_from(LIMIT).unwrap(), "{limited}");
    answers[limited].refused_for_now(ProblemType::RateLimited);
    assert_eq!(ask("k2").status, 200, "one caller's limit is another's");
    // Guessing keys counts, too.
    let guesses: Vec<_> = (0..=2 * LIMIT).map(|number| ask(&format!("guess-{number}"))).collect();
    assert!(guesses.iter().any(|answer| answer.status == 429), "keys can be guessed without end");
}
