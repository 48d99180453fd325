//! One attempt at a job.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    time::Duration,
};

use edgeprove_job_rules::{job::Job, proof_job::STAGES};
use edgeprove_protocol::{Load, Problem, ProblemType, headers};
use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use uuid::Uuid;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::JsFuture;
use worker::{Delay, js_sys};

use super::{Core, OBJECT_MARGIN, log_error, log_event, now, now_ms};
use crate::{
    bindings,
    edge_error::EdgeError,
    forward_headers::{self, OBJECT_PROBLEM},
    jobs_do::{
        container_answer::{ProofHead, Refusal, bad_response},
        fleet::Fleet,
        payload::{Payload, ProofReport},
        protocol::PROOF_PREFIX,
        queue::{AttemptEnd, LeaseStatus},
    },
    js_headers,
    outgoing_request::{self, Fetch, Outgoing, SendError},
    prover_container_do::WAKE_PATH,
    settings::Secret,
};

/// The largest answer with a proof.
const ANSWER_MAX_BYTES: usize = 16 << 20;
/// The largest problem document that is read.
const PROBLEM_MAX_BYTES: usize = 64 << 10;
/// How long the body of an answer may take after its head.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The pauses before the bucket is tried again.
const BUCKET_PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(6)];
/// The owners of jobs with a key begin so.
const HOLDER: &str = "key:";
/// The path of a server that reports whether it accepts work.
const READY_PATH: &str = "/readyz";

/// The place of a job at a container. It is given back once, with what the container did.
struct Slot<'a> {
    fleet: &'a RefCell<Fleet>,
    instance: u16,
    is_held: Cell<bool>,
}

impl Slot<'_> {
    fn give_back(&self, note: impl FnOnce(&mut Fleet, u16)) {
        if self.is_held.replace(false) {
            note(&mut self.fleet.borrow_mut(), self.instance);
        }
    }

    /// The container responded.
    fn responded(&self, load: Option<Load>) {
        self.give_back(|fleet, instance| fleet.responded(instance, load, now_ms()));
    }

    /// The container takes no job for a time.
    fn refused(&self, pause: Duration) {
        self.give_back(|fleet, instance| fleet.refused(instance, pause, now_ms()));
    }

    /// The container did not respond.
    fn failed(&self) {
        self.give_back(|fleet, instance| fleet.failed(instance, true, now_ms()));
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.refused(Duration::ZERO);
    }
}

impl Core {
    /// Makes an attempt. `None` if its lease was lost, so that nothing is left to end.
    pub(super) async fn attempt(
        &self,
        job: &Job,
        instance: u16,
        controller: &web_sys::AbortController,
    ) -> Option<AttemptEnd> {
        let slot = Slot { fleet: &self.fleet, instance, is_held: Cell::new(true) };
        let every = self.queue.rules().rules.lease.heartbeat_every();
        let mut work = pin!(self.prove(job, &slot, controller));
        let end = loop {
            match select(work, pin!(Delay::from(every))).await {
                Either::Left((end, _)) => break end,
                Either::Right(((), unfinished)) => work = unfinished,
            }
            match self.queue.heartbeat(job, now()) {
                Ok(LeaseStatus::Held) => {}
                Ok(LeaseStatus::CancelRequested) => controller.abort(),
                Ok(LeaseStatus::Lost) => {
                    controller.abort();
                    log_event("lease_lost", Some(job.id), instance, "");
                    return None;
                }
                // The work goes on: the database may respond again before the lease ends.
                Err(error) => log_error("lease_not_renewed", Some(job.id), &error.to_string()),
            }
        };
        if matches!(end, AttemptEnd::Completed { .. }) {
            return Some(end);
        }
        // A request that was aborted because of a cancelled job failed in some way.
        match self.queue.heartbeat(job, now()) {
            Ok(LeaseStatus::CancelRequested) => Some(AttemptEnd::Released),
            Ok(LeaseStatus::Lost) => None,
            Ok(LeaseStatus::Held) | Err(_) => Some(end),
        }
    }

    async fn prove(&self, job: &Job, slot: &Slot<'_>, controller: &web_sys::AbortController) -> AttemptEnd {
        let payload = match Payload::of(job) {
            Ok(payload) => payload,
            Err(error) => {
                log_error("payload_damaged", Some(job.id), &error.to_string());
                return failed(ProblemType::StoredDataDamaged, "the job cannot be read", None);
            }
        };
        match self.try_prove(job, &payload, slot, controller).await {
            Ok((result, report)) => AttemptEnd::Completed { result, report: Box::new(report) },
            Err(end) => end,
        }
    }

    async fn try_prove(
        &self,
        job: &Job,
        payload: &Payload,
        slot: &Slot<'_>,
        controller: &web_sys::AbortController,
    ) -> Result<(String, ProofReport), AttemptEnd> {
        let started = now();
        let request_id = &payload.request_id;
        self.report_stage(job, 0);
        let body = self.body(job, payload).await?;
        let (response, load) = self.send(job, payload, body, slot, controller).await?;
        let status = response.status();
        let fetched_headers = js_headers::from_js(&response.headers());
        if status != 200 {
            let text = read(&response, PROBLEM_MAX_BYTES).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let after =
                fetched_headers.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
            let refusal = Refusal::of_response(status, &text, after.map(Duration::from_secs), request_id);
            let is_objects = fetched_headers.contains_key(OBJECT_PROBLEM);
            // An object that could not use its container.
            if is_objects {
                slot.failed();
            }
            return Err(match refusal {
                Refusal::Final(problem) => {
                    slot.responded(load);
                    AttemptEnd::Failed(Box::new(problem))
                }
                Refusal::Retry(problem) => {
                    slot.responded(load);
                    AttemptEnd::Retry(Box::new(problem))
                }
                Refusal::NotTaken { pause, problem } => {
                    log_event("job_not_taken", Some(job.id), slot.instance, problem.code.as_str());
                    slot.refused(pause);
                    AttemptEnd::Released
                }
            });
        }
        let answer = read(&response, ANSWER_MAX_BYTES).await;
        slot.responded(load);
        let bad = |detail: &str| AttemptEnd::Retry(Box::new(bad_response(detail, request_id)));
        let answer = answer.ok_or_else(|| bad("the answer of the container broke off, or is too long"))?;
        let head = std::str::from_utf8(&answer).ok().and_then(ProofHead::read);
        let head = head.ok_or_else(|| bad("the answer of the container is not the JSON of a proof"))?;
        let name = format!("{PROOF_PREFIX}{}", Uuid::new_v4());
        self.store(job, payload, &name, &answer).await?;
        let mut timings = head.timings;
        #[expect(clippy::cast_precision_loss, reason = "a duration in milliseconds is far below 2^53")]
        {
            timings.total_ms = now().since(started).as_millis() as f64;
        }
        let ProofHead { circuit, target, verified, cached, cost, .. } = head;
        let bytes = u64::try_from(answer.len()).unwrap_or(u64::MAX);
        Ok((name, ProofReport { circuit, target, bytes, verified, cached, timings, cost }))
    }

    fn report_stage(&self, job: &Job, stage: usize) {
        if let Some(stage) = STAGES.get(stage) {
            if let Err(error) = self.queue.report_stage(job, *stage, now()) {
                log_error("stage_not_reported", Some(job.id), &error.to_string());
            }
            self.report(job.id);
        }
    }

    /// The body of the job as a stream.
    async fn body(&self, job: &Job, payload: &Payload) -> Result<web_sys::ReadableStream, AttemptEnd> {
        let id = || Some(payload.request_id.clone());
        let missing = || failed(ProblemType::StoredDataDamaged, "the witness of the job is missing", id());
        let name = job.input.as_deref().ok_or_else(missing)?;
        let mut pauses = BUCKET_PAUSES.into_iter();
        loop {
            let error = match self.artifacts.stream(name).await {
                Ok(Some((body, _))) => return Ok(body),
                Ok(None) => return Err(missing()),
                Err(error) => error,
            };
            log_error("artifact_unreadable", Some(job.id), &error.cause().unwrap_or(error.detail()));
            let kind = error.problem_type();
            match pauses.next() {
                Some(pause) if kind.retryable() => Delay::from(pause).await,
                Some(_) => return Err(failed(kind, "the witness of the job cannot be read", id())),
                None => return Err(retry(kind, "the witness of the job cannot be read", id())),
            }
        }
    }

    async fn store(&self, job: &Job, payload: &Payload, name: &str, answer: &[u8]) -> Result<(), AttemptEnd> {
        let mut pauses = BUCKET_PAUSES.into_iter();
        loop {
            let error: EdgeError = match self.artifacts.write(name, answer).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            log_error("artifact_not_stored", Some(job.id), &error.cause().unwrap_or(error.detail()));
            let Some(pause) = pauses.next() else {
                let id = Some(payload.request_id.clone());
                return Err(retry(error.problem_type(), "the proof cannot be stored", id));
            };
            Delay::from(pause).await;
        }
    }

    /// Sends the body to the container. Returns its response, and the load that it reported.
    async fn send(
        &self,
        job: &Job,
        payload: &Payload,
        body: web_sys::ReadableStream,
        slot: &Slot<'_>,
        controller: &web_sys::AbortController,
    ) -> Result<(web_sys::Response, Option<Load>), AttemptEnd> {
        let id = || Some(payload.request_id.clone());
        let path = &payload.body.path;
        let limit = self.settings.timeouts.prove;
        let mut outgoing_headers = self.headers_of(job, payload);
        let unsent = |error: String| {
            // A caller who cancels a job is not the container's fault.
            if controller.signal().aborted() {
                slot.refused(Duration::ZERO);
            } else {
                slot.failed();
            }
            log_error("job_not_sent", Some(job.id), &error);
            retry(ProblemType::ContainerLost, "the request could not be sent to the container", id())
        };
        let (to, url) = if let Some(server) = &self.settings.upstream {
            let server = server.to_string();
            (outgoing_request::global_fetch(), format!("{}{path}", server.trim_end_matches('/')))
        } else {
            let limit = limit.as_millis().to_string();
            forward_headers::set(&mut outgoing_headers, forward_headers::TIMEOUT_MS, &limit);
            let object =
                bindings::prover(&self.env, slot.instance).map_err(|error| unsent(error.detail()))?;
            let object: Fetch = object.into_rpc();
            (object, bindings::prover_url(slot.instance, path))
        };
        let outgoing = Outgoing::post(&url, &outgoing_headers, &body, controller)
            .map_err(|error| unsent(error.to_string()))?;
        self.report_stage(job, 2);
        match outgoing.send(&to, limit + OBJECT_MARGIN).await {
            Ok(response) => {
                let reported = response.headers().get(headers::PROVER_LOAD).ok().flatten();
                Ok((response, reported.and_then(|load| load.parse().ok())))
            }
            Err(SendError::TimedOut) => {
                slot.failed();
                let detail =
                    format!("no proof arrived within {} s; the request was aborted", limit.as_secs());
                Err(retry(ProblemType::RequestTimeout, &detail, id()))
            }
            Err(SendError::Failed(reason)) => Err(unsent(reason)),
        }
    }

    /// The headers of the request. No header of the caller can replace one of the edge: a submission has only those that
    /// describe its body.
    fn headers_of(&self, job: &Job, payload: &Payload) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &payload.body.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value))
            {
                map.append(name, value);
            }
        }
        map.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let timeout = payload.timeout_ms.map(|ms| format!("{}.{:03}", ms / 1000, ms % 1000));
        let trace = payload.trace.as_ref().map(ToString::to_string);
        for (name, value) in [
            (headers::REQUEST_ID, Some(payload.request_id.as_str())),
            (headers::PRIORITY, Some(job.priority.as_str())),
            (headers::TIMEOUT, timeout.as_deref()),
            ("cache-control", payload.cache_control.as_deref()),
            ("traceparent", trace.as_deref()),
            (headers::AUTHENTICATED_USER, job.owner.strip_prefix(HOLDER)),
            (headers::EDGE_SECRET, self.settings.secret.as_ref().map(Secret::expose)),
        ] {
            if let Some(value) = value {
                forward_headers::set(&mut map, name, value);
            }
        }
        map
    }

    /// Wakes a container, or finds out whether the server accepts work. Returns the load that it reported.
    pub(super) async fn ready(&self, instance: u16) -> Result<Option<Load>, String> {
        let limit = self.settings.lifecycle.start_timeout + OBJECT_MARGIN;
        let (to, url) = if let Some(server) = &self.settings.upstream {
            let server = server.to_string();
            (outgoing_request::global_fetch(), format!("{}{READY_PATH}", server.trim_end_matches('/')))
        } else {
            let object = bindings::prover(&self.env, instance).map_err(|error| error.detail())?;
            let object: Fetch = object.into_rpc();
            (object, bindings::prover_url(instance, WAKE_PATH))
        };
        let request = Outgoing::get(&url).map_err(|error| error.to_string())?;
        let response = match request.send(&to, limit).await {
            Ok(response) => response,
            Err(SendError::TimedOut) => return Err(format!("not ready within {} s", limit.as_secs())),
            Err(SendError::Failed(reason)) => return Err(reason),
        };
        let load = response.headers().get(headers::PROVER_LOAD).ok().flatten();
        let status = response.status();
        // The body is read, so that the connection can be used again.
        read(&response, PROBLEM_MAX_BYTES).await;
        if status == 200 {
            Ok(load.and_then(|load| load.parse().ok()))
        } else {
            Err(format!("status {status}"))
        }
    }
}

/// Reads a body; `None` if it breaks off, takes too long, or is larger than `max`.
async fn read(response: &web_sys::Response, max: usize) -> Option<Vec<u8>> {
    let length = response.headers().get("content-length").ok().flatten();
    let length: usize = length?.parse().ok()?;
    if length > max {
        return None;
    }
    let body = JsFuture::from(response.array_buffer().ok()?);
    match select(body, pin!(Delay::from(ANSWER_LIMIT))).await {
        Either::Left((Ok(body), _)) => {
            Some(js_sys::Uint8Array::new(body.unchecked_ref::<js_sys::ArrayBuffer>()).to_vec())
        }
        Either::Left((Err(_), _)) | Either::Right(_) => None,
    }
}

fn failed(kind: ProblemType, detail: &str, request_id: Option<String>) -> AttemptEnd {
    AttemptEnd::Failed(Box::new(Problem::new(kind, detail, request_id)))
}

fn retry(kind: ProblemType, detail: &str, request_id: Option<String>) -> AttemptEnd {
    AttemptEnd::Retry(Box::new(Problem::new(kind, detail, request_id)))
}
