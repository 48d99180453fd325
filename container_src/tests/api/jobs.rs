//! Asynchronous proofs: jobs that are submitted, followed, fetched, cancelled and expired.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, thread};

use edgeprove_protocol::{
    JobDocument, JobStage, JobStatus, Priority, ProblemType, Target::NoirRecursive, headers, job::JobPage,
};
use http::Method;
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::{
    Response, TestServer, client::Request, eventually, processes, samples, settings::Settings, skipped,
};

/// A server that stores its jobs in a folder.
pub(crate) struct JobServer {
    pub(crate) server: TestServer,
    pub(crate) data: TempDir,
}

impl JobServer {
    #[track_caller]
    pub(crate) fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let server = TestServer::start(|s| {
            s.flag("--data", &data.path().display());
            change(s);
        });
        Self { server, data }
    }

    pub(crate) fn submission(&self, witness: &[u8]) -> Request {
        self.server.prove_request(witness).header("prefer", "respond-async")
    }

    /// Submits a witness, and returns the job in the response.
    #[track_caller]
    pub(crate) fn submit(&self, witness: &[u8]) -> JobDocument {
        assert_accepted(&self.submission(witness).send())
    }

    #[track_caller]
    pub(crate) fn job(&self, id: &JobDocument) -> JobDocument {
        document(&self.server.get(&id.links.this))
    }

    /// Waits until a job has finished.
    #[track_caller]
    pub(crate) fn wait_until_finished(&self, job: &JobDocument) -> JobDocument {
        eventually("the job has finished", || Some(self.job(job)).filter(|job| job.status.is_finished()))
    }

    #[track_caller]
    fn cancel(&self, job: &JobDocument) -> Response {
        self.server.request(Method::DELETE, &job.links.this).send()
    }

    pub(crate) fn artifacts(&self) -> usize {
        files(&self.data.path().join("artifacts"))
    }
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[track_caller]
pub(crate) fn document(response: &Response) -> JobDocument {
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {response:?}"))
}

#[track_caller]
pub(crate) fn assert_accepted(response: &Response) -> JobDocument {
    let job = document(response);
    assert_eq!(response.status, 202, "{job:?}");
    assert_eq!(response.header("location"), job.links.this);
    assert_eq!(response.header("preference-applied"), "respond-async");
    job
}

/// Parses a stream of events: the id, the name and the job of each.
#[track_caller]
pub(crate) fn events(response: &Response) -> Vec<(String, String, JobDocument)> {
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), "text/event-stream");
    let text = String::from_utf8(response.body.clone()).unwrap();
    let event = |block: &str| {
        let field = |name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{block}")).trim()
        };
        (field("id:").to_owned(), field("event:").to_owned(), serde_json::from_str(field("data:")).unwrap())
    };
    text.split("\n\n").filter(|block| block.contains("data:")).map(event).collect()
}

#[test]
fn a_job_is_followed_to_its_proof_and_expires() {
    let job_server = JobServer::start(|s| {
        // Long enough to fetch the proof first, also on a busy machine.
        s.flag("--result-ttl", "15s");
        s.flag("--tombstone-ttl", "1h");
    });
    let range = samples::range_check();
    let job = job_server.submit(&range.witness);
    assert_eq!((job.circuit.as_str(), job.priority), ("range_check", Priority::Normal));

    let seen = events(&job_server.server.get(&job.links.events));
    let (_, last, done) = seen.last().unwrap();
    assert_eq!((last.as_str(), done.status, done.progress), ("done", JobStatus::Completed, 100));
    assert!(seen[..seen.len() - 1].iter().all(|(_, kind, _)| kind == "progress"));
    let progress: Vec<_> = seen.iter().map(|(_, _, job)| (job.stage, job.progress)).collect();
    assert!(progress.is_sorted_by_key(|(_, percent)| percent), "{progress:?}");
    let stages: Vec<JobStage> = progress.iter().map(|(stage, _)| *stage).collect();
    assert!(stages.contains(&JobStage::Proving) && stages.contains(&JobStage::Verifying), "{stages:?}");

    job_server.server.get(&job.links.proof).assert_proves(range, NoirRecursive);
    let json =
        job_server.server.request(Method::GET, &job.links.proof).header("accept", "application/json").send();
    assert_eq!((json.json()["verified"].clone(), json.json()["success"].clone()), (true.into(), true.into()));
    assert!(job_server.artifacts() >= 1, "the proof is stored");

    // After its expiry, the tombstone of a job still shows that there was one.
    eventually("the job expires", || (job_server.server.get(&job.links.this).status == 410).then_some(()));
    for path in [&job.links.this, &job.links.proof, &job.links.events] {
        job_server.server.get(path).assert_refused(ProblemType::JobExpired);
    }
    eventually("nothing is stored any more", || (job_server.artifacts() == 0).then_some(()));
}

#[test]
fn prefer_wait_returns_the_proof_or_the_job() {
    let job_server = JobServer::start(|_| {});
    let range = samples::range_check();
    let waiting = |seconds: &str| {
        job_server.server.prove_request(&range.witness).header("prefer", &format!("wait={seconds}"))
    };
    let response = waiting("60").send();
    assert_eq!(response.header("preference-applied"), "wait=60");
    response.assert_proves(range, NoirRecursive);

    let (mut first, bb) = job_server.server.suspend_mid_proof();
    let response = waiting("1").send();
    assert_eq!((response.status.as_u16(), response.header("preference-applied")), (202, "wait=1"));
    let job = document(&response);
    bb.resume();
    first.read_response().assert_proves(range, NoirRecursive);
    assert_eq!(job_server.wait_until_finished(&job).status, JobStatus::Completed);
}

#[test]
fn an_idempotency_key_creates_one_job() {
    let job_server = JobServer::start(|s| s.flag("--anonymous-role", "operator"));
    let range = samples::range_check();
    let named = |witness: &[u8]| job_server.submission(witness).header(headers::IDEMPOTENCY_KEY, "order-7");
    let first = assert_accepted(&named(&range.witness).send());
    let second = assert_accepted(&named(&range.witness).send());
    assert_eq!(first.id, second.id);
    assert_eq!(job_server.wait_until_finished(&first).status, JobStatus::Completed);
    assert_eq!(assert_accepted(&named(&range.witness).send()).id, first.id, "also after it has finished");
    // Other bytes that decompress to the same witness are the same request.
    let regzipped = samples::gzip(&samples::decompress(&range.witness));
    assert_eq!(assert_accepted(&named(&regzipped).send()).id, first.id);
    let other = samples::altered(&range.witness, 0, 7);
    named(&other).send().assert_refused(ProblemType::IdempotencyKeyReused);
    let page: JobPage = serde_json::from_slice(&job_server.server.get("/v1/proofs").body).unwrap();
    assert_eq!(page.jobs.len(), 1);
}

#[test]
fn an_unsatisfied_witness_fails_its_job_without_a_retry() {
    let job_server = JobServer::start(|_| {});
    let job = job_server.wait_until_finished(&job_server.submit(&samples::unsatisfied()));
    assert_eq!((job.status, job.attempts), (JobStatus::Failed, 1));
    let error = job.error.as_ref().unwrap();
    assert_eq!(error.code, ProblemType::WitnessUnsatisfied);
    job_server.server.get(&job.links.proof).assert_refused(ProblemType::WitnessUnsatisfied);
}

#[test]
fn an_invalid_submission_creates_no_job() {
    let job_server = JobServer::start(|s| s.flag("--anonymous-role", "operator"));
    job_server.submission(b"no gzip").send().assert_refused(ProblemType::WitnessNotGzip);
    let submit = |path: &str| {
        Request::prove(job_server.server.address(), path, &samples::range_check().witness).send()
    };
    submit("/v1/proofs?circuit=unknown").assert_refused(ProblemType::CircuitNotFound);
    submit("/v1/proofs?circuits=range_check").assert_refused(ProblemType::InvalidRequest);
    let priority = job_server.submission(&samples::range_check().witness).header(headers::PRIORITY, "soon");
    priority.send().assert_refused(ProblemType::InvalidRequest);
    let page: JobPage = serde_json::from_slice(&job_server.server.get("/v1/proofs").body).unwrap();
    assert_eq!(page.jobs, []);
    assert_eq!(job_server.artifacts(), 0);
    assert_eq!(submit("/v1/proofs?circuit=range_check").status, 202);
}

#[test]
fn a_queued_or_running_job_can_be_cancelled() {
    let job_server = JobServer::start(|s| {
        s.flag("--job-workers", "1");
        // The worker must notice the cancellation at once, and not only when it renews the lease.
        s.flag("--lease", "10m");
    });
    let range = samples::range_check();
    let (mut first, bb) = job_server.server.suspend_mid_proof();
    let running = job_server.submit(&range.witness);
    eventually("the job runs", || (job_server.job(&running).status == JobStatus::Running).then_some(()));
    let queued = job_server.submit(&range.witness);
    assert_eq!(job_server.job(&queued).queue_position, Some(1));
    job_server.server.get(&queued.links.proof).assert_refused_for_now(ProblemType::ProofNotReady);

    let response = job_server.cancel(&queued);
    assert_eq!((response.status.as_u16(), document(&response).status), (200, JobStatus::Cancelled));
    assert_eq!(job_server.cancel(&queued).status, 200, "the job is cancelled already");
    assert_eq!(job_server.cancel(&running).status, 202);
    assert_eq!(job_server.wait_until_finished(&running).status, JobStatus::Cancelled);
    bb.resume();
    first.read_response().assert_proves(range, NoirRecursive);
    job_server.server.get(&running.links.proof).assert_refused(ProblemType::JobCancelled);

    let done = job_server.wait_until_finished(&job_server.submit(&range.witness));
    assert_eq!(done.status, JobStatus::Completed);
    job_server.cancel(&done).assert_refused(ProblemType::JobAlreadyFinished);
    job_server.server.assert_healthy();
}

#[test]
fn callers_who_cancel_a_job_at_once_all_succeed() {
    let job_server = JobServer::start(|s| s.flag("--job-workers", "1"));
    let (_first, _bb) = job_server.server.suspend_mid_proof();
    let witness = &samples::range_check().witness;
    let running = job_server.submit(witness);
    eventually("the job runs", || (job_server.job(&running).status == JobStatus::Running).then_some(()));
    for _ in 0..5 {
        let queued = job_server.submit(witness);
        thread::scope(|scope| {
            let cancels: Vec<_> = (0..4).map(|_| scope.spawn(|| job_server.cancel(&queued).status)).collect();
            for cancel in cancels {
                assert_eq!(cancel.join().unwrap(), 200);
            }
        });
    }
}

#[test]
fn jobs_are_listed_a_page_at_a_time() {
    let job_server = JobServer::start(|s| s.flag("--anonymous-role", "operator"));
    let good: Vec<_> = (0..3).map(|_| job_server.submit(&samples::range_check().witness)).collect();
    let bad = job_server.submit(&samples::unsatisfied());
    for job in good.iter().chain([&bad]) {
        job_server.wait_until_finished(job);
    }
    let page = |path: &str| -> JobPage { serde_json::from_slice(&job_server.server.get(path).body).unwrap() };
    let ids = |page: &JobPage| page.jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    let first = page("/v1/proofs?limit=3");
    assert_eq!(ids(&first), [bad.id, good[2].id, good[1].id], "the latest first");
    let second = page(&first.next.unwrap());
    assert_eq!((ids(&second), second.next), (vec![good[0].id], None));
    assert_eq!(ids(&page("/v1/proofs?status=failed")), [bad.id]);
    assert_eq!(ids(&page("/v1/proofs?circuit=other")), []);
    let next = page("/v1/proofs?status=completed&circuit=range_check&limit=2").next.unwrap();
    assert_eq!(ids(&page(&next)), [good[0].id]);
    for wrong in ["limit=0", "limit=101", "status=done", "page=2", "after=x"] {
        job_server.server.get(&format!("/v1/proofs?{wrong}")).assert_refused(ProblemType::InvalidRequest);
    }
    let problem = job_server.server.get("/v1/proofs?status=done").assert_refused(ProblemType::InvalidRequest);
    assert!(problem.detail.contains("`done`") && problem.detail.contains("completed"), "{}", problem.detail);
}

#[test]
fn a_full_queue_refuses_jobs() {
    let job_server = JobServer::start(|s| {
        s.flag("--job-workers", "1");
        s.flag("--job-queue-max", "2");
        s.flag("--jobs-per-caller", "4");
    });
    let range = samples::range_check();
    let (mut first, bb) = job_server.server.suspend_mid_proof();
    let running = job_server.submit(&range.witness);
    eventually("the job runs", || (job_server.job(&running).status == JobStatus::Running).then_some(()));
    let queued = [(); 2].map(|()| job_server.submit(&range.witness));
    job_server.submission(&range.witness).send().assert_refused_for_now(ProblemType::QueueFull);
    let snapshot = job_server.server.get("/v1/queue").json();
    assert_eq!((&snapshot["queued"]["NORMAL"], &snapshot["jobs"]["running"]), (&2.into(), &1.into()));
    // The edge reads this number before it puts a container to sleep.
    eventually("readyz reports waiting jobs", || {
        (job_server.server.get("/readyz").json()["waiting"].as_u64() >= Some(2)).then_some(())
    });
    bb.resume();
    first.read_response().assert_proves(range, NoirRecursive);
    for job in queued.iter().chain([&running]) {
        assert_eq!(job_server.wait_until_finished(job).status, JobStatus::Completed);
    }
    // The edge also reads how long the server has been idle, so that results stay available for a while.
    eventually("readyz reports the idle time", || {
        job_server.server.get("/readyz").json()["idle_ms"].as_u64()
    });
    // The artifacts of the witnesses are deleted, and those of the three proofs stay.
    eventually("three artifacts are left", || (job_server.artifacts() == 3).then_some(()));
}

#[test]
fn jobs_are_refused_where_they_cannot_be_stored() {
    let server = TestServer::start_default();
    let witness = &samples::range_check().witness;
    let response = server.prove_request(witness).header("prefer", "respond-async").send();
    let problem = response.assert_refused(ProblemType::JobsDisabled);
    assert!(
        problem.detail.contains("--data") && problem.detail.contains("DATABASE_URL"),
        "{}",
        problem.detail
    );
    server.get("/v1/queue").assert_refused(ProblemType::JobsDisabled);
    let health = server.health();
    assert!(!health.jobs.enabled && health.jobs.error.unwrap().contains("--ephemeral-jobs"));
    server.assert_healthy();

    let server = TestServer::start(|s| s.flags.push("--ephemeral-jobs".to_owned()));
    assert_eq!(server.prove_request(witness).header("prefer", "respond-async").send().status, 202);
    assert!(server.health().jobs.enabled);
    server.finish();
}

#[test]
fn a_deadline_that_cannot_be_met_is_refused() {
    let job_server = JobServer::start(|_| {});
    let range = samples::range_check();
    let within = |request: Request, seconds: &str| request.header(headers::DEADLINE, seconds).send();
    let order = || job_server.submission(&range.witness).header(headers::IDEMPOTENCY_KEY, "order-1");
    let ordered = assert_accepted(&within(order(), "60"));
    // As long as the server knows nothing about the circuit, it refuses no deadline.
    assert_eq!(within(job_server.submission(&range.witness), "0.001").status, 202);
    // It refuses one once its prediction is reliable. On a busy machine, where durations vary, that takes more proofs.
    for request in
        [&|| job_server.submission(&range.witness), &|| job_server.server.prove_request(&range.witness)]
            as [&dyn Fn() -> Request; 2]
    {
        let refused = eventually("the deadline is refused", || {
            // A cached proof teaches nothing.
            let fresh = job_server.server.prove_request(&range.witness).header("cache-control", "no-cache");
            fresh.send().assert_proof_of(range);
            let response = within(request(), "0.001");
            (!response.status.is_success()).then_some(response)
        });
        refused.assert_refused_for_now(ProblemType::DeadlineCannotBeMet);
    }
    // A repeated request gets its job, which is there already.
    assert_eq!(assert_accepted(&within(order(), "0.001")).id, ordered.id);
    let limited = order().header(headers::TIMEOUT, "0.001").send();
    assert_eq!(assert_accepted(&limited).id, ordered.id);
    within(job_server.server.prove_request(&range.witness), "60").assert_proves(range, NoirRecursive);
    for wrong in ["soon", "-1", "NaN", "inf"] {
        within(job_server.server.prove_request(&range.witness), wrong)
            .assert_refused(ProblemType::InvalidRequest);
    }
}

#[test]
fn a_job_is_hidden_from_other_callers() {
    let keys = tempfile::tempdir().unwrap();
    let digest = |key: &str| hex::encode(Sha256::digest(key));
    let job_server = JobServer::start(|s| {
        let file = keys.path().join("keys.toml");
        let entry = |name: &str, role: &str| {
            format!("[keys.{name}]\nrole = '{role}'\nsha256 = ['{}']\n", digest(name))
        };
        fs::write(&file, [entry("alice", "user"), entry("bob", "user"), entry("olga", "operator")].concat())
            .unwrap();
        s.flag("--keys-file", &file.display());
    });
    let by = |name: &str, method: Method, path: &str| {
        job_server.server.request(method, path).header("x-api-key", name).send()
    };
    job_server.submission(&samples::range_check().witness).send().assert_refused(ProblemType::ApiKeyRequired);
    let job = assert_accepted(
        &job_server.submission(&samples::range_check().witness).header("x-api-key", "alice").send(),
    );
    let own_events = format!("{}/events", job.links.this);
    for path in [&job.links.this, &job.links.proof, &own_events] {
        job_server.server.get(path).assert_refused(ProblemType::ApiKeyRequired);
        by("bob", Method::GET, path).assert_refused(ProblemType::JobNotFound);
    }
    by("bob", Method::DELETE, &job.links.this).assert_refused(ProblemType::JobNotFound);
    for name in ["alice", "olga"] {
        let seen = events(&by(name, Method::GET, &own_events));
        assert_eq!(seen.last().unwrap().2.status, JobStatus::Completed, "{name}");
    }
    let listed = |name: &str| -> JobPage {
        serde_json::from_slice(&by(name, Method::GET, "/v1/proofs").body).unwrap()
    };
    assert_eq!((listed("alice").jobs.len(), listed("bob").jobs.len()), (1, 0));
    let listed_of =
        |name: &str, owner: &str| by(name, Method::GET, &format!("/v1/proofs?limit=1&owner={owner}"));
    for (name, owner, jobs) in [
        ("alice", "key:alice", 1),
        ("olga", "key:alice", 1),
        ("olga", "key:bob", 0),
        ("olga", "anonymous", 0),
    ] {
        let page: JobPage = serde_json::from_slice(&listed_of(name, owner).body).unwrap();
        assert_eq!(page.jobs.len(), jobs, "{name}: {owner}");
    }
    for owner in ["key:alice", "anonymous", "key:nobody"] {
        listed_of("bob", owner).assert_refused(ProblemType::NotAllowed);
    }
    for owner in ["alice", "key:", "key:a%26b", ""] {
        listed_of("olga", owner).assert_refused(ProblemType::InvalidRequest);
    }
    // Idempotency keys of different callers are independent.
    let named = |name: &str| {
        let request = job_server
            .submission(&samples::range_check().witness)
            .header(headers::IDEMPOTENCY_KEY, "order-7");
        assert_accepted(&request.header("x-api-key", name).send()).id
    };
    assert_ne!(named("alice"), named("bob"));
    let first: JobPage = serde_json::from_slice(&listed_of("olga", "key:alice").body).unwrap();
    let rest = by("olga", Method::GET, &first.next.unwrap());
    let rest: JobPage = serde_json::from_slice(&rest.body).unwrap();
    assert_eq!(rest.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [job.id]);
    let urgent = job_server.submission(&samples::range_check().witness).header(headers::PRIORITY, "HIGH");
    urgent.header("x-api-key", "alice").send().assert_refused(ProblemType::NotAllowed);
}

#[test]
fn a_waiting_caller_gets_the_job_at_shutdown() {
    let mut job_server = JobServer::start(|s| {
        s.flag("--job-workers", "1");
        s.flag("--drain", "3s");
        s.flag("--anonymous-role", "operator");
    });
    let range = samples::range_check();
    let (_first, _bb) = job_server.server.suspend_mid_proof();
    let running = job_server.submit(&range.witness);
    eventually("the job runs", || (job_server.job(&running).status == JobStatus::Running).then_some(()));
    let address = job_server.server.address();
    let waiting = thread::spawn(move || {
        Request::prove(address, "/api/prove", &samples::range_check().witness)
            .header("prefer", "wait=60")
            .send()
    });
    eventually("the job is submitted", || {
        let page: JobPage = serde_json::from_slice(&job_server.server.get("/v1/proofs").body).unwrap();
        (page.jobs.len() == 2).then_some(())
    });
    job_server.server.signal(Signal::TERM);
    let response = waiting.join().unwrap();
    assert_eq!((response.status.as_u16(), document(&response).status), (202, JobStatus::Queued));
    assert_eq!(job_server.server.wait_for_exit().code(), Some(0));
}

#[test]
fn in_a_container_jobs_need_a_volume() {
    if skipped::lacks_pid_namespaces() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let bind = "mount --bind \"$1\" \"$1\"";
    for (mount, accepts_jobs) in [("true", false), (bind, true), ("mount -t tmpfs tmpfs \"$1\"", false)] {
        if mount == "true" && device(dir.path()) != device(Path::new("/")) {
            continue;
        }
        let mut server = TestServer::start(|s| {
            s.flag("--data", &dir.path().join("data").display());
            s.environment.push(("EDGEPROVE_EPHEMERAL_JOBS".to_owned(), "false".to_owned()));
            // The server is process 1 of its namespace, as in a container.
            let kinds = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"];
            let mut wrapper = skipped::namespace(&kinds);
            wrapper.args(["sh", "-c", &format!("{mount} && shift && exec \"$@\""), "sh"]).arg(dir.path());
            s.wrapper = Some(wrapper);
        });
        // The first child of the wrapper is the server, which responds and therefore exists.
        server.set_pid(processes::children(server.pid())[0].pid);
        let jobs = server.health().jobs;
        assert_eq!(jobs.enabled, accepts_jobs, "{mount}: {jobs:?}");
        server.finish();
    }
}
