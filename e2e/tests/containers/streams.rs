//! Streams into containers and out of them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use edgeprove_e2e::{Edge, edge::variant, test_upstream::EVENTS};
use edgeprove_protocol::Target;
use edgeprove_testkit::{Connection, eventually, paths, samples, wait::LIMIT};
use tungstenite::Message;

use crate::{assert_proves, only_container, sample};

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_large_upload_does_not_fill_the_edges_memory() {
    let edge = Edge::start(|_| {});
    let sample = sample();
    assert_proves(&edge);
    let large = samples::padded(&sample.witness, 50 << 20);
    let growth = edge.growth_while(|| {
        edge.prove_request("/api/prove", &large).send().assert_proves(&sample, Target::NoirRecursive);
    });
    eprintln!("workerd grew by {} kB at most", growth >> 10);
    assert!(growth < 24 << 20, "workerd grew by {growth} bytes");

    let container = only_container(&edge);
    let mut caller =
        Connection::post_head(edge.address(), "/api/prove", &[&format!("Content-Length: {}", large.len())]);
    caller.send(&large[..10 << 20]);
    drop(caller);
    eventually("the container is idle again", || {
        let health = edge.get("/api/health").json();
        (health["prover"]["running"] == 0 && health["prover"]["waiting"] == 0).then_some(())
    });
    assert_proves(&edge);
    assert_eq!(only_container(&edge), container, "the container did not survive the upload");
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn events_and_sockets_pass_through_the_durable_object() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(paths::program("test_upstream"), dir.path().join("test_upstream")).unwrap();
    // Cloudflare requires that the port is exposed.
    let dockerfile = "FROM edgeprove:edge\nCOPY test_upstream /usr/local/bin/edgeprove\nEXPOSE 8080\n";
    fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    let config = variant(dir.path(), |config| {
        config["containers"][0]["image"] = dir.path().join("Dockerfile").display().to_string().into();
    });
    let edge = Edge::start(|e| {
        e.config(config).var("SLEEP_AFTER", "3s");
    });

    let mut events = TcpStream::connect(edge.address()).unwrap();
    events.set_read_timeout(Some(LIMIT)).unwrap();
    events
        .write_all(b"GET /v1/proofs/steps/events HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n")
        .unwrap();
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

    let url = format!("ws://{}/v1/proofs/socket/events", edge.address());
    let connection = TcpStream::connect(edge.address()).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    let (mut socket, _) = tungstenite::client(url, connection).unwrap();
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
