//! Jobs, as a client hands them in, follows them and fetches what came of them.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read},
    time::Duration,
};

use edgeprove_protocol::{JobDocument, JobId, JobStatus, Target, job::JobPage};
use http::StatusCode;
use serde_json::Value;

use crate::{
    Answer, Sample, TestServer,
    client::Ask,
    wait::{PATIENCE, within},
};

impl Answer {
    /// Holds an answer to a submission against all that must be true of each: the job, and where it is.
    #[track_caller]
    pub fn accepted(&self) -> JobDocument {
        assert_eq!(self.status, StatusCode::ACCEPTED, "{}", String::from_utf8_lossy(&self.body));
        let document: JobDocument = serde_json::from_slice(&self.body).expect("a job");
        assert_eq!(self.header("location"), document.links.this);
        document
    }

    /// The job that is told.
    #[track_caller]
    pub fn job(&self) -> JobDocument {
        assert_eq!(self.status, StatusCode::OK, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).expect("a job")
    }
}

impl TestServer {
    /// A request to take in a job: a proof of this sample.
    pub fn handing_in(&self, sample: &Sample) -> Ask {
        Ask::to_prove(self.address(), &format!("/v1/proofs?circuit={}", sample.name), &sample.witness)
    }

    /// Hands in a job.
    #[track_caller]
    pub fn hand_in(&self, sample: &Sample) -> JobId {
        self.handing_in(sample).send().accepted().id
    }

    /// A job as it is now.
    #[track_caller]
    pub fn job(&self, id: JobId) -> JobDocument {
        self.get(&format!("/v1/proofs/{id}")).job()
    }

    /// Waits until a job is over.
    #[track_caller]
    pub fn over(&self, id: JobId, limit: Duration) -> JobDocument {
        within(limit, "a job is over", || Some(self.job(id)).filter(|job| job.status.is_finished()))
    }

    /// Jobs by status, and by priority those that are queued, as `/v1/queue` tells them.
    #[track_caller]
    pub fn queue(&self) -> Value {
        let answer = self.get("/v1/queue");
        assert_eq!(answer.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// How many jobs have this status.
    #[track_caller]
    pub fn jobs_that_are(&self, status: JobStatus) -> u64 {
        self.queue()["jobs"][status.as_str()].as_u64().expect("each status is counted")
    }

    /// Every job of whoever has no key, page by page.
    #[track_caller]
    pub fn all_jobs(&self) -> Vec<JobDocument> {
        let mut jobs = Vec::new();
        let mut next = Some("/v1/proofs?limit=100".to_owned());
        while let Some(path) = next {
            let answer = self.get(&path);
            let page: JobPage = serde_json::from_slice(&answer.body)
                .unwrap_or_else(|error| panic!("no page of jobs ({error}): {answer:?}"));
            jobs.extend(page.jobs);
            next = page.next;
        }
        jobs
    }

    /// A completed job's proof is there, is of this sample, and is accepted by an untouched bb.
    #[track_caller]
    pub fn proves(&self, id: JobId, sample: &Sample) {
        self.get(&format!("/v1/proofs/{id}/proof")).proves(sample, Target::NoirRecursive);
    }

    /// Follows a job.
    #[track_caller]
    pub fn events(&self, id: JobId) -> Events {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().proxy(None).timeout_global(Some(PATIENCE)).build().into();
        let url = format!("http://{}/v1/proofs/{id}/events", self.address());
        let response = agent.get(url).call().expect("the job can be followed");
        Events(BufReader::new(Box::new(response.into_body().into_reader())))
    }
}

/// A job's server-sent events, to the end of the stream.
pub struct Events(BufReader<Box<dyn Read + Send>>);

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id, by which a watcher that comes back says what it saw.
    pub id: String,
    /// `progress` or `done`.
    pub name: String,
    /// The job as it was then.
    pub job: JobDocument,
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut fields = BTreeMap::new();
        loop {
            let mut line = String::new();
            // A stream that is cut off has ended.
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
        let job = serde_json::from_str(&field("data")).expect("an event tells a job");
        Some(Event { id: field("id"), name: field("event"), job })
    }
}
