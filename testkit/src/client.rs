//! Requests and responses, and connections that send what no ordinary client sends.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::{
    Problem, ProblemType, Target,
    answer::{PROOF_MEDIA_TYPE, ProofAnswer},
    headers, problem,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use crate::{Sample, bb, contract, samples, wait::LIMIT};

/// A complete response.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Vec<u8>,
}

/// A request that a test may change before it is sent.
#[derive(Debug)]
pub struct Request {
    /// The method, the URL and the headers.
    pub head: http::request::Builder,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub fn new(to: SocketAddr, method: Method, path: &str) -> Self {
        let url = format!("http://{to}{path}");
        Self { head: http::Request::builder().method(method).uri(url), body: Vec::new() }
    }

    /// A request for a proof.
    pub fn prove(to: SocketAddr, path: &str, witness: &[u8]) -> Self {
        let mut request = Self::new(to, Method::POST, path).header("content-type", "application/gzip");
        request.body = witness.to_vec();
        request
    }

    /// A form as a page sends it, with one witness for each named circuit.
    pub fn prove_form(to: SocketAddr, path: &str, parts: &[(&str, &[u8])]) -> Self {
        const BOUNDARY: &str = "----a-boundary";
        let media = format!("multipart/form-data; boundary={BOUNDARY}");
        let mut request = Self::new(to, Method::POST, path).header("content-type", &media);
        for (name, witness) in parts {
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"blob\"\r\n\r\n"
            );
            request.body.extend([head.as_bytes(), witness, b"\r\n"].concat());
        }
        request.body.extend(format!("--{BOUNDARY}--\r\n").bytes());
        request
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head = self.head.header(name, value);
        self
    }

    /// Sends it over a new connection.
    #[track_caller]
    pub fn send(self) -> Response {
        self.send_within(LIMIT)
    }

    /// Sends it over a new connection. The whole response must arrive within the limit.
    #[track_caller]
    pub fn send_within(self, limit: Duration) -> Response {
        self.try_send_within(limit).unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Sends it over a new connection, which the server may break.
    #[track_caller]
    pub fn try_send(self) -> Result<Response, ureq::Error> {
        self.try_send_within(LIMIT)
    }

    #[track_caller]
    fn try_send_within(self, limit: Duration) -> Result<Response, ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .timeout_global(Some(limit))
            .build()
            .into();
        let request: http::Request<Vec<u8>> = self.head.body(self.body).expect("the request is well formed");
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let mut response = agent.run(request)?;
        let body = response.body_mut().with_config().limit(64 << 20).read_to_vec()?;
        let response = Response { status: response.status(), headers: response.headers().clone(), body };
        contract::check(&method, &uri, &response);
        Ok(response)
    }
}

impl Response {
    /// The value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("the value is text")).unwrap_or_default()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// Checks everything that must be true of every problem response, and returns the problem.
    #[track_caller]
    pub fn assert_refused(&self, expected: ProblemType) -> Problem {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), expected.status(), "expected {expected:?}, got {text}");
        assert_eq!(self.header("content-type"), problem::MEDIA_TYPE, "{text}");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.header("content-length"), self.body.len().to_string());
        let problem: Problem = serde_json::from_slice(&self.body).expect("a problem document");
        let id = self.header(headers::REQUEST_ID);
        assert!(headers::is_acceptable_request_id(id.as_bytes()), "{id:?}");
        // This compares code, status, title, error, message, detail, retryable and request_id.
        let whole = Problem::new(expected, problem.detail.clone(), Some(id.to_owned()));
        assert_eq!(problem, Problem { field: problem.field.clone(), ..whole });
        let detail = &problem.detail;
        assert!(!detail.is_empty());
        // A mistake in a text of several source lines would show as one of these.
        assert!(!detail.contains(['\n', '\\']) && !detail.contains("  "), "{detail:?}");
        let wait = self.header("retry-after");
        let is_time = wait.parse::<u64>().is_ok_and(|seconds| seconds > 0);
        assert_eq!((is_time, wait.is_empty()), (problem.retryable, !problem.retryable), "{wait:?}: {text}");
        assert!(!samples::contains_secret(&self.body), "the problem contains a private value: {text}");
        problem
    }

    /// As [`Self::assert_refused`], and the response has a `Retry-After` of at most a minute.
    #[track_caller]
    pub fn assert_refused_for_now(&self, expected: ProblemType) -> Problem {
        let problem = self.assert_refused(expected);
        let wait: u64 =
            self.header("retry-after").parse().unwrap_or_else(|_| panic!("no Retry-After: {self:?}"));
        assert!((1..=60).contains(&wait), "{wait}");
        problem
    }

    /// Checks a proof response, as bytes or as JSON, and verifies the proof with an unmodified bb.
    #[track_caller]
    pub fn assert_proves(&self, sample: &Sample, target: Target) {
        let proof = self.assert_proof_of(sample);
        let verifies = bb::verifies(&sample.circuit, target, &proof, sample.public_inputs.as_flattened());
        assert!(verifies, "bb does not verify the proof");
    }

    /// Checks a proof response, but does not verify the proof. Returns its bytes.
    #[track_caller]
    pub fn assert_proof_of(&self, sample: &Sample) -> Vec<u8> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let inputs: Vec<String> =
            sample.public_inputs.iter().map(|input| format!("0x{}", hex::encode(input))).collect();
        assert_eq!(self.header(headers::PUBLIC_INPUTS), inputs.join(","));
        assert_eq!(self.header(headers::CIRCUIT_ID), sample.name);
        assert_eq!(self.header(headers::VK_HASH).len(), 66);
        assert_eq!(self.header(headers::PROOF_HASH).len(), 66);
        assert_eq!(self.header("cache-control"), "no-store");
        let stages = self.header("server-timing");
        for stage in ["upload;dur=", "queue;dur=", "prove;dur=", "verify;dur=", "total;dur="] {
            assert!(stages.contains(stage), "{stages}");
        }
        let proof = match self.header("content-type") {
            PROOF_MEDIA_TYPE => self.body.clone(),
            "application/json" => {
                let proof: ProofAnswer = serde_json::from_slice(&self.body).expect("a proof as JSON");
                assert!(proof.success);
                assert_eq!(proof.public_inputs, inputs);
                assert_eq!(proof.circuit.as_str(), sample.name);
                assert_eq!(proof.request_id, self.header(headers::REQUEST_ID));
                assert_eq!(proof.vk_hash, self.header(headers::VK_HASH));
                assert_eq!(proof.proof_hash, self.header(headers::PROOF_HASH));
                assert_eq!(proof.verified.to_string(), self.header(headers::VERIFIED));
                STANDARD.decode(proof.proof).expect("base64")
            }
            other => panic!("a proof of the type {other:?}"),
        };
        assert!(!proof.is_empty() && proof.len() % 32 == 0, "{} bytes", proof.len());
        proof
    }
}

/// A connection on which the test decides on every byte.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    /// Opens a connection.
    #[track_caller]
    pub fn open(to: SocketAddr) -> Self {
        Self::over(TcpStream::connect(to).expect("the server accepts connections"))
    }

    /// Opens a connection from this local address, such as 127.0.0.2: for the server, another caller.
    #[track_caller]
    pub fn open_from(source: impl Into<IpAddr>, to: SocketAddr) -> Self {
        let source = source.into();
        let family = if source.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&socket, &SocketAddr::from((source, 0))).expect("the address is ours");
        connect(&socket, &to).expect("the server accepts connections");
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Sends the head of a POST to this path, with these additional header lines.
    #[track_caller]
    pub fn post_head(to: SocketAddr, path: &str, lines: &[&str]) -> Self {
        Self::post_head_of(to, path, "application/gzip", lines)
    }

    /// As [`Self::post_head`], for a body of JSON.
    #[track_caller]
    pub fn post_json_head(to: SocketAddr, path: &str, lines: &[&str]) -> Self {
        Self::post_head_of(to, path, "application/json", lines)
    }

    /// As [`Self::post_head`], for a body of this media type.
    #[track_caller]
    pub fn post_head_of(to: SocketAddr, path: &str, media: &str, lines: &[&str]) -> Self {
        let mut connection = Self::open(to);
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Type: {media}\r\n");
        for line in lines {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        connection.send(head.as_bytes());
        connection
    }

    /// Sends a whole POST and does not wait for the response.
    #[track_caller]
    pub fn post(to: SocketAddr, path: &str, body: &[u8]) -> Self {
        let mut connection = Self::post_head(to, path, &[&format!("Content-Length: {}", body.len())]);
        connection.send(body);
        connection
    }

    /// Sends a whole POST in chunked encoding, which does not declare the length of the body.
    pub fn post_chunked(to: SocketAddr, path: &str, body: &[u8]) -> io::Result<Self> {
        let mut connection = Self::post_head(to, path, &["Transfer-Encoding: chunked"]);
        body.chunks(100_000).try_for_each(|piece| connection.try_send_chunk(piece))?;
        connection.try_send_chunk(&[])?;
        Ok(connection)
    }

    /// Sends a whole GET and does not wait for the response.
    #[track_caller]
    pub fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    }

    /// Sends these bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server accepts bytes");
    }

    /// Sends these bytes. It fails if the server has closed the connection.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Sends one chunk of a body in chunked encoding; an empty one ends the body.
    pub fn try_send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.try_send(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        self.try_send(bytes)?;
        self.try_send(b"\r\n")
    }

    /// Closes the sending half of the connection.
    pub fn end_sending(&self) {
        // The server may have closed the connection already.
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// Whether a byte of a response arrives within this time.
    pub fn receives_within(&self, limit: Duration) -> bool {
        self.0.set_read_timeout(Some(limit)).unwrap();
        let received = self.0.peek(&mut [0]).is_ok_and(|bytes| bytes > 0);
        self.0.set_read_timeout(Some(LIMIT)).unwrap();
        received
    }

    /// Reads until the server closes the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server does not close the connection: {error}"),
        }
        bytes
    }

    /// Reads one response, or an interim `100 Continue`.
    #[track_caller]
    pub fn read_response(&mut self) -> Response {
        match self.try_read_response() {
            Ok(response) => response,
            // Outside a closure, so that the failure names the caller's line.
            Err(error) => panic!("no response: {error}"),
        }
    }

    /// As [`Self::read_response`]. No pause in the response may be longer than the limit.
    #[track_caller]
    pub fn read_response_within(&mut self, limit: Duration) -> Response {
        self.0.set_read_timeout(Some(limit)).unwrap();
        self.read_response()
    }

    /// As [`Self::read_response`]. It fails if the server closes the connection instead.
    pub fn try_read_response(&mut self) -> io::Result<Response> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let invalid = |what: &str| io::Error::other(format!("{what}: {}", String::from_utf8_lossy(&head)));
        let text = std::str::from_utf8(&head).map_err(|_| invalid("not text"))?;
        let mut lines = text.lines();
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)).ok_or_else(|| invalid("no status"))?;
        let status = status.parse().map_err(|_| invalid("no status"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name: HeaderName = name.parse().map_err(|_| invalid("not a header name"))?;
            headers.append(name, HeaderValue::from_str(value).map_err(|_| invalid("not a header value"))?);
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body)?;
        Ok(Response { status, headers, body })
    }
}
