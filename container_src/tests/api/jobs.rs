//! Proofs that nobody waits for on the line: taken in, followed, fetched, called off, expired.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, thread, time::Duration};

use edgeprove_protocol::{
    JobDocument, JobStage, JobStatus, Priority, ProblemType, Target::NoirRecursive, headers, job::JobPage,
};
use http::Method;
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tungstenite::Message;

use crate::support::{
    Answer, TestServer, client::Ask, eventually, places, processes, samples, settings::Settings,
};

/// A server that keeps its jobs in a folder.
struct Keeping {
    server: TestServer,
    data: TempDir,
}

impl Keeping {
    #[track_caller]
    fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let server = TestServer::start(|s| {
            s.flag("--data", &data.path().display());
            change(s);
        });
        Self { server, data }
    }

    fn submitting(&self, witness: &[u8]) -> Ask {
        self.server.posting(witness).header("prefer", "respond-async")
    }

    /// Hands a witness in, and gives the job as it was answered.
    #[track_caller]
    fn submit(&self, witness: &[u8]) -> JobDocument {
        accepted(&self.submitting(witness).send())
    }

    #[track_caller]
    fn job(&self, id: &JobDocument) -> JobDocument {
        document(&self.server.get(&id.links.this))
    }

    /// Waits until it is over.
    #[track_caller]
    fn over(&self, job: &JobDocument) -> JobDocument {
        eventually("the job is over", || Some(self.job(job)).filter(|job| job.status.is_finished()))
    }

    #[track_caller]
    fn cancel(&self, job: &JobDocument) -> Answer {
        self.server.ask(Method::DELETE, &job.links.this).send()
    }

    fn artifacts(&self) -> usize {
        files(&self.data.path().join("artifacts"))
    }
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[track_caller]
fn document(answer: &Answer) -> JobDocument {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[track_caller]
fn accepted(answer: &Answer) -> JobDocument {
    let job = document(answer);
    assert_eq!(answer.status, 202, "{job:?}");
    assert_eq!(answer.header("location"), job.links.this);
    assert_eq!(answer.header("preference-applied"), "respond-async");
    job
}

/// What a stream of events told: the id, the kind and the job of each.
#[track_caller]
fn events(answer: &Answer) -> Vec<(String, String, JobDocument)> {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let event = |block: &str| {
        let field = |name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{block}")).trim()
        };
        (field("id:").to_owned(), field("event:").to_owned(), serde_json::from_str(field("data:")).unwrap())
    };
    text.split("\n\n").filter(|block| block.contains("data:")).map(event).collect()
}

#[test]
fn a_job_is_followed_to_its_proof_and_leaves_nothing_behind() {
    let keeping = Keeping::start(|s| {
        s.flag("--result-ttl", "2s");
        s.flag("--tombstone-ttl", "1h");
    });
    let range = samples::range();
    let job = keeping.submit(&range.witness);
    assert_eq!((job.circuit.as_str(), job.priority), ("range_check", Priority::Normal));

    let told = events(&keeping.server.get(&job.links.events));
    let (_, last, done) = told.last().unwrap();
    assert_eq!((last.as_str(), done.status, done.progress), ("done", JobStatus::Completed, 100));
    assert!(told[..told.len() - 1].iter().all(|(_, kind, _)| kind == "progress"));
    let progress: Vec<_> = told.iter().map(|(_, _, job)| (job.stage, job.progress)).collect();
    assert!(progress.is_sorted_by_key(|(_, percent)| percent), "{progress:?}");
    let stages: Vec<JobStage> = progress.iter().map(|(stage, _)| *stage).collect();
    assert!(stages.contains(&JobStage::Proving) && stages.contains(&JobStage::Verifying), "{stages:?}");

    keeping.server.get(&job.links.proof).proves(range, NoirRecursive);
    let json = keeping.server.ask(Method::GET, &job.links.proof).header("accept", "application/json").send();
    assert_eq!((json.json()["verified"].clone(), json.json()["success"].clone()), (true.into(), true.into()));
    assert!(keeping.artifacts() >= 1, "the proof is kept");

    // The tombstone tells that there was one.
    eventually("it expires", || (keeping.server.get(&job.links.this).status == 410).then_some(()));
    for path in [&job.links.this, &job.links.proof, &job.links.events] {
        keeping.server.get(path).refused(ProblemType::JobExpired);
    }
    eventually("nothing is kept of it", || (keeping.artifacts() == 0).then_some(()));
}

#[test]
fn a_watcher_that_comes_back_hears_only_what_it_has_not_seen() {
    let keeping = Keeping::start(|_| {});
    let job = keeping.submit(&samples::range().witness);
    let all = events(&keeping.server.get(&job.links.events));
    let done = &all.last().unwrap().0;
    // What is over is told once more, since nothing else would end the stream.
    let again = keeping.server.ask(Method::GET, &job.links.events).header("last-event-id", done).send();
    assert_eq!(events(&again).iter().map(|(id, ..)| id).collect::<Vec<_>>(), [done]);
}

#[test]
fn a_websocket_tells_the_same() {
    let keeping = Keeping::start(|_| {});
    let job = keeping.submit(&samples::range().witness);
    let url = format!("ws://{}{}", keeping.server.address(), job.links.events);
    let stream = std::net::TcpStream::connect(keeping.server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (mut socket, _) = tungstenite::client(url, stream).unwrap();
    let mut told = Vec::new();
    loop {
        match socket.read().unwrap() {
            Message::Text(text) => {
                let message: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert!(message["id"].is_string());
                told.push(serde_json::from_value::<JobDocument>(message["job"].clone()).unwrap());
            }
            Message::Close(close) => {
                assert_eq!(u16::from(close.unwrap().code), 1000);
                break;
            }
            _ => {}
        }
    }
    assert_eq!(told.last().unwrap().status, JobStatus::Completed);
}

#[test]
fn who_waits_a_while_gets_the_proof_or_the_job() {
    let keeping = Keeping::start(|_| {});
    let range = samples::range();
    let waiting =
        |seconds: &str| keeping.server.posting(&range.witness).header("prefer", &format!("wait={seconds}"));
    let answer = waiting("60").send();
    assert_eq!(answer.header("preference-applied"), "wait=60");
    answer.proves(range, NoirRecursive);

    let (mut first, bb) = keeping.server.freeze_midway();
    let answer = waiting("1").send();
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (202, "wait=1"));
    let job = document(&answer);
    bb.signal(Signal::CONT);
    first.answer().proves(range, NoirRecursive);
    assert_eq!(keeping.over(&job).status, JobStatus::Completed);
}

#[test]
fn the_same_request_under_the_same_name_makes_no_second_job() {
    let keeping = Keeping::start(|_| {});
    let range = samples::range();
    let named = |witness: &[u8]| keeping.submitting(witness).header(headers::IDEMPOTENCY_KEY, "order-7");
    let first = accepted(&named(&range.witness).send());
    let second = accepted(&named(&range.witness).send());
    assert_eq!(first.id, second.id);
    assert_eq!(keeping.over(&first).status, JobStatus::Completed);
    assert_eq!(accepted(&named(&range.witness).send()).id, first.id, "also when it is over");
    // Of other bytes that inflate to the same, nothing new can be proved.
    let regzipped = samples::gzip(&samples::inflate(&range.witness));
    assert_eq!(accepted(&named(&regzipped).send()).id, first.id);
    let other = samples::altered(&range.witness, 0, 7);
    named(&other).send().refused(ProblemType::IdempotencyKeyReused);
    let page: JobPage = serde_json::from_slice(&keeping.server.get("/v1/proofs").body).unwrap();
    assert_eq!(page.jobs.len(), 1);
}

#[test]
fn a_witness_that_breaks_a_constraint_fails_once_and_says_so() {
    let keeping = Keeping::start(|_| {});
    let job = keeping.over(&keeping.submit(&samples::unsatisfied()));
    assert_eq!((job.status, job.attempts), (JobStatus::Failed, 1));
    let error = job.error.as_ref().unwrap();
    assert_eq!(error.code, ProblemType::WitnessUnsatisfied);
    keeping.server.get(&job.links.proof).refused(ProblemType::WitnessUnsatisfied);
}

#[test]
fn what_is_no_witness_is_refused_before_there_is_a_job() {
    let keeping = Keeping::start(|_| {});
    keeping.submitting(b"no gzip").send().refused(ProblemType::WitnessNotGzip);
    let submit = |path: &str| Ask::to_prove(keeping.server.address(), path, &samples::range().witness).send();
    submit("/v1/proofs?circuit=unknown").refused(ProblemType::CircuitNotFound);
    submit("/v1/proofs?circuits=range_check").refused(ProblemType::InvalidRequest);
    let priority = keeping.submitting(&samples::range().witness).header(headers::PRIORITY, "soon");
    priority.send().refused(ProblemType::InvalidRequest);
    let page: JobPage = serde_json::from_slice(&keeping.server.get("/v1/proofs").body).unwrap();
    assert_eq!(page.jobs, []);
    assert_eq!(keeping.artifacts(), 0);
    assert_eq!(submit("/v1/proofs?circuit=range_check").status, 202);
}

#[test]
fn a_job_is_called_off_whether_it_waits_or_is_worked_on() {
    let keeping = Keeping::start(|s| {
        s.flag("--job-workers", "1");
        // Its worker hears of it at once, and not when the lease is to be renewed.
        s.flag("--lease", "10m");
    });
    let range = samples::range();
    let (mut first, bb) = keeping.server.freeze_midway();
    let running = keeping.submit(&range.witness);
    eventually("it runs", || (keeping.job(&running).status == JobStatus::Running).then_some(()));
    let queued = keeping.submit(&range.witness);
    assert_eq!(keeping.job(&queued).queue_position, Some(1));
    keeping.server.get(&queued.links.proof).refused_for_now(ProblemType::ProofNotReady);

    let answer = keeping.cancel(&queued);
    assert_eq!((answer.status.as_u16(), document(&answer).status), (200, JobStatus::Cancelled));
    assert_eq!(keeping.cancel(&queued).status, 200, "it is called off already");
    assert_eq!(keeping.cancel(&running).status, 202);
    assert_eq!(keeping.over(&running).status, JobStatus::Cancelled);
    bb.signal(Signal::CONT);
    first.answer().proves(range, NoirRecursive);
    keeping.server.get(&running.links.proof).refused(ProblemType::JobCancelled);

    let done = keeping.over(&keeping.submit(&range.witness));
    assert_eq!(done.status, JobStatus::Completed);
    keeping.cancel(&done).refused(ProblemType::JobAlreadyFinished);
    keeping.server.assert_well();
}

#[test]
fn jobs_are_listed_a_page_at_a_time() {
    let keeping = Keeping::start(|_| {});
    let good: Vec<_> = (0..3).map(|_| keeping.submit(&samples::range().witness)).collect();
    let bad = keeping.submit(&samples::unsatisfied());
    for job in good.iter().chain([&bad]) {
        keeping.over(job);
    }
    let page = |path: &str| -> JobPage { serde_json::from_slice(&keeping.server.get(path).body).unwrap() };
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
        keeping.server.get(&format!("/v1/proofs?{wrong}")).refused(ProblemType::InvalidRequest);
    }
}

#[test]
fn there_are_bounds_and_whoever_meets_them_is_told_when_to_come_back() {
    let keeping = Keeping::start(|s| {
        s.flag("--job-workers", "1");
        s.flag("--job-queue-max", "2");
        s.flag("--jobs-per-caller", "4");
    });
    let range = samples::range();
    let (mut first, bb) = keeping.server.freeze_midway();
    let running = keeping.submit(&range.witness);
    eventually("it runs", || (keeping.job(&running).status == JobStatus::Running).then_some(()));
    let queued = [(); 2].map(|()| keeping.submit(&range.witness));
    keeping.submitting(&range.witness).send().refused_for_now(ProblemType::QueueFull);
    let snapshot = keeping.server.get("/v1/queue").json();
    assert_eq!((&snapshot["queued"]["NORMAL"], &snapshot["jobs"]["running"]), (&2.into(), &1.into()));
    // Whoever may put this server to sleep goes by these.
    eventually("it is told that jobs wait", || {
        (keeping.server.get("/readyz").json()["waiting"].as_u64() >= Some(2)).then_some(())
    });
    bb.signal(Signal::CONT);
    first.answer().proves(range, NoirRecursive);
    for job in queued.iter().chain([&running]) {
        assert_eq!(keeping.over(job).status, JobStatus::Completed);
    }
    // And leaves what came of them there for a while.
    eventually("it is told how long ago the last was let go of", || {
        keeping.server.get("/readyz").json()["idle_ms"].as_u64().filter(|rested| *rested < 60_000)
    });
    assert_eq!(keeping.artifacts_of_proofs(), 3);
}

impl Keeping {
    /// Artefacts, once those of witnesses that are no longer needed have gone.
    fn artifacts_of_proofs(&self) -> usize {
        for _ in 0..300 {
            if self.artifacts() <= 3 {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        self.artifacts()
    }
}

#[test]
fn nothing_is_taken_that_would_not_be_kept() {
    let server = TestServer::plain();
    let witness = &samples::range().witness;
    let asked = server.posting(witness).header("prefer", "respond-async").send();
    let problem = asked.refused(ProblemType::JobsDisabled);
    assert!(
        problem.detail.contains("--data") && problem.detail.contains("DATABASE_URL"),
        "{}",
        problem.detail
    );
    server.get("/v1/proofs").refused(ProblemType::JobsDisabled);
    let health = server.health();
    assert!(!health.jobs.enabled && health.jobs.error.unwrap().contains("--ephemeral-jobs"));
    server.assert_well();

    let server = TestServer::start(|s| s.flags.push("--ephemeral-jobs".to_owned()));
    assert_eq!(server.posting(witness).header("prefer", "respond-async").send().status, 202);
    assert!(server.health().jobs.enabled);
    server.finish();
}

#[test]
fn what_would_come_too_late_is_not_begun() {
    let keeping = Keeping::start(|_| {});
    let range = samples::range();
    let within = |ask: Ask, seconds: &str| ask.header(headers::DEADLINE, seconds).send();
    // As long as nothing is known of the circuit, nobody is refused.
    assert_eq!(within(keeping.submitting(&range.witness), "0.001").status, 202);
    for _ in 0..9 {
        keeping.server.post(&range.witness).proves(range, NoirRecursive);
    }
    let problem =
        within(keeping.submitting(&range.witness), "0.001").refused_for_now(ProblemType::DeadlineCannotBeMet);
    assert!(problem.detail.contains("gives it 0.0 s"), "{}", problem.detail);
    within(keeping.server.posting(&range.witness), "0.001").refused_for_now(ProblemType::DeadlineCannotBeMet);
    within(keeping.server.posting(&range.witness), "60").proves(range, NoirRecursive);
    for wrong in ["soon", "-1", "NaN", "inf"] {
        within(keeping.server.posting(&range.witness), wrong).refused(ProblemType::InvalidRequest);
    }
}

#[test]
fn to_others_a_job_does_not_exist() {
    let keys = tempfile::tempdir().unwrap();
    let digest = |key: &str| hex::encode(Sha256::digest(key));
    let keeping = Keeping::start(|s| {
        let file = keys.path().join("keys.toml");
        let holder = |name: &str, role: &str| {
            format!("[keys.{name}]\nrole = '{role}'\nsha256 = ['{}']\n", digest(name))
        };
        fs::write(
            &file,
            [holder("alice", "user"), holder("bob", "user"), holder("olga", "operator")].concat(),
        )
        .unwrap();
        s.flag("--keys-file", &file.display());
    });
    let by = |name: &str, method: Method, path: &str| {
        keeping.server.ask(method, path).header("x-api-key", name).send()
    };
    keeping.submitting(&samples::range().witness).send().refused(ProblemType::ApiKeyRequired);
    let job = accepted(&keeping.submitting(&samples::range().witness).header("x-api-key", "alice").send());
    for path in [&job.links.this, &job.links.proof, &job.links.events] {
        keeping.server.get(path).refused(ProblemType::ApiKeyRequired);
        by("bob", Method::GET, path).refused(ProblemType::JobNotFound);
    }
    by("bob", Method::DELETE, &job.links.this).refused(ProblemType::JobNotFound);
    for name in ["alice", "olga"] {
        let told = events(&by(name, Method::GET, &job.links.events));
        assert_eq!(told.last().unwrap().2.status, JobStatus::Completed, "{name}");
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
        listed_of("bob", owner).refused(ProblemType::NotAllowed);
    }
    for owner in ["alice", "key:", "key:a%26b", ""] {
        listed_of("olga", owner).refused(ProblemType::InvalidRequest);
    }
    // A name of another's may be used as well: it is the caller's own.
    let named = |name: &str| {
        let ask = keeping.submitting(&samples::range().witness).header(headers::IDEMPOTENCY_KEY, "order-7");
        accepted(&ask.header("x-api-key", name).send()).id
    };
    assert_ne!(named("alice"), named("bob"));
    let first: JobPage = serde_json::from_slice(&listed_of("olga", "key:alice").body).unwrap();
    let rest = by("olga", Method::GET, &first.next.unwrap());
    let rest: JobPage = serde_json::from_slice(&rest.body).unwrap();
    assert_eq!(rest.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [job.id]);
    let urgent = keeping.submitting(&samples::range().witness).header(headers::PRIORITY, "HIGH");
    urgent.header("x-api-key", "alice").send().refused(ProblemType::NotAllowed);
}

#[test]
fn who_waits_for_a_server_that_ends_gets_the_job() {
    let mut keeping = Keeping::start(|s| {
        s.flag("--job-workers", "1");
        s.flag("--drain", "3s");
    });
    let range = samples::range();
    let (_first, _bb) = keeping.server.freeze_midway();
    let running = keeping.submit(&range.witness);
    eventually("it runs", || (keeping.job(&running).status == JobStatus::Running).then_some(()));
    let address = keeping.server.address();
    let waiting = thread::spawn(move || {
        Ask::to_prove(address, "/api/prove", &samples::range().witness).header("prefer", "wait=60").send()
    });
    eventually("it is handed in", || {
        let page: JobPage = serde_json::from_slice(&keeping.server.get("/v1/proofs").body).unwrap();
        (page.jobs.len() == 2).then_some(())
    });
    keeping.server.signal(Signal::TERM);
    let answer = waiting.join().unwrap();
    assert_eq!((answer.status.as_u16(), document(&answer).status), (202, JobStatus::Queued));
    assert_eq!(keeping.server.ends().code(), Some(0));
}

#[test]
fn in_a_container_jobs_are_kept_on_a_volume_and_nowhere_else() {
    if places::lacks_pid_namespaces() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    let bind = "mount --bind \"$1\" \"$1\"";
    for (mount, kept) in [("true", false), (bind, true), ("mount -t tmpfs tmpfs \"$1\"", false)] {
        if mount == "true" && device(dir.path()) != device(Path::new("/")) {
            continue;
        }
        let mut server = TestServer::start(|s| {
            s.flag("--data", &dir.path().join("data").display());
            s.environment.push(("EDGEPROVE_EPHEMERAL_JOBS".to_owned(), "false".to_owned()));
            // The first process of its own namespace, as in a container.
            let kinds = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"];
            let mut wrapper = places::namespace(&kinds);
            wrapper.args(["sh", "-c", &format!("{mount} && shift && exec \"$@\""), "sh"]).arg(dir.path());
            s.wrapper = Some(wrapper);
        });
        server.is_really(processes::children(server.pid())[0].pid);
        let jobs = server.health().jobs;
        assert_eq!(jobs.enabled, kept, "{mount}: {jobs:?}");
        server.finish();
    }
}
