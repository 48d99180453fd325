//! Bodies go through as streams, both ways, and end where they are no longer wanted.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use edgeprove_e2e::{Edge, StandIn};
use edgeprove_protocol::Target;
use edgeprove_testkit::{
    Connection, TestServer, eventually, samples,
    wait::{PATIENCE, within},
};
use tungstenite::Message;

/// An upload of a size that must not show in the edge's memory.
const LARGE_BYTES: usize = 50 << 20;
/// What workerd may grow by meanwhile: its own buffers, and what its heap happens to do.
const GROWTH_MAX_BYTES: u64 = 24 << 20;

fn open(edge: &Edge, request: &str) -> TcpStream {
    let mut connection = TcpStream::connect(edge.address()).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    connection
}

#[test]
fn an_upload_of_fifty_megabytes_leaves_the_edges_memory_as_it_was() {
    let server = TestServer::plain();
    let stand_in = StandIn::start();
    let edge = Edge::before(&server);
    let range = samples::range();
    let large = samples::padded(&range.witness, LARGE_BYTES);
    // The first upload brings the memory that any upload needs.
    edge.posting("/api/prove", &samples::padded(&range.witness, 1 << 20))
        .send()
        .proves(range, Target::NoirRecursive);

    let growth = edge.growth_while(|| {
        edge.posting("/api/prove", &large).send().proves(range, Target::NoirRecursive);
    });
    assert!(growth < GROWTH_MAX_BYTES, "workerd grew by {growth} bytes");
    drop(edge);

    // A server that reads slower than the caller sends must slow the caller down.
    let edge = Edge::start(|e| {
        e.upstream(stand_in.address());
    });
    edge.posting("/v1/proofs", &large[..1 << 20]).send();
    let growth = edge.growth_while(|| {
        let answer = edge.posting("/v1/proofs", &large).send();
        assert_eq!(answer.json()["body_bytes"], large.len());
    });
    assert!(growth < GROWTH_MAX_BYTES, "workerd grew by {growth} bytes before a slow reader");
}

#[test]
fn events_come_one_by_one_and_sockets_say_everything_back() {
    let stand_in = StandIn::start();
    let edge = Edge::start(|e| {
        e.upstream(stand_in.address());
    });

    let mut events =
        open(&edge, "GET /v1/proofs/five/events HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n");
    let (mut text, mut arrivals, mut bytes) = (String::new(), Vec::new(), [0; 4096]);
    loop {
        let length = events.read(&mut bytes).unwrap();
        if length == 0 {
            break;
        }
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
        let seen = text.matches("data: event").count();
        while arrivals.len() < seen {
            arrivals.push(Instant::now());
        }
    }
    assert!(text.contains("text/event-stream"), "{text}");
    assert_eq!(arrivals.len(), 5, "{text}");
    // They were sent 200 ms apart; held back, all would come at the end.
    assert!(arrivals[4] - arrivals[0] > Duration::from_millis(400), "{arrivals:?}");

    let connection = TcpStream::connect(edge.address()).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let url = format!("ws://{}/v1/proofs/socket/events", edge.address());
    let (mut socket, answer) = tungstenite::client(url, connection).unwrap();
    assert_eq!(answer.status(), 101);
    for message in [Message::text("{\"last\":7}"), Message::binary(vec![0, 255, 10]), Message::text("ä")] {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    assert_eq!(stand_in.under_way(), 1);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    eventually("the server's end is closed, too", || (stand_in.under_way() == 0).then_some(()));
}

#[test]
fn what_a_caller_no_longer_waits_for_is_given_up() {
    let stand_in = StandIn::start();
    let edge = Edge::start(|e| {
        e.upstream(stand_in.address()).var("OTHER_REQUEST_TIMEOUT", "4s");
    });
    // That nobody reads on is noticed at once. That nobody waits for a first word is not, by the workerd that runs on
    // one's own machine: the request then ends with its time.
    for (path, limit) in
        [("/v1/proofs/endless/proof", Duration::from_secs(2)), ("/v1/proofs/hang", Duration::from_secs(8))]
    {
        let mut caller = Connection::open(edge.address());
        caller.get(path);
        eventually("the server is asked", || (stand_in.under_way() == 1).then_some(()));
        if path.contains("endless") {
            caller.answer();
        }
        drop(caller);
        within(limit, "the server sees that nobody waits", || (stand_in.under_way() == 0).then_some(()));
    }
}
