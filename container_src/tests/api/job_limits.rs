//! Limits of jobs and what counts against them: attempts, time, quota; and the metrics of failed and retried jobs.

use std::{collections::BTreeMap, fs, path::Path, thread, time::Duration};

use edgeprove_protocol::{JobDocument, JobStatus, ProblemType, headers, job::JobPage};
use http::Method;
use sha2::{Digest as _, Sha256};
use sqlx::{ConnectOptions as _, Executor as _, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::support::{
    Connection, Response, TestServer,
    client::Request,
    eventually,
    fake_bb::{Behaviour, FakeBb},
    samples,
    settings::{Settings, WARM_PROVERS},
};

const KEY: &str = "alice's key";

/// A server that stores its jobs in a folder, with a fake bb whose behaviour can be changed.
struct FaultyServer {
    server: TestServer,
    fake: FakeBb,
    dir: TempDir,
}

impl FaultyServer {
    #[track_caller]
    fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = FakeBb::new(dir.path(), Behaviour::Real);
        let server = TestServer::start(|s| {
            s.bb = fake.program();
            s.flag("--data", &dir.path().join("data").display());
            s.flag("--job-workers", "1");
            change(s);
        });
        Self { server, fake, dir }
    }

    /// Changes the behaviour, and replaces every prover.
    #[track_caller]
    fn switch_to(&self, behaviour: Behaviour) {
        self.fake.switch_to(behaviour);
        let before = self.server.health().prover.restarts;
        for bb in self.server.provers() {
            bb.signal(rustix::process::Signal::KILL);
        }
        eventually("every prover is replaced", || {
            (self.server.health().prover.restarts >= before + WARM_PROVERS as u64).then_some(())
        });
        self.server.wait_until_ready();
    }

    fn submission(&self, witness: &[u8]) -> Request {
        self.server.prove_request(witness).header("prefer", "respond-async")
    }

    #[track_caller]
    fn submit(request: Request) -> JobDocument {
        request.send().assert_accepted()
    }

    #[track_caller]
    fn job(&self, job: &JobDocument) -> JobDocument {
        self.server.request(Method::GET, &job.links.this).header(headers::API_KEY, KEY).send().job()
    }

    #[track_caller]
    fn wait_until_finished(&self, job: &JobDocument) -> JobDocument {
        eventually("the job has finished", || Some(self.job(job)).filter(|job| job.status.is_finished()))
    }

    /// The counts of the series of jobs, by name and labels.
    fn counts(&self) -> BTreeMap<String, u64> {
        let text = String::from_utf8(self.server.get("/metrics").body).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("edgeprove_jobs_"));
        lines
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// Adds a keys file with one caller and these limits.
    fn keys_file(dir: &TempDir, limits: &str) -> std::path::PathBuf {
        let file = dir.path().join("keys.toml");
        let text = format!("[keys.alice]\nsha256 = ['{}']\n{limits}\n", hex::encode(Sha256::digest(KEY)));
        fs::write(&file, text).unwrap();
        file
    }
}

/// The problem of a job that is queued or has failed.
#[track_caller]
fn code(job: &JobDocument) -> ProblemType {
    job.error.as_ref().expect("it has failed").code.known().unwrap()
}

#[test]
fn a_failing_job_is_retried_until_bb_works_again() {
    let faulty = FaultyServer::start(|s| s.flag("--job-attempts", "20"));
    faulty.switch_to(Behaviour::Die);
    let job = FaultyServer::submit(faulty.submission(&samples::range_check().witness));
    let again = eventually("the job is retried", || {
        Some(faulty.job(&job)).filter(|job| job.attempts >= 2 && job.error.is_some())
    });
    assert_eq!((again.status, again.max_attempts), (JobStatus::Queued, 20));
    assert_eq!(code(&again), ProblemType::ProverCrashed);
    faulty.switch_to(Behaviour::Real);
    let done = faulty.wait_until_finished(&job);
    assert_eq!((done.status, done.error), (JobStatus::Completed, None));
    assert!(done.attempts >= 3, "{}", done.attempts);
    faulty.server.get(&job.links.proof).assert_proof_of(samples::range_check());

    let counts = faulty.counts();
    let count = |name: &str| counts.get(name).copied().unwrap_or_else(|| panic!("no {name} in {counts:?}"));
    assert_eq!(count("edgeprove_jobs_accepted_total{kind=\"prove\",priority=\"NORMAL\"}"), 1);
    assert_eq!(count("edgeprove_jobs_finished_total{kind=\"prove\",outcome=\"completed\"}"), 1);
    let retried = count("edgeprove_jobs_retries_total{kind=\"prove\",code=\"prover_crashed\"}");
    assert!((1..=u64::from(done.attempts)).contains(&retried), "{retried}");
    let starts = count("edgeprove_jobs_wait_duration_seconds_count{kind=\"prove\",priority=\"NORMAL\"}");
    assert_eq!(starts, u64::from(done.attempts));
    assert_eq!(count("edgeprove_jobs_run_duration_seconds_count{kind=\"prove\"}"), 1);
    faulty.server.finish();
}

#[test]
fn a_caller_may_lower_attempts_and_time() {
    let faulty = FaultyServer::start(|s| {
        s.flag("--job-attempts", "5");
        s.flag("--prove-timeout", "60s");
    });
    let witness = &samples::range_check().witness;
    for (header, wrong) in [
        (headers::MAX_ATTEMPTS, "0"),
        (headers::MAX_ATTEMPTS, "6"),
        (headers::MAX_ATTEMPTS, "two"),
        (headers::TIMEOUT, "0"),
        (headers::TIMEOUT, "61"),
        (headers::TIMEOUT, "soon"),
    ] {
        for request in [faulty.submission(witness), faulty.server.prove_request(witness)] {
            let problem = request.header(header, wrong).send().assert_refused(ProblemType::InvalidRequest);
            assert!(problem.detail.to_ascii_lowercase().contains(header), "{}", problem.detail);
        }
    }
    let without_jobs = TestServer::start_default();
    let attempts =
        |number: &str| without_jobs.prove_request(witness).header(headers::MAX_ATTEMPTS, number).send();
    attempts("99").assert_refused(ProblemType::InvalidRequest);
    assert_eq!(attempts("3").status, 200);
    let allowed =
        faulty.submission(witness).header(headers::MAX_ATTEMPTS, "5").header(headers::TIMEOUT, "60");
    let job = FaultyServer::submit(allowed);
    assert_eq!((job.max_attempts, job.timeout_ms), (5, Some(60_000)));
    assert_eq!(faulty.wait_until_finished(&job).status, JobStatus::Completed);
    let unlimited = FaultyServer::submit(faulty.submission(witness));
    assert_eq!((unlimited.max_attempts, unlimited.timeout_ms), (5, None));
    faulty.wait_until_finished(&unlimited);

    faulty.switch_to(Behaviour::Hang);
    let limited = |request: Request| request.header(headers::TIMEOUT, "0.5");
    let sync = limited(faulty.server.prove_request(witness)).send();
    sync.assert_refused(ProblemType::ProofTimeout);
    let job = FaultyServer::submit(limited(faulty.submission(witness)).header(headers::MAX_ATTEMPTS, "2"));
    let failed = faulty.wait_until_finished(&job);
    assert_eq!((failed.status, code(&failed)), (JobStatus::Failed, ProblemType::ProofTimeout));
    assert_eq!(failed.attempts, 2);
    assert!(failed.error.unwrap().detail.contains("0.5"), "the detail has the time");
    faulty.switch_to(Behaviour::Real);
    faulty.server.finish();
}

#[test]
fn the_quota_returns_when_a_job_fails() {
    let keys = tempfile::tempdir().unwrap();
    let file = FaultyServer::keys_file(&keys, "proofs_per_day = 1");
    let faulty = FaultyServer::start(|s| {
        s.flag("--keys-file", &file.display());
        s.flag("--job-attempts", "1");
    });
    let submission = |witness: &[u8]| faulty.submission(witness).header(headers::API_KEY, KEY);
    let accepted = || {
        eventually("the quota returns", || {
            let response = submission(&samples::range_check().witness).send();
            let is_used = response.status == 429;
            if is_used {
                response.assert_refused(ProblemType::QuotaExceeded);
            }
            (!is_used).then(|| response.assert_accepted())
        })
    };
    // bb dies: the server's fault. An unsatisfied witness: the caller's, as in a request that fails.
    faulty.switch_to(Behaviour::Die);
    let failed = faulty.wait_until_finished(&accepted());
    assert_eq!((failed.status, code(&failed)), (JobStatus::Failed, ProblemType::ProverCrashed));
    faulty.switch_to(Behaviour::Real);
    let unsatisfied = eventually("the quota returns", || {
        let response = submission(&samples::unsatisfied()).send();
        (response.status != 429).then(|| response.assert_accepted())
    });
    assert_eq!(code(&faulty.wait_until_finished(&unsatisfied)), ProblemType::WitnessUnsatisfied);
    // A job that is cancelled before it starts uses no quota up, and a completed one does.
    for bb in faulty.server.provers() {
        bb.suspend();
    }
    let running = accepted();
    eventually("the job runs", || (faulty.job(&running).status == JobStatus::Running).then_some(()));
    submission(&samples::range_check().witness).send().assert_refused(ProblemType::QuotaExceeded);
    for bb in faulty.server.provers() {
        bb.resume();
    }
    assert_eq!(faulty.wait_until_finished(&running).status, JobStatus::Completed);
    submission(&samples::range_check().witness).send().assert_refused(ProblemType::QuotaExceeded);
    faulty.server.finish();
    drop(faulty.dir);
}

#[test]
fn the_quota_returns_when_a_queued_job_is_cancelled() {
    let keys = tempfile::tempdir().unwrap();
    let file = FaultyServer::keys_file(&keys, "proofs_per_day = 2");
    let faulty = FaultyServer::start(|s| s.flag("--keys-file", &file.display()));
    let submit = || faulty.submission(&samples::range_check().witness).header(headers::API_KEY, KEY).send();
    for bb in faulty.server.provers() {
        bb.suspend();
    }
    let running = submit().assert_accepted();
    eventually("the job runs", || (faulty.job(&running).status == JobStatus::Running).then_some(()));
    let queued = submit().assert_accepted();
    submit().assert_refused(ProblemType::QuotaExceeded);
    let cancel = |job: &JobDocument| {
        faulty.server.request(Method::DELETE, &job.links.this).header(headers::API_KEY, KEY).send()
    };
    assert_eq!(cancel(&queued).status, 200);
    let another = eventually("the quota returns", || {
        let response = submit();
        (response.status != 429).then(|| response.assert_accepted())
    });
    // A job that was cancelled at work has used up its proof.
    assert_eq!(cancel(&another).status, 200);
    assert_eq!(cancel(&running).status, 202);
    eventually("the job is cancelled", || {
        (faulty.job(&running).status == JobStatus::Cancelled).then_some(())
    });
    for bb in faulty.server.provers() {
        bb.resume();
    }
    let last = eventually("the quota of the queued job returns", || {
        let response = submit();
        (response.status != 429).then(|| response.assert_accepted())
    });
    assert_eq!(faulty.wait_until_finished(&last).status, JobStatus::Completed);
    submit().assert_refused(ProblemType::QuotaExceeded);
    faulty.server.finish();
}

/// Keeps every other writer of a database waiting.
struct WriteLock(sqlx::SqliteConnection, tokio::runtime::Runtime);

impl WriteLock {
    fn take(database: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SqliteConnectOptions::new().filename(database).busy_timeout(Duration::from_mins(1));
        let connection = runtime.block_on(async {
            let mut connection = options.connect().await?;
            connection.execute("BEGIN IMMEDIATE").await?;
            Ok::<_, sqlx::Error>(connection)
        });
        Self(connection.unwrap(), runtime)
    }

    fn release(mut self) {
        self.1.block_on(self.0.execute("ROLLBACK")).unwrap();
    }
}

#[test]
fn a_caller_who_leaves_has_used_up_its_quota() {
    let keys = tempfile::tempdir().unwrap();
    let file = FaultyServer::keys_file(&keys, "proofs_per_day = 1");
    let faulty = FaultyServer::start(|s| s.flag("--keys-file", &file.display()));
    let list = || faulty.server.request(Method::GET, "/v1/proofs").header(headers::API_KEY, KEY).send();
    let is_accepted = || {
        let page: JobPage = serde_json::from_slice(&list().body).unwrap();
        (page.jobs.len() == 1).then_some(())
    };
    // The caller must leave while its job is being accepted. Nothing shows when that begins, so it leaves ever later.
    let mut stay = Duration::from_millis(50);
    loop {
        leave_during_acceptance(&faulty, stay);
        let looks = (0..100).map(|_| {
            thread::sleep(Duration::from_millis(20));
            is_accepted()
        });
        if looks.flatten().next().is_some() {
            break;
        }
        stay *= 2;
    }
    let again = faulty.submission(&samples::range_check().witness).header(headers::API_KEY, KEY);
    again.send().assert_refused(ProblemType::QuotaExceeded);
    faulty.server.finish();
}

/// Submits a job and leaves after this time, before the job can be stored.
fn leave_during_acceptance(faulty: &FaultyServer, stay: Duration) {
    let witness = &samples::range_check().witness;
    let abandoned = || {
        let metrics = String::from_utf8(faulty.server.get("/metrics").body).unwrap();
        let series = "edgeprove_http_requests_total{route=\"/api/prove\",status=\"abandoned\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(series)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = abandoned();
    let lock = WriteLock::take(&faulty.dir.path().join("data/edgeprove.db"));
    let length = format!("Content-Length: {}", witness.len());
    let key = format!("{}: {KEY}", headers::API_KEY);
    let lines = [length.as_str(), &key, "Prefer: respond-async"];
    let mut caller = Connection::post_head(faulty.server.address(), "/api/prove", &lines);
    caller.send(witness);
    thread::sleep(stay);
    drop(caller);
    eventually("the request is over", || (abandoned() > before).then_some(()));
    lock.release();
}

#[test]
fn refused_priorities_count_against_the_rate() {
    let keys = tempfile::tempdir().unwrap();
    let file = FaultyServer::keys_file(&keys, "per_minute = 1\nburst = 5");
    let server = TestServer::start(|s| s.flag("--keys-file", &file.display()));
    let urgent = || {
        let request = server.prove_request(&samples::range_check().witness).header(headers::API_KEY, KEY);
        request.header(headers::PRIORITY, "CRITICAL").send()
    };
    let refusals: Vec<Response> = (0..20).map(|_| urgent()).collect();
    let (allowed, limited) = refusals.split_at(5);
    for response in allowed {
        response.assert_refused(ProblemType::NotAllowed);
    }
    for response in limited {
        response.assert_refused_for_now(ProblemType::RateLimited);
    }
    server.finish();
}
