//! A server that is asked to end while there is a queue.

use edgeprove_protocol::JobStatus;
use edgeprove_testkit::samples;
use rustix::process::Signal;

use crate::support::{
    Place, assert_one_at_a_time, assert_proved, audited, freeze, hand_in, jobs_with, until_over,
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
