//! A server of a caller, which receives webhooks and answers as a test wants.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::Value;

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct WebhookRequest {
    /// The path and the query.
    pub path: String,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// When it had arrived.
    pub at: Instant,
}

impl WebhookRequest {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What a receiver does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// It answers with this status, and these lines as further headers.
    Status(u16, String),
    /// It answers with 200 and a body without end.
    Endless,
    /// It never answers.
    Silence,
    /// It closes the connection.
    BreakOff,
}

impl Reply {
    /// It answers with this status.
    pub fn status(status: u16) -> Self {
        Self::Status(status, String::new())
    }
}

/// A server that receives webhooks. It runs until the test ends.
#[derive(Debug, Clone)]
pub struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<WebhookRequest>>>,
}

impl Receiver {
    /// Starts a receiver that answers the request with this number, from 0, like this.
    pub fn start(reply: impl Fn(usize, &WebhookRequest) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, reply) = (listener.local_addr().unwrap(), Arc::new(reply));
        let received = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (reply, received) = (Arc::clone(&reply), Arc::clone(&shared));
                // `None` means that the client has left.
                thread::spawn(move || serve(stream, reply.as_ref(), &received));
            }
        });
        Self { address, received }
    }

    /// A receiver that answers everything with 200.
    pub fn start_default() -> Self {
        Self::start(|_, _| Reply::status(200))
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL at it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What has arrived so far.
    pub fn received(&self) -> Vec<WebhookRequest> {
        self.received.lock().clone()
    }
}

fn serve(
    stream: TcpStream,
    reply: &dyn Fn(usize, &WebhookRequest) -> Reply,
    received: &Mutex<Vec<WebhookRequest>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let request = WebhookRequest { path, headers, body, at: Instant::now() };
    let number = {
        let mut received = received.lock();
        received.push(request.clone());
        received.len() - 1
    };
    let (status, lines) = match reply(number, &request) {
        Reply::Status(status, lines) => (status, lines),
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
            while stream.write_all(&[b'0'; 4096]).is_ok() {}
            return None;
        }
        Reply::Silence => loop {
            thread::sleep(Duration::from_secs(1));
        },
        Reply::BreakOff => return None,
    };
    let head = format!("HTTP/1.1 {status} Reply\r\n{lines}content-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()
}
