//! Where a server stores its jobs by default, and what it reports where something of the storage is missing.

use std::{fs, path::Path};

use edgeprove_protocol::{JobDocument, JobStatus, ProblemType};

use crate::{
    jobs::{JobServer, document},
    support::{TestServer, eventually, samples, settings::Settings, skipped},
};

/// Without this, a test server with `--data` may lose its jobs.
fn without_ephemeral_jobs(settings: &mut Settings) {
    settings.environment.push(("EDGEPROVE_EPHEMERAL_JOBS".to_owned(), "false".to_owned()));
}

fn with_home(settings: &mut Settings, home: &Path) {
    settings.environment.push(("XDG_DATA_HOME".to_owned(), home.display().to_string()));
}

#[test]
fn jobs_are_stored_in_the_users_data_folder_by_default() {
    if skipped::is_in_container() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("edgeprove");
    let server = TestServer::start(|s| {
        with_home(s, home.path());
        s.flag("--data", "off");
        without_ephemeral_jobs(s);
    });
    assert!(!server.health().jobs.enabled && !folder.exists());
    server.finish();

    let server = TestServer::start(|s| with_home(s, home.path()));
    let id = server.submit(samples::range_check());
    assert!(server.log().contains(&folder.display().to_string()), "the log names the folder");
    // A second server of the same user works as well, but has no jobs.
    let second = TestServer::start(|s| with_home(s, home.path()));
    let jobs = second.health().jobs;
    assert!(!jobs.enabled && jobs.error.as_ref().is_some_and(|reason| reason.contains("--data")), "{jobs:?}");
    second.assert_healthy();
    second.finish();
    server.finish();
    assert!(!folder.join("edgeprove.db-wal").exists(), "a stopped server leaves one file to copy");

    let server = TestServer::start(|s| with_home(s, home.path()));
    let job =
        eventually("the job has finished", || Some(server.job(id)).filter(|job| job.status.is_finished()));
    assert_eq!(job.status, JobStatus::Completed);
}

#[test]
fn a_home_that_cannot_be_written_only_disables_jobs() {
    if skipped::is_in_container() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("edgeprove"), "a file in the place of the folder").unwrap();
    let server = TestServer::start(|s| with_home(s, home.path()));
    assert!(!server.health().jobs.enabled);
    server.assert_healthy();
}

#[test]
fn a_database_without_a_location_for_artifacts_is_a_fault() {
    let failed = TestServer::fails_to_start(|s| {
        let url = "postgres://user:hunter2@127.0.0.1:1/jobs";
        s.environment.push(("DATABASE_URL".to_owned(), url.to_owned()));
        s.flag("--data", "off");
        without_ephemeral_jobs(s);
    });
    assert_eq!(failed.code, Some(64), "{}", failed.stderr);
    for part in ["DATABASE_URL", "EDGEPROVE_ARTIFACTS", "EDGEPROVE_ARTIFACT_KEY", "--data"] {
        assert!(failed.stderr.contains(part), "{part} is not in: {}", failed.stderr);
    }
    assert!(!failed.stderr.contains("hunter2"), "{}", failed.stderr);
}

/// A server with one finished job and one that runs, which was killed.
fn killed_server() -> (JobServer, [JobDocument; 2]) {
    let mut job_server = JobServer::start(|s| s.flag("--job-workers", "1"));
    let witness = &samples::range_check().witness;
    let done = job_server.submit(witness);
    assert_eq!(job_server.wait_until_finished(&done).status, JobStatus::Completed);
    for bb in job_server.server.provers() {
        bb.suspend();
    }
    let running = job_server.submit(witness);
    eventually("the job runs", || (job_server.job(&running).status == JobStatus::Running).then_some(()));
    job_server.server.kill();
    (job_server, [done, running])
}

#[test]
fn a_lost_artifact_key_is_not_replaced() {
    let (job_server, _) = killed_server();
    let key = job_server.data.path().join("artifact.key");
    fs::remove_file(&key).unwrap();
    let failed = TestServer::fails_to_start(|s| s.flag("--data", &job_server.data.path().display()));
    assert_eq!(failed.code, Some(64), "{}", failed.stderr);
    assert!(failed.stderr.contains("artifact.key") && failed.stderr.contains("backup"), "{}", failed.stderr);
    assert!(!key.exists());
}

#[test]
fn jobs_under_a_lost_key_fail_for_good() {
    let (job_server, [done, running]) = killed_server();
    let data = job_server.data.path();
    fs::write(data.join("artifact.key"), "07".repeat(32)).unwrap();
    let server = TestServer::start(|s| s.flag("--data", &data.display()));
    server.wait_for_log_line("the missing key is named", |line| line["missing"].is_string());
    let problem = server.get(&done.links.proof).assert_refused(ProblemType::StoredDataDamaged);
    assert!(!problem.retryable);
    let failed = eventually("the job has failed", || {
        Some(document(&server.get(&running.links.this))).filter(|job| job.status.is_finished())
    });
    assert_eq!(
        (failed.status, failed.error.unwrap().code.known()),
        (JobStatus::Failed, Some(ProblemType::StoredDataDamaged))
    );
    // New jobs work.
    server.assert_healthy();
    let id = server.submit(samples::range_check());
    let job =
        eventually("the job has finished", || Some(server.job(id)).filter(|job| job.status.is_finished()));
    assert_eq!(job.status, JobStatus::Completed);
}
