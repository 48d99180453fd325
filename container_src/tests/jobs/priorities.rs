//! The order of jobs by priority and age.

use std::{fs, path::Path};

use edgeprove_job_queue::store::{Database, DatabaseLocation as Storage, Durability};
use edgeprove_job_rules::priority::AGEING_STEP_MS;
use edgeprove_protocol::{JobId, JobStatus, Priority, ProblemType};
use edgeprove_testkit::{
    TestServer, samples,
    wait::{LONG_LIMIT, within},
};
use http::Method;
use sha2::{Digest as _, Sha256};

use crate::support::{DataFolder, assert_one_at_a_time, resume, suspend, verified_entries};

const OPERATOR: &str = "the operator's key";
const USER: &str = "a user's key";
const LOW_JOBS: usize = 20;

/// Starts a server with one worker and two keys, one of which may use every priority.
#[track_caller]
fn start_server(folder: &DataFolder) -> TestServer {
    let keys = folder.path("keys.toml");
    let entry = |name: &str, role: &str, key: &str| {
        format!("[keys.{name}]\nrole = '{role}'\nsha256 = ['{}']\n", hex::encode(Sha256::digest(key)))
    };
    fs::write(&keys, [entry("olga", "operator", OPERATOR), entry("ulf", "user", USER)].concat()).unwrap();
    folder.start_server(&[("--job-workers", "1"), ("--keys-file", keys.to_str().unwrap())])
}

#[track_caller]
fn submit(server: &TestServer, key: &str, priority: Priority) -> JobId {
    let request = server.submission(samples::range_check()).header("x-api-key", key);
    request.header("x-priority", priority.as_str()).send().assert_accepted().id
}

#[track_caller]
fn status(server: &TestServer, id: JobId) -> JobStatus {
    server.request(Method::GET, &format!("/v1/proofs/{id}")).header("x-api-key", OPERATOR).send().job().status
}

#[track_caller]
fn wait_until(server: &TestServer, id: JobId, wanted: JobStatus) {
    within(LONG_LIMIT, "the job has the status", || (status(server, id) == wanted).then_some(()));
}

/// The ids of the jobs in the order of their starts.
fn start_order(log: &Path) -> Vec<String> {
    let log = verified_entries(log);
    assert_one_at_a_time(&log);
    let started = log.iter().filter(|entry| entry["action"] == "job.started");
    started.map(|entry| entry["job_id"].as_str().unwrap().to_owned()).collect()
}

fn ids(jobs: impl IntoIterator<Item = JobId>) -> Vec<String> {
    jobs.into_iter().map(|id| id.to_string()).collect()
}

#[test]
fn a_critical_job_overtakes_twenty_low_ones() {
    let folder = DataFolder::new();
    let server = start_server(&folder);
    suspend(&server);
    let running = submit(&server, USER, Priority::Normal);
    wait_until(&server, running, JobStatus::Running);
    let low: Vec<_> = (0..LOW_JOBS).map(|_| submit(&server, USER, Priority::Low)).collect();
    let not_allowed = server.submission(samples::range_check()).header("x-api-key", USER);
    not_allowed.header("x-priority", "CRITICAL").send().assert_refused(ProblemType::NotAllowed);
    let normal = submit(&server, USER, Priority::Normal);
    let critical = submit(&server, OPERATOR, Priority::Critical);
    resume(&server);
    for &id in low.iter().chain([&critical, &normal, &running]) {
        wait_until(&server, id, JobStatus::Completed);
    }
    server.finish();
    let expected = ids([running, critical, normal].into_iter().chain(low));
    assert_eq!(start_order(&folder.audit_log()), expected);
}

/// Makes a job older by this time, in the database of a server that does not run.
fn age(folder: &DataFolder, job: JobId, by_ms: i64) {
    let older = format!(
        "UPDATE jobs SET enqueued_at = enqueued_at - {by_ms}, run_at = run_at - {by_ms}, rank = rank - {by_ms} \
         WHERE id = '{job}'"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Database::open(&Storage::Folder(folder.path("data"))).await.unwrap();
        let older: &'static str = older.leak();
        database.session(Durability::Write).await.unwrap().rows(older, []).await.unwrap();
        database.close().await;
    });
}

#[test]
fn a_low_job_that_waited_long_precedes_a_critical_one() {
    let folder = DataFolder::new();
    let mut server = start_server(&folder);
    suspend(&server);
    let running = submit(&server, USER, Priority::Normal);
    wait_until(&server, running, JobStatus::Running);
    let [young, old] = [(); 2].map(|()| submit(&server, USER, Priority::Low));
    let critical = submit(&server, OPERATOR, Priority::Critical);
    server.kill();
    age(&folder, old, 3 * AGEING_STEP_MS);
    // This job was running before, and keeps its place in the queue.
    age(&folder, running, 4 * AGEING_STEP_MS);

    let server = start_server(&folder);
    for id in [old, critical, young] {
        wait_until(&server, id, JobStatus::Completed);
    }
    server.finish();
    let order = start_order(&folder.audit_log());
    let position = |id: JobId| order.iter().position(|started| *started == id.to_string()).unwrap();
    assert!(position(old) < position(critical) && position(critical) < position(young), "{order:?}");
}
