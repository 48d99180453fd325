//! Pages of other origins: let in by name, and not otherwise.

use edgeprove_protocol::ProblemType;
use http::Method;

use crate::support::{Answer, TestServer, client::Ask, samples};

const ORIGIN: &str = "https://app.example";

fn preflight(server: &TestServer, origin: &str) -> Ask {
    server
        .ask(Method::OPTIONS, "/api/prove")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-request-id")
}

fn allowed_origin(answer: &Answer) -> &str {
    answer.header("access-control-allow-origin")
}

#[test]
fn without_an_origin_no_page_is_let_in() {
    let server = TestServer::plain();
    let answer = preflight(&server, ORIGIN).send();
    answer.refused(ProblemType::MethodNotAllowed);
    let answer = server.posting(&samples::range().witness).header("origin", ORIGIN).send();
    answer.proof_of(samples::range());
    assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")));
}

#[test]
fn a_named_origin_may_ask_and_may_read_all_there_is_to_read() {
    let server = TestServer::start(|s| s.flag("--cors-origin", &format!("https://other.example,{ORIGIN}")));
    let answer = preflight(&server, ORIGIN).send();
    assert!(answer.status.is_success(), "{answer:?}");
    assert_eq!(allowed_origin(&answer), ORIGIN);
    let methods = answer.header("access-control-allow-methods");
    assert!(methods.contains("POST") && methods.contains("DELETE"), "{methods}");
    let headers = answer.header("access-control-allow-headers").to_ascii_lowercase();
    for name in [
        "content-type",
        "content-encoding",
        "accept",
        "x-request-id",
        "prefer",
        "idempotency-key",
        "x-priority",
        "x-deadline",
        "cache-control",
        "last-event-id",
    ] {
        assert!(headers.contains(name), "{name} is not in {headers}");
    }
    assert!(answer.header("access-control-max-age").parse::<u32>().is_ok_and(|seconds| seconds > 0));

    let refusals = [
        server.posting(b"no witness").header("origin", ORIGIN).send(),
        server.ask(Method::GET, "/nothing").header("origin", ORIGIN).send(),
        server.ask(Method::DELETE, "/api/prove").header("origin", ORIGIN).send(),
    ];
    let kinds = [ProblemType::WitnessNotGzip, ProblemType::NotFound, ProblemType::MethodNotAllowed];
    for (answer, kind) in refusals.iter().zip(kinds) {
        answer.refused(kind);
        assert_eq!(allowed_origin(answer), ORIGIN, "a page may read why it was refused");
    }
    let proof = server.posting(&samples::range().witness).header("origin", ORIGIN).send();
    proof.proof_of(samples::range());
    assert_eq!(allowed_origin(&proof), ORIGIN);
    let exposed = proof.header("access-control-expose-headers");
    for name in [
        "x-request-id",
        "x-public-inputs",
        "x-vk-hash",
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
fn any_other_origin_is_not_told_that_it_may() {
    let server = TestServer::start(|s| s.flag("--cors-origin", ORIGIN));
    for origin in ["https://app.example.evil", "http://app.example", "null", "https://app.example:8443"] {
        assert_eq!(allowed_origin(&preflight(&server, origin).send()), "", "{origin}");
        let answer = server.posting(&samples::range().witness).header("origin", origin).send();
        assert_eq!(allowed_origin(&answer), "", "{origin}");
    }
}

#[test]
fn a_star_lets_every_page_in() {
    let server = TestServer::start(|s| s.flag("--cors-origin", "*"));
    assert_eq!(allowed_origin(&preflight(&server, ORIGIN).send()), "*");
    let answer = server.posting(&samples::range().witness).header("origin", "null").send();
    answer.proof_of(samples::range());
    assert_eq!(allowed_origin(&answer), "*");
}
