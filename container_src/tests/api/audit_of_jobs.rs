//! The audit log of jobs: that it has each of them from its acceptance to its end, also after a time without the log.

use std::fs;

use edgeprove_protocol::{JobDocument, JobStatus, ProblemType, headers};
use http::Method;

use crate::{
    audit::{AuditFolder, head, verify},
    support::{TestServer, client::Request, eventually, processes::Process, samples, settings::Settings},
};

/// A server with an audit log that runs one job at a time.
struct Recorded {
    folder: AuditFolder,
    server: TestServer,
}

impl Recorded {
    #[track_caller]
    fn start() -> Self {
        let folder = AuditFolder::new();
        let server = TestServer::start(|s| Self::configure(&folder, s));
        Self { folder, server }
    }

    fn configure(folder: &AuditFolder, settings: &mut Settings) {
        folder.configure(settings);
        settings.flag("--data", &folder.at("data").display());
        settings.flag("--job-workers", "1");
    }

    #[track_caller]
    fn submit(&self) -> JobDocument {
        self.submission().send().assert_accepted()
    }

    fn submission(&self) -> Request {
        self.server.prove_request(&samples::range_check().witness).header("prefer", "respond-async")
    }

    #[track_caller]
    fn status(&self, job: &JobDocument) -> JobStatus {
        self.server.get(&job.links.this).job().status
    }

    #[track_caller]
    fn wait_for(&self, job: &JobDocument, status: JobStatus) {
        eventually("the job has the status", || (self.status(job) == status).then_some(()));
    }

    #[track_caller]
    fn suspend(&self) -> Vec<Process> {
        let provers: Vec<_> = self.server.provers().into_iter().filter(|bb| bb.suspend()).collect();
        assert!(!provers.is_empty());
        provers
    }

    fn move_log_away(&self) {
        fs::rename(self.folder.log(), self.folder.at("aside")).unwrap();
    }

    fn move_log_back(&self) {
        fs::rename(self.folder.at("aside"), self.folder.log()).unwrap();
    }

    /// The actions of a job in the log, in their order.
    #[track_caller]
    fn actions(&self, job: &JobDocument) -> Vec<String> {
        let entries = self.folder.entries().into_iter();
        let of_job = entries.filter(|entry| entry["job_id"] == job.id.to_string());
        of_job.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until the log has these actions of a job, and no other.
    #[track_caller]
    fn assert_recorded(&self, job: &JobDocument, expected: &[&str]) {
        eventually("the log is whole", || (self.actions(job).len() >= expected.len()).then_some(()));
        assert_eq!(self.actions(job), expected);
    }
}

fn resume(provers: &[Process]) {
    for bb in provers {
        bb.resume();
    }
}

#[test]
fn the_end_of_a_job_waits_for_the_log() {
    let recorded = Recorded::start();
    let provers = recorded.suspend();
    let running = recorded.submit();
    recorded.wait_for(&running, JobStatus::Running);
    let queued = recorded.submit();
    recorded.move_log_away();
    let refused = recorded.server.request(Method::DELETE, &queued.links.this).send();
    refused.assert_refused_for_now(ProblemType::AuditUnavailable);
    assert_eq!(recorded.status(&queued), JobStatus::Queued);
    recorded.submission().send().assert_refused_for_now(ProblemType::AuditUnavailable);
    resume(&provers);
    recorded.wait_for(&running, JobStatus::Completed);
    recorded.server.get(&running.links.proof).assert_refused_for_now(ProblemType::AuditUnavailable);
    recorded.move_log_back();
    recorded.assert_recorded(&running, &["job.accepted", "job.started", "job.completed"]);
    recorded.assert_recorded(&queued, &["job.accepted", "job.started", "job.completed"]);
    recorded.server.get(&running.links.proof).assert_proof_of(samples::range_check());
    assert_eq!(recorded.actions(&running).last().unwrap(), "job.fetched");
    assert_eq!(recorded.server.health().problems, Vec::<String>::new());
    let log = recorded.folder.log();
    recorded.server.finish();
    head(&verify(&log, &[]));
}

#[test]
fn a_start_records_what_a_killed_server_did_not() {
    let mut recorded = Recorded::start();
    let provers = recorded.suspend();
    let running = recorded.submit();
    recorded.wait_for(&running, JobStatus::Running);
    recorded.move_log_away();
    resume(&provers);
    recorded.wait_for(&running, JobStatus::Completed);
    recorded.server.kill();
    recorded.move_log_back();
    assert_eq!(recorded.actions(&running), ["job.accepted", "job.started"]);
    // The second start finds nothing that is missing.
    for _ in 0..2 {
        recorded.server = TestServer::start(|s| Recorded::configure(&recorded.folder, s));
        recorded.assert_recorded(&running, &["job.accepted", "job.started", "job.completed"]);
        recorded.server.kill();
    }
    head(&verify(&recorded.folder.log(), &[]));
}

#[test]
fn a_rotated_log_gets_no_entry_twice() {
    let mut recorded = Recorded::start();
    let job = recorded.submit();
    recorded.wait_for(&job, JobStatus::Completed);
    recorded.assert_recorded(&job, &["job.accepted", "job.started", "job.completed"]);
    recorded.move_log_away();
    recorded.server.signal(rustix::process::Signal::HUP);
    eventually("the log is rotated", || recorded.folder.log().exists().then_some(()));
    recorded.server.kill();
    recorded.server = TestServer::start(|s| Recorded::configure(&recorded.folder, s));
    assert_eq!(recorded.actions(&job), Vec::<String>::new());
}

#[test]
fn each_cancel_is_recorded_before_it_happens() {
    let recorded = Recorded::start();
    let provers = recorded.suspend();
    let running = recorded.submit();
    recorded.wait_for(&running, JobStatus::Running);
    let queued = recorded.submit();
    for (job, status) in [(&queued, 200), (&running, 202)] {
        assert_eq!(recorded.server.request(Method::DELETE, &job.links.this).send().status, status);
    }
    let cancelled = ["job.cancel_requested", "job.cancelled"];
    recorded.assert_recorded(&queued, &["job.accepted", cancelled[0], cancelled[1]]);
    recorded.assert_recorded(&running, &["job.accepted", "job.started", cancelled[0], cancelled[1]]);
    resume(&provers);
    recorded.server.finish();
}

#[test]
fn a_head_request_fetches_nothing() {
    let recorded = Recorded::start();
    let job = recorded.submit();
    recorded.wait_for(&job, JobStatus::Completed);
    let head = recorded.server.request(Method::HEAD, &job.links.proof).send();
    let whole = ["job.accepted", "job.started", "job.completed"];
    recorded.assert_recorded(&job, &whole);
    let proof = recorded.server.get(&job.links.proof);
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    for name in [headers::PUBLIC_INPUTS, headers::PROOF_HASH] {
        assert!(!head.headers.contains_key(name), "{name}");
    }
    for name in ["content-length", headers::CIRCUIT_ID] {
        assert_eq!(head.header(name), proof.header(name), "{name}");
    }
    recorded.assert_recorded(&job, &[&whole[..], &["job.fetched"]].concat());
    recorded.server.finish();
}
