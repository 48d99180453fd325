//! Jobs, as a client submits them, follows them and fetches their proofs.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read},
    time::Duration,
};

use edgeprove_protocol::{JobDocument, JobId, JobStatus, job::JobPage};
use http::StatusCode;
use serde_json::Value;

use crate::{
    Response, Sample, TestServer,
    client::Request,
    wait::{LIMIT, within},
};

impl Response {
    /// Checks everything that must be true of every response to a submission, and returns the job.
    #[track_caller]
    pub fn assert_accepted(&self) -> JobDocument {
        assert_eq!(self.status, StatusCode::ACCEPTED, "{}", String::from_utf8_lossy(&self.body));
        let document: JobDocument = serde_json::from_slice(&self.body).expect("a job");
        assert_eq!(self.header("location"), document.links.this);
        document
    }

    /// The job in a response with status 200.
    #[track_caller]
    pub fn job(&self) -> JobDocument {
        assert_eq!(self.status, StatusCode::OK, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).expect("a job")
    }
}

impl TestServer {
    /// A request that submits a job: a proof of this sample.
    pub fn submission(&self, sample: &Sample) -> Request {
        Request::prove(self.address(), &format!("/v1/proofs?circuit={}", sample.name), &sample.witness)
    }

    /// Submits a job.
    #[track_caller]
    pub fn submit(&self, sample: &Sample) -> JobId {
        self.submission(sample).send().assert_accepted().id
    }

    /// A job as it is now.
    #[track_caller]
    pub fn job(&self, id: JobId) -> JobDocument {
        self.get(&format!("/v1/proofs/{id}")).job()
    }

    /// Waits until a job has finished, failed or been cancelled.
    #[track_caller]
    pub fn wait_until_finished(&self, id: JobId, limit: Duration) -> JobDocument {
        within(limit, "the job has finished", || Some(self.job(id)).filter(|job| job.status.is_finished()))
    }

    /// The counts of `/v1/queue`: jobs by status, and queued jobs by priority.
    #[track_caller]
    pub fn queue(&self) -> Value {
        let response = self.get("/v1/queue");
        assert_eq!(response.status, StatusCode::OK, "{}", String::from_utf8_lossy(&response.body));
        response.json()
    }

    /// The number of jobs with this status.
    #[track_caller]
    pub fn count_jobs(&self, status: JobStatus) -> u64 {
        self.queue()["jobs"][status.as_str()].as_u64().expect("each status is counted")
    }

    /// All jobs of callers without a key, fetched page by page.
    #[track_caller]
    pub fn all_jobs(&self) -> Vec<JobDocument> {
        let mut jobs = Vec::new();
        let mut next = Some("/v1/proofs?limit=100".to_owned());
        while let Some(path) = next {
            let response = self.get(&path);
            let page: JobPage = serde_json::from_slice(&response.body)
                .unwrap_or_else(|error| panic!("not a page of jobs ({error}): {response:?}"));
            jobs.extend(page.jobs);
            next = page.next;
        }
        jobs
    }

    /// Opens the event stream of a job.
    #[track_caller]
    pub fn events(&self, id: JobId) -> Events {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().proxy(None).timeout_global(Some(LIMIT)).build().into();
        let url = format!("http://{}/v1/proofs/{id}/events", self.address());
        let response = agent.get(url).call().expect("the job can be followed");
        Events(BufReader::new(Box::new(response.into_body().into_reader())))
    }
}

/// The server-sent events of a job, to the end of the stream.
pub struct Events(BufReader<Box<dyn Read + Send>>);

/// One server-sent event of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id. A client that reconnects sends the last id it received.
    pub id: String,
    /// `progress` or `done`.
    pub name: String,
    /// The job at the time of the event.
    pub job: JobDocument,
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut fields = BTreeMap::new();
        loop {
            let mut line = String::new();
            // A stream that breaks off has ended.
            if self.0.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            match line.trim_end().split_once(':') {
                Some(("", _)) => {}
                Some((name, value)) => drop(fields.insert(name.to_owned(), value.trim_start().to_owned())),
                None if fields.is_empty() => {}
                None => break,
            }
        }
        let mut field = |name| fields.remove(name).unwrap_or_default();
        let job = serde_json::from_str(&field("data")).expect("the event contains a job");
        Some(Event { id: field("id"), name: field("event"), job })
    }
}
