//! What the head of a request for a job asks for.
//!
//! The rules are those of a server (`container_src/src/http/admitted_request.rs`). The edge knows no circuit: whether there is one
//! of this name, and whether the body is its witness, is found out when the job runs.

use std::time::Duration;

use edgeprove_protocol::{
    CircuitId, Priority, ProblemType, Target,
    endpoints::{Class, Endpoint},
    headers,
    limits::INPUTS_MAX_BYTES,
    prefer::Preferences,
    service::SEALED_MEDIA_TYPE,
};
use http::{HeaderMap, header};

use crate::{
    api_keys::Caller, edge_error::EdgeError, refusal::Refusal, request_head::RequestHead, settings::Settings,
};

/// The path of submissions. Other paths are for proofs, unless a request prefers a job.
const SUBMISSIONS: &str = "/v1/proofs";

/// The content of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A gzipped witness.
    Witness,
    /// Inputs as JSON.
    Inputs,
    /// A form with several witnesses.
    Form,
    /// Something that the caller sealed for a container.
    Sealed,
}

/// A request for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRequest {
    /// The content of its body.
    pub content: Content,
    /// The length of its body.
    pub bytes: u64,
    /// The circuit that its path or query names.
    pub circuit: Option<CircuitId>,
    /// The verifier that its query names.
    pub target: Option<Target>,
    /// How urgent it is.
    pub priority: Priority,
    /// The time in which the job must be able to finish.
    pub deadline: Option<Duration>,
    /// The longest time for the proof.
    pub timeout: Option<Duration>,
    /// The largest number of attempts.
    pub max_attempts: Option<u32>,
    /// The idempotency key. Each page has keys of its own.
    pub idempotency_key: Option<String>,
    /// How the caller wants its answer.
    pub preferences: Preferences,
    /// Whether the caller gets the job if it prefers nothing. Else it gets the proof.
    pub is_submission: bool,
}

/// Whether a request for a proof becomes a job: by its path or a preference, or because only a stored job can be recognized by
/// its `Idempotency-Key`.
#[must_use]
pub fn becomes_job(endpoint: &Endpoint, head: &RequestHead) -> bool {
    endpoint.class == Class::Proof
        && (endpoint.path == SUBMISSIONS
            || head.headers.contains_key(headers::IDEMPOTENCY_KEY)
            || preferences(&head.headers).wants_a_job())
}

impl JobRequest {
    /// Reads the head of a request.
    pub fn read(
        endpoint: &Endpoint,
        head: &RequestHead,
        caller: &Caller,
        settings: &Settings,
    ) -> Result<Self, EdgeError> {
        let map = &head.headers;
        let content = content(map)?;
        let (circuit, target) = query(&head.query)?;
        let in_path = endpoint.parameter(&head.path).map(circuit_id).transpose()?;
        let circuit = in_path.or(circuit);
        let priority = priority(map, caller, settings)?;
        if let (Caller::Page(page), Some(circuit)) = (caller, &circuit) {
            page.voucher.check_circuit(circuit)?;
        }
        if map.contains_key(headers::CALLBACK_URL) {
            let detail = "this service sends no webhooks: it has its jobs at the edge";
            return Err(Refusal::new(ProblemType::CallbackNotAllowed, detail).into());
        }
        let idempotency_key = text(map, headers::IDEMPOTENCY_KEY)?;
        let idempotency_key = idempotency_key.map(|key| match caller {
            Caller::Page(page) => page.voucher.own_idempotency_key(key),
            Caller::Key(_) | Caller::Anonymous | Caller::Link => key.to_owned(),
        });
        Ok(Self {
            content,
            bytes: length(map, content)?,
            circuit,
            target,
            priority,
            deadline: seconds(map, headers::DEADLINE)?,
            timeout: seconds(map, headers::TIMEOUT)?,
            max_attempts: attempts(map)?,
            idempotency_key,
            preferences: preferences(map),
            is_submission: endpoint.path == SUBMISSIONS,
        })
    }

    /// Path and query of the request to a container. They name circuit and target only where the caller's request does: a sealed
    /// body is bound to that.
    #[must_use]
    pub fn container_path(&self) -> String {
        let mut path = "/api/prove".to_owned();
        if let Some(circuit) = &self.circuit {
            path.push('/');
            path.push_str(circuit.as_str());
        }
        if let Some(target) = self.target {
            path.push_str("?target=");
            path.push_str(target.as_str());
        }
        path
    }

    /// How long the caller waits for the proof. The rest of the time of a request is for upload and answer.
    #[must_use]
    pub fn wait(&self, wait_max: Duration) -> Option<Duration> {
        if self.must_prove() { Some(wait_max) } else { self.preferences.wait.map(|wait| wait.min(wait_max)) }
    }

    /// Whether the caller can do with nothing but the proof.
    #[must_use]
    pub fn must_prove(&self) -> bool {
        !self.is_submission && !self.preferences.wants_a_job()
    }

    /// The value of `Preference-Applied`; `None` where no preference was applied.
    #[must_use]
    pub fn applied(&self, wait_max: Duration, is_finished: bool) -> Option<String> {
        let wait = self.preferences.wait.map(|wait| format!("wait={}", wait.min(wait_max).as_secs()));
        let is_async =
            !is_finished && (self.preferences.respond_async || self.is_submission && wait.is_none());
        let applied: Vec<String> =
            is_async.then(|| "respond-async".to_owned()).into_iter().chain(wait).collect();
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}

fn preferences(map: &HeaderMap) -> Preferences {
    Preferences::of(map.get_all(headers::PREFER).into_iter().filter_map(|value| value.to_str().ok()))
}

/// The text of a header that a request may have once.
fn text<'a>(map: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = map.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("\u{fffd}"));
    match (values.next(), values.next()) {
        (text, None) => Ok(text),
        (_, Some(_)) => Err(Refusal::invalid(format!("send {name} only once"))),
    }
}

fn content(map: &HeaderMap) -> Result<Content, Refusal> {
    let unsupported = |detail: &str| Refusal::new(ProblemType::UnsupportedMediaType, detail);
    let media = text(map, header::CONTENT_TYPE.as_str())?.unwrap_or("application/gzip");
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let encoding =
        text(map, header::CONTENT_ENCODING.as_str())?.unwrap_or("identity").trim().to_ascii_lowercase();
    let content = match media.as_str() {
        "application/gzip" | "application/x-gzip" | "application/octet-stream" => Content::Witness,
        "application/json" => Content::Inputs,
        "multipart/form-data" => Content::Form,
        SEALED_MEDIA_TYPE => Content::Sealed,
        _ => {
            return Err(unsupported(
                "send the gzipped witness as Content-Type: application/gzip (or application/octet-stream), or inputs as \
                 application/json",
            ));
        }
    };
    // A client that declares the gzip of a witness as an encoding sends the same bytes.
    match encoding.as_str() {
        "identity" => Ok(content),
        "gzip" | "x-gzip" if content == Content::Witness => Ok(content),
        _ => Err(unsupported(
            "send the gzipped witness with Content-Encoding: gzip or none, and anything else with none",
        )),
    }
}

fn length(map: &HeaderMap, content: Content) -> Result<u64, Refusal> {
    let missing = || {
        let detail = "the body has no Content-Length, and this service stores no body of unknown length";
        Refusal::new(ProblemType::LengthRequired, detail)
    };
    let bytes = text(map, header::CONTENT_LENGTH.as_str())?.ok_or_else(missing)?;
    let bytes: u64 =
        bytes.parse().map_err(|_| Refusal::invalid("Content-Length is not a number of bytes"))?;
    if bytes == 0 {
        return Err(Refusal::new(ProblemType::WitnessEmpty, "the body has no bytes"));
    }
    if content == Content::Inputs && bytes > INPUTS_MAX_BYTES {
        let detail =
            format!("the JSON with the inputs has more than {INPUTS_MAX_BYTES} bytes, which is the limit");
        return Err(Refusal::new(ProblemType::InputsTooLarge, detail));
    }
    Ok(bytes)
}

fn circuit_id(name: &str) -> Result<CircuitId, Refusal> {
    // An invalid name cannot be the name of a circuit.
    name.parse().map_err(|error: edgeprove_protocol::circuit_id::InvalidCircuitId| {
        Refusal::new(ProblemType::CircuitNotFound, error.to_string())
    })
}

fn query(query: &str) -> Result<(Option<CircuitId>, Option<Target>), Refusal> {
    let invalid =
        || Refusal::invalid("the query of a request for a proof may have `circuit` and `target`, each once");
    let (mut circuit, mut target) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        // Neither value has a character that is encoded in a query.
        match pair.split_once('=') {
            Some(("circuit", name)) if circuit.is_none() => circuit = Some(circuit_id(name)?),
            Some(("target", name)) if target.is_none() => {
                let parsed = name.parse::<Target>();
                target = Some(parsed.map_err(|error| Refusal::invalid(format!("in `target`: {error}")))?);
            }
            _ => return Err(invalid()),
        }
    }
    Ok((circuit, target))
}

fn priority(map: &HeaderMap, caller: &Caller, settings: &Settings) -> Result<Priority, EdgeError> {
    let invalid = |error| Refusal::invalid(format!("in X-Priority: {error}"));
    let asked = text(map, headers::PRIORITY)?;
    let asked = asked.map(|text| text.trim().parse::<Priority>().map_err(invalid)).transpose()?;
    let highest = match caller {
        Caller::Page(page) => page.voucher.priority,
        Caller::Key(_) | Caller::Anonymous | Caller::Link => Priority::Critical,
    };
    let priority = asked.unwrap_or_else(|| Priority::default().min(highest));
    if let Caller::Page(page) = caller {
        page.voucher.check_priority(priority)?;
    }
    let role = settings.keys.profile(caller).role;
    role.may_use(priority).map_err(|error| Refusal::new(ProblemType::NotAllowed, error.to_string()))?;
    Ok(priority)
}

fn seconds(map: &HeaderMap, name: &str) -> Result<Option<Duration>, Refusal> {
    let Some(text) = text(map, name)? else { return Ok(None) };
    let parsed = text.trim().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let invalid = || Refusal::invalid(format!("{name} must be a number of seconds, such as 30"));
    parsed.filter(|time| !time.is_zero() || name == headers::DEADLINE).map(Some).ok_or_else(invalid)
}

fn attempts(map: &HeaderMap) -> Result<Option<u32>, Refusal> {
    let Some(text) = text(map, headers::MAX_ATTEMPTS)? else { return Ok(None) };
    let attempts = text.trim().parse().ok().filter(|attempts| *attempts >= 1);
    attempts.map(Some).ok_or_else(|| Refusal::invalid("X-Max-Attempts must be a number from 1"))
}

#[cfg(test)]
mod tests;
