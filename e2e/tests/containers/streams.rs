//! Streams into containers and out of them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use edgeprove_e2e::{Edge, edge::variant};
use edgeprove_protocol::Target;
use edgeprove_testkit::{Connection, eventually, places, samples, wait::PATIENCE};
use tungstenite::Message;

use crate::{only_container, proves, sample};

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn a_large_upload_leaves_the_edges_memory_as_it_was_and_one_that_breaks_off_leaves_nothing() {
    let edge = Edge::start(|_| {});
    let sample = sample();
    proves(&edge);
    let large = samples::padded(&sample.witness, 50 << 20);
    let growth = edge.growth_while(|| {
        edge.posting("/api/prove", &large).send().proves(&sample, Target::NoirRecursive);
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
    proves(&edge);
    assert_eq!(only_container(&edge), container, "the container did not survive it");
}

#[test]
#[ignore = "needs a Docker Engine: cargo xtask test --heavy"]
fn events_and_sockets_pass_through_the_containers_object() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(places::program("stand_in"), dir.path().join("stand_in")).unwrap();
    // Cloudflare's own rule: what listens must be exposed.
    let dockerfile = "FROM edgeprove:edge\nCOPY stand_in /usr/local/bin/edgeprove\nEXPOSE 8080\n";
    fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    let config = variant(dir.path(), |config| {
        config["containers"][0]["image"] = dir.path().join("Dockerfile").display().to_string().into();
    });
    let edge = Edge::start(|e| {
        e.config(config).var("SLEEP_AFTER", "3s");
    });

    let mut events = TcpStream::connect(edge.address()).unwrap();
    events.set_read_timeout(Some(PATIENCE)).unwrap();
    events
        .write_all(b"GET /v1/proofs/five/events HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n")
        .unwrap();
    let (mut text, mut arrivals, mut bytes) = (String::new(), Vec::new(), [0; 4096]);
    loop {
        let length = events.read(&mut bytes).unwrap();
        if length == 0 {
            break;
        }
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
        arrivals.resize_with(text.matches("data: event").count(), Instant::now);
    }
    assert_eq!(arrivals.len(), 5, "{text}");
    assert!(arrivals[4] - arrivals[0] > Duration::from_millis(400), "{arrivals:?}");

    let url = format!("ws://{}/v1/proofs/socket/events", edge.address());
    let connection = TcpStream::connect(edge.address()).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut socket, _) = tungstenite::client(url, connection).unwrap();
    let container = only_container(&edge);
    // Longer than the container may idle: an open socket keeps it awake.
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
