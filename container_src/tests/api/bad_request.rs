//! Requests whose head is wrong, whatever their body.

use edgeprove_protocol::ProblemType;
use http::Method;

use crate::support::{Connection, TestServer, samples};

#[test]
fn a_body_of_another_type() {
    let server = TestServer::plain();
    let good = &samples::range().witness;
    for media in
        ["application/json", "text/plain", "multipart/form-data; boundary=x", "application/zip", "x", ""]
    {
        let mut ask = server.ask(Method::POST, "/api/prove").header("content-type", media);
        ask.body.clone_from(good);
        ask.send().refused(ProblemType::UnsupportedMediaType);
        server.assert_idle();
    }
    for coding in ["br", "deflate", "zstd", "gzip, gzip"] {
        let ask = server.posting(good).header("content-encoding", coding);
        ask.send().refused(ProblemType::UnsupportedMediaType);
    }
    server.assert_well();
}

#[test]
fn a_circuit_that_is_not_there() {
    let server = TestServer::plain();
    let good = &samples::range().witness;
    let long = "x".repeat(5000);
    for name in
        ["unknown", "RANGE_CHECK", "range_check.json", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "ä", &long]
    {
        let problem = server.posting_to(&format!("/api/prove/{name}"), good).send();
        let problem = problem.refused(ProblemType::CircuitNotFound);
        assert!(problem.detail.len() < 500, "{}", problem.detail);
        server.assert_idle();
    }
    let problem = server.posting_to("/api/prove/unknown", good).send().refused(ProblemType::CircuitNotFound);
    assert!(problem.detail.contains("range_check"), "it says what there is: {}", problem.detail);
    server.posting_to("/api/prove/%ff", good).send().refused(ProblemType::InvalidRequest);
    server.assert_well();
    // A caller's text stays out of the log.
    assert!(!server.log().contains("passwd"));
}

#[test]
fn a_query_that_means_nothing() {
    let server = TestServer::plain();
    let good = &samples::range().witness;
    for query in [
        "target=solidity",
        "target=",
        "target=EVM",
        "target=evm&target=evm",
        "verifier=evm",
        "target=%ff",
        "x",
    ] {
        let answer = server.posting_to(&format!("/api/prove?{query}"), good).send();
        let problem = answer.refused(ProblemType::InvalidRequest);
        assert!(problem.detail.contains("target"), "{query}: {}", problem.detail);
        server.assert_idle();
    }
    server.assert_well();
}

#[test]
fn a_path_that_is_not_there() {
    let server = TestServer::plain();
    for path in
        ["/nothing", "/api", "/api/", "/api/prove/", "/api/prove/a/b", "/api/health/", "//", "/%2e%2e/x"]
    {
        for method in [Method::GET, Method::POST] {
            server.ask(method, path).send().refused(ProblemType::NotFound);
        }
    }
    server.assert_well();
}

#[test]
fn a_method_that_is_not_allowed() {
    let server = TestServer::plain();
    for (path, allowed, others) in [
        ("/api/prove", "POST", [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS]),
        ("/api/prove/range_check", "POST", [Method::GET, Method::PUT, Method::PATCH, Method::OPTIONS]),
        ("/api/health", "GET,HEAD", [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS]),
        ("/", "GET,HEAD", [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS]),
    ] {
        for method in others {
            let answer = server.ask(method, path).send();
            answer.refused(ProblemType::MethodNotAllowed);
            assert_eq!(answer.header("allow"), allowed, "{path}");
        }
    }
    server.assert_well();
}

#[test]
fn a_head_request_gets_the_head_and_no_body() {
    let server = TestServer::plain();
    for path in ["/", "/api/health", "/livez", "/readyz"] {
        let answer = server.ask(Method::HEAD, path).send();
        assert_eq!(answer.status, 200);
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("content-type"), "application/json");
    }
    let answer = server.ask(Method::HEAD, "/api/prove").send();
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"));
    assert!(answer.body.is_empty());
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

#[test]
fn what_is_no_http() {
    let server = TestServer::plain();
    let huge = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(1000));
    for bytes in ["\0\0\0\0\r\n\r\n", "hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", huge.as_str(), &many] {
        let mut connection = Connection::open(server.address());
        // The server may answer and close before it has read all of it.
        let _ = connection.try_send(bytes.as_bytes());
        let answer = String::from_utf8_lossy(&connection.rest()).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let bad_length = ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: -1", "Content-Length: x"];
    for lines in bad_length {
        let mut connection = Connection::post_head(server.address(), "/api/prove", &[lines]);
        let answer = String::from_utf8_lossy(&connection.rest()).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    server.assert_well();
}

#[test]
fn chunks_that_are_none() {
    let server = TestServer::plain();
    let mut connection =
        Connection::post_head(server.address(), "/api/prove", &["Transfer-Encoding: chunked"]);
    connection.send(b"5\r\n\x1f\x8b\x08\0\0\r\nnonsense\r\n");
    connection.answer().refused(ProblemType::WitnessTruncated);
    server.assert_well();
}
