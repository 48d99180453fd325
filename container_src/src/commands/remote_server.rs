//! Requests to a server, and its answers.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use edgeprove_protocol::{Problem, ProblemType, headers};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response, Url, redirect::Policy};
use serde_json::Value;

use super::form_body::FormBody;
use crate::config::{Faults, RawSetting, raw_setting, setting::Setting};

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a server: it checks an upload before it answers.
const READ_TIMEOUT: Duration = Duration::from_mins(10);
/// Most bytes of an answer.
const ANSWER_MAX_BYTES: usize = 64 << 20;
/// Most bytes of a file with a key.
const KEY_FILE_MAX_BYTES: u64 = 4096;

/// The key of a command that sends requests to a server.
#[derive(Debug, Args)]
pub(super) struct ClientKeyArgs {
    /// File whose first line is the API key. `-` reads standard input.
    #[arg(long, env = "EDGEPROVE_CLIENT_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// API key. Better in the variable than in a command line, which other users can see. `--key-file` overrides it.
    #[arg(long, env = "EDGEPROVE_CLIENT_KEY", hide_env_values = true, value_name = "KEY", allow_hyphen_values = true, value_parser = raw_setting::<ClientKey>)]
    key: Option<RawSetting<ClientKey>>,
}

impl ClientKeyArgs {
    /// Whether the key is read from standard input.
    pub(super) fn reads_stdin(&self) -> bool {
        self.key_file.as_deref() == Some(Path::new("-"))
    }

    /// The arguments with this key.
    pub(super) fn of(key: RawSetting<ClientKey>) -> Self {
        Self { key_file: None, key: Some(key) }
    }

    /// The key, if one is given. `None`: it cannot be used, which is among the faults.
    #[expect(clippy::option_option, reason = "no key, and a key that cannot be used")]
    pub(super) fn read(self, faults: &mut Faults) -> Option<Option<ClientKey>> {
        match (self.key_file, self.key) {
            (Some(file), _) => faults.ok(ClientKey::of_file(&file)).map(Some),
            (None, Some(key)) => faults.take_named("--key (EDGEPROVE_CLIENT_KEY)", key).map(Some),
            (None, None) => Some(None),
        }
    }
}

/// The URL of a server, without a path at its end.
#[derive(Debug, Clone)]
pub(super) struct ServerUrl(Url);

impl Setting for ServerUrl {
    fn read(text: &str) -> Result<Self, String> {
        let expected =
            "a URL such as https://prover.example or http://127.0.0.1:8080, without user, query or fragment";
        let url = Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        url.map(Self).ok_or_else(|| expected.to_owned())
    }
}

impl ServerUrl {
    /// Whether a key that is sent there can be read on the way: the URL is one of HTTP, and not of this machine.
    pub(super) fn is_readable_on_the_way(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_local = address.map_or(host == "localhost", |address| address.is_loopback());
        self.0.scheme() == "http" && !is_local
    }

    /// The URL.
    pub(super) fn into_url(self) -> Url {
        self.0
    }
}

/// An API key.
#[derive(Clone)]
pub(super) struct ClientKey(HeaderValue);

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(…)")
    }
}

impl Setting for ClientKey {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        let is_key = !text.trim().is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let value = HeaderValue::from_str(text).ok().filter(|_| is_key);
        let mut value = value.ok_or_else(|| "an API key of printable characters".to_owned())?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

/// The file with the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnusableKeyFile {
    /// It cannot be read.
    #[error("--key-file (EDGEPROVE_CLIENT_KEY_FILE): {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Its first line is no key.
    #[error("--key-file (EDGEPROVE_CLIENT_KEY_FILE): the first line of {} is not an API key", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

impl ClientKey {
    /// The key as the value of a header.
    pub(super) fn into_header(self) -> HeaderValue {
        self.0
    }

    /// The first line of a file; `-` is standard input.
    pub(super) fn of_file(path: &Path) -> Result<Self, UnusableKeyFile> {
        let line = first_line(path);
        let line = line.map_err(|source| UnusableKeyFile::Unreadable { path: path.to_owned(), source })?;
        Self::read(&line).map_err(|_| UnusableKeyFile::NoKey { path: path.to_owned() })
    }
}

/// The first line of a file with a secret; `-` is standard input.
pub(super) fn first_line(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().lock().take(KEY_FILE_MAX_BYTES).read_to_string(&mut text)?;
    } else {
        File::open(path)?.take(KEY_FILE_MAX_BYTES).read_to_string(&mut text)?;
    }
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// The server did not do what was requested.
#[derive(Debug, thiserror::Error)]
pub(in crate::commands) enum ServerError {
    /// No client could be made.
    #[error("no connection can be made")]
    NoClient(#[source] reqwest::Error),
    /// The server cannot be reached, or the connection broke.
    #[error("{server} did not answer")]
    Connection {
        /// Its URL.
        server: Url,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// It refused the request.
    #[error("{} ({}): {}", .0.title, .0.code, .0.detail)]
    Refused(Box<Problem>),
    /// It answered with another status, as something else than an Edgeprove server may do.
    #[error("{server} answered with the status {status}, which is not one of Edgeprove's")]
    Status {
        /// Its URL.
        server: Url,
        /// The status.
        status: u16,
    },
    /// Its answer is too large.
    #[error("the answer of the server has more than {ANSWER_MAX_BYTES} bytes")]
    TooLarge,
    /// Its answer is not what it should be.
    #[error("the answer of the server was not understood: {0}")]
    Unexpected(String),
}

impl ServerError {
    /// Whether the files, parameters or inputs that were sent are at fault.
    pub(super) fn is_about_what_was_sent(&self) -> bool {
        let Self::Refused(problem) = self else { return false };
        matches!(
            problem.code.known(),
            Some(
                ProblemType::InvalidRequest
                    | ProblemType::TemplateNotFound
                    | ProblemType::CircuitInvalid
                    | ProblemType::CircuitTooLarge
                    | ProblemType::InputsTooLarge
                    | ProblemType::InvalidInputs
                    | ProblemType::WitnessUnsatisfied
                    | ProblemType::WitnessNotComputable
            )
        )
    }

    /// Whether there is no such circuit.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.code == ProblemType::CircuitNotFound)
    }

    /// Whether the same request may succeed later.
    pub(super) fn may_succeed_later(&self) -> bool {
        match self {
            Self::Connection { .. } => true,
            Self::Refused(problem) => problem.retryable,
            Self::NoClient(_) | Self::Status { .. } | Self::TooLarge | Self::Unexpected(_) => false,
        }
    }
}

/// A server.
pub(in crate::commands) struct RemoteServer {
    url: Url,
    key: Option<ClientKey>,
    client: Client,
}

impl RemoteServer {
    /// The server at this URL, for the holder of this key.
    pub(super) fn new(ServerUrl(url): ServerUrl, key: Option<ClientKey>) -> Result<Self, ServerError> {
        // Fails only if there is a provider already, which is then used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // The key is for this server only.
            .redirect(Policy::none())
            .user_agent(concat!("edgeprove/", env!("CARGO_PKG_VERSION")))
            .tls_certs_merge(edgeprove_outbound::root_certificates().map_err(ServerError::NoClient)?)
            .build()
            .map_err(ServerError::NoClient)?;
        Ok(Self { url, key, client })
    }

    /// Its URL.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The status and the body of the answer to a `GET`, whatever they are.
    pub(super) async fn get_any_status(&self, path: &str) -> Result<(StatusCode, Vec<u8>), ServerError> {
        self.exchange(self.request(Method::GET, path)?).await
    }

    /// Sends bytes, and returns the headers and the body of the answer, which has the accepted type.
    pub(super) async fn post_for(
        &self,
        path: &str,
        content_type: &'static str,
        body: Vec<u8>,
        accepted: &'static str,
    ) -> Result<(HeaderMap, Vec<u8>), ServerError> {
        let request = self.request(Method::POST, path)?.header(header::CONTENT_TYPE, content_type);
        // In the place of the one that every request has.
        let accept = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accepted))]);
        let (status, answered, body) = self.exchange_all(request.headers(accept).body(body)).await?;
        if status.is_success() { Ok((answered, body)) } else { Err(self.refusal(status, &body)) }
    }

    /// Sends a request, with JSON if it has a body, and returns the JSON of the answer.
    pub(in crate::commands) async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ServerError> {
        let mut request = self.request(method, path)?;
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        self.send(request).await
    }

    /// Uploads a form.
    pub(super) async fn upload(&self, path: &str, form: FormBody) -> Result<Value, ServerError> {
        let request = self
            .request(Method::POST, path)?
            .header(header::CONTENT_TYPE, form.content_type())
            .header(header::CONTENT_LENGTH, form.bytes());
        self.send(request.body(reqwest::Body::wrap_stream(form.into_stream()))).await
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ServerError> {
        let base = self.url.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}{path}"));
        let url = url.map_err(|error| ServerError::Unexpected(error.to_string()))?;
        // The path of a next page comes from the server.
        if url.origin() != self.url.origin() {
            return Err(ServerError::Unexpected("a path leads to another server".to_owned()));
        }
        let mut request = self.client.request(method, url).header(header::ACCEPT, "application/json");
        if let Some(ClientKey(key)) = &self.key {
            request = request.header(headers::API_KEY, key.clone());
        }
        Ok(request)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, ServerError> {
        let (status, body) = self.exchange(request).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| ServerError::Unexpected(error.to_string()));
        }
        Err(self.refusal(status, &body))
    }

    /// Sends a request, and reads the whole answer.
    async fn exchange(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), ServerError> {
        let (status, _, body) = self.exchange_all(request).await?;
        Ok((status, body))
    }

    /// As [`Self::exchange`], with the headers of the answer.
    async fn exchange_all(
        &self,
        request: RequestBuilder,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>), ServerError> {
        let connection = |source| ServerError::Connection { server: self.url.clone(), source };
        let mut response: Response = request.send().await.map_err(connection)?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(connection)? {
            if body.len() + piece.len() > ANSWER_MAX_BYTES {
                return Err(ServerError::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok((response.status(), std::mem::take(response.headers_mut()), body))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ServerError {
        match serde_json::from_slice(body) {
            Ok(problem) => ServerError::Refused(Box::new(problem)),
            Err(_) => ServerError::Status { server: self.url.clone(), status: status.as_u16() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_url_names_a_server_and_nothing_else() {
        for good in ["http://127.0.0.1:8080", "https://prover.example/", "https://example.com/prover"] {
            assert!(ServerUrl::read(good).is_ok(), "{good}");
        }
        for bad in
            ["127.0.0.1:8080", "ftp://a", "https://u:p@a", "https://a?x=1", "https://a#x", "https://", ""]
        {
            assert!(ServerUrl::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        let is_readable = |url| ServerUrl::read(url).unwrap().is_readable_on_the_way();
        for url in ["https://prover.example", "http://127.0.0.1:8080", "http://[::1]:1", "http://localhost"] {
            assert!(!is_readable(url), "{url}");
        }
        for url in
            ["http://prover.example", "http://10.0.0.1", "http://[2001:db8::1]", "http://localhost.example"]
        {
            assert!(is_readable(url), "{url}");
        }
    }

    #[test]
    fn a_path_stays_at_its_server() {
        let server = |url| RemoteServer::new(ServerUrl::read(url).unwrap(), None).unwrap();
        let url = |server: &RemoteServer, path| {
            server.request(Method::GET, path).map(|request| request.build().unwrap().url().to_string())
        };
        let at_root = server("http://a.example");
        assert_eq!(url(&at_root, "/v1/circuits?limit=2").unwrap(), "http://a.example/v1/circuits?limit=2");
        assert!(url(&at_root, "@other.example/v1").is_err());
        let below = server("http://a.example/prover/");
        assert_eq!(url(&below, "/v1/circuits").unwrap(), "http://a.example/prover/v1/circuits");
    }

    #[test]
    fn a_key_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let read = |content: &str| {
            fs::write(&file, content).unwrap();
            ClientKey::of_file(&file)
        };
        for content in ["abc", "abc\n", " abc \r\nmore\n"] {
            assert_eq!(read(content).unwrap().0.as_bytes(), b"abc");
        }
        for content in ["", "\nabc", "a\tb", "ä"] {
            let error = read(content).unwrap_err();
            assert!(matches!(error, UnusableKeyFile::NoKey { .. }), "{content:?}: {error}");
        }
        let missing = ClientKey::of_file(&folder.path().join("none")).unwrap_err();
        assert!(matches!(missing, UnusableKeyFile::Unreadable { .. }), "{missing}");
        assert_eq!(format!("{:?}", read("abc").unwrap()), "ClientKey(…)");
    }
}
