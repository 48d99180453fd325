//! Pages of other origins, which may call the server only if their origin is allowed.

use edgeprove_protocol::ProblemType;
use http::Method;

use crate::support::{Response, TestServer, client::Request, samples};

const ORIGIN: &str = "https://app.example";

fn preflight(server: &TestServer, origin: &str) -> Request {
    server
        .request(Method::OPTIONS, "/api/prove")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-request-id")
}

fn allowed_origin(response: &Response) -> &str {
    response.header("access-control-allow-origin")
}

#[test]
fn without_allowed_origins_no_page_is_served() {
    let server = TestServer::start_default();
    let response = preflight(&server, ORIGIN).send();
    response.assert_refused(ProblemType::OriginNotAllowed);
    let response = server.prove_request(&samples::range_check().witness).header("origin", ORIGIN).send();
    response.assert_refused(ProblemType::OriginNotAllowed);
    assert!(!response.headers.keys().any(|name| name.as_str().starts_with("access-control")));
}

#[test]
fn an_allowed_origin_may_call_and_read_all_headers() {
    let server = TestServer::start(|s| s.flag("--cors-origin", &format!("https://other.example,{ORIGIN}")));
    let response = preflight(&server, ORIGIN).send();
    assert!(response.status.is_success(), "{response:?}");
    assert_eq!(allowed_origin(&response), ORIGIN);
    let methods = response.header("access-control-allow-methods");
    assert!(methods.contains("POST") && methods.contains("DELETE"), "{methods}");
    let headers = response.header("access-control-allow-headers").to_ascii_lowercase();
    for name in [
        "content-type",
        "content-encoding",
        "accept",
        "x-request-id",
        "prefer",
        "idempotency-key",
        "x-priority",
        "x-deadline",
        "x-timeout",
        "x-max-attempts",
        "x-callback-url",
        "cache-control",
        "last-event-id",
        "traceparent",
        "tracestate",
        "baggage",
        "sentry-trace",
    ] {
        assert!(headers.contains(name), "{name} is not in {headers}");
    }
    assert!(response.header("access-control-max-age").parse::<u32>().is_ok_and(|seconds| seconds > 0));

    let refusals = [
        server.prove_request(b"no witness").header("origin", ORIGIN).send(),
        server.request(Method::GET, "/nothing").header("origin", ORIGIN).send(),
        server.request(Method::DELETE, "/api/prove").header("origin", ORIGIN).send(),
    ];
    let kinds = [ProblemType::WitnessNotGzip, ProblemType::NotFound, ProblemType::MethodNotAllowed];
    for (response, kind) in refusals.iter().zip(kinds) {
        response.assert_refused(kind);
        assert_eq!(allowed_origin(response), ORIGIN, "a page may read the problem");
    }
    let proof = server.prove_request(&samples::range_check().witness).header("origin", ORIGIN).send();
    proof.assert_proof_of(samples::range_check());
    assert_eq!(allowed_origin(&proof), ORIGIN);
    let exposed = proof.header("access-control-expose-headers");
    for name in [
        "x-request-id",
        "x-public-inputs",
        "x-vk-hash",
        "x-proof-hash",
        "x-receipt",
        "x-circuit-id",
        "x-proof-cache",
        "server-timing",
        "retry-after",
        "location",
        "preference-applied",
    ] {
        assert!(exposed.contains(name), "{name} is not in {exposed}");
    }
    assert!(proof.header("vary").to_ascii_lowercase().contains("origin"));
}

#[test]
fn another_origin_is_not_allowed() {
    let server = TestServer::start(|s| s.flag("--cors-origin", ORIGIN));
    for origin in ["https://app.example.evil", "http://app.example", "null", "https://app.example:8443"] {
        assert_eq!(allowed_origin(&preflight(&server, origin).send()), "", "{origin}");
        let response = server.prove_request(&samples::range_check().witness).header("origin", origin).send();
        response.assert_refused(ProblemType::OriginNotAllowed);
        assert_eq!(allowed_origin(&response), "", "{origin}");
    }
}

#[test]
fn a_star_allows_every_origin() {
    let server = TestServer::start(|s| s.flag("--cors-origin", "*"));
    let unusual = server
        .request(Method::OPTIONS, "/api/prove")
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-of-some-library")
        .send();
    assert_eq!(allowed_origin(&unusual), "*");
    assert_eq!(unusual.header("access-control-allow-headers"), "content-type,x-of-some-library");
    let response = server.prove_request(&samples::range_check().witness).header("origin", "null").send();
    response.assert_proof_of(samples::range_check());
    assert_eq!(allowed_origin(&response), "*");
}

#[test]
fn any_origin_may_send_the_headers_that_it_asks_for() {
    let server = TestServer::start(|s| s.flag("--cors-origin", "*"));
    let asked = "content-type,traceparent,x-of-some-tool";
    let response = server
        .request(Method::OPTIONS, "/api/prove")
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", asked)
        .send();
    assert!(response.status.is_success(), "{response:?}");
    assert_eq!((allowed_origin(&response), response.header("access-control-allow-headers")), ("*", asked));
}
