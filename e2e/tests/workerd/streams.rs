//! The edge forwards bodies as streams in both directions, and cancels those that nobody reads any more.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use edgeprove_e2e::{Edge, TestUpstream, test_upstream::EVENTS};
use edgeprove_protocol::Target;
use edgeprove_testkit::{Connection, TestServer, eventually, samples, wait::LIMIT};
use tungstenite::Message;

/// Size of an upload that must not add to the edge's memory.
const LARGE_BYTES: usize = 20 << 20;
/// The number of witnesses of a circuit whose witness is that large.
const LARGE_INDICES: u32 = 700_000;
/// How much workerd may grow meanwhile: by its buffers and by normal changes of its heap.
const GROWTH_MAX_BYTES: u64 = 24 << 20;

fn open(edge: &Edge, request: &str) -> TcpStream {
    let mut connection = TcpStream::connect(edge.address()).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    connection
}

/// Reads until the text contains this part.
#[track_caller]
fn read_until(connection: &mut TcpStream, text: &mut String, part: &str) {
    let mut bytes = [0; 4096];
    while !text.contains(part) {
        let length = connection.read(&mut bytes).expect("more text arrives");
        assert!(length > 0, "the stream ends before {part:?}: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
}

#[test]
fn a_large_upload_does_not_fill_the_edges_memory() {
    let dir = tempfile::tempdir().unwrap();
    // Its witness has about 32 bytes for each index.
    let wide = samples::wide(dir.path(), "wide", LARGE_INDICES);
    let server = TestServer::start(|s| {
        s.circuit = Some(wide.circuit.clone());
        s.sample = None;
    });
    let test_upstream = TestUpstream::start();
    let edge = Edge::before(&server);
    let large = wide.witness.clone();
    assert!(large.len() > LARGE_BYTES);
    let prove =
        || edge.prove_request("/api/prove", &large).send().assert_proves(&wide, Target::NoirRecursive);
    // After the first upload, workerd has the memory that any upload needs.
    prove();

    let growth = edge.growth_while(prove);
    assert!(growth < GROWTH_MAX_BYTES, "workerd grew by {growth} bytes");
    drop(edge);

    // An upstream that reads slowly must slow the caller down.
    let edge = Edge::start(|e| {
        e.upstream(test_upstream.address());
    });
    edge.prove_request("/v1/proofs", &large[..1 << 20]).send();
    let growth = edge.growth_while(|| {
        let response = edge.prove_request("/v1/proofs", &large).send();
        assert_eq!(response.json()["body_bytes"], large.len());
    });
    assert!(growth < GROWTH_MAX_BYTES, "workerd grew by {growth} bytes with an upstream that reads slowly");
}

#[test]
fn events_arrive_one_by_one_and_sockets_carry_both_ways() {
    let test_upstream = TestUpstream::start();
    let edge = Edge::start(|e| {
        e.upstream(test_upstream.address());
    });

    // Each event is sent only after the one before has arrived, so an edge that holds events back delivers none.
    let mut events =
        open(&edge, "GET /v1/proofs/steps/events HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n");
    let mut text = String::new();
    for number in 0..EVENTS {
        assert_eq!(edge.request("DELETE", "/v1/proofs/steps").send().status, 200);
        read_until(&mut events, &mut text, &format!("data: event {number}\n"));
    }
    events.read_to_string(&mut text).unwrap();
    assert!(text.contains("text/event-stream"), "{text}");

    let connection = TcpStream::connect(edge.address()).unwrap();
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    let url = format!("ws://{}/v1/proofs/socket/events", edge.address());
    let (mut socket, response) = tungstenite::client(url, connection).unwrap();
    assert_eq!(response.status(), 101);
    for message in [Message::text("{\"last\":7}"), Message::binary(vec![0, 255, 10]), Message::text("ä")] {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    assert_eq!(test_upstream.open_requests(), 1);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    eventually("the upstream's end is closed too", || (test_upstream.open_requests() == 0).then_some(()));
}

#[test]
fn a_request_whose_caller_left_is_cancelled() {
    let test_upstream = TestUpstream::start();
    let edge = Edge::start(|e| {
        e.upstream(test_upstream.address()).var("OTHER_REQUEST_TIMEOUT", "10s");
    });
    // A caller that stops reading a body is noticed at once. A caller that leaves before the response is not noticed by
    // a local workerd, and the request then ends at its timeout.
    for path in ["/v1/proofs/endless/proof", "/v1/proofs/hang"] {
        let mut caller = Connection::open(edge.address());
        caller.get(path);
        eventually("the upstream has the request", || (test_upstream.open_requests() == 1).then_some(()));
        if path.contains("endless") {
            caller.read_response();
        }
        drop(caller);
        eventually("the request to the upstream ends", || (test_upstream.open_requests() == 0).then_some(()));
    }
}
