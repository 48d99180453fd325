//! The queue of the object of the jobs, on a native SQLite: the same statements and the same code as in the object.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and a panic reports it"
)]

mod answers;
mod database;
mod life;

use std::rc::Rc;

use edgeprove_edge::jobs_do::{
    payload::ProofReport,
    protocol::{StoredBody, Submission, Viewer},
    queue::{AttemptEnd, Enqueued, Queue},
    rules::JobRules,
};
use edgeprove_job_rules::{audit::Verifier, job::Job, time::UnixMillis};
use edgeprove_protocol::{
    JobId, Priority, Problem, ProblemType, Target,
    answer::{Cost, Timings},
};

use database::Native;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// The time so many milliseconds later.
fn at(ms: i64) -> UnixMillis {
    UnixMillis(NOW.0 + ms)
}

/// A queue, and its database for a second process.
struct Fixture {
    database: Rc<Native>,
    queue: Queue,
}

impl Fixture {
    fn new(change: impl FnOnce(&mut JobRules)) -> Self {
        let mut rules = JobRules::default();
        change(&mut rules);
        let database = Rc::new(Native::open());
        let queue = Queue::open(Rc::<Native>::clone(&database), rules, "first").unwrap();
        Self { database, queue }
    }

    /// The queue after the object was evicted and started again.
    fn restarted(&self) -> Queue {
        Queue::open(Rc::<Native>::clone(&self.database), *self.queue.rules(), "second").unwrap()
    }

    fn accept(&self, submission: &Submission) -> Job {
        match self.queue.enqueue(submission, NOW).unwrap() {
            Enqueued::Accepted(job) => *job,
            Enqueued::Known(_) => panic!("the job is known already"),
        }
    }

    /// Checks the audit log, and returns its actions.
    fn audited(&self) -> Vec<String> {
        let page = self.queue.audit(Some(0), 10_000).unwrap();
        let mut verifier = Verifier::default();
        let mut actions = Vec::new();
        for line in page.lines.lines() {
            verifier.take(line).unwrap();
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            actions.push(line["entry"]["action"].as_str().unwrap().to_owned());
        }
        assert_eq!(verifier.finish().unwrap().head, page.head);
        actions
    }
}

fn submission(number: u8) -> Submission {
    Submission {
        id: JobId::new(None, [number; 16]).unwrap(),
        circuit: "range_check".parse().unwrap(),
        target: Some(Target::Evm),
        owner: "key:alice".to_owned(),
        account: "key:alice".to_owned(),
        priority: Priority::Normal,
        max_attempts: None,
        unfinished_max: None,
        idempotency_key: None,
        body_digest: None,
        artifact: format!("jobs/witness/{number}"),
        body: StoredBody {
            path: "/api/prove/range_check?target=evm".to_owned(),
            bytes: 20_000,
            headers: vec![("content-type".to_owned(), "application/gzip".to_owned())],
        },
        cache_control: None,
        timeout_ms: None,
        deadline_ms: None,
        upload_ms: 7,
        request_id: format!("r{number}"),
        trace: None,
        voucher: None,
    }
}

fn viewer(owner: &str) -> Viewer {
    Viewer { owner: owner.to_owned(), operates: false, scope: None, voucher: None }
}

fn operator() -> Viewer {
    Viewer { operates: true, ..viewer("key:ops") }
}

fn completed() -> AttemptEnd {
    let timings = Timings { prove_ms: 900.0, verify_ms: 100.0, total_ms: 1_200.0, ..Timings::default() };
    let report = ProofReport {
        circuit: "range_check".parse().unwrap(),
        target: Target::Evm,
        bytes: 16_000,
        verified: true,
        cached: false,
        timings,
        cost: Cost::of(1.0, 2.0, 0.0),
    };
    AttemptEnd::Completed { result: "jobs/proof/1".to_owned(), report: Box::new(report) }
}

fn crashed() -> Box<Problem> {
    Box::new(Problem::new(ProblemType::ProverCrashed, "the prover crashed", Some("r1".to_owned())))
}
