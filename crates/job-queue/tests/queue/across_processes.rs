//! A process that is killed in the middle of its work, and the one that comes after it.
//!
//! The process that dies is this test program once more, told to run one of the first two tests below, which do nothing
//! where nobody named a folder to them.

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

/// Runs a test of this file in a process of its own, and reads what it says.
fn start(test: &str, folder: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("across_processes::{test}")])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.filter_map(|line| line.strip_prefix("say ").map(str::to_owned));
    (child, said)
}

#[tokio::test]
async fn as_a_child_it_takes_two_jobs_in_and_begins_one() {
    let Some(folder) = folder() else { return };
    let queue = queue_in(&folder).await;
    submit(&queue, job()).await;
    submit(&queue, job()).await;
    eprintln!("say {}", claim(&queue).await.id);
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn as_a_child_it_takes_jobs_in_for_ever() {
    let Some(folder) = folder() else { return };
    let queue = queue_in(&folder).await;
    loop {
        let id = submit(&queue, job()).await.id;
        eprintln!("say {id}");
        assert_eq!(claim(&queue).await.id, id);
    }
}

#[tokio::test]
async fn what_a_killed_server_had_begun_is_done_by_the_next() {
    let database = Fixture::file();
    let (mut child, mut said) = start("as_a_child_it_takes_two_jobs_in_and_begins_one", &database.folder());
    let begun: JobId = said.next().expect("it begins a job").parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    let queue = queue_in(&database.folder()).await;
    let seen = queue.get(begun).await.unwrap().unwrap();
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
        let ending = completed(None);
        queue.finish(job.id, job.lease_token, &ending).await.unwrap().expect("it is ours");
        assert!(done.insert(job.id), "it was done twice");
    }
    assert!(done.contains(&begun));
}

#[tokio::test]
async fn no_job_that_was_answered_for_is_lost_to_a_kill() {
    let database = Fixture::file();
    let (mut child, said) = start("as_a_child_it_takes_jobs_in_for_ever", &database.folder());
    let mut answered: Vec<JobId> = Vec::new();
    for id in said {
        answered.push(id.parse().unwrap());
        if answered.len() == 50 {
            child.kill().unwrap();
        }
    }
    assert!(answered.len() >= 50, "it ended by itself");
    child.wait().unwrap();
    let queue = queue_in(&database.folder()).await;
    for id in answered {
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
