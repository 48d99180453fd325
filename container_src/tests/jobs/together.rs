//! Servers that share a PostgreSQL and a folder of artefacts.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use edgeprove_protocol::{JobId, JobStatus, ProblemType};
use edgeprove_testkit::{
    Sample, TestServer, eventually,
    postgres::{Cluster, Stop},
    samples,
    settings::Settings,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Place, WORK, assert_none_twice, assert_proved, audited, freeze, hand_in, jobs_with, live, thaw,
    until_completed, until_over,
};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// Far more than it takes to find out that nobody answers, and far less than anybody would wait.
const REFUSED_WITHIN: Duration = Duration::from_secs(9);

/// What the servers share.
struct Shared {
    cluster: Cluster,
    place: Place,
}

impl Shared {
    /// `None`, and the test is skipped, where the machine has no PostgreSQL.
    fn new() -> Option<Self> {
        Some(Self { cluster: Cluster::start()?, place: Place::new() })
    }

    fn audit_of(&self, name: &str) -> PathBuf {
        self.place.at(&format!("{name}.jsonl"))
    }

    #[track_caller]
    fn serve(&self, name: &str, lease: &str) -> TestServer {
        TestServer::start(|settings| self.settle(settings, name, lease))
    }

    fn settle(&self, settings: &mut Settings, name: &str, lease: &str) {
        settings.environment.push(("DATABASE_URL".to_owned(), self.cluster.url()));
        settings.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), KEY.to_owned()));
        settings.flag("--artifacts", &self.place.at("artifacts").display());
        settings.flag("--audit", &self.audit_of(name).display());
        settings.flag("--job-workers", "2");
        settings.flag("--lease", lease);
    }
}

/// The jobs that are begun and not ended, going by the log of the server that began them.
fn at_work(log: &Path) -> Vec<(String, i64)> {
    let mut at_work = BTreeMap::new();
    for entry in live(log) {
        let (Some(job), Some(token)) = (entry["job_id"].as_str(), entry["lease_token"].as_i64()) else {
            continue;
        };
        if entry["action"] == "job.started" {
            at_work.insert(job.to_owned(), token);
        } else {
            at_work.remove(job);
        }
    }
    at_work.into_iter().collect()
}

/// Each job was completed by whoever began it last.
#[track_caller]
fn assert_last_lease_counts(logs: &[Vec<Value>]) {
    let mut last = BTreeMap::new();
    let all = logs.concat();
    let of = |action: &'static str| {
        all.iter().filter(move |entry| entry["action"] == action).map(|entry| {
            (entry["job_id"].as_str().unwrap().to_owned(), entry["lease_token"].as_i64().unwrap())
        })
    };
    for (job, token) in of("job.started") {
        let last = last.entry(job).or_insert(token);
        *last = token.max(*last);
    }
    for (job, token) in of("job.completed") {
        assert_eq!(last.get(&job), Some(&token), "{job} was completed under a lease that was lost");
    }
}

/// Hands jobs in to the one and to the other by turns.
#[track_caller]
fn hand_in_to_both(one: &TestServer, other: &TestServer, jobs: usize) -> Vec<JobId> {
    (0..jobs / 2).flat_map(|_| [one, other].map(|server| server.hand_in(samples::range()))).collect()
}

#[test]
fn one_is_killed_and_the_other_does_all_hundred_jobs() {
    let Some(shared) = Shared::new() else { return };
    let (survivor, mut victim) = (shared.serve("survivor", "2s"), shared.serve("victim", "2s"));
    let jobs = hand_in_to_both(&survivor, &victim, 100);
    until_completed(&survivor, 30);
    // What it works on, it cannot finish any more.
    freeze(&victim);
    let abandoned = eventually("the victim works", || {
        Some(at_work(&shared.audit_of("victim"))).filter(|jobs| jobs.len() == 2)
    });
    victim.kill();
    drop(victim);
    until_over(&survivor);
    assert_proved(&survivor, &jobs, samples::range());
    survivor.finish();
    let logs = ["survivor", "victim"].map(|name| audited(&shared.audit_of(name)));
    assert!(jobs_with("job.completed", &logs[1]) > 0, "the victim did nothing");
    for (job, token) in abandoned {
        let of_it = |action: &'static str| {
            let of_it = logs[0].iter().filter(move |entry| entry["action"] == action);
            let mut of_it = of_it.filter(|entry| entry["job_id"] == job.as_str());
            of_it.next().unwrap_or_else(|| panic!("no {action} of {job}"))
        };
        let lost = of_it("job.retried");
        assert_eq!((&lost["outcome"], lost["lease_token"].as_i64()), (&"worker_lost".into(), Some(token)));
        assert_eq!(of_it("job.completed")["lease_token"].as_i64(), Some(token + 1));
    }
    assert_none_twice(&logs);
    assert_last_lease_counts(&logs);
}

#[test]
fn one_that_does_not_know_a_circuit_leaves_its_jobs_to_the_other() {
    let Some(shared) = Shared::new() else { return };
    let (range, file) = (samples::range(), shared.place.at("newer.json"));
    fs::copy(&range.circuit, &file).unwrap();
    let newer = Sample { name: "newer".to_owned(), circuit: file.clone(), ..range.clone() };
    let older = shared.serve("older", "5s");
    let rolled_out = TestServer::start(|settings| {
        shared.settle(settings, "newer", "5s");
        settings.circuit = Some(file);
        settings.good = Some(newer.clone());
    });
    freeze(&older);
    let waiting = hand_in(&older, range, 6);
    // It goes past what waits before it, and leaves that alone.
    let known = hand_in(&rolled_out, &newer, 3);
    for &id in &known {
        assert_eq!(rolled_out.over(id, WORK).status, JobStatus::Completed);
    }
    assert!(waiting.iter().all(|&id| !older.job(id).status.is_finished()));
    thaw(&older);
    until_over(&older);
    assert_proved(&older, &waiting, range);
    assert_proved(&rolled_out, &known, &newer);
    for (server, name, jobs) in [(older, "older", waiting), (rolled_out, "newer", known)] {
        server.finish();
        assert_eq!(jobs_with("job.completed", &audited(&shared.audit_of(name))), jobs.len(), "{name}");
    }
}

#[test]
fn one_that_slept_past_its_lease_throws_its_work_away_and_goes_on() {
    let Some(shared) = Shared::new() else { return };
    let (awake, sleeper) = (shared.serve("awake", "2s"), shared.serve("sleeper", "2s"));
    let mut jobs = hand_in_to_both(&awake, &sleeper, 30);
    let log = shared.audit_of("sleeper");
    let mut before = at_work(&log);
    // Something was just begun: no part of its end can be under way.
    let (job, token) = eventually("the sleeper falls asleep at work", || {
        let now = at_work(&log);
        let begun = now.iter().find(|work| !before.contains(work)).cloned();
        before = now;
        sleeper.signal(Signal::STOP);
        let begun = begun.filter(|work| at_work(&log).contains(work));
        if begun.is_none() {
            sleeper.signal(Signal::CONT);
        }
        begun
    });
    until_over(&awake);
    let redone = audited(&shared.audit_of("awake"));
    sleeper.signal(Signal::CONT);
    eventually("it finds out", || sleeper.log().contains("the lease was lost").then_some(()));
    let of_it = redone.iter().filter(|entry| entry["job_id"] == job.as_str());
    let redone: Vec<_> = of_it.filter(|entry| entry["action"] == "job.completed").collect();
    assert_eq!(redone.len(), 1, "{job} was not taken over");
    assert_eq!(redone[0]["lease_token"].as_i64(), Some(token + 1));
    awake.finish();
    jobs.extend(hand_in(&sleeper, samples::range(), 4));
    until_over(&sleeper);
    assert_proved(&sleeper, &jobs, samples::range());
    sleeper.finish();
    let logs = ["awake", "sleeper"].map(|name| audited(&shared.audit_of(name)));
    assert_none_twice(&logs);
    assert_last_lease_counts(&logs);
}

#[track_caller]
fn refused_while_away(server: &TestServer, known: JobId) {
    for _ in 0..2 {
        let asked = [
            server.handing_in(samples::range()),
            server.ask(http::Method::GET, &format!("/v1/proofs/{known}")),
            server.ask(http::Method::GET, "/v1/proofs"),
            server.ask(http::Method::DELETE, &format!("/v1/proofs/{known}")),
            server.ask(http::Method::GET, "/v1/queue"),
        ];
        thread::scope(|scope| {
            for ask in asked {
                scope.spawn(move || {
                    let began = Instant::now();
                    ask.send().refused_for_now(ProblemType::JobStoreUnavailable);
                    assert!(began.elapsed() < REFUSED_WITHIN, "it took {} s", began.elapsed().as_secs());
                });
            }
        });
    }
    // What needs no database goes on.
    assert_eq!(server.get("/readyz").status, 200);
    server.post(&samples::range().witness).proof_of(samples::range());
}

#[test]
fn a_postgresql_that_stops_under_work_and_comes_back_costs_no_job() {
    let Some(shared) = Shared::new() else { return };
    let server = shared.serve("server", "15s");
    let mut jobs = Vec::new();
    for how in [Stop::Fast, Stop::Immediate] {
        jobs.extend(hand_in(&server, samples::range(), 12));
        let done = u64::try_from(jobs.len()).unwrap() - 10;
        until_completed(&server, done);
        shared.cluster.stop(how);
        refused_while_away(&server, jobs[0]);
        shared.cluster.start_again();
        eventually("the database is used again", || (server.get("/v1/queue").status == 200).then_some(()));
        until_over(&server);
    }
    assert_proved(&server, &jobs, samples::range());
    for id in &jobs {
        let job = server.job(*id);
        assert_eq!(
            (job.status, job.attempts),
            (JobStatus::Completed, 1),
            "nobody's fault, and no attempt: {job:?}"
        );
    }
    server.finish();
    let log = audited(&shared.audit_of("server"));
    assert_none_twice(&[log]);
}

#[test]
#[ignore = "waits until a database that does not answer is given up, several times"]
fn a_postgresql_that_hangs_under_work_costs_no_job() {
    const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
    let Some(shared) = Shared::new() else { return };
    let server = shared.serve("server", "5s");
    let jobs = hand_in(&server, samples::range(), 12);
    until_completed(&server, 2);
    let hanging = shared.cluster.processes();
    for process in &hanging {
        assert!(process.freeze());
    }
    for _ in 0..2 {
        let began = Instant::now();
        server.handing_in(samples::range()).send().refused_for_now(ProblemType::JobStoreUnavailable);
        assert!(began.elapsed() < ANSWERED_WITHIN, "it took {} s", began.elapsed().as_secs());
    }
    for process in &hanging {
        process.signal(Signal::CONT);
    }
    eventually("the database is used again", || (server.get("/v1/queue").status == 200).then_some(()));
    until_over(&server);
    assert_proved(&server, &jobs, samples::range());
    server.finish();
    assert_none_twice(&[audited(&shared.audit_of("server"))]);
}
