//! After any sequence of steps the tables hold the same jobs as the model.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeprove_job_rules::{
    capability::Capability, job::Job, lease::LeaseToken, priority::Rank, queue_bounds::Bounds,
    time::UnixMillis,
};
use edgeprove_protocol::{JobId, JobStatus, Priority};
use proptest::test_runner::{Config, TestError, TestRunner};
use proptest_state_machine::{ReferenceStateMachine as _, StateMachineTest};
use tokio::runtime::{Builder, Runtime};

use crate::{
    database::Location,
    model::{BOUNDS, Model, OWNERS, RULES, WORKERS, result_name, sorted, without_seq, worker_name},
    queue::{Intake, Listing, Queue},
    steps::{Action, Answer, Claim, Step, Submission},
    views,
};

/// The queue on a database, with its workers.
struct System {
    runtime: Runtime,
    location: Location,
    tables: Tables,
}

struct Tables {
    queue: Queue,
    workers: [Option<Claim>; WORKERS],
    seen: Seen,
}

/// Facts for checks that do not depend on the model.
#[derive(Default)]
struct Seen {
    /// The highest token under which each job was claimed.
    claims: BTreeMap<JobId, LeaseToken>,
    /// The jobs that were completed.
    completed: BTreeSet<JobId>,
    /// Attempts that ended without an outcome: the worker requested a retry, or its lease was lost.
    spent: BTreeMap<JobId, u32>,
}

trait Backend {
    fn place() -> Location;
}

struct On<G>(G);
struct Sqlite;
struct Postgres;

impl Backend for Sqlite {
    fn place() -> Location {
        Location::memory()
    }
}

impl Backend for Postgres {
    fn place() -> Location {
        Location::postgres().expect("the test checked that PostgreSQL is installed")
    }
}

impl<G: Backend> StateMachineTest for On<G> {
    type SystemUnderTest = System;
    type Reference = Model;

    fn init_test(_: &Model) -> System {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let location = G::place();
        let database = runtime.block_on(location.create());
        let queue = Queue { database, rules: RULES };
        System {
            runtime,
            location,
            tables: Tables { queue, workers: [None; WORKERS], seen: Seen::default() },
        }
    }

    fn apply(mut system: System, model: &Model, step: Step) -> System {
        let answer = system.runtime.block_on(system.tables.step(model, &step));
        assert_eq!(answer, model.answer, "the answer differs from the model's");
        system.runtime.block_on(system.tables.compare(model));
        system
    }

    fn teardown(mut system: System, model: Model) {
        system.runtime.block_on(system.tables.look(&model));
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.runtime.block_on(self.location.remove());
    }
}

impl Tables {
    async fn step(&mut self, model: &Model, step: &Step) -> Answer {
        // The model is the one after the step. Only two steps change the time: `Pass` and `SetBack`.
        let (queue, now) = (&mut self.queue, model.now);
        match step {
            Step::Enqueue(submission) => {
                let intake = queue.enqueue_as_predicted(&submission.job(model.asked), BOUNDS, now).await;
                if let Intake::Accepted(_) = intake {
                    let queued = queue.queued().await.len();
                    assert!(queued <= BOUNDS.queued_max as usize, "{queued} jobs are queued");
                }
                Answer::Intake(intake)
            }
            Step::Claim { worker, .. } if self.workers[*worker].is_some() => Answer::Nothing,
            Step::Claim { worker, capabilities } => {
                let claimed = queue.claim(&worker_name(*worker), capabilities, now).await;
                self.workers[*worker] =
                    claimed.as_ref().map(|job| Claim { id: job.id, token: job.lease_token });
                if let Some(job) = claimed {
                    self.seen.claimed(&job);
                    assert_as_in(model, job);
                }
                Answer::Claimed(self.workers[*worker])
            }
            Step::Work { worker, action } => {
                let Some(held) = self.workers[*worker] else { return Answer::Nothing };
                self.work(model, *worker, held, action).await
            }
            Step::Die { worker } => {
                self.workers[*worker] = None;
                Answer::Nothing
            }
            Step::Cancel { job, by } => {
                let Some(id) = model.some_job(*job) else { return Answer::Nothing };
                Answer::Became(queue.cancel(id, by.map(|by| OWNERS[by]), now).await)
            }
            Step::Requeue { job } => {
                let Some(id) = model.some_job(*job) else { return Answer::Nothing };
                let job = queue.get(id).await.expect("it is in the tables");
                let became = queue.requeue(&job, BOUNDS.queued_max, now).await;
                if became.is_some() {
                    self.seen.spent.remove(&id);
                }
                Answer::Became(became)
            }
            Step::Reap { random } => {
                let run_at = now.after(RULES.backoff.delay(1, *random));
                self.reap(model, now, run_at).await
            }
            Step::Restart => {
                self.workers = [None; WORKERS];
                self.reap(model, UnixMillis::MAX, now).await
            }
            Step::Abandon { capabilities, after_ms } => {
                let since = now.before(Duration::from_millis((*after_ms).into()));
                let jobs = queue.abandon(since, capabilities, "no worker", now).await;
                let ids = sorted(jobs.iter().map(|job| job.id).collect());
                for job in jobs {
                    assert_as_in(model, job);
                }
                Answer::Jobs(ids)
            }
            Step::Settle => Answer::Jobs(sorted(queue.settle(now).await)),
            Step::Expire => Answer::Jobs(sorted(queue.expire(1_000, now).await)),
            Step::Sweep { all } => {
                let doomed = queue.doomed_artifacts(now).await;
                let doomed = sorted(doomed.into_iter().map(|(seq, artifact)| (artifact, seq)).collect());
                for (artifact, seq) in doomed.iter().take(if *all { usize::MAX } else { 1 }) {
                    assert!(queue.forget_artifact(*seq, artifact).await);
                    assert!(!queue.forget_artifact(*seq, artifact).await, "{artifact} was forgotten twice");
                }
                Answer::Artifacts(doomed.into_iter().map(|(artifact, _)| artifact).collect())
            }
            Step::Delete => Answer::Jobs(sorted(queue.delete(1_000, now).await)),
            Step::Pass { .. } | Step::SetBack { .. } => Answer::Nothing,
            Step::Look => {
                self.look(model).await;
                Answer::Nothing
            }
        }
    }

    async fn work(&mut self, model: &Model, worker: usize, held: Claim, action: &Action) -> Answer {
        let (queue, now, Claim { id, token }) = (&mut self.queue, model.now, held);
        let outcome = worker_name(worker);
        let became = match action {
            Action::Heartbeat | Action::ReportStage { .. } => {
                let heard = match action {
                    Action::ReportStage { stage } => queue.report_stage(id, token, stage, now).await,
                    _ => queue.heartbeat(id, token, now).await,
                };
                if heard.is_none() {
                    self.workers[worker] = None;
                }
                self.seen.answered(held, heard.is_some());
                return Answer::Heard(heard);
            }
            Action::Complete { makes_artifact } => {
                let result = makes_artifact.then(|| result_name(held));
                queue.complete(id, token, result, &outcome, now).await
            }
            Action::Fail => queue.fail(id, token, &outcome, now).await,
            Action::Retry { random } => {
                let run_at = model.retry_at(id, *random);
                queue.retry(id, token, run_at, &outcome, now).await
            }
            Action::Release => queue.release(id, token, now).await,
        };
        self.workers[worker] = None;
        self.seen.answered(held, became.is_some());
        if became.is_some() && matches!(action, Action::Retry { .. }) {
            self.seen.spent(id);
        }
        if became == Some(JobStatus::Completed) {
            assert!(self.seen.completed.insert(id), "{id} was completed twice");
        }
        Answer::Became(became)
    }

    async fn reap(&mut self, model: &Model, ended_by: UnixMillis, run_at: UnixMillis) -> Answer {
        let jobs = self.queue.reap(ended_by, run_at, "worker lost", model.now).await;
        for job in &jobs {
            self.seen.spent(job.id);
            let spent = self.seen.spent[&job.id];
            assert!(
                spent < job.max_attempts || job.status != JobStatus::Queued,
                "{spent} attempts, and one more"
            );
        }
        let ids = sorted(jobs.iter().map(|job| job.id).collect());
        for job in jobs {
            assert_as_in(model, job);
        }
        Answer::Jobs(ids)
    }

    /// Checks that the tables hold the same jobs as the model.
    async fn compare(&mut self, model: &Model) {
        let mut jobs = Vec::new();
        for owner in OWNERS {
            jobs.extend(self.queue.list(&Listing::of(owner)).await);
        }
        jobs.sort_by_key(|job| job.seq);
        for job in &jobs {
            assert_eq!(job.finished_at.is_some(), job.status.is_finished(), "{job:?}");
        }
        let jobs: Vec<_> = jobs.into_iter().map(without_seq).collect();
        let expected: Vec<_> = model.jobs.values().cloned().map(without_seq).collect();
        assert_eq!(jobs, expected, "the tables differ from the model");
        assert_eq!(self.workers, model.workers);
    }

    async fn look(&mut self, model: &Model) {
        views::compare(&mut self.queue, model).await;
        views::compare_lists(&mut self.queue, model).await;
    }
}

impl Seen {
    fn claimed(&mut self, job: &Job) {
        assert!(!self.completed.contains(&job.id), "{} was claimed after it was completed", job.id);
        let before = self.claims.insert(job.id, job.lease_token);
        assert!(before < Some(job.lease_token), "{} was claimed under a token that was used", job.id);
    }

    /// Checks the answer to a worker: its report is accepted only if no other worker has claimed the job since.
    fn answered(&self, held: Claim, is_accepted: bool) {
        assert!(!is_accepted || self.claims[&held.id] == held.token, "two workers have {}", held.id);
    }

    fn spent(&mut self, id: JobId) {
        *self.spent.entry(id).or_default() += 1;
    }
}

/// Asserts that a returned job equals the model's.
fn assert_as_in(model: &Model, job: Job) {
    let expected = model.jobs.values().find(|expected| expected.id == job.id).cloned();
    assert_eq!(Some(without_seq(job)), expected.map(without_seq));
}

fn run<G: Backend>(cases: u32) {
    let config =
        Config { cases: Config::default().cases.min(cases), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config.clone());
    let outcome = runner.run(&Model::sequential_strategy(40..120), |(model, steps, seen)| {
        On::<G>::test_sequential(config.clone(), model, steps, seen);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (_, steps, _))) => panic!("{why}\nafter {steps:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

#[test]
fn sqlite_follows_the_rules() {
    run::<Sqlite>(200);
}

#[test]
fn postgres_follows_the_rules() {
    if Location::postgres().is_some() {
        run::<Postgres>(100);
    }
}

/// A job of priority LOW runs before a CRITICAL one that arrives three steps of ageing later.
#[test]
fn a_low_job_never_starves() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut queue = Queue { database: Location::memory().create().await, rules: RULES };
        let start = UnixMillis(1_700_000_000_000);
        let job = |number, priority| {
            Submission { owner: 0, priority, kind: 0, subject: 0, version: 0, request: None, tries: 1 }
                .job(number)
        };
        let step = Duration::from_millis(edgeprove_job_rules::priority::AGEING_STEP_MS.unsigned_abs());
        let arrivals = [
            (1, Priority::Low, start),
            (2, Priority::Critical, start.after(step)),
            (3, Priority::Critical, start.after(step * 3)),
            (4, Priority::Normal, start.after(step * 3)),
        ];
        for (number, priority, at) in arrivals {
            let bounds = Bounds { has_shares: false, ..BOUNDS };
            let accepted = queue.enqueue_as_predicted(&job(number, priority), bounds, at).await;
            assert!(matches!(accepted, Intake::Accepted(_)), "{accepted:?}");
        }
        let mut order = Vec::new();
        while let Some(job) = queue.claim("w", &[Capability::all_of("prove")], start.after(step * 9)).await {
            order.push((job.priority, job.rank));
        }
        let ranks: Vec<Rank> = order.iter().map(|(_, rank)| *rank).collect();
        assert!(ranks.is_sorted());
        let priorities = order.iter().map(|(priority, _)| *priority).collect::<Vec<_>>();
        assert_eq!(priorities, [Priority::Critical, Priority::Low, Priority::Critical, Priority::Normal]);
    });
}
