//! A clock that changes while jobs run.

use std::{thread, time::Duration};

use edgeprove_protocol::{JobId, JobStatus};
use edgeprove_testkit::{TestServer, clock::Clock, samples};
use jiff::Timestamp;

use crate::support::{
    DataFolder, assert_one_at_a_time, assert_proved, resume, submit_jobs, suspend, verified_entries,
    wait_until_all_finished, wait_until_running,
};

const LEASE: Duration = Duration::from_secs(3);
const WORKERS: u64 = 2;
const HOUR_S: i64 = 3_600;

/// Submits jobs, changes the clock while some of them run, and lets more than a lease pass before they can finish.
#[track_caller]
fn change_clock_while_jobs_run(server: &TestServer, clock: &Clock, ahead_s: i64) -> Vec<JobId> {
    suspend(server);
    let jobs = submit_jobs(server, samples::range_check(), 6);
    wait_until_running(server, WORKERS);
    clock.set_offset(ahead_s);
    thread::sleep(3 * LEASE);
    assert_eq!(server.count_jobs(JobStatus::Running), WORKERS);
    resume(server);
    wait_until_all_finished(server);
    jobs
}

#[track_caller]
fn submission_time(server: &TestServer, id: JobId) -> Timestamp {
    server.job(id).created_at.parse().unwrap()
}

#[test]
fn a_changed_clock_takes_no_job_from_a_live_worker() {
    let (folder, clock, range) = (DataFolder::new(), Clock::new(), samples::range_check());
    let server = TestServer::start(|settings| {
        folder.configure(settings);
        settings.flag("--job-workers", &WORKERS);
        settings.flag("--lease", "3s");
        settings.flag("--result-ttl", "1d");
        clock.apply_to(settings);
    });
    let first = submit_jobs(&server, range, 2);
    wait_until_all_finished(&server);
    let start = submission_time(&server, first[0]);

    let forwards = change_clock_while_jobs_run(&server, &clock, HOUR_S);
    let finished: Timestamp = server.job(forwards[0]).finished_at.unwrap().parse().unwrap();
    assert!(finished.as_second() >= start.as_second() + HOUR_S, "the clock has changed: {finished}");

    let back = change_clock_while_jobs_run(&server, &clock, -HOUR_S);
    server.wait_for_log_line("a warning counts the moved jobs", |line| {
        line["level"] == "WARN" && line["jobs"].is_u64()
    });
    let later = submit_jobs(&server, range, 1);
    wait_until_all_finished(&server);
    assert!(submission_time(&server, later[0]) < start, "the clock has changed back");

    let all = [first, forwards, back, later].concat();
    assert_proved(&server, &all, range);
    for &id in &all {
        assert_eq!(server.job(id).attempts, 1, "{id}");
    }
    server.finish();
    assert_one_at_a_time(&verified_entries(&folder.audit_log()));
}
