//! A full disk, and a bucket that cannot be reached.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use edgeprove_protocol::{JobStatus, ProblemType, answer::HealthStatus};
use edgeprove_testkit::{
    TestServer, eventually,
    s3::{BUCKET, S3Server},
    samples, skipped,
};

use crate::support::{
    DataFolder, assert_none_twice, assert_proved, resume, submit_jobs, suspend, verified_entries,
    wait_until_all_finished, wait_until_running,
};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// Space for a database and a few jobs.
const DISK_BYTES: usize = 4 << 20;
/// Longer than three attempts of a job with the pauses in between, if a job used up its attempts meanwhile.
const OUTAGE: Duration = Duration::from_secs(12);

/// What a server stores on the small disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnTheDisk {
    Data,
    /// The spool and the audit log as well.
    Everything,
}

/// Starts a server with a small disk.
fn start_on_small_disk(folder: &DataFolder, what: OnTheDisk) -> (TestServer, PathBuf, PathBuf) {
    let disk = folder.path("disk");
    let audit = if what == OnTheDisk::Everything { disk.join("audit.jsonl") } else { folder.audit_log() };
    let server = TestServer::start(|settings| {
        settings.small_disk(&disk, DISK_BYTES, "");
        settings.flag("--data", &disk.join("data").display());
        settings.flag("--audit", &audit.display());
        settings.flag("--anonymous-role", "operator");
        settings.flag("--job-workers", "1");
        if what == OnTheDisk::Everything {
            settings.spool = Some(disk.join("spool"));
        }
    });
    (server, disk, audit)
}

#[track_caller]
fn survives_a_full_disk(what: OnTheDisk, refusals: &[ProblemType]) {
    if skipped::lacks_mount_namespaces() {
        return;
    }
    let folder = DataFolder::new();
    let (server, disk, audit) = start_on_small_disk(&folder, what);
    // When the disk fills up, one job is running and the others are queued.
    suspend(&server);
    let mut jobs = submit_jobs(&server, samples::range_check(), 4);
    wait_until_running(&server, 1);
    let filler = server.fill_disk(&disk.join("filler"), 0);
    resume(&server);
    let full_since = Instant::now();
    while full_since.elapsed() < OUTAGE {
        let response = server.submission(samples::range_check()).send();
        let kind = response.json()["code"].as_str().unwrap().to_owned();
        let kind = refusals.iter().find(|refusal| refusal.code() == kind);
        let problem = response.assert_refused_for_now(*kind.unwrap_or_else(|| panic!("{response:?}")));
        assert!(!problem.detail.contains("disk/"), "the problem contains a path: {}", problem.detail);
        // Requests that only read still work.
        assert_eq!(server.all_jobs().len(), jobs.len());
        thread::sleep(Duration::from_millis(500));
    }
    let health = server.health();
    assert_eq!(health.status, HealthStatus::Degraded, "{:?}", health.problems);
    server.wait_for_log_line("the cause of a refusal is logged", |line| {
        refusals.iter().any(|refusal| line["code"] == refusal.code()) && line["cause"].is_string()
    });
    fs::remove_file(filler).unwrap();
    jobs.push(eventually("jobs are accepted again", || {
        let response = server.submission(samples::range_check()).send();
        (response.status == 202).then(|| response.assert_accepted().id)
    }));
    wait_until_all_finished(&server);
    assert_proved(&server, &jobs, samples::range_check());
    assert_eq!(server.health().problems, Vec::<String>::new());
    // The disk disappears with the mount namespace of the server.
    let log = folder.path("copy.jsonl");
    fs::copy(server.path_in_namespace(&audit), &log).unwrap();
    server.finish();
    assert_none_twice(&[verified_entries(&log)]);
}

#[test]
fn a_full_data_folder_accepts_no_job_and_loses_none() {
    let refusals = [ProblemType::ArtifactUnavailable, ProblemType::JobStoreUnavailable];
    survives_a_full_disk(OnTheDisk::Data, &refusals);
}

#[test]
fn a_full_disk_accepts_no_job_and_loses_none() {
    let refusals = [
        ProblemType::ArtifactUnavailable,
        ProblemType::JobStoreUnavailable,
        ProblemType::SpoolUnavailable,
        ProblemType::AuditUnavailable,
    ];
    survives_a_full_disk(OnTheDisk::Everything, &refusals);
}

#[test]
fn an_unreachable_bucket_delays_jobs_and_fails_none() {
    let folder = DataFolder::new();
    let mut bucket = S3Server::start();
    let server = TestServer::start(|settings| {
        folder.configure(settings);
        settings.flag("--artifacts", &format!("s3://{BUCKET}/jobs"));
        settings.flag("--job-workers", "2");
        settings.environment.extend(bucket.environment());
        settings.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), KEY.to_owned()));
    });
    // Two jobs have fetched their witness and cannot store their proof; the others cannot fetch their witness.
    suspend(&server);
    let jobs = submit_jobs(&server, samples::range_check(), 6);
    wait_until_running(&server, 2);
    eventually("witnesses are fetched", || (server.spool_files().len() == 2).then_some(()));
    bucket.stop();
    resume(&server);
    let stopped_at = Instant::now();
    while stopped_at.elapsed() < OUTAGE {
        let response = server.submission(samples::range_check()).send();
        response.assert_refused_for_now(ProblemType::ArtifactUnavailable);
    }
    assert_eq!(server.count_jobs(JobStatus::Failed), 0);
    bucket.resume();
    wait_until_all_finished(&server);
    assert_proved(&server, &jobs, samples::range_check());
    server.finish();
    assert_none_twice(&[verified_entries(&folder.audit_log())]);
}
