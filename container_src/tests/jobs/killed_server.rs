//! A server that is killed or suspended.

use std::{
    collections::{HashMap, HashSet},
    thread,
    time::Duration,
};

use edgeprove_protocol::{JobId, JobStatus, ProblemType};
use edgeprove_testkit::{TestServer, eventually, samples};
use http::Method;
use rustix::process::Signal;

use crate::support::{
    DataFolder, assert_none_twice, assert_one_at_a_time, assert_proved, assert_whole, count_jobs_with,
    resume, submit_jobs, suspend, verified_entries, wait_until_all_finished, wait_until_completed,
    wait_until_running,
};

const JOBS: usize = 50;

#[test]
fn a_server_killed_among_fifty_jobs_loses_none() {
    let (folder, range) = (DataFolder::new(), samples::range_check());
    let mut server = folder.start_server(&[("--job-workers", "4")]);
    // Suspended provers keep the first jobs from finishing before all are submitted.
    suspend(&server);
    let jobs = submit_jobs(&server, range, JOBS);
    resume(&server);
    for completed in [10, 25] {
        wait_until_completed(&server, completed);
        wait_until_running(&server, 2);
        server.kill();
        server = folder.start_server(&[("--job-workers", "4")]);
    }
    wait_until_all_finished(&server);
    assert_eq!(server.all_jobs().len(), JOBS);
    assert_proved(&server, &jobs, range);
    server.finish();
    let log = verified_entries(&folder.audit_log());
    assert_eq!(count_jobs_with("job.started", &log), JOBS);
    assert_one_at_a_time(&log);
    assert_whole(&jobs, &log);
    assert_none_twice(&[log]);
}

#[test]
fn a_job_that_kills_the_server_three_times_fails_alone() {
    const WORKERS: [(&str, &str); 1] = [("--job-workers", "3")];
    let (folder, range) = (DataFolder::new(), samples::range_check());
    let mut server = folder.start_server(&WORKERS);
    suspend(&server);
    let deadly = server.submit(range);
    let others = submit_jobs(&server, range, 5);
    // The server is killed while two other jobs run.
    wait_until_running(&server, 3);
    for _ in 2..=3 {
        server.kill();
        server = folder.start_server(&WORKERS);
        suspend(&server);
        wait_until_running(&server, 1);
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(50));
            assert_eq!(
                server.count_jobs(JobStatus::Running),
                1,
                "any of the three may be the deadly one, so they run one at a time"
            );
        }
        if server.job(deadly).status != JobStatus::Running {
            resume(&server);
            eventually("the deadly job runs", || {
                (server.job(deadly).status == JobStatus::Running).then_some(())
            });
        }
    }
    server.kill();
    server = folder.start_server(&WORKERS);
    let given_up = server.job(deadly);
    assert_eq!((given_up.status, given_up.attempts), (JobStatus::Failed, 3));
    assert_eq!(given_up.error.unwrap().code, ProblemType::WorkerLost);
    server.get(&format!("/v1/proofs/{deadly}/proof")).assert_refused(ProblemType::WorkerLost);
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    assert!(
        metrics.contains("edgeprove_jobs_failures_total{kind=\"prove\",code=\"worker_lost\"} 1\n"),
        "{metrics}"
    );
    wait_until_all_finished(&server);
    assert_proved(&server, &others, range);
    for id in others {
        assert!(server.job(id).attempts <= 2, "a job lost attempts because of another");
    }
    server.finish();
    let log = verified_entries(&folder.audit_log());
    assert_one_at_a_time(&log);
    let ends: Vec<_> = log.iter().filter(|entry| entry["action"] == "job.failed").collect();
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0]["outcome"], "worker_lost");
}

/// Submits jobs with different idempotency keys until the server is gone. Returns all keys, and the accepted jobs.
fn submit_until_killed(
    server: &TestServer,
    caller: usize,
    round: usize,
) -> (Vec<String>, HashMap<String, JobId>) {
    let (mut names, mut accepted) = (Vec::new(), HashMap::new());
    loop {
        let name = format!("{round}-{caller}-{}", names.len());
        names.push(name.clone());
        let request = server.submission(samples::range_check()).header("idempotency-key", &name);
        match request.try_send() {
            Ok(response) => drop(accepted.insert(name, response.assert_accepted().id)),
            Err(_) => return (names, accepted),
        }
    }
}

#[test]
fn a_server_killed_during_submissions_keeps_accepted_jobs() {
    const CALLERS: usize = 3;
    let folder = DataFolder::new();
    let flags = [("--job-workers", "1"), ("--job-queue-max", "20000"), ("--jobs-per-caller", "20000")];
    let (mut names, mut accepted) = (Vec::new(), HashMap::new());
    for round in 0..3 {
        let server = folder.start_server(&flags);
        suspend(&server);
        thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS)
                .map(|caller| {
                    scope.spawn({
                        let server = &server;
                        move || submit_until_killed(server, caller, round)
                    })
                })
                .collect();
            // The server is killed while it handles submissions.
            let enough = (names.len() + 40) as u64;
            eventually("some jobs are accepted", || {
                (server.count_jobs(JobStatus::Queued) >= enough).then_some(())
            });
            server.signal(Signal::KILL);
            for caller in callers {
                let (tried, taken) = caller.join().unwrap();
                names.extend(tried);
                accepted.extend(taken);
            }
        });
        let mut server = server;
        server.wait_until_killed();
    }
    let server = folder.start_server(&flags);
    suspend(&server);
    let again = |name: &String| {
        let request = server.submission(samples::range_check()).header("idempotency-key", name);
        request.send().assert_accepted().id
    };
    let jobs: HashMap<_, _> = names.iter().map(|name| (name.clone(), again(name))).collect();
    for (name, id) in &accepted {
        assert_eq!(jobs.get(name), Some(id), "{name} was accepted");
    }
    let stored: HashSet<_> = server.all_jobs().into_iter().map(|job| job.id).collect();
    assert_eq!(stored, jobs.values().copied().collect(), "there is one job for each key, and no other");
    assert_eq!(stored.len(), names.len());
    assert!(accepted.len() < names.len(), "the server was never killed during a request");
    for id in &stored {
        server.request(Method::DELETE, &format!("/v1/proofs/{id}")).send();
    }
    resume(&server);
    wait_until_all_finished(&server);
    server.finish();
    let stored: Vec<_> = stored.into_iter().collect();
    assert_whole(&stored, &verified_entries(&folder.audit_log()));
}

#[test]
fn a_server_suspended_past_its_leases_keeps_its_jobs() {
    let (folder, range) = (DataFolder::new(), samples::range_check());
    let server = folder.start_server(&[("--job-workers", "2"), ("--lease", "2s")]);
    // Suspended provers keep the jobs from finishing before the server is suspended.
    suspend(&server);
    let jobs = submit_jobs(&server, range, 8);
    wait_until_running(&server, 2);
    server.signal(Signal::STOP);
    resume(&server);
    thread::sleep(Duration::from_secs(6));
    server.signal(Signal::CONT);
    wait_until_all_finished(&server);
    assert_proved(&server, &jobs, range);
    for id in jobs {
        assert_eq!(server.job(id).attempts, 1);
    }
    server.finish();
    assert_one_at_a_time(&verified_entries(&folder.audit_log()));
}
