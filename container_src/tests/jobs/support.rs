//! A place that outlives its servers, and what their audit logs tell.

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
    Sample, TestServer, bb, eventually, places, processes,
    settings::{Settings, WARM_PROVERS},
    wait::within,
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Longest time for a queue to be worked off, on a machine that does other work as well.
pub(crate) const WORK: Duration = Duration::from_mins(2);

/// Between two looks at a queue that takes its time: who asks all the time takes time from it.
const PAUSE: Duration = Duration::from_millis(50);

/// What servers leave to each other: a data folder, a spool, and an audit log each.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("edgeprove-jobs-").tempdir().unwrap())
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn audit(&self) -> PathBuf {
        self.at("audit.jsonl")
    }

    /// Lets a server work here.
    pub(crate) fn settle(&self, settings: &mut Settings) {
        settings.flag("--data", &self.at("data").display());
        settings.flag("--audit", &self.audit().display());
        settings.spool = Some(self.at("spool"));
    }

    /// Starts a server here.
    #[track_caller]
    pub(crate) fn serve(&self, flags: &[(&str, &str)]) -> TestServer {
        TestServer::start(|settings| {
            self.settle(settings);
            for (name, value) in flags {
                settings.flag(name, value);
            }
        })
    }
}

/// What an audit log tells, which was found whole by `edgeprove audit verify`.
pub(crate) fn audited(log: &Path) -> Vec<Value> {
    let mut verify = Command::new(places::edgeprove());
    verify.env_clear().args(["audit", "verify"]).arg(log);
    let said = processes::run(&mut verify, Duration::from_mins(1));
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    live(log)
}

/// The same of a log that is written to.
pub(crate) fn live(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    // A line that a crash cut short is not yet part of the log.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str::<Value>(line).unwrap()["entry"].clone()).collect()
}

/// One server's jobs, each with what happened to it in order: what was done, and under which lease.
fn stories(entries: &[Value]) -> BTreeMap<String, Vec<(String, i64)>> {
    let mut stories = BTreeMap::<_, Vec<_>>::new();
    for entry in entries {
        let (Some(job), Some(token)) = (entry["job_id"].as_str(), entry["lease_token"].as_i64()) else {
            continue;
        };
        stories
            .entry(job.to_owned())
            .or_default()
            .push((entry["action"].as_str().unwrap().to_owned(), token));
    }
    stories
}

/// No job was run by two at once, going by the log of the one server that worked at a time: what was begun came to an
/// end, one way or another, before it was begun again.
#[track_caller]
pub(crate) fn assert_one_at_a_time(entries: &[Value]) {
    for (job, story) in stories(entries) {
        let mut at_work = None;
        for (action, token) in &story {
            match action.as_str() {
                "job.started" => {
                    assert_eq!(at_work, None, "{job} was begun while somebody worked on it: {story:?}");
                    at_work = Some(token);
                }
                // The server may have died between taking a job and putting that on record.
                "job.retried" | "job.failed" if at_work.is_none() => {}
                _ => assert_eq!(at_work.take(), Some(token), "{job} was ended by somebody else: {story:?}"),
            }
        }
    }
}

/// No job was completed twice and no lease was given twice, going by the logs of all servers.
#[track_caller]
pub(crate) fn assert_none_twice(logs: &[Vec<Value>]) {
    let all = logs.concat();
    let (mut completed, mut begun) = (BTreeSet::new(), BTreeSet::new());
    for (job, story) in stories(&all) {
        for (action, token) in story {
            match action.as_str() {
                "job.completed" => assert!(completed.insert(job.clone()), "{job} was completed twice"),
                "job.started" => {
                    assert!(begun.insert((job.clone(), token)), "{job} was begun twice under one lease");
                }
                _ => {}
            }
        }
    }
}

/// How many jobs have an entry of this action.
pub(crate) fn jobs_with(action: &str, entries: &[Value]) -> usize {
    let of = entries.iter().filter(|entry| entry["action"] == action);
    of.map(|entry| entry["job_id"].as_str().unwrap()).collect::<BTreeSet<_>>().len()
}

/// Hands in so many jobs.
#[track_caller]
pub(crate) fn hand_in(server: &TestServer, sample: &Sample, jobs: usize) -> Vec<JobId> {
    (0..jobs).map(|_| server.hand_in(sample)).collect()
}

/// Stops every bb, so that what is at work stays at work.
#[track_caller]
pub(crate) fn freeze(server: &TestServer) {
    // One that made a key for the server ends by itself.
    let frozen = server.provers().into_iter().filter(|bb| bb.freeze()).count();
    assert!(frozen >= WARM_PROVERS, "{frozen}");
}

/// Lets every bb go on.
pub(crate) fn thaw(server: &TestServer) {
    for bb in server.provers() {
        bb.signal(Signal::CONT);
    }
}

/// Waits until so many jobs are completed.
#[track_caller]
pub(crate) fn until_completed(server: &TestServer, jobs: u64) {
    within(WORK, "jobs are completed", || {
        thread::sleep(PAUSE);
        (server.jobs_that_are(JobStatus::Completed) >= jobs).then_some(())
    });
}

/// Waits until so many jobs are worked on.
#[track_caller]
pub(crate) fn until_running(server: &TestServer, jobs: u64) {
    eventually("jobs are worked on", || (server.jobs_that_are(JobStatus::Running) >= jobs).then_some(()));
}

/// Waits until nothing is left to do.
#[track_caller]
pub(crate) fn until_over(server: &TestServer) {
    within(WORK, "every job is over", || {
        thread::sleep(PAUSE);
        // One look: a job that is taken up from a dead worker goes from running to queued between two.
        let jobs = &server.queue()["jobs"];
        let unfinished = [JobStatus::Queued, JobStatus::Running];
        unfinished.iter().all(|status| jobs[status.as_str()] == 0).then_some(())
    });
}

/// Each of these jobs is completed, and its proof is accepted by an untouched bb; no two proofs are the same.
#[track_caller]
pub(crate) fn assert_proved(server: &TestServer, jobs: &[JobId], sample: &Sample) {
    let proof = |id: &JobId| {
        let job = server.job(*id);
        assert_eq!(job.status, JobStatus::Completed, "{job:?}");
        server.get(&format!("/v1/proofs/{id}/proof")).proof_of(sample)
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
    assert_eq!(proofs.iter().collect::<BTreeSet<_>>().len(), jobs.len(), "a proof stands for two jobs");
}
