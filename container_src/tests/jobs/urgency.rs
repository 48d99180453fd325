//! Who goes first, and that everybody's turn comes.

use std::{fs, path::Path};

use edgeprove_job_queue::store::{Database, DatabaseLocation as Storage, Durability};
use edgeprove_job_rules::priority::AGEING_STEP_MS;
use edgeprove_protocol::{JobId, JobStatus, Priority, ProblemType};
use edgeprove_testkit::{TestServer, samples, wait::within};
use http::Method;
use sha2::{Digest as _, Sha256};

use crate::support::{Place, WORK, assert_one_at_a_time, audited, freeze, thaw};

const OPERATOR: &str = "the operator's key";
const USER: &str = "a user's key";
const LOW_JOBS: usize = 20;

/// A server with one worker and two who may call it, of whom one may say that it is urgent.
#[track_caller]
fn serve(place: &Place) -> TestServer {
    let keys = place.at("keys.toml");
    let holder = |name: &str, role: &str, key: &str| {
        format!("[keys.{name}]\nrole = '{role}'\nsha256 = ['{}']\n", hex::encode(Sha256::digest(key)))
    };
    fs::write(&keys, [holder("olga", "operator", OPERATOR), holder("ulf", "user", USER)].concat()).unwrap();
    place.serve(&[("--job-workers", "1"), ("--keys-file", keys.to_str().unwrap())])
}

#[track_caller]
fn hand_in(server: &TestServer, key: &str, priority: Priority) -> JobId {
    let ask = server.handing_in(samples::range()).header("x-api-key", key);
    ask.header("x-priority", priority.as_str()).send().accepted().id
}

#[track_caller]
fn status(server: &TestServer, id: JobId) -> JobStatus {
    server.ask(Method::GET, &format!("/v1/proofs/{id}")).header("x-api-key", OPERATOR).send().job().status
}

#[track_caller]
fn until(server: &TestServer, id: JobId, wanted: JobStatus) {
    within(WORK, "a job comes so far", || (status(server, id) == wanted).then_some(()));
}

/// The jobs in the order in which they were begun.
fn begun(log: &Path) -> Vec<String> {
    let log = audited(log);
    assert_one_at_a_time(&log);
    let begun = log.iter().filter(|entry| entry["action"] == "job.started");
    begun.map(|entry| entry["job_id"].as_str().unwrap().to_owned()).collect()
}

fn names(jobs: impl IntoIterator<Item = JobId>) -> Vec<String> {
    jobs.into_iter().map(|id| id.to_string()).collect()
}

#[test]
fn critical_overtakes_twenty_low_ones_which_are_done_all_the_same() {
    let place = Place::new();
    let server = serve(&place);
    freeze(&server);
    let at_work = hand_in(&server, USER, Priority::Normal);
    until(&server, at_work, JobStatus::Running);
    let low: Vec<_> = (0..LOW_JOBS).map(|_| hand_in(&server, USER, Priority::Low)).collect();
    let not_allowed = server.handing_in(samples::range()).header("x-api-key", USER);
    not_allowed.header("x-priority", "CRITICAL").send().refused(ProblemType::NotAllowed);
    let normal = hand_in(&server, USER, Priority::Normal);
    let critical = hand_in(&server, OPERATOR, Priority::Critical);
    thaw(&server);
    for &id in low.iter().chain([&critical, &normal, &at_work]) {
        until(&server, id, JobStatus::Completed);
    }
    server.finish();
    let wanted = names([at_work, critical, normal].into_iter().chain(low));
    assert_eq!(begun(&place.audit()), wanted);
}

/// Makes it so that a job was handed in that much earlier, in the database of a server that is not there.
fn age(place: &Place, job: JobId, by_ms: i64) {
    let older = format!(
        "UPDATE jobs SET enqueued_at = enqueued_at - {by_ms}, run_at = run_at - {by_ms}, rank = rank - {by_ms} \
         WHERE id = '{job}'"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Database::open(&Storage::Folder(place.at("data"))).await.unwrap();
        let older: &'static str = older.leak();
        database.session(Durability::Write).await.unwrap().rows(older, []).await.unwrap();
        database.close().await;
    });
}

#[test]
fn low_that_has_waited_three_steps_goes_before_what_is_critical() {
    let place = Place::new();
    let mut server = serve(&place);
    freeze(&server);
    let at_work = hand_in(&server, USER, Priority::Normal);
    until(&server, at_work, JobStatus::Running);
    let [young, old] = [(); 2].map(|()| hand_in(&server, USER, Priority::Low));
    let critical = hand_in(&server, OPERATOR, Priority::Critical);
    server.kill();
    age(&place, old, 3 * AGEING_STEP_MS);
    // At work it was before; that costs it no place.
    age(&place, at_work, 4 * AGEING_STEP_MS);

    let server = serve(&place);
    for id in [old, critical, young] {
        until(&server, id, JobStatus::Completed);
    }
    server.finish();
    let order = begun(&place.audit());
    let among = |id: JobId| order.iter().position(|begun| *begun == id.to_string()).unwrap();
    assert!(among(old) < among(critical) && among(critical) < among(young), "{order:?}");
}
