//! Streams of job events: what they send, what they accept, how many there may be, and who may open one.

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
};

use edgeprove_protocol::{JobDocument, JobStatus, ProblemType, headers};
use http::Method;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tungstenite::{
    ClientRequestBuilder, Error, Message, WebSocket, error::ProtocolError, protocol::CloseFrame,
};

use crate::{
    jobs::{JobServer, assert_accepted, document, events},
    support::{Connection, TestServer, eventually, processes::Process, samples, settings::Settings, wait},
};

type Socket = WebSocket<TcpStream>;

#[track_caller]
fn open_socket(server: &TestServer, path: &str) -> Socket {
    try_open_socket(server, path).unwrap()
}

fn try_open_socket(server: &TestServer, path: &str) -> Option<Socket> {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    tungstenite::client(format!("ws://{}{path}", server.address()), stream).ok().map(|(socket, _)| socket)
}

/// Opens a WebSocket with the key of this caller.
#[track_caller]
fn open_socket_by(server: &TestServer, path: &str, key: &str) -> Socket {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    let url = format!("ws://{}{path}", server.address()).parse().unwrap();
    let request = ClientRequestBuilder::new(url).with_header(headers::API_KEY, key);
    tungstenite::client(request, stream).unwrap().0
}

/// Reads until the server closes the WebSocket. Returns the jobs of the events.
#[track_caller]
fn read_to_close(socket: &mut Socket) -> (Vec<JobDocument>, CloseFrame) {
    let mut jobs = Vec::new();
    loop {
        match socket.read().unwrap() {
            Message::Text(text) => {
                let message: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert!(message["id"].is_string());
                jobs.push(serde_json::from_value(message["job"].clone()).unwrap());
            }
            Message::Close(close) => return (jobs, close.unwrap()),
            _ => {}
        }
    }
}

/// A server whose callers have keys, which can be withdrawn.
struct Keyed {
    job_server: JobServer,
    file: PathBuf,
    _folder: TempDir,
}

impl Keyed {
    #[track_caller]
    fn start(names: &[&str], change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.toml");
        write_keys(&file, names);
        let job_server = JobServer::start(|s| {
            s.flag("--keys-file", &file.display());
            s.sample = None;
            change(s);
        });
        Self { job_server, file, _folder: folder }
    }

    fn server(&self) -> &TestServer {
        &self.job_server.server
    }

    #[track_caller]
    fn submit_by(&self, name: &str) -> JobDocument {
        let request = self.job_server.submission(&samples::range_check().witness);
        assert_accepted(&request.header(headers::API_KEY, name).send())
    }
}

fn write_keys(file: &Path, names: &[&str]) {
    let entry = |name: &&str| {
        format!("[keys.{name}]\nrole = 'user'\nsha256 = ['{}']\n", hex::encode(Sha256::digest(name)))
    };
    fs::write(file, names.iter().map(entry).collect::<String>()).unwrap();
}

#[test]
fn a_websocket_carries_the_same_events() {
    let job_server = JobServer::start(|_| {});
    let job = job_server.submit(&samples::range_check().witness);
    let mut socket = open_socket(&job_server.server, &job.links.events);
    let (jobs, close) = read_to_close(&mut socket);
    assert_eq!(u16::from(close.code), 1000);
    assert_eq!(jobs.last().unwrap().status, JobStatus::Completed);
}

#[test]
fn a_websocket_reads_small_messages_only() {
    let job_server = JobServer::start(|_| {});
    let (_waiting, bb) = job_server.server.suspend_mid_proof();
    let job = job_server.submit(&samples::range_check().witness);
    // A message that fits is ignored.
    let mut patient = open_socket(&job_server.server, &job.links.events);
    patient.send(Message::text("x".repeat(1024))).unwrap();

    let mut whole = open_socket(&job_server.server, &job.links.events);
    whole.send(Message::text("x".repeat(1025))).unwrap();
    assert_eq!(u16::from(read_to_close(&mut whole).1.code), 1008);
    // The head of a frame of 62 MiB is enough: no byte of its content is waited for.
    let mut announced = open_socket(&job_server.server, &job.links.events);
    let mut head = vec![0x82, 0xff];
    head.extend((62_u64 << 20).to_be_bytes());
    head.extend([0; 4]);
    announced.get_mut().write_all(&head).unwrap();
    assert_eq!(u16::from(read_to_close(&mut announced).1.code), 1008);
    // A message in many small frames is bounded as a whole.
    let mut fragments = open_socket(&job_server.server, &job.links.events);
    for first in [2_u8, 0, 0] {
        let mut frame = vec![first, 0xfe];
        frame.extend(500_u16.to_be_bytes());
        frame.extend([0; 504]);
        fragments.get_mut().write_all(&frame).unwrap();
    }
    assert_eq!(u16::from(read_to_close(&mut fragments).1.code), 1008);

    bb.resume();
    assert_eq!(u16::from(read_to_close(&mut patient).1.code), 1000);
}

#[test]
fn silence_is_broken_and_silent_clients_are_closed() {
    let job_server = JobServer::start(|s| {
        s.flag("--stream-keep-alive", "1s");
        s.flag("--watchers", "3");
        s.flag("--watchers-per-caller", "3");
    });
    let server = &job_server.server;
    let (_waiting, bb) = server.suspend_mid_proof();
    let job = job_server.submit(&samples::range_check().witness);
    let mut reader = open_socket(server, &job.links.events);
    // These two do not read, so they do not respond to pings.
    let _silent = [open_socket(server, &job.links.events), open_socket(server, &job.links.events)];
    assert!(try_open_socket(server, &job.links.events).is_none(), "three are open");
    let mut pings = 0;
    while pings < 4 {
        pings += usize::from(matches!(reader.read().unwrap(), Message::Ping(_)));
        // Sends the pong.
        reader.flush().unwrap();
    }
    eventually("the silent clients are closed", || try_open_socket(server, &job.links.events));

    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    let head = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", job.links.events);
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("200"));
    assert!(lines.any(|line| line == ":"), "a comment breaks the silence");
    bb.resume();
    assert_eq!(u16::from(read_to_close(&mut reader).1.code), 1000);
}

#[test]
fn streams_are_bounded_by_caller_and_in_all() {
    let keyed = Keyed::start(&["alice", "bob"], |s| {
        s.flag("--watchers-per-caller", "2");
        s.flag("--watchers", "3");
    });
    let server = keyed.server();
    let provers = suspend(server);
    let jobs = ["alice", "bob"].map(|name| keyed.submit_by(name));
    // Pages with links count by their address, and holders of keys by their name.
    let _by_link = [(); 2].map(|()| open_socket(server, &jobs[0].links.events));
    server.get(&jobs[1].links.events).assert_refused_for_now(ProblemType::RateLimited);
    let (path, _) = jobs[1].links.events.split_once('?').unwrap();
    let by_bob = || server.request(Method::GET, path).header(headers::API_KEY, "bob").send();
    let mut of_bob = open_socket_by(server, path, "bob");
    by_bob().assert_refused_for_now(ProblemType::TooManyWatchers);
    assert_eq!(server.get("/livez").status, 200);
    // The limit is one of open streams: the next one is accepted when another has ended.
    resume(&provers);
    assert_eq!(u16::from(read_to_close(&mut of_bob).1.code), 1000);
    eventually("a stream is free", || (by_bob().status == 200).then_some(()));
}

/// A WebSocket is in use all the time. It is closed where a connection with a request in progress would be.
#[test]
fn a_websocket_whose_slot_another_address_takes_is_closed() {
    let job_server = JobServer::start(|s| s.flag("--connections", &3));
    let server = &job_server.server;
    let (_waiting, bb) = server.suspend_mid_proof();
    let job = job_server.submit(&samples::range_check().witness);
    let [mut first, mut last] = [(); 2].map(|()| open_socket(server, &job.links.events));
    let _others = [2, 3].map(|last| {
        let mut other = Connection::open_from(Ipv4Addr::new(127, 0, 0, last), server.address());
        other.get("/livez");
        assert_eq!(other.read_response().status, 200);
        other
    });
    for socket in [&mut last, &mut first] {
        let error = loop {
            match socket.read() {
                Ok(Message::Text(_)) => {}
                // A ping would come after 15 seconds.
                Ok(other) => panic!("the WebSocket is still open: {other}"),
                Err(error) => break error,
            }
        };
        let is_closed = match &error {
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => true,
            Error::Io(error) => error.kind() == ErrorKind::ConnectionReset,
            _ => false,
        };
        assert!(is_closed, "{error}");
    }
    bb.resume();
}

/// Suspends every prover, so that jobs run until they are resumed.
#[track_caller]
fn suspend(server: &TestServer) -> Vec<Process> {
    let provers: Vec<_> = server.provers().into_iter().filter(|bb| bb.suspend()).collect();
    assert!(!provers.is_empty());
    provers
}

fn resume(provers: &[Process]) {
    for bb in provers {
        bb.resume();
    }
}

#[test]
fn a_client_that_has_seen_the_last_event_gets_204() {
    let job_server = JobServer::start(|_| {});
    let server = &job_server.server;
    let job = job_server.submit(&samples::range_check().witness);
    let all = events(&server.get(&job.links.events));
    let (earlier, done) = ("0.0.0.9", &all.last().unwrap().0);
    let by_header =
        |id: &str| server.request(Method::GET, &job.links.events).header("last-event-id", id).send();
    let by_query = |id: &str| server.get(&format!("{}?last_event_id={id}", job.links.events));
    for response in [by_header(done), by_query(done)] {
        assert_eq!((response.status.as_u16(), response.body.as_slice()), (204, &[][..]));
        assert_eq!(response.header("cache-control"), "no-store");
    }
    for response in
        [by_header(earlier), by_query(earlier), by_header("nonsense"), server.get(&job.links.events)]
    {
        assert_eq!(events(&response).iter().map(|(id, ..)| id).collect::<Vec<_>>(), [done]);
    }
    // A browser that reconnects sends the header, and still has the query of its first request.
    let both = server.request(Method::GET, &format!("{}?last_event_id={earlier}", job.links.events));
    assert_eq!(both.header("last-event-id", done).send().status, 204);
    let mut socket = open_socket(server, &format!("{}?last_event_id={done}", job.links.events));
    let (seen, close) = read_to_close(&mut socket);
    assert_eq!((seen.len(), u16::from(close.code)), (0, 1000));
}

#[test]
fn the_token_of_a_link_reads_one_job() {
    let keyed = Keyed::start(&["alice"], |_| {});
    let server = keyed.server();
    let [job, other] = [(); 2].map(|()| keyed.submit_by("alice"));
    let (path, token) = job.links.events.split_once("?token=").unwrap();
    assert_eq!(path, format!("/v1/proofs/{}/events", job.id));

    let seen = events(&server.get(&job.links.events));
    assert_eq!(seen.last().unwrap().2.status, JobStatus::Completed);
    let mut socket = open_socket(server, &job.links.events);
    assert_eq!(u16::from(read_to_close(&mut socket).1.code), 1000);
    let read = document(&server.get(&format!("{}?token={token}", job.links.this)));
    assert_eq!((read.id, read.status), (job.id, JobStatus::Completed));
    assert_eq!(read.links.events, path, "a token does not renew itself");
    let by_alice = server.request(Method::GET, &job.links.this).header(headers::API_KEY, "alice").send();
    assert!(document(&by_alice).links.events.starts_with(&format!("{path}?token=")));

    let with_token =
        |method: Method, path: &str| server.request(method, &format!("{path}?token={token}")).send();
    for refused in [
        with_token(Method::GET, &other.links.this),
        with_token(Method::GET, &format!("{}/events", other.links.this)),
        with_token(Method::GET, &job.links.proof),
        with_token(Method::DELETE, &job.links.this),
        with_token(Method::GET, "/v1/queue"),
        server.get(path),
        server.get(&format!("{path}?token={}", token.replace('.', "1."))),
        server.get(&format!("{path}?token=")),
    ] {
        refused.assert_refused(ProblemType::ApiKeyRequired);
    }
    assert!(!server.log().contains(token), "the log contains the token");
}

#[test]
fn a_withdrawn_key_ends_its_open_streams() {
    let keyed = Keyed::start(&["alice", "bob"], |_| {});
    let server = keyed.server();
    let provers = suspend(server);
    let [of_alice, of_bob] = ["alice", "bob"].map(|name| keyed.submit_by(name));
    let by_link = [&of_alice, &of_bob].map(|job| open_socket(server, &job.links.events));
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(wait::LIMIT)).unwrap();
    let head = format!(
        "GET {}/events HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: alice\r\nConnection: close\r\n\r\n",
        of_alice.links.this
    );
    stream.write_all(head.as_bytes()).unwrap();
    write_keys(&keyed.file, &["bob"]);
    let mut seen = String::new();
    stream.read_to_string(&mut seen).unwrap();
    assert!(seen.contains("event: progress") && !seen.contains("event: done"), "{seen}");
    let [mut withdrawn, mut valid] = by_link;
    assert_eq!(u16::from(read_to_close(&mut withdrawn).1.code), 1008);
    server.get(&of_alice.links.events).assert_refused(ProblemType::ApiKeyRequired);
    resume(&provers);
    assert_eq!(u16::from(read_to_close(&mut valid).1.code), 1000);
}
