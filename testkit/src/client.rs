//! Requests and answers; connections that send what no ordinary client would.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{
    Problem, ProblemType, Target,
    answer::{PROOF_MEDIA_TYPE, ProofAnswer},
    headers, problem,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};

use crate::{Sample, bb, samples, wait::PATIENCE};

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
}

/// A request, ready to be changed and sent.
#[derive(Debug)]
pub struct Ask {
    /// Its head.
    pub request: http::request::Builder,
    /// Its body.
    pub body: Vec<u8>,
}

impl Ask {
    /// A request without a body.
    pub fn new(to: SocketAddr, method: Method, path: &str) -> Self {
        let uri = format!("http://{to}{path}");
        Self { request: Request::builder().method(method).uri(uri), body: Vec::new() }
    }

    /// A request for a proof.
    pub fn to_prove(to: SocketAddr, path: &str, witness: &[u8]) -> Self {
        let mut ask = Self::new(to, Method::POST, path).header("content-type", "application/gzip");
        ask.body = witness.to_vec();
        ask
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Sends it over a connection of its own.
    #[track_caller]
    pub fn send(self) -> Answer {
        self.send_within(PATIENCE)
    }

    /// The same where the answer may take its time.
    #[track_caller]
    pub fn send_within(self, limit: Duration) -> Answer {
        self.try_send_within(limit).unwrap_or_else(|error| panic!("the request got no answer: {error}"))
    }

    /// The same where the connection may break.
    pub fn try_send(self) -> Result<Answer, ureq::Error> {
        self.try_send_within(PATIENCE)
    }

    fn try_send_within(self, limit: Duration) -> Result<Answer, ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .timeout_global(Some(limit))
            .build()
            .into();
        let request: Request<Vec<u8>> = self.request.body(self.body).expect("the request is well formed");
        let mut response = agent.run(request)?;
        let body = response.body_mut().with_config().limit(64 << 20).read_to_vec()?;
        Ok(Answer { status: response.status(), headers: response.headers().clone(), body })
    }
}

impl Answer {
    /// A header's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("it is text")).unwrap_or_default()
    }

    /// The body, taken for JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Holds a refusal against all that must be true of every refusal.
    #[track_caller]
    pub fn refused(&self, kind: ProblemType) -> Problem {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), kind.status(), "wanted {kind:?}, got {text}");
        assert_eq!(self.header("content-type"), problem::MEDIA_TYPE, "{text}");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.header("content-length"), self.body.len().to_string());
        let problem: Problem = serde_json::from_slice(&self.body).expect("a problem document");
        let id = self.header(headers::REQUEST_ID);
        assert!(headers::is_acceptable_request_id(id.as_bytes()), "{id:?}");
        // This compares code, status, title, error, message, detail, retryable and request_id.
        assert_eq!(problem, Problem::new(kind, problem.detail.clone(), Some(id.to_owned())));
        assert!(!problem.detail.is_empty());
        assert!(!samples::shows_secret(&self.body), "a private value is told: {text}");
        problem
    }

    /// The same, and the answer says when to come back.
    #[track_caller]
    pub fn refused_for_now(&self, kind: ProblemType) -> Problem {
        let problem = self.refused(kind);
        let wait: u64 =
            self.header("retry-after").parse().unwrap_or_else(|_| panic!("no Retry-After: {self:?}"));
        assert!((1..=60).contains(&wait), "{wait}");
        problem
    }

    /// Holds a proof, in whichever format, against the sample it was asked for.
    #[track_caller]
    pub fn proves(&self, sample: &Sample, target: Target) {
        let proof = self.proof_of(sample);
        let verifies = bb::verifies(&sample.circuit, target, &proof, sample.public_inputs.as_flattened());
        assert!(verifies, "untouched bb does not verify the proof");
    }

    /// A proof's bytes, once all that stands around them is right. Whether it verifies is not looked at.
    #[track_caller]
    pub fn proof_of(&self, sample: &Sample) -> Vec<u8> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let inputs: Vec<String> =
            sample.public_inputs.iter().map(|i| format!("0x{}", hex::encode(i))).collect();
        assert_eq!(self.header(headers::PUBLIC_INPUTS), inputs.join(","));
        assert_eq!(self.header(headers::CIRCUIT_ID), sample.name);
        assert_eq!(self.header(headers::VK_HASH).len(), 66);
        assert_eq!(self.header("cache-control"), "no-store");
        let stages = self.header("server-timing");
        for stage in ["upload;dur=", "queue;dur=", "prove;dur=", "verify;dur=", "total;dur="] {
            assert!(stages.contains(stage), "{stages}");
        }
        let proof = match self.header("content-type") {
            PROOF_MEDIA_TYPE => self.body.clone(),
            "application/json" => {
                let answer: ProofAnswer = serde_json::from_slice(&self.body).expect("a proof as JSON");
                assert!(answer.success);
                assert_eq!(answer.public_inputs, inputs);
                assert_eq!(answer.circuit.as_str(), sample.name);
                assert_eq!(answer.request_id, self.header(headers::REQUEST_ID));
                assert_eq!(answer.vk_hash, self.header(headers::VK_HASH));
                assert_eq!(answer.verified.to_string(), self.header(headers::VERIFIED));
                STANDARD.decode(answer.proof).expect("base64")
            }
            other => panic!("a proof of the type {other:?}"),
        };
        assert!(!proof.is_empty() && proof.len() % 32 == 0, "{} bytes", proof.len());
        proof
    }
}

/// A connection on which every byte is the test's own.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    /// Opens one.
    #[track_caller]
    pub fn open(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).expect("the server takes connections");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Sends the head of a POST to this path, with these further header lines.
    #[track_caller]
    pub fn post_head(to: SocketAddr, path: &str, lines: &[&str]) -> Self {
        let mut connection = Self::open(to);
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/gzip\r\n");
        for line in lines {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        connection.send(head.as_bytes());
        connection
    }

    /// Sends a whole request and does not wait for the answer.
    #[track_caller]
    pub fn post(to: SocketAddr, path: &str, body: &[u8]) -> Self {
        let mut connection = Self::post_head(to, path, &[&format!("Content-Length: {}", body.len())]);
        connection.send(body);
        connection
    }

    /// The same in chunked encoding, without a word on its length.
    pub fn post_chunked(to: SocketAddr, path: &str, body: &[u8]) -> io::Result<Self> {
        let mut connection = Self::post_head(to, path, &["Transfer-Encoding: chunked"]);
        body.chunks(100_000).try_for_each(|piece| connection.try_send_chunk(piece))?;
        connection.try_send_chunk(&[])?;
        Ok(connection)
    }

    /// Sends a whole GET and does not wait for the answer.
    #[track_caller]
    pub fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
    }

    /// Sends these bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server takes bytes");
    }

    /// The same where the server may have closed the connection.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// One chunk of a body in chunked encoding; an empty one ends the body.
    pub fn try_send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.try_send(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        self.try_send(bytes)?;
        self.try_send(b"\r\n")
    }

    /// Says that nothing more will be sent.
    pub fn end_sending(&self) {
        // The server may have closed it first.
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// Whether a byte of an answer comes within this time.
    pub fn hears_within(&self, limit: Duration) -> bool {
        self.0.set_read_timeout(Some(limit)).unwrap();
        let heard = self.0.peek(&mut [0]).is_ok_and(|bytes| bytes > 0);
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        heard
    }

    /// Reads until the server closes the connection: what it still sent.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server does not close the connection: {error}"),
        }
        rest
    }

    /// Reads one answer, or an interim `100 Continue`.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer().unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The same where the answer may take its time.
    #[track_caller]
    pub fn answer_within(&mut self, limit: Duration) -> Answer {
        self.0.set_read_timeout(Some(limit)).unwrap();
        self.answer()
    }

    /// The same as [`Self::answer`] where the server may close the connection instead.
    pub fn try_answer(&mut self) -> io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let odd = |what: &str| io::Error::other(format!("{what}: {}", String::from_utf8_lossy(&head)));
        let text = std::str::from_utf8(&head).map_err(|_| odd("not text"))?;
        let mut lines = text.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or_else(|| odd("no status"))?;
        let status = status.parse().map_err(|_| odd("no status"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name: HeaderName = name.parse().map_err(|_| odd("no header name"))?;
            headers.append(name, HeaderValue::from_str(value).map_err(|_| odd("no header value"))?);
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body)?;
        Ok(Answer { status, headers, body })
    }
}
