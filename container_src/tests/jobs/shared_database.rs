//! Servers that share a PostgreSQL and a folder of artifacts.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
};

use edgeprove_protocol::{JobId, JobStatus, ProblemType, answer::NewVoucher};
use edgeprove_testkit::{
    Sample, TestServer, eventually,
    postgres::{Cluster, Stop},
    samples,
    sealed::{of_witness, sealed_body, sealed_request, sealing_key},
    settings::Settings,
    wait::LONG_LIMIT,
};
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{
    DataFolder, assert_none_twice, assert_proved, count_jobs_with, entries, resume, submit_jobs, suspend,
    verified_entries, wait_until_all_finished, wait_until_completed,
};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// The database and the folder that the servers share.
struct Shared {
    cluster: Cluster,
    folder: DataFolder,
}

impl Shared {
    /// `None`: this machine has no PostgreSQL, and the test is recorded as skipped.
    fn new() -> Option<Self> {
        Some(Self { cluster: Cluster::start()?, folder: DataFolder::new() })
    }

    fn audit_of(&self, name: &str) -> PathBuf {
        self.folder.path(&format!("{name}.jsonl"))
    }

    #[track_caller]
    fn start_server(&self, name: &str, lease: &str) -> TestServer {
        TestServer::start(|settings| self.configure(settings, name, lease))
    }

    fn configure(&self, settings: &mut Settings, name: &str, lease: &str) {
        settings.environment.push(("DATABASE_URL".to_owned(), self.cluster.url()));
        settings.environment.push(("EDGEPROVE_ARTIFACT_KEY".to_owned(), KEY.to_owned()));
        settings.flag("--artifacts", &self.folder.path("artifacts").display());
        settings.flag("--audit", &self.audit_of(name).display());
        settings.flag("--job-workers", "2");
        settings.flag("--jobs-per-caller", "100");
        // Without keys, only operators list jobs.
        settings.flag("--anonymous-role", "operator");
        settings.flag("--lease", lease);
    }
}

/// The jobs that are started and not ended, by the log of the server that started them.
fn running_jobs(log: &Path) -> Vec<(String, i64)> {
    let mut running = BTreeMap::new();
    for entry in entries(log) {
        let (Some(job), Some(token)) = (entry["job_id"].as_str(), entry["lease_token"].as_i64()) else {
            continue;
        };
        if entry["action"] == "job.started" {
            running.insert(job.to_owned(), token);
        } else {
            running.remove(job);
        }
    }
    running.into_iter().collect()
}

/// Checks that each job was completed under its last lease.
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

/// Submits jobs to two servers in turns.
#[track_caller]
fn submit_to_both(one: &TestServer, other: &TestServer, jobs: usize) -> Vec<JobId> {
    (0..jobs / 2).flat_map(|_| [one, other].map(|server| server.submit(samples::range_check()))).collect()
}

#[test]
fn a_second_server_takes_over_the_jobs_of_a_killed_one() {
    let Some(shared) = Shared::new() else { return };
    let (survivor, mut victim) = (shared.start_server("survivor", "5s"), shared.start_server("victim", "5s"));
    let jobs = submit_to_both(&survivor, &victim, 100);
    wait_until_completed(&survivor, 30);
    // From here on, the victim cannot finish its running jobs.
    suspend(&victim);
    let abandoned = eventually("the victim runs two jobs", || {
        Some(running_jobs(&shared.audit_of("victim"))).filter(|jobs| jobs.len() == 2)
    });
    victim.kill();
    drop(victim);
    wait_until_all_finished(&survivor);
    assert_proved(&survivor, &jobs, samples::range_check());
    survivor.finish();
    let logs = ["survivor", "victim"].map(|name| verified_entries(&shared.audit_of(name)));
    assert!(count_jobs_with("job.completed", &logs[1]) > 0, "the victim completed no job");
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
fn jobs_of_an_unknown_circuit_are_left_to_the_other_server() {
    let Some(shared) = Shared::new() else { return };
    let (range, file) = (samples::range_check(), shared.folder.path("newer.json"));
    fs::copy(&range.circuit, &file).unwrap();
    let newer = Sample { name: "newer".to_owned(), circuit: file.clone(), ..range.clone() };
    let older = shared.start_server("older", "5s");
    let rolled_out = TestServer::start(|settings| {
        shared.configure(settings, "newer", "5s");
        settings.circuit = Some(file);
        settings.sample = Some(newer.clone());
    });
    suspend(&older);
    let waiting = submit_jobs(&older, range, 6);
    // The server with the newer circuit skips the queued jobs of the other circuit.
    let known = submit_jobs(&rolled_out, &newer, 3);
    for &id in &known {
        assert_eq!(rolled_out.wait_until_finished(id, LONG_LIMIT).status, JobStatus::Completed);
    }
    assert!(waiting.iter().all(|&id| !older.job(id).status.is_finished()));
    resume(&older);
    wait_until_all_finished(&older);
    assert_proved(&older, &waiting, range);
    assert_proved(&rolled_out, &known, &newer);
    for (server, name, jobs) in [(older, "older", waiting), (rolled_out, "newer", known)] {
        server.finish();
        assert_eq!(
            count_jobs_with("job.completed", &verified_entries(&shared.audit_of(name))),
            jobs.len(),
            "{name}"
        );
    }
}

#[test]
fn a_server_that_lost_its_lease_discards_its_result() {
    let Some(shared) = Shared::new() else { return };
    let (awake, sleeper) = (shared.start_server("awake", "5s"), shared.start_server("sleeper", "5s"));
    let mut jobs = submit_to_both(&awake, &sleeper, 30);
    let log = shared.audit_of("sleeper");
    let mut before = running_jobs(&log);
    // A job has just been started, so it cannot be about to end.
    let (job, token) = eventually("the sleeper is suspended while it runs a job", || {
        let now = running_jobs(&log);
        let started = now.iter().find(|work| !before.contains(work)).cloned();
        before = now;
        sleeper.signal(Signal::STOP);
        let started = started.filter(|work| running_jobs(&log).contains(work));
        if started.is_none() {
            sleeper.signal(Signal::CONT);
        }
        started
    });
    wait_until_all_finished(&awake);
    let redone = verified_entries(&shared.audit_of("awake"));
    sleeper.signal(Signal::CONT);
    // The sleeper notices that its lease was lost. The entry that names the job has no outcome, because it has none.
    sleeper.wait_for_log_line("a warning names the job", |line| {
        line["level"] == "WARN" && line["job"] == job.as_str()
    });
    let of_it = redone.iter().filter(|entry| entry["job_id"] == job.as_str());
    let redone: Vec<_> = of_it.filter(|entry| entry["action"] == "job.completed").collect();
    assert_eq!(redone.len(), 1, "{job} was not taken over");
    assert_eq!(redone[0]["lease_token"].as_i64(), Some(token + 1));
    awake.finish();
    jobs.extend(submit_jobs(&sleeper, samples::range_check(), 4));
    wait_until_all_finished(&sleeper);
    assert_proved(&sleeper, &jobs, samples::range_check());
    sleeper.finish();
    let logs = ["awake", "sleeper"].map(|name| verified_entries(&shared.audit_of(name)));
    assert_none_twice(&logs);
    assert_last_lease_counts(&logs);
}

#[track_caller]
fn assert_refused_while_stopped(server: &TestServer, known: JobId) {
    for _ in 0..2 {
        let requests = [
            server.submission(samples::range_check()),
            server.request(http::Method::GET, &format!("/v1/proofs/{known}")),
            server.request(http::Method::GET, "/v1/proofs"),
            server.request(http::Method::DELETE, &format!("/v1/proofs/{known}")),
            server.request(http::Method::GET, "/v1/queue"),
        ];
        thread::scope(|scope| {
            for request in requests {
                scope.spawn(move || request.send().assert_refused_for_now(ProblemType::JobStoreUnavailable));
            }
        });
    }
    // Requests that need no database still work.
    assert_eq!(server.get("/readyz").status, 200);
    server.prove(&samples::range_check().witness).assert_proof_of(samples::range_check());
}

#[test]
fn a_restart_of_postgresql_loses_no_job() {
    let Some(shared) = Shared::new() else { return };
    // Longer than an outage takes on a busy machine, because a lease that runs out would cost an attempt.
    let server = shared.start_server("server", "5m");
    let mut jobs = Vec::new();
    for how in [Stop::Fast, Stop::Immediate] {
        jobs.extend(submit_jobs(&server, samples::range_check(), 12));
        let done = u64::try_from(jobs.len()).unwrap() - 10;
        wait_until_completed(&server, done);
        shared.cluster.stop(how);
        assert_refused_while_stopped(&server, jobs[0]);
        shared.cluster.start_again();
        eventually("the database is used again", || (server.get("/v1/queue").status == 200).then_some(()));
        wait_until_all_finished(&server);
    }
    assert_proved(&server, &jobs, samples::range_check());
    for id in &jobs {
        let job = server.job(*id);
        assert_eq!(
            (job.status, job.attempts),
            (JobStatus::Completed, 1),
            "an outage of the database does not count as an attempt: {job:?}"
        );
    }
    server.finish();
    let log = verified_entries(&shared.audit_of("server"));
    assert_none_twice(&[log]);
}

#[test]
#[ignore = "waits several times until the server gives up a database that does not respond"]
fn a_suspended_postgresql_loses_no_job() {
    let Some(shared) = Shared::new() else { return };
    let server = shared.start_server("server", "5s");
    let jobs = submit_jobs(&server, samples::range_check(), 12);
    wait_until_completed(&server, 2);
    let suspended = shared.cluster.processes();
    for process in &suspended {
        assert!(process.suspend());
    }
    for _ in 0..2 {
        server
            .submission(samples::range_check())
            .send()
            .assert_refused_for_now(ProblemType::JobStoreUnavailable);
    }
    for process in &suspended {
        process.resume();
    }
    eventually("the database is used again", || (server.get("/v1/queue").status == 200).then_some(()));
    wait_until_all_finished(&server);
    assert_proved(&server, &jobs, samples::range_check());
    server.finish();
    assert_none_twice(&[verified_entries(&shared.audit_of("server"))]);
}

#[test]
fn servers_count_the_uses_of_a_voucher_together() {
    let Some(shared) = Shared::new() else { return };
    let (range, folder) = (samples::range_check(), tempfile::tempdir().unwrap());
    let keys = folder.path().join("keys.toml");
    let digest = hex::encode(Sha256::digest("alice"));
    fs::write(&keys, format!("[keys.alice]\nsha256 = ['{digest}']\n")).unwrap();
    // Without a secret of vouchers: it follows from the key of the artifacts, which they share.
    let servers = ["first", "second"].map(|name| {
        TestServer::start(|settings| {
            shared.configure(settings, name, "15s");
            settings.flag("--keys-file", &keys.display());
        })
    });
    let body = r#"{"circuit": "range_check", "uses": 5}"#;
    let minted = servers[0].json_request("/v1/vouchers", body).header("x-api-key", "alice").send();
    let voucher: NewVoucher = serde_json::from_slice(&minted.body).unwrap();
    let accepted = thread::scope(|scope| {
        let submit = |at: usize| {
            let request = servers[at % 2].submission(range);
            request.header("x-api-key", &voucher.voucher).send()
        };
        let sent: Vec<_> = (0..12).map(|at| scope.spawn(move || submit(at))).collect();
        let answers: Vec<_> = sent.into_iter().map(|sent| sent.join().unwrap()).collect();
        answers.iter().filter(|answer| answer.status == 202).count()
    });
    assert_eq!(accepted, 5);
    for server in servers {
        let refused = server.submission(range).header("x-api-key", &voucher.voucher).send();
        refused.assert_refused(ProblemType::VoucherUsedUp);
        server.finish();
    }
}

/// A body that somebody recorded on its way to one server is refused by the other one. The secret lets both open it.
#[test]
fn a_sealed_body_arrives_at_one_of_two_servers() {
    let Some(shared) = Shared::new() else { return };
    let start = |name: &str| {
        TestServer::start(|settings| {
            shared.configure(settings, name, "30s");
            settings.environment.push(("EDGEPROVE_SEALING_SECRET".to_owned(), "5a".repeat(32)));
        })
    };
    let (one, other) = (start("one"), start("other"));
    let key = sealing_key(one.address(), None);
    assert_eq!(key, sealing_key(other.address(), None));
    let range = samples::range_check();
    let sealed = |circuit: &str| sealed_body(&key, &of_witness(circuit), &range.witness);
    let send = |server: &TestServer, path: &str, body: &[u8]| {
        sealed_request(server.address(), path, "application/gzip", body.to_vec()).send()
    };

    // Directly and as a job, and to whichever server it comes first.
    let body = sealed("");
    send(&one, "/api/prove", &body).assert_proof_of(range);
    for server in [&one, &other] {
        send(server, "/api/prove", &body).assert_refused(ProblemType::SealedBodyReplayed);
    }
    let (path, body) = ("/v1/proofs?circuit=range_check", sealed("range_check"));
    let job = send(&other, path, &body).assert_accepted();
    send(&one, path, &body).assert_refused(ProblemType::SealedBodyReplayed);
    one.wait_until_finished(job.id, LONG_LIMIT);
    // At the same moment, one of them gets it.
    let body = sealed("");
    let answers = thread::scope(|scope| {
        let both = [&one, &other].map(|server| scope.spawn(|| send(server, "/api/prove", &body)));
        both.map(|answer| answer.join().unwrap().status.as_u16())
    });
    assert!(matches!(answers, [200, 409] | [409, 200]), "{answers:?}");
    // A part of it is enough, as at one server.
    let body = sealed("");
    send(&one, "/api/prove", &body[..body.len() - 1]).assert_refused(ProblemType::SealedBodyInvalid);

    // Without the database nobody knows what arrived at the other server.
    shared.cluster.stop(Stop::Immediate);
    send(&one, "/api/prove", &sealed("")).assert_refused_for_now(ProblemType::JobStoreUnavailable);
    shared.cluster.start_again();
    eventually("the database is used again", || {
        (send(&one, "/api/prove", &sealed("")).status == 200).then_some(())
    });
    for server in [one, other] {
        server.finish();
    }
}
