//! A process that is killed in the middle of its work, and the next process in its folder.
//!
//! The killed process is this test program again. It runs one of the first two tests below, which do nothing unless
//! the variable [`FOLDER`] is set.

use std::{
    collections::HashSet,
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use edgeprove_job_queue::{
    events::IgnoreEvents,
    upkeep::{ArtifactRemover, Intervals, RemoveError, Upkeep},
};
use edgeprove_job_rules::transition::Rules;
use edgeprove_protocol::{JobId, JobStatus};

use crate::support::{Fixture, PROVES, claim, completed, job, problem, queue_in, submit};

const FOLDER: &str = "EDGEPROVE_TEST_FOLDER";

fn folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// Runs a test of this file in a process of its own. The iterator returns the ids that the process reports.
fn start(test: &str, folder: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("across_processes::{test}")])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let ids = lines.filter_map(|line| line.strip_prefix("job ").map(str::to_owned));
    (child, ids)
}

#[tokio::test]
async fn a_child_accepts_two_jobs_and_starts_one() {
    let Some(folder) = folder() else { return };
    let queue = queue_in(&folder).await;
    submit(&queue, job()).await;
    submit(&queue, job()).await;
    eprintln!("job {}", claim(&queue).await.id);
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_child_accepts_jobs_until_it_is_killed() {
    let Some(folder) = folder() else { return };
    let queue = queue_in(&folder).await;
    loop {
        let id = submit(&queue, job()).await.id;
        eprintln!("job {id}");
        assert_eq!(claim(&queue).await.id, id);
    }
}

#[tokio::test]
async fn the_next_server_finishes_the_jobs_of_a_killed_one() {
    let database = Fixture::file();
    let (mut child, mut ids) = start("a_child_accepts_two_jobs_and_starts_one", &database.folder());
    let started: JobId = ids.next().expect("the child starts a job").parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    let queue = queue_in(&database.folder()).await;
    let seen = queue.get(started).await.unwrap().unwrap();
    assert_eq!((seen.status, seen.attempts), (JobStatus::Running, 1));
    let intervals = Intervals::of(&Rules::default());
    let upkeep = Upkeep::new(
        queue.clone(),
        Arc::new(NoArtifacts),
        intervals,
        &problem("gone"),
        Arc::new(IgnoreEvents),
    )
    .unwrap();
    assert_eq!(upkeep.recover().await.unwrap().len(), 1);
    let mut done = HashSet::new();
    while done.len() < 2 {
        let Some(job) = queue.claim("the next", &PROVES).await.unwrap() else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let outcome = completed(None);
        queue.finish(job.id, job.lease_token, &outcome).await.unwrap().expect("the lease is held");
        assert!(done.insert(job.id), "{} was run twice", job.id);
    }
    assert!(done.contains(&started));
}

#[tokio::test]
async fn no_accepted_job_is_lost_by_a_kill() {
    let database = Fixture::file();
    let (mut child, ids) = start("a_child_accepts_jobs_until_it_is_killed", &database.folder());
    let mut accepted: Vec<JobId> = Vec::new();
    for id in ids {
        accepted.push(id.parse().unwrap());
        if accepted.len() == 50 {
            child.kill().unwrap();
        }
    }
    assert!(accepted.len() >= 50, "the child ended by itself");
    child.wait().unwrap();
    let queue = queue_in(&database.folder()).await;
    for id in accepted {
        assert!(queue.get(id).await.unwrap().is_some(), "{id} is lost");
    }
}

struct NoArtifacts;

#[async_trait]
impl ArtifactRemover for NoArtifacts {
    async fn remove(&self, _: &str) -> Result<(), RemoveError> {
        Ok(())
    }

    async fn remove_others(&self, _: &HashSet<String>, _: Duration) -> Result<usize, RemoveError> {
        Ok(0)
    }
}
