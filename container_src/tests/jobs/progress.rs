//! Percent and remaining time of a running job, polled and as events.

use std::{thread, time::Duration};

use edgeprove_protocol::{JobDocument, JobId, JobStage, JobStatus};
use edgeprove_testkit::{TestServer, eventually, samples, wait::LONG_LIMIT};

use crate::support::{DataFolder, resume, suspend};

/// Polls a new job whose bb is suspended until its percentage has risen this many times.
#[track_caller]
fn poll_until_risen(server: &TestServer, id: JobId, times: usize) -> Vec<JobDocument> {
    let mut polled = vec![server.job(id)];
    eventually("the percentage rises", || {
        thread::sleep(Duration::from_millis(20));
        polled.push(server.job(id));
        let rises = polled.windows(2).filter(|pair| pair[0].progress < pair[1].progress).count();
        (rises >= times).then_some(())
    });
    polled
}

#[track_caller]
fn assert_only_forward(seen: &[JobDocument]) {
    let progress: Vec<_> = seen.iter().map(|job| job.progress).collect();
    assert!(progress.is_sorted(), "{progress:?}");
    let proving = seen.iter().filter(|job| job.stage == JobStage::Proving);
    let remaining: Vec<_> = proving.map(|job| job.estimated_remaining_ms).collect();
    assert!(remaining.is_sorted_by(|earlier, later| earlier >= later), "{remaining:?}");
}

/// Follows a job until its end, in a thread.
fn follow(server: &TestServer, id: JobId) -> thread::JoinHandle<Vec<JobDocument>> {
    let events = server.events(id);
    thread::spawn(move || events.map(|event| event.job).collect())
}

#[track_caller]
fn progress_only_goes_forward(is_known: bool) {
    let folder = DataFolder::new();
    let server = folder.start_server(&[("--job-workers", "1")]);
    if is_known {
        server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());
    }
    suspend(&server);
    let id = server.submit(samples::range_check());
    let followed = follow(&server, id);
    let polled = poll_until_risen(&server, id, 3);
    resume(&server);
    let done = server.wait_until_finished(id, LONG_LIMIT);
    assert_eq!((done.status, done.progress), (JobStatus::Completed, 100));
    assert_only_forward(&polled);
    let followed = followed.join().unwrap();
    assert_only_forward(&followed);
    // The stream shows the same figures as the polls: it also rises within the stage.
    let proving = followed.iter().filter(|job| job.stage == JobStage::Proving);
    assert!(proving.map(|job| job.progress).max() > Some(10), "{followed:?}");
    let has_remaining = polled.iter().all(|job| job.estimated_remaining_ms.is_some_and(|ms| ms > 0));
    assert_eq!(has_remaining, is_known, "{polled:?}");
    server.finish();
}

#[test]
fn progress_goes_forward_where_proofs_were_timed() {
    progress_only_goes_forward(true);
}

#[test]
fn progress_goes_forward_where_nothing_is_known() {
    progress_only_goes_forward(false);
}

#[test]
fn the_remaining_time_has_the_wait_for_a_core() {
    let folder = DataFolder::new();
    let server = TestServer::start(|s| {
        folder.configure(s);
        s.flag("--job-workers", "3");
        s.flag("--cores", "1");
        s.provers = 1;
    });
    server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());
    for bb in server.provers() {
        assert!(bb.suspend());
    }
    // The first one has the core, and the other two wait for it.
    let jobs: Vec<_> = (0..3).map(|_| server.submit(samples::range_check())).collect();
    let waiting = eventually("two jobs wait for the core", || {
        let now = jobs.iter().map(|id| server.job(*id));
        let waiting: Vec<_> = now.filter(|job| (job.stage, job.progress) == (JobStage::Loading, 4)).collect();
        (waiting.len() == 2).then_some(waiting)
    });
    let work_ms = server.get("/v1/estimate").json()["proving_ms"]["expected"].as_f64().unwrap();
    for job in waiting {
        let remaining_ms =
            job.estimated_remaining_ms.map(Duration::from_millis).unwrap().as_secs_f64() * 1000.0;
        assert!(remaining_ms > work_ms, "{remaining_ms} ms are not more than {work_ms} ms of work");
    }
    resume(&server);
    for id in jobs {
        assert_eq!(server.wait_until_finished(id, LONG_LIMIT).status, JobStatus::Completed);
    }
    server.finish();
}
