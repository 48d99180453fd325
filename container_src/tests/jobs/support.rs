//! A data folder that outlives its servers, and checks of their audit logs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use edgeprove_protocol::{JobId, JobStatus, Target};
use edgeprove_testkit::{
    Sample, TestServer, bb, eventually, paths, processes,
    settings::{Settings, WARM_PROVERS},
    wait::{self, LONG_LIMIT, within},
};
use serde_json::Value;
use tempfile::TempDir;

/// Interval between two looks at a long queue. More frequent requests would slow the queue down.
const INTERVAL: Duration = Duration::from_millis(50);

/// The folder with the database, the spool and the audit log of a server, and of the next servers after it.
pub(crate) struct DataFolder(TempDir);

impl DataFolder {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("edgeprove-jobs-").tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.path("audit.jsonl")
    }

    /// Configures a server to use this folder.
    pub(crate) fn configure(&self, settings: &mut Settings) {
        settings.flag("--data", &self.path("data").display());
        settings.flag("--audit", &self.audit_log().display());
        // Without keys, only operators list jobs.
        settings.flag("--anonymous-role", "operator");
        settings.spool = Some(self.path("spool"));
    }

    /// Starts a server in this folder.
    #[track_caller]
    pub(crate) fn start_server(&self, flags: &[(&str, &str)]) -> TestServer {
        TestServer::start(|settings| {
            self.configure(settings);
            for (name, value) in flags {
                settings.flag(name, value);
            }
        })
    }
}

/// Verifies an audit log with `edgeprove audit verify`, and returns its entries.
#[track_caller]
pub(crate) fn verified_entries(log: &Path) -> Vec<Value> {
    let mut verify = Command::new(paths::edgeprove());
    verify.env_clear().args(["audit", "verify"]).arg(log);
    let output = processes::run(&mut verify, wait::LIMIT);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    entries(log)
}

/// The entries of an audit log that a server may be writing to.
pub(crate) fn entries(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    // An incomplete last line is not part of the log.
    let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    complete.map(|line| serde_json::from_str::<Value>(line).unwrap()["entry"].clone()).collect()
}

/// The entries of each job in their order: the action and the lease token.
fn actions_by_job(entries: &[Value]) -> BTreeMap<String, Vec<(String, i64)>> {
    let mut jobs = BTreeMap::<_, Vec<_>>::new();
    for entry in entries {
        let (Some(job), Some(token)) = (entry["job_id"].as_str(), entry["lease_token"].as_i64()) else {
            continue;
        };
        jobs.entry(job.to_owned()).or_default().push((entry["action"].as_str().unwrap().to_owned(), token));
    }
    jobs
}

/// Checks that no job ran twice at the same time, by the log of servers that ran one after the other: every started job
/// was ended before it was started again.
#[track_caller]
pub(crate) fn assert_one_at_a_time(entries: &[Value]) {
    for (job, actions) in actions_by_job(entries) {
        let mut running = None;
        for (action, token) in &actions {
            match action.as_str() {
                "job.started" => {
                    assert_eq!(running, None, "{job} was started while it was running: {actions:?}");
                    running = Some(token);
                }
                // The server may have been killed after it claimed the job and before it recorded the start.
                "job.retried" | "job.failed" if running.is_none() => {}
                _ => assert_eq!(
                    running.take(),
                    Some(token),
                    "{job} was ended under another lease: {actions:?}"
                ),
            }
        }
    }
}

/// Checks that the log has each of these finished jobs from its acceptance to its end: each once, before the start and before
/// the result is returned.
#[track_caller]
pub(crate) fn assert_whole(jobs: &[JobId], entries: &[Value]) {
    const ENDS: [&str; 3] = ["job.completed", "job.failed", "job.cancelled"];
    for job in jobs.iter().map(ToString::to_string) {
        let of_job = entries.iter().filter(|entry| entry["job_id"] == job);
        let actions: Vec<&str> = of_job.map(|entry| entry["action"].as_str().unwrap()).collect();
        let count = |wanted: &[&str]| actions.iter().filter(|action| wanted.contains(action)).count();
        assert_eq!(actions.first(), Some(&"job.accepted"), "{job}: {actions:?}");
        assert_eq!((count(&["job.accepted"]), count(&ENDS)), (1, 1), "{job}: {actions:?}");
        let ended = actions.iter().position(|action| ENDS.contains(action));
        let fetched = actions.iter().position(|action| *action == "job.fetched");
        assert!(fetched.is_none() || ended < fetched, "{job}: {actions:?}");
    }
}

/// Checks that no job was completed twice and no lease was granted twice, by the logs of all servers.
#[track_caller]
pub(crate) fn assert_none_twice(logs: &[Vec<Value>]) {
    let all = logs.concat();
    let (mut completed, mut started) = (BTreeSet::new(), BTreeSet::new());
    for (job, actions) in actions_by_job(&all) {
        for (action, token) in actions {
            match action.as_str() {
                "job.completed" => assert!(completed.insert(job.clone()), "{job} was completed twice"),
                "job.started" => {
                    assert!(started.insert((job.clone(), token)), "{job} was started twice under one lease");
                }
                _ => {}
            }
        }
    }
}

/// The number of jobs that have an entry with this action.
pub(crate) fn count_jobs_with(action: &str, entries: &[Value]) -> usize {
    let of = entries.iter().filter(|entry| entry["action"] == action);
    of.map(|entry| entry["job_id"].as_str().unwrap()).collect::<BTreeSet<_>>().len()
}

/// Submits this many jobs.
#[track_caller]
pub(crate) fn submit_jobs(server: &TestServer, sample: &Sample, jobs: usize) -> Vec<JobId> {
    (0..jobs).map(|_| server.submit(sample)).collect()
}

/// Suspends every bb, so that running jobs keep running.
#[track_caller]
pub(crate) fn suspend(server: &TestServer) {
    // A bb that computes a key ends by itself, and cannot be counted on.
    let suspended = server.provers().into_iter().filter(|bb| bb.suspend()).count();
    assert!(suspended >= WARM_PROVERS, "{suspended}");
}

/// Lets every bb continue.
pub(crate) fn resume(server: &TestServer) {
    for bb in server.provers() {
        bb.resume();
    }
}

/// Waits until at least this many jobs are completed.
#[track_caller]
pub(crate) fn wait_until_completed(server: &TestServer, jobs: u64) {
    within(LONG_LIMIT, "jobs are completed", || {
        thread::sleep(INTERVAL);
        (server.count_jobs(JobStatus::Completed) >= jobs).then_some(())
    });
}

/// Waits until at least this many jobs are running.
#[track_caller]
pub(crate) fn wait_until_running(server: &TestServer, jobs: u64) {
    eventually("jobs are running", || (server.count_jobs(JobStatus::Running) >= jobs).then_some(()));
}

/// Waits until no job is queued or running.
#[track_caller]
pub(crate) fn wait_until_all_finished(server: &TestServer) {
    within(LONG_LIMIT, "every job has finished", || {
        thread::sleep(INTERVAL);
        // One request for both numbers: a job whose lease ran out could go from running to queued between two requests.
        let jobs = &server.queue()["jobs"];
        let unfinished = [JobStatus::Queued, JobStatus::Running];
        unfinished.iter().all(|status| jobs[status.as_str()] == 0).then_some(())
    });
}

/// Checks that each of these jobs is completed, that bb verifies its proof, and that no two proofs are the same.
#[track_caller]
pub(crate) fn assert_proved(server: &TestServer, jobs: &[JobId], sample: &Sample) {
    let proof = |id: &JobId| {
        let job = server.job(*id);
        assert_eq!(job.status, JobStatus::Completed, "{job:?}");
        server.get(&format!("/v1/proofs/{id}/proof")).assert_proof_of(sample)
    };
    let proofs: Vec<_> = jobs.iter().map(proof).collect();
    let verify = |proof: &Vec<u8>| {
        let inputs = sample.public_inputs.as_flattened();
        assert!(bb::verifies(&sample.circuit, Target::NoirRecursive, proof, inputs));
    };
    thread::scope(|scope| {
        for part in proofs.chunks(proofs.len().div_ceil(4).max(1)) {
            scope.spawn(move || part.iter().for_each(verify));
        }
    });
    assert_eq!(proofs.iter().collect::<BTreeSet<_>>().len(), jobs.len(), "two jobs have the same proof");
}
