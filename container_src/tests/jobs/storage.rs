//! A disk that is full, and a bucket that is away.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use edgeprove_protocol::{JobStatus, ProblemType};
use edgeprove_testkit::{
    TestServer, eventually, places,
    s3::{BUCKET, S3Server},
    samples,
};

use crate::support::{
    Place, assert_none_twice, assert_proved, audited, freeze, hand_in, thaw, until_over, until_running,
};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// Room for a database and a few jobs.
const DISK_BYTES: usize = 4 << 20;
/// Longer than it takes to try a job three times with the pauses in between, were that done.
const OUTAGE: Duration = Duration::from_secs(12);
/// A bucket is asked more than once before it is said to be away.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

/// What a server has on the disk that fills up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnTheDisk {
    Data,
    /// The spool and the audit log as well.
    Everything,
}

/// A server whose disk is a small one.
fn cramped(place: &Place, what: OnTheDisk) -> (TestServer, PathBuf, PathBuf) {
    let disk = place.at("disk");
    let audit = if what == OnTheDisk::Everything { disk.join("audit.jsonl") } else { place.audit() };
    let server = TestServer::start(|settings| {
        settings.small_disk(&disk, DISK_BYTES, "");
        settings.flag("--data", &disk.join("data").display());
        settings.flag("--audit", &audit.display());
        settings.flag("--job-workers", "1");
        if what == OnTheDisk::Everything {
            settings.spool = Some(disk.join("spool"));
        }
    });
    (server, disk, audit)
}

#[track_caller]
fn survives_a_full_disk(what: OnTheDisk, refusals: &[ProblemType]) {
    if places::lacks_mount_namespaces() {
        return;
    }
    let place = Place::new();
    let (server, disk, audit) = cramped(&place, what);
    // One is in the middle of its proof when the disk fills up, the others wait.
    freeze(&server);
    let mut jobs = hand_in(&server, samples::range(), 4);
    until_running(&server, 1);
    let filler = server.fill_disk(&disk.join("filler"), 0);
    thaw(&server);
    let full_since = Instant::now();
    while full_since.elapsed() < OUTAGE {
        let answer = server.handing_in(samples::range()).send();
        let kind = answer.json()["code"].as_str().unwrap().to_owned();
        let kind = refusals.iter().find(|refusal| refusal.code() == kind);
        let problem = answer.refused_for_now(*kind.unwrap_or_else(|| panic!("{answer:?}")));
        assert!(!problem.detail.contains("disk/"), "a caller is told no path: {}", problem.detail);
        // Who only looks is answered.
        assert_eq!(server.all_jobs().len(), jobs.len());
        thread::sleep(Duration::from_millis(500));
    }
    let told = ["no space is left", "disk is full"];
    assert!(told.iter().any(|words| server.log().contains(words)), "the log does not say what is wrong");
    fs::remove_file(filler).unwrap();
    jobs.push(eventually("jobs are taken in again", || {
        let answer = server.handing_in(samples::range()).send();
        (answer.status == 202).then(|| answer.accepted().id)
    }));
    until_over(&server);
    assert_proved(&server, &jobs, samples::range());
    // It goes with the server's view of the disk.
    let log = place.at("kept.jsonl");
    fs::copy(server.view(&audit), &log).unwrap();
    server.finish();
    assert_none_twice(&[audited(&log)]);
}

#[test]
fn a_data_folder_without_room_takes_nothing_in_and_loses_nothing() {
    let refusals = [ProblemType::ArtifactUnavailable, ProblemType::JobStoreUnavailable];
    survives_a_full_disk(OnTheDisk::Data, &refusals);
}

#[test]
fn a_disk_without_room_for_anything_at_all_loses_nothing_either() {
    let refusals = [
        ProblemType::ArtifactUnavailable,
        ProblemType::JobStoreUnavailable,
        ProblemType::SpoolUnavailable,
        ProblemType::AuditUnavailable,
    ];
    survives_a_full_disk(OnTheDisk::Everything, &refusals);
}

#[test]
fn a_bucket_that_is_away_keeps_jobs_waiting_and_fails_none() {
    let place = Place::new();
    let mut bucket = S3Server::start();
    let server = TestServer::start(|settings| {
        place.settle(settings);
        settings.flag("--artifacts", &format!("s3://{BUCKET}/jobs"));
        settings.flag("--job-workers", "2");
        settings.environment.extend(bucket.environment());
        settings.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), KEY.to_owned()));
    });
    // Two have fetched their witness and will find no place for the proof, the others will find no witness.
    freeze(&server);
    let jobs = hand_in(&server, samples::range(), 6);
    until_running(&server, 2);
    eventually("witnesses are fetched", || (server.spooled().len() == 2).then_some(()));
    bucket.stop();
    thaw(&server);
    let away_since = Instant::now();
    while away_since.elapsed() < OUTAGE {
        let asked = Instant::now();
        let answer = server.handing_in(samples::range()).send();
        answer.refused_for_now(ProblemType::ArtifactUnavailable);
        assert!(asked.elapsed() < REFUSED_WITHIN, "it took {} s", asked.elapsed().as_secs());
    }
    assert_eq!(server.jobs_that_are(JobStatus::Failed), 0);
    bucket.resume();
    until_over(&server);
    assert_proved(&server, &jobs, samples::range());
    server.finish();
    assert_none_twice(&[audited(&place.audit())]);
}
