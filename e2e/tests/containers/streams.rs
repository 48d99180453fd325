//! Streams into containers and out of them.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use edgeprove_e2e::{Edge, docker, edge::variant, test_upstream::EVENTS};
use edgeprove_protocol::Target;
use edgeprove_testkit::{Connection, eventually, paths, samples, wait::LIMIT};
use tungstenite::{Message, WebSocket};

use crate::{assert_proves, only_container, sample};

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_large_upload_does_not_fill_the_edges_memory() {
    let edge = Edge::start(|_| {});
    let sample = sample();
    assert_proves(&edge);
    // About as many bytes as a witness of this circuit may have. The test in workerd sends more.
    let large = samples::padded(&sample.witness, 1 << 20);
    let growth = edge.growth_while(|| {
        edge.prove_request("/api/prove", &large).send().assert_proves(&sample, Target::NoirRecursive);
    });
    eprintln!("workerd grew by {} kB at most", growth >> 10);
    assert!(growth < 24 << 20, "workerd grew by {growth} bytes");

    let container = only_container(&edge);
    let mut caller =
        Connection::post_head(edge.address(), "/api/prove", &[&format!("Content-Length: {}", large.len())]);
    caller.send(&large[..large.len() / 2]);
    drop(caller);
    eventually("the container is idle again", || {
        let health = edge.get("/api/health").json();
        (health["prover"]["running"] == 0 && health["prover"]["waiting"] == 0).then_some(())
    });
    assert_proves(&edge);
    assert_eq!(only_container(&edge), container, "the container did not survive the upload");
}

/// Starts an edge whose containers are test upstreams. The folder gets their image.
fn edge_before_test_upstreams(dir: &Path, sleep_after: &str) -> Edge {
    fs::copy(paths::program("test_upstream"), dir.join("test_upstream")).unwrap();
    // Cloudflare requires that the port is exposed.
    let dockerfile = "FROM edgeprove:edge\nCOPY test_upstream /usr/local/bin/edgeprove\nEXPOSE 8080\n";
    fs::write(dir.join("Dockerfile"), dockerfile).unwrap();
    let config = variant(dir, |config| {
        config["containers"][0]["image"] = dir.join("Dockerfile").display().to_string().into();
    });
    Edge::start(|e| {
        e.config(config).var("SLEEP_AFTER", sleep_after);
    })
}

fn open_events(edge: &Edge) -> TcpStream {
    let mut events = TcpStream::connect(edge.address()).unwrap();
    events.set_read_timeout(Some(LIMIT)).unwrap();
    events
        .write_all(b"GET /v1/proofs/steps/events HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n")
        .unwrap();
    events
}

fn open_socket(edge: &Edge) -> WebSocket<TcpStream> {
    let url = format!("ws://{}/v1/proofs/socket/events", edge.address());
    let connection = TcpStream::connect(edge.address()).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    tungstenite::client(url, connection).unwrap().0
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn streams_and_sockets_end_with_their_container() {
    let dir = tempfile::tempdir().unwrap();
    let edge = edge_before_test_upstreams(dir.path(), "5m");
    let mut events = open_events(&edge);
    assert_eq!(edge.request("DELETE", "/v1/proofs/steps").send().status, 200);
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    while !text.contains("data: event 0\n") {
        let length = events.read(&mut bytes).unwrap();
        assert!(length > 0, "the stream ends before its container: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    let mut socket = open_socket(&edge);
    socket.send(Message::text("ping")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("ping"));
    let in_flight = || edge.get("/edge/health").json()["containers"][0]["in_flight"].clone();
    assert_eq!(in_flight(), 2);

    docker::run(&["kill", &only_container(&edge)]);
    // Both end at the client within the read timeout, so that it connects again.
    match events.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
    let Message::Close(Some(close)) = socket.read().unwrap() else { panic!("the socket is not closed") };
    assert_eq!(u16::from(close.code), 1012, "{close:?}");
    eventually("no lease is left", || (in_flight() == 0).then_some(()));

    // The client connects again, and its request starts the next container.
    let mut events = open_events(&edge);
    assert_eq!(edge.request("DELETE", "/v1/proofs/steps").send().status, 200);
    assert!(events.read(&mut bytes).unwrap() > 0);
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn events_and_sockets_pass_through_the_durable_object() {
    let dir = tempfile::tempdir().unwrap();
    let edge = edge_before_test_upstreams(dir.path(), "3s");
    let mut events = open_events(&edge);
    // Each event is sent only after the one before has arrived.
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    for number in 0..EVENTS {
        assert_eq!(edge.request("DELETE", "/v1/proofs/steps").send().status, 200);
        while !text.contains(&format!("data: event {number}\n")) {
            let length = events.read(&mut bytes).unwrap();
            assert!(length > 0, "the stream ends before event {number}: {text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    let mut socket = open_socket(&edge);
    let container = only_container(&edge);
    // This takes longer than the container may be idle. An open socket keeps it awake.
    for number in 0..8 {
        let message = Message::text(format!("{{\"percent\":{number}}}"));
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(only_container(&edge), container);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    eventually("the container sleeps once the socket is closed", || {
        edge.containers().is_empty().then_some(())
    });
}
