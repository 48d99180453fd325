//! The baseline server: it runs one `bb prove --write_vk` on all cores for each request and returns the proof.
//!
//! It writes the witness to a temporary file. It has no limits, no checks, no warm prover and no verification. It uses
//! one thread for each connection and no framework, so that the comparison is with this method of proving and not with
//! the code around it.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, bail};

use super::bb_cli::{self, Bb, Key};

/// More than the head of any request of our client.
const HEAD_MAX_BYTES: usize = 16 << 10;
const HEADERS_MAX: usize = 32;

/// The running server. It ends when dropped; its connections end with their clients.
#[derive(Debug)]
pub(super) struct BaselineServer {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl BaselineServer {
    /// Starts it on a free port. `POST /api/prove/NAME` proves `circuits/NAME.json`.
    pub(super) fn start(bb: Bb, circuits: PathBuf) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port can be bound")?;
        let address = listener.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let prover = Arc::new(Prover { bb, circuits });
        let listening = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if seen.load(Ordering::Relaxed) {
                    return;
                }
                let prover = Arc::clone(&prover);
                thread::spawn(move || {
                    if let Err(error) = prover.serve(stream) {
                        eprintln!("! the baseline server: {error:#}");
                    }
                });
            }
        });
        Ok(Self { address, ended, listening: Some(listening) })
    }

    /// The server's address, without a slash at the end.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for BaselineServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // The connection wakes the listener, which then ends. If nothing listens, there is nothing to wait for.
        if TcpStream::connect(self.address).is_ok()
            && let Some(listening) = self.listening.take()
        {
            let _ = listening.join();
        }
    }
}

struct Prover {
    bb: Bb,
    circuits: PathBuf,
}

impl Prover {
    /// Answers one request after the other until the client closes the connection.
    fn serve(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut received = Vec::new();
        while let Some(request) = read_request(&mut stream, &mut received)? {
            let (status, body) = match self.prove(&request) {
                Ok(proof) => ("200 OK", proof),
                Err(error) => ("500 Internal Server Error", format!("{error:#}").into_bytes()),
            };
            let mut answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
                body.len()
            )
            .into_bytes();
            answer.extend_from_slice(&body);
            stream.write_all(&answer)?;
        }
        Ok(())
    }

    fn prove(&self, request: &Request) -> anyhow::Result<Vec<u8>> {
        let name = request.path.strip_prefix("/api/prove/").context("unknown path")?;
        let scratch = bb_cli::scratch()?;
        let witness = scratch.path().join("witness.gz");
        fs::write(&witness, &request.body)?;
        let circuit = self.circuits.join(format!("{name}.json"));
        self.bb.prove(&circuit, &witness, Key::ComputedForProof, scratch.path())?;
        Ok(fs::read(scratch.path().join("proof"))?)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    path: String,
    body: Vec<u8>,
}

/// Appends the next bytes; returns 0 at the end of the stream.
fn receive(stream: &mut impl Read, received: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut piece = [0; 16 << 10];
    let read = stream.read(&mut piece)?;
    received.extend_from_slice(&piece[..read]);
    Ok(read)
}

/// Reads the next request; `None` at the end of the connection. Bytes after the request stay in `received`.
fn read_request(stream: &mut impl Read, received: &mut Vec<u8>) -> anyhow::Result<Option<Request>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(head_bytes) = head.parse(received)? {
            let length =
                head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length = length.context("a request without Content-Length")?;
            let length: usize = std::str::from_utf8(length.value)?.parse()?;
            let path = head.path.unwrap_or_default().to_owned();
            while received.len() < head_bytes + length {
                if receive(stream, received)? == 0 {
                    bail!("the client closed the connection within a request");
                }
            }
            let rest = received.split_off(head_bytes + length);
            let body = std::mem::replace(received, rest).split_off(head_bytes);
            return Ok(Some(Request { path, body }));
        }
        if received.len() > HEAD_MAX_BYTES {
            bail!("the head of a request is too long");
        }
        if receive(stream, received)? == 0 {
            return if received.is_empty() {
                Ok(None)
            } else {
                Err(anyhow::anyhow!("the connection ended within a request"))
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one byte at a time, as a slow network may.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            (buffer[0], self.0) = (*first, rest);
            Ok(1)
        }
    }

    #[test]
    fn requests_are_separated_however_they_arrive() {
        let wire =
            b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST /b HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
        let expected = [("/a", "abc"), ("/b", "")];
        let read = |mut stream: Box<dyn Read>| {
            let mut received = Vec::new();
            for (path, body) in expected {
                let request = read_request(&mut stream, &mut received).unwrap().unwrap();
                assert_eq!((request.path.as_str(), request.body.as_slice()), (path, body.as_bytes()));
            }
            assert_eq!(read_request(&mut stream, &mut received).unwrap(), None);
        };
        read(Box::new(Drip(wire)));
        read(Box::new(wire.as_slice()));
    }

    #[test]
    fn an_incomplete_request_is_an_error() {
        for cut in ["POST", "POST /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nab", "POST /a HTTP/1.1\r\n\r\n"] {
            assert!(read_request(&mut cut.as_bytes(), &mut Vec::new()).is_err(), "{cut}");
        }
    }
}
