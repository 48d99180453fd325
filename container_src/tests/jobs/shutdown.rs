//! A server that ends while there is a queue, and what the next one does with it.

use std::fs;

use edgeprove_protocol::JobStatus;
use edgeprove_testkit::{Sample, TestServer, samples};
use rustix::process::Signal;

use crate::support::{
    Place, WORK, assert_one_at_a_time, assert_proved, audited, freeze, hand_in, jobs_with, thaw, until_over,
    until_running,
};

const JOBS: usize = 12;

#[test]
fn after_sigterm_what_is_at_work_is_finished_and_the_queue_waits_for_the_next_start() {
    let (place, range) = (Place::new(), samples::range());
    let mut server = place.serve(&[("--job-workers", "2")]);
    let jobs = hand_in(&server, range, JOBS);
    until_running(&server, 2);
    server.signal(Signal::TERM);
    assert_eq!(server.ends().code(), Some(0));
    let first = audited(&place.audit());
    let done = jobs_with("job.completed", &first);
    assert!(done > 0 && done < JOBS, "{done}");
    assert_eq!(jobs_with("job.started", &first), done, "what was begun was finished, and nothing else begun");

    let server = place.serve(&[("--job-workers", "2")]);
    until_over(&server);
    assert_proved(&server, &jobs, range);
    for id in jobs {
        assert_eq!(server.job(id).attempts, 1);
    }
    server.finish();
    assert_one_at_a_time(&audited(&place.audit()));
}

#[test]
fn what_cannot_be_finished_in_time_is_handed_back_and_done_after_the_next_start() {
    let (place, range) = (Place::new(), samples::range());
    let mut server = place.serve(&[("--job-workers", "2"), ("--drain", "1s")]);
    freeze(&server);
    let jobs = hand_in(&server, range, 4);
    until_running(&server, 2);
    server.signal(Signal::TERM);
    assert_eq!(server.ends().code(), Some(0));
    assert_eq!(jobs_with("job.retried", &audited(&place.audit())), 2);

    let server = place.serve(&[("--job-workers", "2")]);
    until_over(&server);
    assert_proved(&server, &jobs, range);
    for id in jobs {
        let job = server.job(id);
        assert_eq!((job.status, job.attempts), (JobStatus::Completed, 1), "it was no attempt: {job:?}");
    }
    server.finish();
    assert_one_at_a_time(&audited(&place.audit()));
}

#[test]
fn jobs_of_a_circuit_that_the_next_start_has_changed_wait_for_one_that_has_it_as_it_was() {
    let place = Place::new();
    let version = |factor: u32| {
        let dir = place.at(&format!("version {factor}"));
        fs::create_dir(&dir).unwrap();
        samples::square(&dir, "square", factor)
    };
    let (old, new) = (version(1), version(3));
    let serve = |sample: &Sample| {
        TestServer::start(|settings| {
            place.settle(settings);
            settings.flag("--job-workers", "2");
            settings.circuit = Some(sample.circuit.clone());
            settings.good = Some(sample.clone());
        })
    };
    let mut server = serve(&old);
    freeze(&server);
    let jobs = hand_in(&server, &old, 4);
    until_running(&server, 2);
    // Two of them are suspects at the next start.
    server.kill();

    let mistaken = serve(&new);
    freeze(&mistaken);
    let known = hand_in(&mistaken, &new, 2);
    // Both at once: who does not come cannot have killed anybody.
    until_running(&mistaken, 2);
    thaw(&mistaken);
    for id in known {
        assert_eq!(mistaken.over(id, WORK).status, JobStatus::Completed);
    }
    assert!(jobs.iter().all(|&id| mistaken.job(id).status == JobStatus::Queued));
    let told = mistaken.log();
    let warning = told.lines().find(|line| line.contains("wait for a server that has loaded their circuit"));
    assert!(warning.is_some_and(|line| line.contains(r#""jobs":4"#) && line.contains("square")), "{told}");
    mistaken.finish();

    let server = serve(&old);
    until_over(&server);
    assert_proved(&server, &jobs, &old);
    server.finish();
    assert_one_at_a_time(&audited(&place.audit()));
}
