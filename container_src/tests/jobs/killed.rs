//! A server that is killed.

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
    Place, assert_none_twice, assert_one_at_a_time, assert_proved, audited, freeze, hand_in, jobs_with, thaw,
    until_completed, until_over, until_running,
};

const JOBS: usize = 50;

#[test]
fn in_the_middle_of_fifty_jobs_it_loses_none_and_completes_none_twice() {
    let (place, range) = (Place::new(), samples::range());
    let mut server = place.serve(&[("--job-workers", "4")]);
    let jobs = hand_in(&server, range, JOBS);
    for completed in [10, 25] {
        until_completed(&server, completed);
        until_running(&server, 2);
        server.kill();
        server = place.serve(&[("--job-workers", "4")]);
    }
    until_over(&server);
    assert_eq!(server.all_jobs().len(), JOBS);
    assert_proved(&server, &jobs, range);
    server.finish();
    let log = audited(&place.audit());
    assert_eq!(jobs_with("job.started", &log), JOBS);
    assert_one_at_a_time(&log);
    assert_none_twice(&[log]);
}

#[test]
fn each_time_a_job_is_begun_that_job_alone_is_given_up_after_three() {
    const WORKERS: [(&str, &str); 1] = [("--job-workers", "3")];
    let (place, range) = (Place::new(), samples::range());
    let mut server = place.serve(&WORKERS);
    freeze(&server);
    let deadly = server.hand_in(range);
    let others = hand_in(&server, range, 5);
    // It dies with two others at work.
    until_running(&server, 3);
    for _ in 2..=3 {
        server.kill();
        server = place.serve(&WORKERS);
        freeze(&server);
        until_running(&server, 1);
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(50));
            assert_eq!(server.jobs_that_are(JobStatus::Running), 1, "any of them may be the deadly one");
        }
        if server.job(deadly).status != JobStatus::Running {
            thaw(&server);
            eventually("its turn comes", || (server.job(deadly).status == JobStatus::Running).then_some(()));
        }
    }
    server.kill();
    server = place.serve(&WORKERS);
    let given_up = server.job(deadly);
    assert_eq!((given_up.status, given_up.attempts), (JobStatus::Failed, 3));
    assert_eq!(given_up.error.unwrap().code, ProblemType::WorkerLost);
    server.get(&format!("/v1/proofs/{deadly}/proof")).refused(ProblemType::WorkerLost);
    let told = String::from_utf8(server.get("/metrics").body).unwrap();
    assert!(
        told.contains("edgeprove_jobs_finished_total{kind=\"prove\",outcome=\"worker_lost\"} 1\n"),
        "{told}"
    );
    until_over(&server);
    assert_proved(&server, &others, range);
    for id in others {
        assert!(server.job(id).attempts <= 2, "it paid for a neighbour");
    }
    server.finish();
    let log = audited(&place.audit());
    assert_one_at_a_time(&log);
    let ends: Vec<_> = log.iter().filter(|entry| entry["action"] == "job.failed").collect();
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0]["outcome"], "worker_lost");
}

/// Hands in jobs under names of their own until the server is gone. What was accepted, by name.
fn hand_in_until_it_dies(
    server: &TestServer,
    caller: usize,
    round: usize,
) -> (Vec<String>, HashMap<String, JobId>) {
    let (mut names, mut accepted) = (Vec::new(), HashMap::new());
    loop {
        let name = format!("{round}-{caller}-{}", names.len());
        names.push(name.clone());
        let ask = server.handing_in(samples::range()).header("idempotency-key", &name);
        match ask.try_send() {
            Ok(answer) => drop(accepted.insert(name, answer.accepted().id)),
            Err(_) => return (names, accepted),
        }
    }
}

#[test]
fn while_jobs_are_handed_in_it_keeps_each_that_it_accepted_and_no_name_stands_for_two() {
    const CALLERS: usize = 3;
    let place = Place::new();
    let flags = [("--job-workers", "1"), ("--job-queue-max", "20000"), ("--jobs-per-caller", "20000")];
    let (mut names, mut accepted) = (Vec::new(), HashMap::new());
    for round in 0..3 {
        let server = place.serve(&flags);
        freeze(&server);
        thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS)
                .map(|caller| {
                    scope.spawn({
                        let server = &server;
                        move || hand_in_until_it_dies(server, caller, round)
                    })
                })
                .collect();
            // In the middle of whatever it does for them.
            let enough = (names.len() + 40) as u64;
            eventually("some are taken in", || {
                (server.jobs_that_are(JobStatus::Queued) >= enough).then_some(())
            });
            server.signal(Signal::KILL);
            for caller in callers {
                let (tried, taken) = caller.join().unwrap();
                names.extend(tried);
                accepted.extend(taken);
            }
        });
        let mut server = server;
        server.is_dead();
    }
    let server = place.serve(&flags);
    freeze(&server);
    let again = |name: &String| {
        let ask = server.handing_in(samples::range()).header("idempotency-key", name);
        ask.send().accepted().id
    };
    let jobs: HashMap<_, _> = names.iter().map(|name| (name.clone(), again(name))).collect();
    for (name, id) in &accepted {
        assert_eq!(jobs.get(name), Some(id), "{name} was accepted");
    }
    let kept: HashSet<_> = server.all_jobs().into_iter().map(|job| job.id).collect();
    assert_eq!(kept, jobs.values().copied().collect(), "there is a job for each name, and no other");
    assert_eq!(kept.len(), names.len());
    assert!(accepted.len() < names.len(), "it never died in the middle of a request");
    for id in &kept {
        server.ask(Method::DELETE, &format!("/v1/proofs/{id}")).send();
    }
    thaw(&server);
    until_over(&server);
    server.finish();
}

#[test]
fn asleep_past_its_leases_it_goes_on_with_what_nobody_else_can_have() {
    let (place, range) = (Place::new(), samples::range());
    let server = place.serve(&[("--job-workers", "2"), ("--lease", "1s")]);
    let jobs = hand_in(&server, range, 8);
    until_running(&server, 2);
    server.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(3));
    server.signal(Signal::CONT);
    until_over(&server);
    assert_proved(&server, &jobs, range);
    for id in jobs {
        assert_eq!(server.job(id).attempts, 1);
    }
    server.finish();
    assert_one_at_a_time(&audited(&place.audit()));
}
