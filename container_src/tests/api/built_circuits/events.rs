//! The events of builds: what they show, who may follow them, and how many there may be.

use std::{fs, net::TcpStream};

use edgeprove_protocol::{
    ProblemType,
    answer::{CircuitEntry, CircuitStatus},
    headers,
};
use edgeprove_testkit::{
    Connection, Receiver, Response, TestServer,
    postgres::Cluster,
    samples,
    wait::{LIMIT, LONG_LIMIT},
};
use http::Method;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tungstenite::Message;

use super::{builder, circuit, range, request, use_compilers, use_failing_compiler};
use crate::webhooks;

/// The stages of a build, in order.
const STAGES: [&str; 5] = ["queued", "compiling", "making_keys", "checking", "publishing"];

/// An event: its id, its name, and the circuit.
type Event = (String, String, CircuitEntry);

fn follow(server: &TestServer, path: &str, last: Option<&str>) -> Response {
    let request = server.request(Method::GET, path);
    let request = match last {
        Some(last) => request.header("last-event-id", last),
        None => request,
    };
    request.send_within(LONG_LIMIT)
}

#[track_caller]
fn events(response: &Response) -> Vec<Event> {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), "text/event-stream");
    let text = String::from_utf8(response.body.clone()).unwrap();
    let event = |block: &str| {
        let field = |name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{block}")).trim()
        };
        (field("id:").to_owned(), field("event:").to_owned(), serde_json::from_str(field("data:")).unwrap())
    };
    text.split("\n\n").filter(|block| block.contains("data:")).map(event).collect()
}

/// Asks for a circuit, and returns its id and the path of its events.
#[track_caller]
fn ask(server: &TestServer, body: &Value) -> (String, String) {
    let response = request(server, body);
    assert_eq!(response.status, 202, "{response:?}");
    let entry: CircuitEntry = serde_json::from_slice(&response.body).unwrap();
    let build = entry.build.expect("it is being built");
    assert!(!build.created_at.is_empty() && build.max_attempts > 0, "{build:?}");
    assert_eq!(build.events, format!("/v1/circuits/{}/events", entry.id));
    (entry.id.to_string(), build.events)
}

/// Checks the events before the last, in their order.
#[track_caller]
fn assert_progress(events: &[Event]) {
    let shown: Vec<(usize, u8)> = events
        .iter()
        .map(|(_, name, entry)| {
            assert_eq!((name.as_str(), entry.status), ("progress", CircuitStatus::Pending), "{entry:?}");
            let build = entry.build.as_ref().unwrap();
            let stage =
                STAGES.iter().position(|stage| *stage == build.stage).unwrap_or_else(|| panic!("{build:?}"));
            assert_eq!(stage == 0, build.started_at.is_none(), "{build:?}");
            (stage, build.progress)
        })
        .collect();
    assert!(shown.is_sorted() && !shown.is_empty(), "{shown:?}");
}

#[test]
fn a_build_is_followed_until_it_is_ready() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(builder(data.path()));
    let (id, path) = ask(&server, &range("circom"));
    let seen = events(&follow(&server, &path, None));
    let (last, before) = seen.split_last().unwrap();
    assert_progress(before);
    let (last_id, name, entry) = last;
    assert_eq!((name.as_str(), entry.status, &entry.build), ("done", CircuitStatus::Ready, &None));
    assert_eq!(*entry, circuit(&server, &id));

    // A client that reconnects gets what it has not seen.
    assert_eq!(follow(&server, &path, Some(last_id)).status, 204);
    assert_eq!(events(&follow(&server, &path, Some(&before[0].0))), std::slice::from_ref(last));
    assert_eq!(events(&follow(&server, &path, None)), std::slice::from_ref(last));
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{}{path}", server.address()), stream).unwrap();
    let Message::Text(text) = socket.read().unwrap() else { panic!("a message") };
    let message: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&message["id"], &message["circuit"]["status"]), (&last_id.as_str().into(), &"ready".into()));
    let Message::Close(Some(close)) = socket.read().unwrap() else { panic!("the socket is closed") };
    assert_eq!(u16::from(close.code), 1000);

    // A configured circuit has no build.
    let configured = &samples::range_check().name;
    assert_eq!(follow(&server, &format!("/v1/circuits/{configured}/events"), None).status, 204);
    follow(&server, "/v1/circuits/nothing/events", None).assert_refused(ProblemType::CircuitNotFound);
}

#[test]
fn a_failed_build_is_shown_and_reported() {
    let (data, receiver) = (tempfile::tempdir().unwrap(), Receiver::start_default());
    let tools = data.path().join("tools");
    use_failing_compiler(&tools);
    let server = TestServer::start(|settings| {
        webhooks::to(&[&receiver])(settings);
        settings.flag("--data", &data.path().join("data").display());
        use_compilers(settings, &tools);
    });
    let asked = server.json_request("/v1/circuits", range("noir").to_string());
    let asked = asked.header(headers::CALLBACK_URL, &receiver.url("/")).send();
    let path = asked.json()["build"]["events"].as_str().unwrap().to_owned();
    let (_, name, entry) = events(&follow(&server, &path, None)).pop().unwrap();
    assert_eq!((name.as_str(), entry.status), ("done", CircuitStatus::Failed));
    let error = entry.error.as_ref().unwrap();
    assert_eq!(error.code.known(), Some(ProblemType::CircuitCompilationFailed));
    assert!(error.detail.contains("no such module") && entry.build.is_none(), "{entry:?}");
    let event = webhooks::assert_signed(&webhooks::wait_for(&receiver, 1)[0]);
    assert_eq!(event["type"], "build.failed");
    assert_eq!(serde_json::from_value::<CircuitEntry>(event["data"].clone()).unwrap(), entry);
}

#[test]
fn streams_of_builds_are_for_anybody_and_bounded() {
    // No server of this database builds, so that the build waits.
    let Some(cluster) = Cluster::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.toml");
    let digest = hex::encode(Sha256::digest("alice"));
    fs::write(&keys, format!("[keys.alice]\nrole = 'user'\nsha256 = ['{digest}']\n")).unwrap();
    let server = TestServer::start(|settings| {
        settings.environment.push(("DATABASE_URL".to_owned(), cluster.url()));
        settings.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), "0f".repeat(32)));
        settings.flag("--artifacts", &dir.path().join("artifacts").display());
        settings.flag("--keys-file", &keys.display());
        settings.flag("--watchers-per-caller", "1");
        settings.sample = None;
    });
    let asked = server.json_request("/v1/circuits", range("noir").to_string());
    let asked = asked.header(headers::API_KEY, "alice").send();
    assert_eq!(asked.status, 202, "{asked:?}");
    let path = asked.json()["build"]["events"].as_str().unwrap().to_owned();

    // Without a key, and then with one.
    let mut first = Connection::open(server.address());
    first.get(&path);
    assert!(first.receives_within(LIMIT));
    follow(&server, &path, None).assert_refused(ProblemType::RateLimited);
    let by_alice = || server.request(Method::GET, &path).header(headers::API_KEY, "alice");
    let mut second = Connection::open(server.address());
    second.send(
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{}: alice\r\n\r\n", headers::API_KEY).as_bytes(),
    );
    assert!(second.receives_within(LIMIT));
    by_alice().send().assert_refused(ProblemType::RateLimited);
}
