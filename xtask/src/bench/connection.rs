//! A connection that is kept, and whose requests begin as they are told to. [`super::client`]'s leave no choice there, but
//! workerd's own sockets want a whole URL, as a proxy sends it.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{
    client::{self, Answered},
    milliseconds,
};

/// Longer than any server here lets a request take.
const LIMIT: Duration = Duration::from_mins(3);
/// Headers of one answer.
const HEADERS_MAX: usize = 64;
/// The largest head of an answer.
const HEAD_MAX_BYTES: usize = 64 << 10;
/// The first of the addresses that callers have here.
const FIRST_CALLER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// What stands before the path on a request's first line.
    before_path: &'static str,
}

/// An answer, whole.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Connection {
    /// A client's.
    pub(super) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("{address} cannot be reached"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Self { stream, before_path: "" })
    }

    /// A proxy's.
    pub(super) fn open_as_proxy(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { before_path: "http://edge.test", ..Self::open(address)? })
    }

    /// Gets what is at a path. In milliseconds, from the request's first byte to the answer's last.
    pub(super) fn get(&mut self, path: &str) -> anyhow::Result<f64> {
        let (ms, answer) = self.ask("GET", path, "", &[])?;
        if answer.status != 200 {
            bail!("GET {path} is answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        Ok(ms)
    }

    /// Proves a gzipped witness, in the default format.
    pub(super) fn prove(&mut self, circuit: &str, witness: &[u8]) -> anyhow::Result<Answered> {
        let headers = format!("content-type: application/gzip\r\ncontent-length: {}\r\n", witness.len());
        let (ms, answer) = self.ask("POST", &format!("/api/prove/{circuit}"), &headers, witness)?;
        client::answered(ms, answer.status, &answer.body, |name| answer.header(name))
    }

    fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> anyhow::Result<(f64, Answer)> {
        let (url, caller) = (format!("{}{path}", self.before_path), caller());
        let head = format!(
            "{method} {url} HTTP/1.1\r\nhost: edge.test\r\ncf-connecting-ip: {caller}\r\n{headers}\r\n"
        );
        let started = Instant::now();
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(body)?;
        let answer = read_answer(&mut self.stream)?;
        Ok((milliseconds(started.elapsed()), answer))
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }
}

/// Each request is another caller's, as Cloudflare tells the edge: one that asks too often is refused.
fn caller() -> Ipv4Addr {
    static CALLERS: AtomicU32 = AtomicU32::new(0);
    Ipv4Addr::from_bits(FIRST_CALLER.to_bits() + CALLERS.fetch_add(1, Ordering::Relaxed))
}

/// The answer to the only request that is under way.
fn read_answer(stream: &mut impl Read) -> anyhow::Result<Answer> {
    let mut received = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        if let httparse::Status::Complete(head_bytes) = head.parse(&received)? {
            let status = head.code.context("an answer without a status")?;
            let text = |value| String::from_utf8_lossy(value).into_owned();
            let headers =
                head.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect();
            let mut answer = Answer { status, headers, body: received.split_off(head_bytes) };
            let length = answer.header("content-length").context("an answer without a length")?;
            let length: usize = length.parse().with_context(|| format!("a length of {length}"))?;
            while answer.body.len() < length {
                if receive(stream, &mut answer.body)? == 0 {
                    bail!("the answer breaks off");
                }
            }
            if answer.body.len() > length {
                bail!("more is answered than was asked");
            }
            return Ok(answer);
        }
        if received.len() > HEAD_MAX_BYTES {
            bail!("an endless head");
        }
        if receive(stream, &mut received)? == 0 {
            bail!("there is no answer");
        }
    }
}

/// Appends what comes next; 0 bytes at the end.
pub(super) fn receive(stream: &mut impl Read, received: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut piece = [0; 16 << 10];
    let read = stream.read(&mut piece)?;
    received.extend_from_slice(&piece[..read]);
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nx-a: b\r\n\r\nabc";
        let answer = read_answer(&mut wire.as_slice()).unwrap();
        assert_eq!(
            (answer.status, answer.body.as_slice(), answer.header("X-A")),
            (200, &b"abc"[..], Some("b"))
        );
        for cut in [0, 20, wire.len() - 1] {
            assert!(read_answer(&mut &wire[..cut]).is_err(), "{cut}");
        }
        assert!(read_answer(&mut [wire, &b"d"[..]].concat().as_slice()).is_err());
        assert!(read_answer(&mut b"HTTP/1.1 200 OK\r\n\r\n".as_slice()).is_err());
    }

    #[test]
    fn every_request_is_another_callers() {
        assert_ne!(caller(), caller());
    }
}
