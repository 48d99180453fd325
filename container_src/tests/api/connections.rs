//! Connections that hold a place without use, and more of them than the server allows.

use std::{io::ErrorKind, net::Ipv4Addr, thread, time::Duration};

use edgeprove_protocol::ProblemType;
use http::Method;
use rustix::process::Signal;

use crate::support::{Connection, TestServer, client::Request, eventually, samples};

/// Opens an upload whose body the server wants and never gets.
fn unfinished_upload(server: &TestServer) -> Connection {
    let lines = ["Content-Length: 1000", "Expect: 100-continue"];
    eventually("the server accepts the upload", || {
        let mut upload = Connection::post_head(server.address(), "/api/prove", &lines);
        (upload.read_response().status == 100).then_some(upload)
    })
}

#[track_caller]
fn assert_closed_without_a_response(mut connection: Connection) {
    let received = connection.read_to_end();
    assert!(received.is_empty(), "{}", String::from_utf8_lossy(&received));
}

#[test]
fn connections_without_a_request_are_closed() {
    let server = TestServer::start_default();
    let open_with = |bytes: &[u8]| {
        let mut connection = Connection::open(server.address());
        connection.send(bytes);
        connection
    };
    let silent = open_with(b"");
    let half_a_head = open_with(b"POST /api/prove HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
    let mut idle = open_with(b"");
    idle.get("/livez");
    assert_eq!(idle.read_response().status, 200);
    for connection in [silent, half_a_head, idle] {
        assert_closed_without_a_response(connection);
    }
    server.assert_healthy();
}

#[test]
fn http_2_is_refused() {
    let server = TestServer::start_default();
    // The whole preface with a frame, and the beginning of a preface.
    for bytes in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], b"PRI * HTTP/2.0\r\n"] {
        let mut connection = Connection::open(server.address());
        connection.send(bytes);
        let received = connection.read_to_end();
        assert!(received.is_empty() || received.starts_with(b"HTTP/1.1 400 "), "{received:?}");
    }
}

#[test]
fn a_client_that_never_reads_is_disconnected() {
    let server = TestServer::start_default();
    let mut connection = Connection::open(server.address());
    let requests = b"GET /problems/invalid_request HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    // First the buffers on the way fill up, then the server waits for the client, then it gives up.
    let error = eventually("the server disconnects the client", || connection.try_send(&requests).err());
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    server.assert_healthy();
}

#[test]
fn new_connections_displace_idle_ones() {
    let server = TestServer::start(|s| s.flag("--connections", &8));
    let mut silent: Vec<Connection> = (0..50).map(|_| Connection::open(server.address())).collect();
    assert_eq!(server.get("/livez").status, 200);
    server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());
    // The oldest ones were displaced long before the limit for a head.
    assert_closed_without_a_response(silent.remove(0));
    server.assert_healthy();
}

/// Neither requests in progress nor requests without a pause keep the connections of others out.
#[test]
fn no_crowd_keeps_other_addresses_out() {
    let server = TestServer::start(|s| s.flag("--connections", &8));
    let crowd = |addresses: u8, each: usize, bytes: &str| -> Vec<Connection> {
        let sources = (2..2 + addresses).map(|last| Ipv4Addr::new(127, 0, 0, last));
        let open = |source| {
            let mut connection = Connection::open_from(source, server.address());
            // The server may have closed it already.
            let _ = connection.try_send(bytes.as_bytes());
            connection
        };
        sources.flat_map(|source| (0..each).map(move |_| open(source))).collect()
    };
    let half_a_body = "POST /api/prove HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nab";
    let pipelined = "GET /problems/not_ready HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    for (addresses, each, bytes) in [(1, 40, half_a_body), (2, 8, half_a_body), (1, 40, &pipelined)] {
        let mut crowd = crowd(addresses, each, bytes);
        for _ in 0..3 {
            for connection in &mut crowd {
                // Each of them has a request in progress, or has just had one.
                let _ = connection.try_send(&bytes.as_bytes()[bytes.len() - 1..]);
            }
            assert_eq!(server.get("/livez").status, 200);
            server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());
        }
    }
    server.assert_healthy();
}

/// Opens a connection from an address that has no other.
fn open_from_crowd(server: &TestServer) -> Connection {
    Connection::open_from(Ipv4Addr::new(127, 0, 0, 2), server.address())
}

/// Another address has a request in progress, and the crowd's sends requests until one of them waits for its turn, after
/// which something else happened. Returns the request of the other address and the one that waits.
fn request_that_waits(
    server: &TestServer,
    path: &str,
    wait_min: Duration,
    later: impl Fn(),
) -> (Connection, Connection) {
    let upload = unfinished_upload(server);
    let requests = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(20);
    let mut crowd = Vec::new();
    let waiting = eventually("a request waits", || {
        if crowd.len() >= 600 {
            crowd.clear();
        }
        for _ in 0..100 {
            let mut connection = open_from_crowd(server);
            connection.send(requests.as_bytes());
            crowd.push(connection);
        }
        let mut waiting = open_from_crowd(server);
        waiting.get(path);
        later();
        (!waiting.receives_within(wait_min)).then_some(waiting)
    });
    (upload, waiting)
}

/// The fewer threads, the fewer requests are needed until one waits.
fn start_with_one_thread() -> TestServer {
    TestServer::start(|s| s.environment.push(("TOKIO_WORKER_THREADS".to_owned(), "1".to_owned())))
}

#[test]
fn probes_do_not_wait_for_other_requests_of_their_address() {
    let server = start_with_one_thread();
    let probe = || {
        let mut probe = open_from_crowd(&server);
        probe.get("/livez");
        assert_eq!(probe.read_response().status, 200);
    };
    // Far longer than a request takes that need not wait.
    let wait_min = Duration::from_millis(200);
    let (upload, mut waiting) = request_that_waits(&server, "/", wait_min, probe);
    assert_eq!(waiting.read_response().status, 200);
    drop(upload);
    server.assert_healthy();
}

#[test]
fn a_request_that_waits_is_answered_during_the_shutdown() {
    let mut server = start_with_one_thread();
    // Probes have the smallest share, so few of them are enough for a long wait.
    let (upload, mut waiting) = request_that_waits(&server, "/metrics", Duration::from_secs(1), || {});
    server.signal(Signal::TERM);
    assert_eq!(waiting.read_response().status, 200);
    drop(upload);
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn probes_are_answered_when_every_connection_is_busy() {
    let server = TestServer::start(|s| s.flag("--connections", &2));
    let uploads = [(); 2].map(|()| unfinished_upload(&server));
    let health = || server.request(Method::GET, "/api/health").try_send();
    for _ in 0..40 {
        assert_eq!(server.get("/livez").status, 200);
        assert_eq!(server.get("/metrics").status, 200);
        health().unwrap().assert_refused_for_now(ProblemType::TooManyConnections);
    }
    let upload = Request::prove(server.address(), "/api/prove", &samples::range_check().witness);
    if let Ok(response) = upload.try_send() {
        response.assert_refused_for_now(ProblemType::TooManyConnections);
    }
    drop(uploads);
    eventually("a place is free again", || (health().ok()?.status == 200).then_some(()));
    server.assert_healthy();
}

#[test]
fn a_caller_has_a_bounded_number_of_requests_at_once() {
    // The keys of `foo` and `bar`.
    let keys = "one:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae \
                two:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9";
    let server = TestServer::start(|s| {
        s.environment.push(("EDGEPROVE_API_KEYS".to_owned(), keys.to_owned()));
        s.flag("--requests-per-caller", &2);
    });
    let upload = || {
        let lines = ["Content-Length: 1000", "X-Api-Key: foo"];
        Connection::post_head(server.address(), "/api/prove", &lines)
    };
    let uploads = [upload(), upload()];
    let queue = |key: &str| server.request(Method::GET, "/api/health").header("x-api-key", key).send();
    eventually("the caller is at its limit", || (queue("foo").status == 429).then_some(()));
    queue("foo").assert_refused_for_now(ProblemType::RateLimited);
    assert_eq!(queue("bar").status, 200);
    assert_eq!(server.request(Method::GET, "/livez").header("x-api-key", "foo").send().status, 200);
    drop(uploads);
    eventually("the uploads are forgotten", || (queue("foo").status == 200).then_some(()));
}

#[test]
fn probes_have_a_listener_of_their_own() {
    let server = TestServer::start(|s| {
        s.flag("--probe-listen", "127.0.0.1:0");
        s.flag("--connections", &1);
    });
    let line = server.wait_for_log_line("the server listens", |line| line["probe_address"].is_string());
    let address = line["probe_address"].as_str().unwrap().parse().unwrap();
    let _upload = unfinished_upload(&server);
    let clients: Vec<_> = (0..20)
        .map(|_| thread::spawn(move || Request::new(address, Method::GET, "/readyz").send().status))
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), 200);
    }
    Request::new(address, Method::GET, "/api/health").send().assert_refused(ProblemType::NotFound);
    let prove = Request::prove(address, "/api/prove", &samples::range_check().witness);
    prove.send().assert_refused(ProblemType::NotFound);
}
