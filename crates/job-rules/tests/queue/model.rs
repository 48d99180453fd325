//! The rules in memory, with which the statements are compared: several workers, random times, crashes, cancellations and
//! changes of the clock.

use std::{collections::BTreeMap, time::Duration};

use edgeprove_job_rules::{
    backoff::Backoff,
    capability::Capability,
    expiry::Retention,
    idempotency::Verdict,
    job::{Job, NewJob},
    lease::LeaseTerms,
    queue_bounds::{Bounds, Load},
    time::UnixMillis,
    transition::{Event, Rules, apply, may_be_deleted},
    turn::{OrderKey, Turns, TurnsOfPriority},
};
use edgeprove_protocol::{JobId, JobStatus, Priority};
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use crate::{
    queue::Intake,
    steps::{Action, Answer, Claim, Step, any_step},
};

pub(crate) const RULES: Rules = Rules {
    lease: LeaseTerms { length: Duration::from_secs(10) },
    backoff: Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(30) },
    retention: Retention {
        results: Duration::from_secs(30),
        tombstones: Duration::from_mins(1),
        failed_inputs: Duration::from_secs(8),
    },
};
pub(crate) const BOUNDS: Bounds = Bounds { queued_max: 6, unfinished_per_account_max: 5, has_shares: true };
pub(crate) const OWNERS: [&str; 2] = ["alice", "bob"];
pub(crate) const KINDS: [&str; 2] = ["prove", "keygen"];
pub(crate) const SUBJECTS: [&str; 2] = ["maze", "range_check"];
pub(crate) const VERSIONS: [&str; 2] = ["1", "2"];
pub(crate) const WORKERS: usize = 3;

/// The queue in memory.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) now: UnixMillis,
    /// By their number in the order of arrival.
    pub(crate) jobs: BTreeMap<i64, Job>,
    pub(crate) workers: [Option<Claim>; WORKERS],
    /// The number of submitted jobs, each with another id.
    pub(crate) asked: u8,
    /// The answer to the last step.
    pub(crate) answer: Answer,
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self {
            now: UnixMillis(1_700_000_000_000),
            jobs: BTreeMap::new(),
            workers: [None; WORKERS],
            asked: 0,
            answer: Answer::Nothing,
        })
        .boxed()
    }

    fn transitions(model: &Self) -> BoxedStrategy<Step> {
        any_step(model).boxed()
    }

    fn apply(mut model: Self, step: &Step) -> Self {
        model.answer = model.step(step);
        model
    }
}

impl Model {
    fn step(&mut self, step: &Step) -> Answer {
        match step {
            Step::Enqueue(submission) => {
                self.asked += 1;
                Answer::Intake(self.enqueue(submission.job(self.asked)))
            }
            Step::Claim { worker, .. } if self.workers[*worker].is_some() => Answer::Nothing,
            Step::Claim { worker, capabilities } => Answer::Claimed(self.claim(*worker, capabilities)),
            Step::Work { worker, action } => {
                let Some(held) = self.workers[*worker] else { return Answer::Nothing };
                self.work(*worker, held, action)
            }
            Step::Die { worker } => {
                self.workers[*worker] = None;
                Answer::Nothing
            }
            Step::Cancel { job, by } => {
                let Some(id) = self.some_job(*job) else { return Answer::Nothing };
                let by = by.map(|by| OWNERS[by]);
                let job =
                    self.job_mut(id).filter(|job| by.is_none_or(|by| by == job.owner)).map(|job| job.seq);
                Answer::Became(job.and_then(|seq| self.happen(seq, &Event::Cancel)).map(|job| job.status))
            }
            Step::Requeue { job } => {
                let Some(id) = self.some_job(*job) else { return Answer::Nothing };
                let has_place = self.queued().len() < BOUNDS.queued_max as usize;
                let job = self.job_mut(id).filter(|_| has_place).map(|job| job.seq);
                Answer::Became(job.and_then(|seq| self.happen(seq, &Event::Requeue)).map(|job| job.status))
            }
            Step::Reap { random } => {
                let run_at = self.now.after(RULES.backoff.delay(1, *random));
                self.all(&Event::LoseLease { ended_by: self.now, run_at, outcome: "worker lost".to_owned() })
            }
            Step::Restart => {
                self.workers = [None; WORKERS];
                let (ended_by, run_at) = (UnixMillis::MAX, self.now);
                self.all(&Event::LoseLease { ended_by, run_at, outcome: "worker lost".to_owned() })
            }
            Step::Abandon { capabilities, after_ms } => {
                let since = self.now.before(Duration::from_millis((*after_ms).into()));
                let takes = |job: &Job| capabilities.iter().any(|capability| capability.takes(job));
                let waits =
                    |job: &&Job| job.status == JobStatus::Queued && job.run_at <= since && !takes(job);
                let seqs: Vec<_> = self.jobs.values().filter(waits).map(|job| job.seq).collect();
                let event = Event::Abandon { outcome: "no worker".to_owned() };
                Answer::Jobs(sorted(
                    seqs.into_iter().filter_map(|seq| Some(self.happen(seq, &event)?.id)).collect(),
                ))
            }
            Step::Settle => self.all(&Event::Settle),
            Step::Expire => self.all(&Event::Expire),
            Step::Sweep { all } => self.sweep(*all),
            Step::Delete => {
                let now = self.now;
                let gone: Vec<_> = self
                    .jobs
                    .extract_if(.., |_, job| may_be_deleted(job, now, RULES.retention))
                    .map(|(_, job)| job.id)
                    .collect();
                Answer::Jobs(sorted(gone))
            }
            Step::Pass { ms } => {
                self.now = self.now.after(Duration::from_millis((*ms).into()));
                Answer::Nothing
            }
            Step::SetBack { ms } => {
                self.now = self.now.before(Duration::from_millis((*ms).into()));
                Answer::Nothing
            }
            Step::Look => Answer::Nothing,
        }
    }

    fn enqueue(&mut self, new: NewJob) -> Intake {
        let earlier = new.idempotency.as_ref().and_then(|asked| {
            let of_account = self.jobs.values().filter(|job| job.account == new.account);
            of_account
                .filter_map(|job| Some((job.id, job.idempotency.as_ref()?)))
                .find(|(_, own)| own.key == asked.key)
        });
        if let (Some((id, own)), Some(asked)) = (earlier, &new.idempotency) {
            return match asked.judge(own) {
                Verdict::Same => Intake::Known(id),
                Verdict::Conflict => Intake::Conflict,
            };
        }
        if let Err(full) = BOUNDS.admit(self.load(&new.account)) {
            return Intake::Full(full);
        }
        let (seq, id) = (i64::from(self.asked), new.id);
        let place = self.place(&new);
        self.jobs.insert(seq, new.arrive(seq, self.now, place));
        Intake::Accepted(id)
    }

    /// The numbers of jobs that a new job of this account is compared with.
    pub(crate) fn load(&self, account: &str) -> Load {
        let own = || self.jobs.values().filter(|job| job.account == account);
        let count = |jobs: usize| u32::try_from(jobs).unwrap();
        Load {
            queued: count(self.queued().len()),
            queued_of_account: count(own().filter(|job| job.status == JobStatus::Queued).count()),
            unfinished_of_account: count(own().filter(|job| !job.status.is_finished()).count()),
        }
    }

    /// The place of a job that is submitted now.
    fn place(&self, new: &NewJob) -> OrderKey {
        let of = Priority::ALL.map(|priority| {
            let jobs = || self.jobs.values().filter(move |job| job.priority == priority);
            let own = jobs().filter(|job| job.account == new.account && !job.status.is_finished());
            let running = jobs().filter(|job| job.status == JobStatus::Running);
            TurnsOfPriority {
                own: own.map(|job| job.turn).max(),
                running: running.map(|job| job.turn).max(),
                queued: jobs().filter(|job| job.is_due(self.now)).map(|job| job.turn).min(),
            }
        });
        let turns = Turns::new(new.priority, of);
        let after = turns.after();
        let follower = |priority: Priority| {
            let later = self
                .queued()
                .into_iter()
                .filter(|job| job.priority == priority && job.turn > after[usize::from(priority.level())]);
            later.min_by_key(|job| (job.turn, job.seq)).map(|job| job.rank)
        };
        turns.place(self.now, Priority::ALL.map(follower))
    }

    fn claim(&mut self, worker: usize, capabilities: &[Capability]) -> Option<Claim> {
        let takes = |job: &Job| capabilities.iter().any(|capability| capability.takes(job));
        let due = self.jobs.values().filter(|job| job.is_due(self.now) && takes(job));
        let seq = due.min_by_key(|job| job.order())?.seq;
        let job = self.happen(seq, &Event::Claim { holder: worker_name(worker) })?;
        self.workers[worker] = Some(Claim { id: job.id, token: job.lease_token });
        self.workers[worker]
    }

    fn work(&mut self, worker: usize, held: Claim, action: &Action) -> Answer {
        let Claim { id, token } = held;
        let outcome = worker_name(worker);
        let event = match action {
            Action::Heartbeat => Event::Heartbeat { token },
            Action::ReportStage { stage } => {
                let estimate = stage_estimate(stage);
                Event::ReportStage { token, stage: (*stage).to_owned(), at: self.now, estimate }
            }
            Action::Complete { makes_artifact } => {
                let result = makes_artifact.then(|| result_name(held));
                Event::Complete { token, result, outcome }
            }
            Action::Fail => Event::Fail { token, outcome },
            Action::Retry { random } => Event::Retry { token, run_at: self.retry_at(id, *random), outcome },
            Action::Release => Event::Release { token },
        };
        let seq = self.job_mut(id).map(|job| job.seq);
        let became = seq.and_then(|seq| self.happen(seq, &event));
        match action {
            Action::Heartbeat | Action::ReportStage { .. } => {
                if became.is_none() {
                    self.workers[worker] = None;
                }
                Answer::Heard(became.map(|job| job.cancel_requested_at.is_some()))
            }
            _ => {
                self.workers[worker] = None;
                Answer::Became(became.map(|job| job.status))
            }
        }
    }

    fn sweep(&mut self, all: bool) -> Answer {
        let doomed = self.doomed();
        let artifacts: Vec<_> = doomed.iter().map(|(artifact, _)| artifact.clone()).collect();
        for (artifact, seq) in doomed.into_iter().take(if all { usize::MAX } else { 1 }) {
            self.happen(seq, &Event::ForgetArtifact { artifact });
        }
        Answer::Artifacts(artifacts)
    }

    /// Applies an event to a job. `None`: the rules do not allow it.
    fn happen(&mut self, seq: i64, event: &Event) -> Option<Job> {
        let job = self.jobs.get_mut(&seq)?;
        let next = apply(job, event, self.now, &RULES).ok()?;
        assert!(
            next.step() > job.step() || next.status == job.status,
            "{:?} after {:?}",
            next.step(),
            job.step()
        );
        *job = next;
        Some(job.clone())
    }

    /// Applies an event to all jobs for which the rules allow it.
    fn all(&mut self, event: &Event) -> Answer {
        let seqs: Vec<_> = self.jobs.keys().copied().collect();
        Answer::Jobs(sorted(seqs.into_iter().filter_map(|seq| Some(self.happen(seq, event)?.id)).collect()))
    }

    fn job_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.values_mut().find(|job| job.id == id)
    }

    /// The time of the next attempt of a job that fails now.
    pub(crate) fn retry_at(&self, id: JobId, random: u64) -> UnixMillis {
        let attempts = self.jobs.values().find(|job| job.id == id).map_or(1, |job| job.attempts);
        self.now.after(RULES.backoff.delay(attempts, random))
    }

    /// The id of the job that the index selects.
    pub(crate) fn some_job(&self, index: prop::sample::Index) -> Option<JobId> {
        let ids: Vec<_> = self.jobs.values().map(|job| job.id).collect();
        (!ids.is_empty()).then(|| *index.get(&ids))
    }

    /// The queued jobs, in the order in which workers claim them.
    pub(crate) fn queued(&self) -> Vec<&Job> {
        let mut queued: Vec<_> = self.jobs.values().filter(|job| job.status == JobStatus::Queued).collect();
        queued.sort_by_key(|job| job.order());
        queued
    }

    /// Artifacts that no job needs any more, with their jobs' numbers in the order of arrival.
    pub(crate) fn doomed(&self) -> Vec<(String, i64)> {
        let of_job = |job: &Job| -> Vec<_> {
            job.doomed_artifacts(self.now, RULES.retention).map(|name| (name.to_owned(), job.seq)).collect()
        };
        sorted(self.jobs.values().flat_map(of_job).collect())
    }
}

/// The estimate that workers report with a stage.
pub(crate) fn stage_estimate(stage: &str) -> Option<String> {
    (stage == "proving").then(|| "2000 1000 3000 0.5".to_owned())
}

pub(crate) fn worker_name(worker: usize) -> String {
    format!("worker {worker}")
}

/// The name of a worker's result. It contains the claim, so that a worker whose lease is lost overwrites no other result.
pub(crate) fn result_name(held: Claim) -> String {
    format!("{}/{}", held.id, held.token.0)
}

pub(crate) fn sorted<T: Ord>(mut things: Vec<T>) -> Vec<T> {
    things.sort_unstable();
    things
}

/// The job without its number: a database may leave numbers out, as long as their order is that of arrival.
pub(crate) fn without_seq(job: Job) -> Job {
    Job { seq: 0, ..job }
}
