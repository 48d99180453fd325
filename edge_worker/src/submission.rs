//! A request for a job, where jobs are at the edge. Its body becomes an encrypted object, and the object of the jobs enqueues it. No
//! container wakes for it.
//!
//! 1. The head is read: content type (415), length (411, 413), circuit and target (400, 404), priority (400, 403), voucher (403).
//! 2. Inputs are read whole, because they may name the circuit (400, 413). Every other body streams into the bucket while its beginning
//!    is checked: gzip (400), the head of a sealed body (400, 409).
//! 3. The object accepts the job, finds it under its idempotency key, or refuses it (403, 422, 429, 503). A stored body that no job
//!    uses is deleted. Where that fails, the sweep of the object deletes it later.
//! 4. 202 with the job. A caller that waits gets the proof, if the job finishes in that time; one that prefers nothing but the
//!    proof gets 504 otherwise.
//!
//! Imports run down this list only.
//! - [`request`]: what the head asks for.
//! - [`sealed`]: the head of a sealed body.

pub mod request;
pub mod sealed;

use std::{pin::pin, time::Duration};

use edgeprove_protocol::{
    CircuitId, JobId, ProblemType, Target, caller::address_account, endpoints::Endpoint, headers,
    prefer::WAIT_SHARE,
};
use futures_util::{
    StreamExt as _,
    future::{Either, select},
};
use http::{HeaderName, Method, header};
use serde::Deserialize;
use uuid::Uuid;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use worker::{
    ByteStream, Date, Delay, Env,
    js_sys::{ArrayBuffer, Uint8Array},
};

use crate::{
    api_keys::Caller,
    artifact_format::WITNESS_PREFIX,
    artifacts::{Artifacts, PutError},
    bindings,
    edge_error::{EdgeError, Operation, RuntimeError},
    forward_headers,
    jobs_do::{
        gateway,
        proof_answer::Format,
        protocol::{ARTIFACT_UNUSED, ENQUEUE_PATH, JobVoucher, StoredBody, Submission},
    },
    js_headers,
    outgoing_request::{Fetch, Outgoing},
    refusal::Refusal,
    request_head::RequestHead,
    response_stream,
    settings::Settings,
};
use request::{Content, JobRequest};

/// How long the object may take to enqueue a job.
const ENQUEUE_LIMIT: Duration = Duration::from_secs(10);
/// The circuit of a request that names none, where the containers have no other one: the name of `/app/circuit.json`.
const DEFAULT_CIRCUIT: &str = "circuit";
/// The first bytes of a gzip stream.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A request that becomes a job, and what belongs to it.
pub struct Submitter<'a> {
    /// The request.
    pub request: &'a web_sys::Request,
    /// Its head.
    pub head: &'a RequestHead,
    /// The bindings.
    pub env: &'a Env,
    /// The settings.
    pub settings: &'a Settings,
    /// Its caller, which may use the endpoint.
    pub caller: &'a Caller,
}

/// A body that is stored, as the object gets to know it.
struct Stored {
    artifact: String,
    digest: String,
    circuit: Option<CircuitId>,
    headers: Vec<(String, String)>,
}

/// The part of the inputs that the edge reads. Everything else is the container's.
#[derive(Deserialize)]
struct InputsHead {
    #[serde(rename = "circuitId", default)]
    circuit: Option<String>,
}

impl Submitter<'_> {
    /// Submits the job. See the module.
    pub async fn submit(&self, endpoint: &Endpoint) -> Result<web_sys::Response, EdgeError> {
        let job = JobRequest::read(endpoint, self.head, self.caller, self.settings)?;
        let artifacts = Artifacts::open(self.env, self.settings)?;
        let arrived = Date::now().as_millis();
        let id = JobId::new(None, *Uuid::new_v4().as_bytes()).map_err(|_| failed("no id for the job"))?;
        let stored = self.store(&job, &artifacts, arrived).await?;
        let response = self.enqueue(&job, id, &stored, &artifacts, arrived).await;
        let is_unused = match &response {
            Ok(response) => !response.ok() || response.headers().has(ARTIFACT_UNUSED).unwrap_or(false),
            // The job may be in the queue although the response was lost.
            Err(_) => false,
        };
        if is_unused {
            // The sweep deletes what is left.
            let _ = artifacts.delete(&stored.artifact).await;
        }
        let response = response?;
        let (response, applied) = match response.status() {
            202 => self.answer(&job, response).await?,
            _ => (response, None),
        };
        let mut map = js_headers::from_js(&response.headers());
        map.remove(ARTIFACT_UNUSED);
        if let Some(applied) = applied {
            forward_headers::set(&mut map, headers::PREFERENCE_APPLIED, &applied);
        }
        response_stream::forward(&response, &map)
    }

    async fn store(&self, job: &JobRequest, artifacts: &Artifacts, now_ms: u64) -> Result<Stored, EdgeError> {
        let artifact = format!("{WITNESS_PREFIX}{}", Uuid::new_v4());
        let body =
            self.request.body().ok_or_else(|| refused(ProblemType::WitnessEmpty, "the body is missing"))?;
        let mut circuit = job.circuit.clone();
        let body = if job.content == Content::Inputs {
            let (inputs, named) = self.read_inputs(job).await?;
            circuit = named.or(circuit);
            inputs
        } else {
            body
        };
        let mut mark = None;
        let check = |first: &Uint8Array| {
            let beginning = first.subarray(0, sealed::HEAD_BYTES).to_vec();
            match job.content {
                Content::Witness if !beginning.starts_with(&GZIP) => {
                    Err(Refusal::new(ProblemType::WitnessNotGzip, "the body does not begin as gzip"))
                }
                Content::Sealed => {
                    mark = Some(sealed::check(&beginning, now_ms)?);
                    Ok(())
                }
                Content::Witness | Content::Inputs | Content::Form => Ok(()),
            }
        };
        let limit = self.settings.timeouts.prove;
        let sha256 = artifacts.put(&artifact, &body, job.bytes, limit, check).await;
        let sha256 = sha256.map_err(|error| of_upload(error, job.bytes))?;
        if let Some(mark) = &mark {
            let is_new = artifacts.mark(mark).await;
            if !matches!(is_new, Ok(true)) {
                // The sweep deletes what is left.
                let _ = artifacts.delete(&artifact).await;
                is_new?;
                return Err(sealed::replayed().into());
            }
        }
        let digest = digest(job, circuit.as_ref(), artifacts, &sha256);
        Ok(Stored { artifact, digest, circuit, headers: self.body_headers(job, now_ms) })
    }

    /// Reads inputs, which may name the circuit. They are in memory for this moment only.
    async fn read_inputs(
        &self,
        job: &JobRequest,
    ) -> Result<(web_sys::ReadableStream, Option<CircuitId>), EdgeError> {
        let limit = self.settings.timeouts.prove;
        let reading = JsFuture::from(self.request.array_buffer().map_err(|error| runtime(&error))?);
        let broken_off = || of_upload(PutError::BrokenOff { received: 0 }, job.bytes);
        let buffer: ArrayBuffer = match select(reading, Delay::from(limit)).await {
            Either::Left((buffer, _)) => buffer.map_err(|_| broken_off())?.unchecked_into(),
            Either::Right(_) => return Err(of_upload(PutError::TooSlow { limit }, job.bytes)),
        };
        let bytes = Uint8Array::new(&buffer);
        let json = zeroize::Zeroizing::new(bytes.to_vec());
        let text = std::str::from_utf8(&json)
            .map_err(|_| Refusal::invalid("the body is not JSON: it is not UTF-8"))?;
        let inputs: InputsHead = serde_json::from_str(text).map_err(|error| {
            // The message of the parser may quote a value.
            let at = format!("the body is not JSON in the form of inputs, at line {}", error.line());
            Refusal::invalid(at)
        })?;
        let named = match inputs.circuit.map(|name| name.parse::<CircuitId>()) {
            None => None,
            Some(Ok(named)) => Some(named),
            Some(Err(error)) => return Err(refused(ProblemType::CircuitNotFound, &error.to_string())),
        };
        if let (Some(named), Some(circuit)) = (&named, &job.circuit)
            && named != circuit
        {
            let detail =
                format!("the path or the query names the circuit {circuit}, and `circuitId` another");
            return Err(Refusal::invalid(detail).into());
        }
        if let (Caller::Page(page), Some(named)) = (self.caller, &named) {
            page.voucher.check_circuit(named)?;
        }
        let response =
            web_sys::Response::new_with_opt_buffer_source(Some(&bytes)).map_err(|error| runtime(&error))?;
        let body = response.body().ok_or_else(|| failed("the inputs have no stream"))?;
        Ok((body, named))
    }

    /// The headers with which a container gets the body.
    fn body_headers(&self, job: &JobRequest, arrived_ms: u64) -> Vec<(String, String)> {
        let of_body = [header::CONTENT_TYPE, header::CONTENT_ENCODING];
        let mut all: Vec<_> = of_body
            .iter()
            .filter_map(|name| Some((name.to_string(), self.head.header(name)?.to_owned())))
            .collect();
        if job.content == Content::Sealed {
            all.push((headers::SEALED_ARRIVAL.to_owned(), arrived_ms.to_string()));
            let digest = forward_headers::credential_digest(&self.head.headers);
            all.extend(digest.map(|digest| (headers::CREDENTIAL_DIGEST.to_owned(), digest)));
        }
        all
    }

    async fn enqueue(
        &self,
        job: &JobRequest,
        id: JobId,
        stored: &Stored,
        artifacts: &Artifacts,
        arrived_ms: u64,
    ) -> Result<web_sys::Response, EdgeError> {
        let viewer = gateway::viewer(self.caller, self.settings)?;
        let account = match self.caller {
            Caller::Key(_) | Caller::Page(_) => viewer.owner.clone(),
            // Nothing that is stored names the address of a caller.
            Caller::Anonymous | Caller::Link => {
                let address = address_account(self.head.client_ip().and_then(|ip| ip.parse().ok()));
                let hash = artifacts.keys().fingerprint(&[b"account", address.as_bytes()]);
                format!("address:{}", &hash[..16])
            }
        };
        let default = || {
            let name = self.settings.default_circuit().unwrap_or(DEFAULT_CIRCUIT);
            name.parse().map_err(|_| failed("the default circuit has no valid name"))
        };
        let submission = Submission {
            id,
            circuit: stored.circuit.clone().map_or_else(default, Ok)?,
            target: job.target,
            owner: viewer.owner.clone(),
            account,
            priority: job.priority,
            unfinished_max: self.settings.keys.profile(self.caller).unfinished_max,
            max_attempts: job.max_attempts,
            body_digest: job.idempotency_key.as_ref().map(|_| stored.digest.clone()),
            idempotency_key: job.idempotency_key.clone(),
            artifact: stored.artifact.clone(),
            body: StoredBody {
                bytes: job.bytes,
                path: job.container_path(),
                headers: stored.headers.clone(),
            },
            cache_control: self.head.header(header::CACHE_CONTROL).map(ToOwned::to_owned),
            timeout_ms: job.timeout.map(milliseconds),
            deadline_ms: job.deadline.map(milliseconds),
            upload_ms: Date::now().as_millis().saturating_sub(arrived_ms),
            request_id: self.head.request_id.clone(),
            trace: self.head.trace(),
            voucher: match self.caller {
                Caller::Page(page) => Some(JobVoucher {
                    id: page.voucher.id.clone(),
                    scope: page.voucher.scope(),
                    uses: page.voucher.uses,
                    expires_s: page.voucher.expires_s,
                }),
                Caller::Key(_) | Caller::Anonymous | Caller::Link => None,
            },
        };
        let mut map = gateway::object_headers(&viewer, &self.head.request_id);
        forward_headers::set(&mut map, header::CONTENT_TYPE.as_str(), "application/json");
        // Serialising cannot fail: a submission has text keys and derived serialisers.
        let json = serde_json::to_string(&submission).unwrap_or_default();
        let outgoing = Outgoing::post_text(&format!("https://jobs{ENQUEUE_PATH}"), &map, &json)?;
        let object: Fetch = bindings::jobs(self.env)?.into_rpc();
        outgoing.send(&object, ENQUEUE_LIMIT).await.map_err(gateway::unavailable)
    }

    /// The answer to a caller whose job was accepted: the job, or the proof if the caller waits and the job finishes in time. With
    /// the preferences that were applied.
    async fn answer(
        &self,
        job: &JobRequest,
        accepted: web_sys::Response,
    ) -> Result<(web_sys::Response, Option<String>), EdgeError> {
        let wait_max = self.settings.timeouts.prove.mul_f64(WAIT_SHARE);
        let location = accepted.headers().get("location").ok().flatten();
        let finished = match (job.wait(wait_max), location) {
            (Some(wait), Some(path)) => self.finished_within(&path, wait).await?,
            (_, None) | (None, _) => None,
        };
        let applied = job.applied(wait_max, finished.is_some());
        let response = match finished {
            Some(response) => response,
            None if job.must_prove() => {
                let detail = "the proof is not ready yet; send the request again with the same Idempotency-Key to get the proof";
                return Err(refused(ProblemType::RequestTimeout, detail));
            }
            None => accepted,
        };
        Ok((response, applied))
    }

    /// The proof of a job, or why it failed; `None` if it does not finish within `wait`.
    async fn finished_within(
        &self,
        path: &str,
        wait: Duration,
    ) -> Result<Option<web_sys::Response>, EdgeError> {
        let viewer = gateway::viewer(self.caller, self.settings)?;
        let of_job = |path: String| RequestHead {
            method: Method::GET,
            path,
            query: String::new(),
            ..self.head.clone()
        };
        let watching = async {
            let mut head = of_job(format!("{path}/events"));
            head.headers.remove(HeaderName::from_static("last-event-id"));
            let events = gateway::send(self.env, self.request, &head, &viewer).await.ok()?;
            // The stream ends with the job. What is in it does not matter.
            let mut pieces = ByteStream::from(events.body()?);
            while let Some(Ok(_)) = pieces.next().await {}
            Some(())
        };
        let _ = select(pin!(watching), Delay::from(wait)).await;
        let head = of_job(format!("{path}/proof"));
        let format = Format::of_accept(&self.head.headers);
        let answer = gateway::proof(self.env, self.settings, self.request, &head, &viewer, format).await?;
        let is_unfinished = answer.status() == ProblemType::ProofNotReady.status();
        Ok((!is_unfinished).then_some(answer))
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn of_upload(error: PutError<Refusal>, bytes: u64) -> EdgeError {
    match error {
        PutError::Failed(error) => error,
        PutError::Refused(refusal) => refusal.into(),
        PutError::BrokenOff { received } => {
            let detail = format!("the body ended after {received} of {bytes} bytes");
            refused(ProblemType::WitnessTruncated, &detail)
        }
        PutError::TooLong => {
            Refusal::invalid(format!("the body has more than the {bytes} bytes of its Content-Length")).into()
        }
        PutError::TooSlow { limit } => {
            let detail = format!("the body did not arrive within {} s", limit.as_secs());
            refused(ProblemType::UploadStalled, &detail)
        }
    }
}

fn refused(kind: ProblemType, detail: &str) -> EdgeError {
    Refusal::new(kind, detail).into()
}

/// The digest that reveals another request under the same idempotency key. The ciphertext of a sealed body differs each time, so
/// there only its length counts.
fn digest(job: &JobRequest, circuit: Option<&CircuitId>, artifacts: &Artifacts, sha256: &[u8; 32]) -> String {
    let length = job.bytes.to_be_bytes();
    let (domain, body) = match job.content {
        Content::Sealed => (&b"sealed job"[..], &length[..]),
        Content::Witness | Content::Inputs | Content::Form => (&b"job"[..], &sha256[..]),
    };
    let circuit = circuit.map(CircuitId::as_str).unwrap_or_default();
    let target = job.target.map(Target::as_str).unwrap_or_default();
    artifacts.keys().fingerprint(&[domain, circuit.as_bytes(), target.as_bytes(), body])
}

fn failed(reason: &str) -> EdgeError {
    runtime(&JsValue::from(reason))
}

fn runtime(error: &JsValue) -> EdgeError {
    RuntimeError::new(Operation::StoreBody, error).into()
}
