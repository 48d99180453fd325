//! Requests in unusual forms: each has a response, and nothing of them is dropped.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use edgeprove_e2e::{Edge, TestUpstream};
use edgeprove_protocol::{ProblemType, headers, trace_context::TRACEPARENT};
use edgeprove_testkit::{Connection, Response, TestServer, wait::LIMIT};

fn edge() -> Edge {
    let test_upstream = TestUpstream::start();
    Edge::start(|e| {
        e.upstream(test_upstream.address());
    })
}

/// Sends these bytes on a connection of their own, and reads the head of the response. That of a `HEAD` request has no
/// body, and workerd keeps the connection open for some seconds.
#[track_caller]
fn head_of_response(edge: &Edge, request: &[u8]) -> String {
    let mut connection = TcpStream::connect(edge.address()).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    connection.write_all(request).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).expect("the head of a response arrives");
        head.extend(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Posts a body of one byte with a header in bytes.
#[track_caller]
fn post_with(edge: &Edge, name: &str, value: &[u8]) -> Response {
    let mut connection = Connection::open(edge.address());
    let head = format!("POST /api/prove HTTP/1.1\r\nHost: edge\r\nContent-Length: 1\r\n{name}: ");
    connection.send(&[head.as_bytes(), value, b"\r\n\r\nx"].concat());
    connection.read_response()
}

#[test]
fn a_get_with_a_body_or_its_length_is_answered() {
    let edge = edge();
    for method in ["GET", "HEAD"] {
        for (lines, body) in [
            ("Content-Length: 0\r\n", ""),
            ("Content-Length: 5\r\n", "hello"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ] {
            let head = format!("{method} /api/health HTTP/1.1\r\nHost: edge\r\n{lines}\r\n");
            let response = head_of_response(&edge, format!("{head}{body}").as_bytes());
            assert!(response.starts_with("HTTP/1.1 200"), "{method} with {lines:?}: {response}");
        }
    }
    // The body does not become a part of the next request.
    assert_eq!(edge.get("/api/health").status, 200);
    let empty = head_of_response(
        &edge,
        b"DELETE /v1/proofs/steps HTTP/1.1\r\nHost: edge\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(empty.starts_with("HTTP/1.1 200"), "{empty}");
}

#[test]
fn a_header_beyond_ascii_is_passed_on_or_refused() {
    let edge = edge();
    let passed_on = post_with(&edge, "X-Of-A-Caller", "bj\u{f8}rn".as_bytes());
    assert_eq!(passed_on.status, 200, "{passed_on:?}");
    let received = passed_on.json()["headers"].to_string();
    assert!(received.contains("[\"x-of-a-caller\",\"bj\u{f8}rn\"]"), "{received}");
    // A byte that is not UTF-8 does not arrive as it was sent, but the header does arrive.
    let passed_on = post_with(&edge, "X-Of-A-Caller", b"bj\xf8rn");
    assert!(passed_on.json()["headers"].to_string().contains("x-of-a-caller"), "{passed_on:?}");

    for value in ["bestellung-\u{fc}".as_bytes(), b"bestellung-\xfc", b"order-\x01"] {
        let problem =
            post_with(&edge, headers::IDEMPOTENCY_KEY, value).assert_refused(ProblemType::InvalidRequest);
        assert!(problem.detail.to_lowercase().contains(headers::IDEMPOTENCY_KEY), "{problem:?}");
    }
}

#[test]
fn two_idempotency_keys_are_refused_as_at_a_server() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(|s| s.flag("--data", &data.path().display()));
    let edge = Edge::before(&server);
    // The runtime joins the two headers of the first value to one, as in the second value.
    for value in ["a\r\nIdempotency-Key: a", "a, a", "a,b"] {
        let post = |to| {
            let head =
                "POST /api/prove HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nIdempotency-Key: ";
            let mut connection = Connection::open(to);
            connection.send(format!("{head}{value}\r\n\r\nx").as_bytes());
            connection.read_response().assert_refused(ProblemType::InvalidRequest).detail
        };
        let detail = post(edge.address());
        assert_eq!(detail, post(server.address()), "{value:?}");
        assert!(detail.contains("comma"), "{detail}");
    }
}

#[test]
fn a_path_with_an_empty_segment_is_not_found() {
    let edge = edge();
    for path in ["/v1/proofs/", "/v1/proofs//events", "/api/prove/", "//api/health", "/problems/"] {
        for method in ["GET", "POST", "DELETE"] {
            edge.request(method, path).send().assert_refused(ProblemType::NotFound);
        }
    }
}

#[test]
fn pages_with_tracing_may_call_and_their_traces_go_on() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let edge = edge();
    let asked = "content-type,traceparent,tracestate,baggage,sentry-trace,x-of-some-tool";
    let preflight = edge
        .request("OPTIONS", "/api/prove")
        .header("origin", "https://page.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", asked)
        .send();
    assert_eq!(preflight.status, 204, "{preflight:?}");
    assert_eq!(preflight.header("access-control-allow-headers"), asked);
    assert!(preflight.header("vary").contains("Access-Control-Request-Headers"), "{preflight:?}");

    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let response = edge
        .prove_request("/api/prove", b"a body")
        .header("origin", "https://page.example")
        .header(TRACEPARENT, &traceparent)
        .send();
    assert!(response.json()["headers"].to_string().contains(&traceparent), "{response:?}");
    assert_eq!(edge.logged("request_id", response.header(headers::REQUEST_ID))[0]["trace_id"], TRACE);

    // The upstream's own CORS headers do not pass through.
    let response = edge.request("GET", "/problems/cors").header("origin", "https://page.example").send();
    assert_eq!((response.status.as_u16(), response.header("access-control-allow-origin")), (200, "*"));
    assert_eq!(response.header("access-control-allow-credentials"), "", "{response:?}");
    let same_origin = edge.get("/problems/cors");
    assert_eq!(same_origin.header("access-control-allow-origin"), "", "{same_origin:?}");
}
