//! Requests with an invalid head.

use edgeprove_protocol::ProblemType;
use http::Method;

use crate::support::{Connection, TestServer, samples};

#[test]
fn an_unsupported_media_type_is_refused() {
    let server = TestServer::start_default();
    let good = &samples::range_check().witness;
    for media in
        ["application/jsonp", "text/plain", "multipart/form-data; boundary=x", "application/zip", "x", ""]
    {
        let mut request = server.request(Method::POST, "/api/prove").header("content-type", media);
        request.body.clone_from(good);
        let problem = request.send().assert_refused(ProblemType::UnsupportedMediaType);
        let arrived = match media.split(';').next().unwrap() {
            "" => "an empty Content-Type;".to_owned(),
            named => format!("Content-Type: {named};"),
        };
        assert!(problem.detail.contains(&arrived), "{}", problem.detail);
        assert!(problem.detail.contains("application/gzip"), "{}", problem.detail);
        server.assert_idle();
    }
    // The type that curl sends by itself.
    let mut request = server.request(Method::POST, "/api/prove");
    request = request.header("content-type", "application/x-www-form-urlencoded");
    let problem = request.send().assert_refused(ProblemType::UnsupportedMediaType);
    assert!(problem.detail.contains("--data-binary"), "{}", problem.detail);
    let empty = server.prove_request(good).header("content-encoding", "").send();
    let problem = empty.assert_refused(ProblemType::UnsupportedMediaType);
    assert!(problem.detail.contains("an empty Content-Encoding"), "{}", problem.detail);
    for coding in ["br", "deflate", "zstd", "gzip, gzip"] {
        let request = server.prove_request(good).header("content-encoding", coding);
        let problem = request.send().assert_refused(ProblemType::UnsupportedMediaType);
        assert!(problem.detail.contains(coding), "{}", problem.detail);
    }
    server.assert_healthy();
}

#[test]
fn an_unknown_circuit_is_refused() {
    let server = TestServer::start_default();
    let good = &samples::range_check().witness;
    let long = "x".repeat(5000);
    for name in
        ["unknown", "RANGE_CHECK", "range_check.json", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "ä", &long]
    {
        let problem = server.prove_request_at(&format!("/api/prove/{name}"), good).send();
        let problem = problem.assert_refused(ProblemType::CircuitNotFound);
        assert!(problem.detail.len() < 500, "{}", problem.detail);
        server.assert_idle();
    }
    let problem = server
        .prove_request_at("/api/prove/unknown", good)
        .send()
        .assert_refused(ProblemType::CircuitNotFound);
    assert!(problem.detail.contains("range_check"), "the detail names the circuits: {}", problem.detail);
    server.prove_request_at("/api/prove/%ff", good).send().assert_refused(ProblemType::InvalidRequest);
    server.assert_healthy();
    // The log contains no text of a caller.
    assert!(!server.log().contains("passwd"));
}

#[test]
fn an_invalid_query_is_refused() {
    let server = TestServer::start_default();
    let good = &samples::range_check().witness;
    for query in [
        "target=solidity",
        "target=",
        "target=EVM",
        "target=evm&target=evm",
        "verifier=evm",
        "target=%ff",
        "x",
    ] {
        let response = server.prove_request_at(&format!("/api/prove?{query}"), good).send();
        let problem = response.assert_refused(ProblemType::InvalidRequest);
        assert!(problem.detail.contains("target"), "{query}: {}", problem.detail);
        server.assert_idle();
    }
    server.assert_healthy();
}

#[test]
fn an_unknown_path_is_refused() {
    let server = TestServer::start_default();
    for path in
        ["/nothing", "/api", "/api/", "/api/prove/", "/api/prove/a/b", "/api/health/", "//", "/%2e%2e/x"]
    {
        for method in [Method::GET, Method::POST] {
            server.request(method, path).send().assert_refused(ProblemType::NotFound);
        }
    }
    server.assert_healthy();
}

#[test]
fn a_method_that_is_not_allowed_is_refused() {
    let server = TestServer::start_default();
    for (path, allowed, others) in [
        ("/api/prove", "POST", [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS]),
        ("/api/prove/range_check", "POST", [Method::GET, Method::PUT, Method::PATCH, Method::OPTIONS]),
        ("/api/health", "GET,HEAD", [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS]),
        ("/", "GET,HEAD", [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS]),
    ] {
        for method in others {
            let response = server.request(method, path).send();
            response.assert_refused(ProblemType::MethodNotAllowed);
            assert_eq!(response.header("allow"), allowed, "{path}");
        }
    }
    server.assert_healthy();
}

#[test]
fn a_head_request_gets_the_head_and_no_body() {
    let server = TestServer::start_default();
    for path in ["/", "/api/health", "/livez", "/readyz"] {
        let response = server.request(Method::HEAD, path).send();
        assert_eq!(response.status, 200);
        assert!(response.body.is_empty());
        assert_eq!(response.header("content-type"), "application/json");
    }
    let response = server.request(Method::HEAD, "/api/prove").send();
    assert_eq!((response.status.as_u16(), response.header("allow")), (405, "POST"));
    assert!(response.body.is_empty());
    assert_eq!(response.header("content-type"), "application/problem+json");
}

#[test]
fn bytes_that_are_not_http_are_refused() {
    let server = TestServer::start_default();
    let huge = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(1000));
    for bytes in ["\0\0\0\0\r\n\r\n", "hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", huge.as_str(), &many] {
        let mut connection = Connection::open(server.address());
        // The server may respond and close the connection before it has read everything.
        let _ = connection.try_send(bytes.as_bytes());
        let response = String::from_utf8_lossy(&connection.read_to_end()).into_owned();
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 4"), "{response}");
    }
    let bad_length = ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: -1", "Content-Length: x"];
    for lines in bad_length {
        let mut connection = Connection::post_head(server.address(), "/api/prove", &[lines]);
        let response = String::from_utf8_lossy(&connection.read_to_end()).into_owned();
        assert!(response.starts_with("HTTP/1.1 400"), "{response}");
    }
    server.assert_healthy();
}

#[test]
fn invalid_chunked_encoding_is_refused() {
    let server = TestServer::start_default();
    let mut connection =
        Connection::post_head(server.address(), "/api/prove", &["Transfer-Encoding: chunked"]);
    connection.send(b"5\r\n\x1f\x8b\x08\0\0\r\nnonsense\r\n");
    connection.read_response().assert_refused(ProblemType::WitnessTruncated);
    server.assert_healthy();
}

#[test]
fn a_request_without_a_host_is_refused() {
    let server = TestServer::start_default();
    let status = |head: &str| {
        let mut connection = Connection::open(server.address());
        connection.send(head.as_bytes());
        let response = connection.read_response();
        if response.status == 400 {
            response.assert_refused(ProblemType::InvalidRequest);
        }
        response.status.as_u16()
    };
    for path in ["/", "/livez", "/api/health"] {
        assert_eq!(status(&format!("GET {path} HTTP/1.1\r\n\r\n")), 400, "{path}");
        assert_eq!(
            status(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")),
            400
        );
        assert_eq!(status(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")), 200, "{path}");
        // Older clients, such as the health checks of some load balancers, do not send it.
        assert_eq!(status(&format!("GET {path} HTTP/1.0\r\n\r\n")), 200, "{path}");
    }
    assert_eq!(status("GET http://localhost/ HTTP/1.1\r\n\r\n"), 400);
}

#[test]
fn a_method_of_the_caller_is_not_logged() {
    let server = TestServer::start_default();
    let mut connection = Connection::open(server.address());
    connection.send(b"HUNTER2 / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let response = connection.read_response();
    response.assert_refused(ProblemType::MethodNotAllowed);
    let line = server.wait_for_request_line(&response);
    assert_eq!(line["method"], "OTHER");
    assert!(!server.log().contains("HUNTER2"));
    let response = server.request(Method::PATCH, "/").send();
    assert_eq!(server.wait_for_request_line(&response)["method"], "PATCH");
}

#[test]
fn a_wrong_query_of_a_list_is_explained_in_one_line() {
    let server = TestServer::start(|s| {
        s.flag("--anonymous-role", "operator");
        s.environment.push(("EDGEPROVE_EPHEMERAL_JOBS".to_owned(), "true".to_owned()));
    });
    for query in ["limit=abc", "bogus=1", "limit=0", "limit=101", "status=unknown"] {
        // Every problem is checked for texts that were broken into lines.
        let problem = server.get(&format!("/v1/proofs?{query}")).assert_refused(ProblemType::InvalidRequest);
        assert!(problem.detail.contains("limit") || problem.detail.contains("status"), "{}", problem.detail);
    }
}
