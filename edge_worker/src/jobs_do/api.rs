//! Answers the requests that reach the object. What needs the runtime, such as a stream of events, is returned as a value
//! for the object to carry out.

use edgeprove_job_rules::{event_id::EventId, job::Job, job_document::stage_number, time::UnixMillis};
use edgeprove_protocol::{JobDocument, JobStatus, headers, job::JobPage};
use http::{HeaderName, HeaderValue, Method, header};

use super::{
    error::{JobsError, QueueError},
    payload::ProofReport,
    protocol::{ARTIFACT_UNUSED, ENQUEUE_PATH, StoredProof, Submission, Viewer},
    query::{AuditQuery, ListQuery, parameter},
    queue::{Counts, Enqueued, Queue},
};
use crate::edge_response::EdgeResponse;

/// The header with the last event that a client has seen.
const LAST_EVENT_ID: &str = "last-event-id";

/// A request to the object, without its body.
#[derive(Debug, Clone)]
pub struct ApiRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path.
    pub path: &'a str,
    /// The query, without its question mark.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a http::HeaderMap,
    /// Who sends it.
    pub viewer: Viewer,
    /// The id of the request.
    pub request_id: &'a str,
    /// The number of jobs that clients follow now.
    pub watched: usize,
}

/// What the object does after a request.
#[derive(Debug)]
pub enum Reply {
    /// It responds.
    Respond(EdgeResponse),
    /// It responds. A job became ready, or was cancelled, so that the dispatcher must look at the queue and watchers at this job.
    Changed(Box<Job>, EdgeResponse),
    /// It opens a stream of the events of a job, after the last one that the client has seen.
    Follow(Box<Job>, Option<EventId>),
}

impl Queue {
    /// Answers a request. `body` is that of a submission, and empty for others.
    pub fn answer(&self, request: &ApiRequest<'_>, body: &str, now: UnixMillis) -> Result<Reply, JobsError> {
        let method = if request.method == Method::HEAD { &Method::GET } else { request.method };
        let mut path = request.path.split('/').skip(1);
        let path = [path.next(), path.next(), path.next(), path.next(), path.next()];
        match (method, path) {
            (&Method::POST, _) if request.path == ENQUEUE_PATH => self.answer_submission(request, body, now),
            (&Method::GET, [Some("v1"), Some("proofs"), None, ..]) => self.answer_list(request, now),
            (&Method::GET, [Some("v1"), Some("queue"), None, ..]) => {
                let counts = Counts { watched: request.watched, ..self.counts(now)? };
                Ok(Reply::Respond(EdgeResponse::json(200, &counts)))
            }
            (&Method::GET, [Some("v1"), Some("audit"), None, ..]) => self.answer_audit(request),
            (&Method::GET, [Some("metrics"), None, ..]) => self.answer_metrics(request, now),
            (&Method::GET, [Some("v1"), Some("proofs"), Some(id), None, _]) => {
                let job = self.visible(id, &request.viewer)?;
                if job.status == JobStatus::Expired {
                    return Err(JobsError::Expired);
                }
                let document = self.document(job, &request.viewer, now)?;
                Ok(Reply::Respond(with_retry_after(EdgeResponse::json(200, &document), &document)))
            }
            (&Method::DELETE, [Some("v1"), Some("proofs"), Some(id), None, _]) => {
                self.answer_cancel(request, id, now)
            }
            (&Method::POST, [Some("v1"), Some("proofs"), Some(id), Some("retry"), None]) => {
                self.answer_retry(request, id, now)
            }
            (&Method::GET, [Some("v1"), Some("proofs"), Some(id), Some("proof"), None]) => {
                self.answer_proof(request, id, now)
            }
            (&Method::GET, [Some("v1"), Some("proofs"), Some(id), Some("events"), None]) => {
                self.answer_events(request, id, now)
            }
            _ => Err(JobsError::NoSuchPath),
        }
    }

    fn answer_submission(
        &self,
        request: &ApiRequest<'_>,
        body: &str,
        now: UnixMillis,
    ) -> Result<Reply, JobsError> {
        let submission: Submission = serde_json::from_str(body)
            .map_err(|error| JobsError::Invalid(format!("the submission: {error}")))?;
        let (job, is_new) = match self.enqueue(&submission, now)? {
            Enqueued::Accepted(job) => (job, true),
            Enqueued::Known(job) => (job, false),
        };
        // The owner of a job knows whose it is.
        let viewer = Viewer { operates: false, ..request.viewer.clone() };
        let document = self.document((*job).clone(), &viewer, now)?;
        let mut response = with_retry_after(EdgeResponse::json(202, &document), &document);
        set(&mut response, header::LOCATION, &document.links.this);
        if is_new {
            return Ok(Reply::Changed(job, response));
        }
        if job.input.as_deref() != Some(submission.artifact.as_str()) {
            set(&mut response, HeaderName::from_static(ARTIFACT_UNUSED), "1");
        }
        Ok(Reply::Respond(response))
    }

    fn answer_list(&self, request: &ApiRequest<'_>, now: UnixMillis) -> Result<Reply, JobsError> {
        let query = ListQuery::parse(request.query, &request.viewer)?;
        let page = self.list(&query.listing, query.wants_total, now)?;
        // Whoever looks at the jobs of all callers does so often, and positions need the whole queue.
        let has_positions = query.listing.owner.is_some();
        let jobs = self.documents(page.jobs, has_positions, &request.viewer, now)?;
        let next = page.next.map(|last| query.next_page(last));
        Ok(Reply::Respond(EdgeResponse::json(200, &JobPage { jobs, next, total: page.total })))
    }

    fn answer_cancel(&self, request: &ApiRequest<'_>, id: &str, now: UnixMillis) -> Result<Reply, JobsError> {
        let job = self.visible(id, &request.viewer)?;
        let status = match self.cancel(&job, &request.viewer, request.request_id, now)? {
            JobStatus::Running => 202,
            _ => 200,
        };
        let job = self.get(job.id)?.ok_or(JobsError::NotFound)?;
        let document = self.document(job.clone(), &request.viewer, now)?;
        Ok(Reply::Changed(Box::new(job), EdgeResponse::json(status, &document)))
    }

    fn answer_retry(&self, request: &ApiRequest<'_>, id: &str, now: UnixMillis) -> Result<Reply, JobsError> {
        let job = self.visible(id, &request.viewer)?;
        self.requeue(&job, &request.viewer, request.request_id, now)?;
        let job = self.get(job.id)?.ok_or(JobsError::NotFound)?;
        let document = self.document(job.clone(), &request.viewer, now)?;
        Ok(Reply::Changed(Box::new(job), EdgeResponse::json(202, &document)))
    }

    fn answer_proof(&self, request: &ApiRequest<'_>, id: &str, now: UnixMillis) -> Result<Reply, JobsError> {
        let job = self.visible(id, &request.viewer)?;
        match job.status {
            JobStatus::Queued | JobStatus::Running => {
                let (status, document) = (job.status, self.document(job, &request.viewer, now)?);
                let wait = std::time::Duration::from_millis(document.estimated_remaining_ms.unwrap_or(1000));
                Err(JobsError::NotReady { status, wait })
            }
            JobStatus::Failed => {
                let problem = job.problem().map_err(QueueError::from)?;
                let missing = QueueError::from(edgeprove_job_rules::outcome::DecodeError::Missing {
                    column: "outcome",
                });
                Err(problem.map_or_else(|| missing.into(), |problem| JobsError::Failed(Box::new(problem))))
            }
            JobStatus::Cancelled => Err(JobsError::Cancelled),
            JobStatus::Expired => Err(JobsError::Expired),
            JobStatus::Completed => {
                let report: ProofReport = job.completion().map_err(QueueError::from)?;
                let missing = || {
                    QueueError::from(edgeprove_job_rules::outcome::DecodeError::Missing { column: "result" })
                };
                let artifact = job.result.clone().ok_or_else(missing)?;
                if request.method != Method::HEAD {
                    self.fetched(&job, &request.viewer, request.request_id, now)?;
                }
                let stored = StoredProof { artifact, bytes: report.bytes };
                Ok(Reply::Respond(EdgeResponse::json(200, &stored)))
            }
        }
    }

    fn answer_events(&self, request: &ApiRequest<'_>, id: &str, now: UnixMillis) -> Result<Reply, JobsError> {
        let job = self.visible(id, &request.viewer)?;
        // A browser that reconnects sends the header, and the query of its first request.
        let last = match request.headers.get(LAST_EVENT_ID) {
            Some(header) => header.to_str().ok().map(str::to_owned),
            None => parameter(request.query, "last_event_id"),
        };
        let last: Option<EventId> = last.and_then(|last| last.parse().ok());
        let status = job.status;
        let view = self.view(job, now)?;
        let shown = EventId::new(&view, stage_number(&view.job));
        let is_websocket = request.headers.contains_key(header::UPGRADE);
        if !is_websocket && last.is_some_and(|last| last.is_last_of(status, &shown)) {
            let mut response = EdgeResponse::empty(204);
            response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            return Ok(Reply::Respond(response));
        }
        Ok(Reply::Follow(Box::new(view.job), last))
    }

    fn answer_audit(&self, request: &ApiRequest<'_>) -> Result<Reply, JobsError> {
        operators_only(&request.viewer)?;
        let AuditQuery { after, limit } = AuditQuery::parse(request.query)?;
        let page = self.audit(after, limit)?;
        let mut response = text(page.lines, "application/x-ndjson");
        set(&mut response, HeaderName::from_static(headers::AUDIT_HEAD), &page.head.to_string());
        if let Some(next) = page.next {
            set(&mut response, HeaderName::from_static(headers::AUDIT_NEXT), &next.to_string());
        }
        Ok(Reply::Respond(response))
    }

    fn answer_metrics(&self, request: &ApiRequest<'_>, now: UnixMillis) -> Result<Reply, JobsError> {
        operators_only(&request.viewer)?;
        Ok(Reply::Respond(text(self.metrics(now)?, "text/plain; version=0.0.4; charset=utf-8")))
    }
}

fn operators_only(viewer: &Viewer) -> Result<(), JobsError> {
    if viewer.operates { Ok(()) } else { Err(JobsError::OperatorsOnly) }
}

fn text(body: String, media_type: &'static str) -> EdgeResponse {
    let mut response = EdgeResponse { body, ..EdgeResponse::empty(200) };
    response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Adds the expected remaining time of an unfinished job.
fn with_retry_after(mut response: EdgeResponse, document: &JobDocument) -> EdgeResponse {
    if !document.status.is_finished() {
        let wait_ms = document.estimated_remaining_ms.unwrap_or(1000);
        let seconds = wait_ms.div_ceil(1000).max(1);
        response.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn set(response: &mut EdgeResponse, name: HeaderName, value: &str) {
    // Paths and numbers are always valid header values.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers.insert(name, value);
    }
}
