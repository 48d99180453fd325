//! Forms with the files of a circuit, which operators upload.

use edgeprove_protocol::answer::CircuitEntry;
use http::Method;

use crate::{Response, TestServer, client::Request};

const BOUNDARY: &str = "x-boundary-x";

/// A form whose parts are sent in the order in which they are added.
#[derive(Debug, Clone, Default)]
pub struct CircuitForm(pub Vec<(String, Vec<u8>)>);

impl CircuitForm {
    /// A form with a name.
    pub fn named(name: &str) -> Self {
        Self::default().with("name", name)
    }

    /// Adds a part.
    pub fn with(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.0.push((name.to_owned(), content.into()));
        self
    }

    /// With another content of a part.
    pub fn replacing(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.0.iter_mut().find(|(part, _)| part == name).unwrap().1 = content.into();
        self
    }

    /// Without a part.
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(part, _)| part != name);
        self
    }

    /// The value of `Content-Type`.
    pub fn content_type() -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }

    /// The body.
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, content) in &self.0 {
            let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend(head.into_bytes());
            body.extend(content);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
        body
    }

    /// The request.
    pub fn request(&self, server: &TestServer) -> Request {
        let mut request =
            server.request(Method::POST, "/v1/circuits").header("content-type", &Self::content_type());
        request.body = self.body();
        request
    }

    /// Sends it.
    #[track_caller]
    pub fn send(&self, server: &TestServer) -> Response {
        self.request(server).send()
    }

    /// Sends it, and returns the circuit that is published.
    #[track_caller]
    pub fn publish(&self, server: &TestServer) -> CircuitEntry {
        let response = self.send(server);
        assert_eq!(response.status, 201, "{response:?}");
        let entry: CircuitEntry = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(response.header("location"), format!("/v1/circuits/{}", entry.id));
        entry
    }
}
