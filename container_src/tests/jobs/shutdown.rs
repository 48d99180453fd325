//! A server that ends while jobs are queued, and the next server that runs them.

use std::fs;

use edgeprove_protocol::JobStatus;
use edgeprove_testkit::{Sample, TestServer, eventually, samples, wait::LONG_LIMIT};
use rustix::process::Signal;

use crate::support::{
    DataFolder, assert_one_at_a_time, assert_proved, count_jobs_with, resume, submit_jobs, suspend,
    verified_entries, wait_until_all_finished, wait_until_running,
};

const JOBS: usize = 12;
const WORKERS: u64 = 2;

#[test]
fn running_jobs_finish_and_queued_jobs_wait_for_the_next_start() {
    let (folder, range) = (DataFolder::new(), samples::range_check());
    let mut server = folder.start_server(&[("--job-workers", "2")]);
    // Suspended provers keep the jobs from finishing before the shutdown begins.
    suspend(&server);
    let jobs = submit_jobs(&server, range, JOBS);
    wait_until_running(&server, WORKERS);
    server.signal(Signal::TERM);
    eventually("the shutdown begins", || (server.get("/readyz").status == 503).then_some(()));
    resume(&server);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    let first = verified_entries(&folder.audit_log());
    for action in ["job.started", "job.completed"] {
        assert_eq!(count_jobs_with(action, &first) as u64, WORKERS, "only the running jobs finish: {action}");
    }

    let server = folder.start_server(&[("--job-workers", "2")]);
    wait_until_all_finished(&server);
    assert_proved(&server, &jobs, range);
    for id in jobs {
        assert_eq!(server.job(id).attempts, 1);
    }
    server.finish();
    assert_one_at_a_time(&verified_entries(&folder.audit_log()));
}

#[test]
fn unfinished_jobs_are_released_and_run_after_the_next_start() {
    let (folder, range) = (DataFolder::new(), samples::range_check());
    let mut server = folder.start_server(&[("--job-workers", "2"), ("--drain", "1s")]);
    suspend(&server);
    let jobs = submit_jobs(&server, range, 4);
    wait_until_running(&server, 2);
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert_eq!(count_jobs_with("job.retried", &verified_entries(&folder.audit_log())), 2);

    let server = folder.start_server(&[("--job-workers", "2")]);
    wait_until_all_finished(&server);
    assert_proved(&server, &jobs, range);
    for id in jobs {
        let job = server.job(id);
        assert_eq!(
            (job.status, job.attempts),
            (JobStatus::Completed, 1),
            "a released job loses no attempt: {job:?}"
        );
    }
    server.finish();
    assert_one_at_a_time(&verified_entries(&folder.audit_log()));
}

#[test]
fn jobs_wait_for_a_server_with_their_version_of_the_circuit() {
    let folder = DataFolder::new();
    let version = |factor: u32| {
        let dir = folder.path(&format!("version {factor}"));
        fs::create_dir(&dir).unwrap();
        samples::square(&dir, "square", factor)
    };
    let (old, new) = (version(1), version(3));
    let serve = |sample: &Sample| {
        TestServer::start(|settings| {
            folder.configure(settings);
            settings.flag("--job-workers", "2");
            settings.circuit = Some(sample.circuit.clone());
            settings.sample = Some(sample.clone());
        })
    };
    let mut server = serve(&old);
    suspend(&server);
    let jobs = submit_jobs(&server, &old, 4);
    wait_until_running(&server, 2);
    // Two of the jobs are in the crash quarantine at the next start.
    server.kill();

    let other = serve(&new);
    suspend(&other);
    let new_jobs = submit_jobs(&other, &new, 2);
    // Both run at once, because a job that this server cannot run is no reason for caution.
    wait_until_running(&other, 2);
    resume(&other);
    for id in new_jobs {
        assert_eq!(other.wait_until_finished(id, LONG_LIMIT).status, JobStatus::Completed);
    }
    assert!(jobs.iter().all(|&id| other.job(id).status == JobStatus::Queued));
    other.wait_for_log_line("a warning counts the jobs that wait for their circuit", |line| {
        line["level"] == "WARN" && line["jobs"] == jobs.len() && line["subject"] == "square"
    });
    other.finish();

    let server = serve(&old);
    wait_until_all_finished(&server);
    assert_proved(&server, &jobs, &old);
    server.finish();
    assert_one_at_a_time(&verified_entries(&folder.audit_log()));
}
