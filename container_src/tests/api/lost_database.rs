//! A database whose file is removed or replaced while the server runs: no job is accepted that would be lost.

use std::{fs, path::PathBuf};

use edgeprove_protocol::{JobStatus, ProblemType, answer::HealthStatus};

use crate::{
    jobs::JobServer,
    support::{TestServer, eventually, samples},
};

impl JobServer {
    fn database(&self) -> PathBuf {
        self.data.path().join("edgeprove.db")
    }

    #[track_caller]
    fn assert_refuses_jobs(&self) {
        self.submission(&samples::range_check().witness)
            .send()
            .assert_refused_for_now(ProblemType::JobStoreUnavailable);
        let health = self.server.health();
        assert_eq!(health.status, HealthStatus::Degraded);
        assert!(health.problems.iter().any(|problem| problem.contains("database")), "{:?}", health.problems);
        let data = self.data.path().display().to_string();
        assert!(!format!("{health:?}").contains(&data), "paths are for operators: {health:?}");
        assert!(health.jobs.error.is_some());
        // Proofs for requests that wait need no database.
        self.server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());
    }

    #[track_caller]
    fn assert_runs_jobs(&self) {
        eventually("the health is good again", || {
            (self.server.health().status == HealthStatus::Ok).then_some(())
        });
        let job = self.submit(&samples::range_check().witness);
        assert_eq!(self.wait_until_finished(&job).status, JobStatus::Completed);
    }
}

#[test]
fn no_job_is_accepted_into_a_lost_database() {
    let jobs = JobServer::start(|_| {});
    jobs.assert_runs_jobs();
    for name in ["edgeprove.db", "edgeprove.db-wal"] {
        let (file, away) = (jobs.data.path().join(name), jobs.data.path().join("away"));
        fs::rename(&file, &away).unwrap();
        jobs.assert_refuses_jobs();
        fs::copy(&away, &file).unwrap();
        jobs.assert_refuses_jobs();
        // The file itself has the jobs.
        fs::rename(&away, &file).unwrap();
        jobs.assert_runs_jobs();
    }
}

#[test]
fn a_removed_database_is_noticed_by_queued_jobs_too() {
    let mut jobs = JobServer::start(|s| s.flag("--job-workers", "1"));
    for bb in jobs.server.provers() {
        bb.suspend();
    }
    let witness = &samples::range_check().witness;
    let running = jobs.submit(witness);
    eventually("the job runs", || (jobs.job(&running).status == JobStatus::Running).then_some(()));
    let queued = jobs.submit(witness);
    fs::remove_file(jobs.database()).unwrap();
    for bb in jobs.server.provers() {
        bb.resume();
    }
    jobs.server.wait_for_log_line("no further job is claimed", |line| {
        line["error"].as_str().is_some_and(|error| error.contains("edgeprove.db"))
    });
    assert_eq!(jobs.job(&queued).status, JobStatus::Queued);
    // The next server begins with what is there: nothing.
    jobs.server.kill();
    let server = TestServer::start(|s| s.flag("--data", &jobs.data.path().display()));
    server.get(&queued.links.this).assert_refused(ProblemType::JobNotFound);
    server.assert_healthy();
}

#[test]
fn a_removed_lock_lets_no_second_server_in() {
    let jobs = JobServer::start(|_| {});
    fs::remove_file(jobs.data.path().join("edgeprove.lock")).unwrap();
    let failed = TestServer::fails_to_start(|s| s.flag("--data", &jobs.data.path().display()));
    assert_eq!(failed.code, Some(64), "{}", failed.stderr);
    assert!(failed.stderr.contains("in use"), "{}", failed.stderr);
    jobs.assert_runs_jobs();
}
