//! Claims of provers elsewhere, and what a restart of the server does to their leases.

use std::{collections::HashSet, sync::Arc, time::Duration};

use edgeprove_job_queue::{
    JobOutcome, LeaseStatus, SqlQueue,
    events::IgnoreEvents,
    long_poll::{LongPolls, WaitingClaim},
    upkeep::{Intervals, Upkeep},
};
use edgeprove_job_rules::{capability::Capability, job::Job, lease::pull_holder, transition::Rules};
use edgeprove_protocol::JobStatus;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    support::{Fixture, LIMIT, PROVES, completed, job, problem, submit},
    upkeep::Artifacts,
};

async fn claim_for(polls: &LongPolls, holder: &str, max: u32, wait: Duration) -> Vec<Job> {
    let claim = WaitingClaim { holder, capabilities: &PROVES, max, until: Instant::now() + wait };
    timeout(LIMIT, polls.claim(claim, &CancellationToken::new())).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_claim_takes_as_many_jobs_as_it_may() {
    for fixture in Fixture::all().await {
        let queue = fixture.queue().await;
        let polls = LongPolls::new(queue.clone());
        for _ in 0..5 {
            submit(&queue, job()).await;
        }
        assert_eq!(claim_for(&polls, "pull a x", 3, Duration::ZERO).await.len(), 3, "{}", fixture.name);
        assert_eq!(claim_for(&polls, "pull a x", 3, LIMIT).await.len(), 2, "{}", fixture.name);
        assert_eq!(claim_for(&polls, "pull a x", 3, Duration::ZERO).await.len(), 0, "{}", fixture.name);
        fixture.remove().await;
    }
}

#[tokio::test]
async fn waiting_claims_get_new_jobs_once_each() {
    const PROVERS: usize = 20;
    for fixture in Fixture::all().await {
        let queue = fixture.queue().await;
        let polls = Arc::new(LongPolls::new(queue.clone()));
        let claim = |number: usize| {
            let polls = Arc::clone(&polls);
            async move { claim_for(&polls, &pull_holder("fleet", &number.to_string()), 1, LIMIT).await }
        };
        let mut waiting: JoinSet<_> = (0..PROVERS).map(claim).collect();
        let mut submitted = HashSet::new();
        for _ in 0..PROVERS {
            submitted.insert(submit(&queue, job()).await.id);
        }
        let mut claimed = HashSet::new();
        while let Some(claimed_by_one) = waiting.join_next().await {
            let jobs = claimed_by_one.unwrap();
            assert_eq!(jobs.len(), 1, "{}", fixture.name);
            assert!(claimed.insert(jobs[0].id), "{}: a job was claimed twice", fixture.name);
        }
        assert_eq!(claimed, submitted);
        fixture.remove().await;
    }
}

#[tokio::test]
async fn a_job_of_a_prover_that_has_left_goes_to_another() {
    for fixture in Fixture::all().await {
        let queue = fixture.queue().await;
        let polls = Arc::new(LongPolls::new(queue.clone()));
        for _ in 0..20 {
            let mut leaving = JoinSet::new();
            let left = Arc::clone(&polls);
            leaving.spawn(async move { claim_for(&left, "pull a left", 1, LIMIT).await });
            tokio::task::yield_now().await;
            let submitted = submit(&queue, job()).await;
            // At this moment it waits, or has the job, or is about to get it.
            leaving.abort_all();
            while let Some(ended) = leaving.join_next().await {
                if let Ok(jobs) = ended {
                    for job in jobs {
                        queue.finish(job.id, job.lease_token, &JobOutcome::Released).await.unwrap();
                    }
                }
            }
            let other =
                claim_for(&polls, "pull b stays", 1, LIMIT).await.pop().expect("the job is there again");
            assert_eq!((other.id, other.attempts), (submitted.id, 1), "{}", fixture.name);
            queue.finish(other.id, other.lease_token, &completed(None)).await.unwrap();
        }
        fixture.remove().await;
    }
}

#[tokio::test]
async fn jobs_go_to_those_who_wait_before_one_gets_a_second() {
    for fixture in Fixture::all().await {
        let queue = fixture.queue().await;
        for _ in 0..5 {
            submit(&queue, job()).await;
        }
        let claimed = queue.claim_several(&["a", "b", "a"], &PROVES).await.unwrap();
        let holders: Vec<_> = claimed.iter().map(|job| job.lease.as_ref().unwrap().holder.as_str()).collect();
        assert_eq!(holders, ["a", "b", "a"], "{}", fixture.name);
        assert!(claimed.is_sorted_by_key(|job| (job.rank, job.turn, job.seq)), "{}", fixture.name);
        let rest = queue.claim_several(&["c"; 5], &PROVES).await.unwrap();
        assert_eq!(rest.len(), 2, "{}", fixture.name);
        assert!(queue.claim_several(&["d"], &PROVES).await.unwrap().is_empty(), "{}", fixture.name);
        fixture.remove().await;
    }
}

#[tokio::test]
async fn provers_of_other_jobs_do_not_wait_for_each_other() {
    let fixture = Fixture::memory();
    let queue = fixture.queue().await;
    let polls = Arc::new(LongPolls::new(queue.clone()));
    // The first in its line, for which there will be no job.
    let (others, stop) = (Arc::clone(&polls), CancellationToken::new());
    let ended = stop.clone();
    let mut other = JoinSet::new();
    other.spawn(async move {
        let capabilities = [Capability::all_of("other")];
        let until = Instant::now() + LIMIT * 2;
        let claim = WaitingClaim { holder: "pull a x", capabilities: &capabilities, max: 1, until };
        others.claim(claim, &ended).await.unwrap()
    });
    submit(&queue, job()).await;
    assert_eq!(claim_for(&polls, "pull b y", 1, LIMIT).await.len(), 1);
    stop.cancel();
    let ended = timeout(LIMIT, other.join_next()).await.unwrap().unwrap();
    assert!(ended.unwrap().is_empty());
}

fn upkeep(queue: &SqlQueue) -> Upkeep {
    let (artifacts, intervals) = (Arc::new(Artifacts::default()), Intervals::of(&Rules::default()));
    Upkeep::new(queue.clone(), artifacts, intervals, &problem("lost"), Arc::new(IgnoreEvents)).unwrap()
}

#[tokio::test]
async fn a_restart_leaves_the_leases_of_provers_elsewhere() {
    let fixture = Fixture::file();
    let queue = fixture.queue().await;
    let (own, pulled) = (submit(&queue, job()).await, submit(&queue, job()).await);
    let claimed = queue.claim("server 1", &PROVES).await.unwrap().unwrap();
    assert_eq!(claimed.id, own.id);
    let held = queue.claim(&pull_holder("fleet", "one"), &PROVES).await.unwrap().unwrap();
    assert_eq!(held.id, pulled.id);

    assert_eq!(upkeep(&queue).recover().await.unwrap(), [own.id]);
    assert_eq!(queue.get(own.id).await.unwrap().unwrap().status, JobStatus::Queued);
    assert_eq!(queue.heartbeat(held.id, held.lease_token).await.unwrap(), LeaseStatus::Held);
    let status = queue.finish(held.id, held.lease_token, &completed(None)).await.unwrap();
    assert_eq!(status, Some(JobStatus::Completed));
}

#[tokio::test]
async fn busy_provers_and_times_of_jobs_are_counted() {
    for fixture in Fixture::all().await {
        let queue = fixture.queue().await;
        assert_eq!(queue.busy("prove").await.unwrap(), (0, 0));
        assert!(queue.run_times("prove", 10).await.unwrap().is_empty());
        for _ in 0..4 {
            submit(&queue, job()).await;
        }
        let mut claimed = Vec::new();
        for holder in ["server", "pull a x", "pull a x"] {
            claimed.push(queue.claim(holder, &PROVES).await.unwrap().unwrap());
        }
        assert_eq!(queue.busy("prove").await.unwrap(), (3, 2), "{}", fixture.name);
        assert_eq!(queue.busy("build").await.unwrap(), (0, 0), "{}", fixture.name);
        queue.finish(claimed[0].id, claimed[0].lease_token, &completed(None)).await.unwrap();
        assert_eq!(queue.run_times("prove", 10).await.unwrap().len(), 1, "{}", fixture.name);
        assert_eq!(queue.run_times("build", 10).await.unwrap().len(), 0, "{}", fixture.name);
        fixture.remove().await;
    }
}
