//! The steps of a test, and the choice of the next one.

use edgeprove_job_rules::{
    capability::{Capability, Subject},
    idempotency::{BodyDigest, Idempotency},
    job::{Job, NewJob},
    lease::LeaseToken,
};
use edgeprove_protocol::{JobId, JobStatus, Priority};
use proptest::prelude::*;

use crate::{
    model::{KINDS, Model, OWNERS, RULES, SUBJECTS, VERSIONS, WORKERS},
    queue::Intake,
};

/// The worker that acts less often than the others.
const SLOW: usize = 2;

/// A step: one use of the queue, or a change of the time.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Enqueue(Submission),
    /// An idle worker claims a job that its capabilities cover.
    Claim {
        worker: usize,
        capabilities: Vec<Capability>,
    },
    /// A worker acts on its job. Its lease may be lost without its knowledge.
    Work {
        worker: usize,
        action: Action,
    },
    /// A worker crashes and starts again without its job.
    Die {
        worker: usize,
    },
    /// A caller cancels a job: its owner, another owner, or an operator.
    Cancel {
        job: prop::sample::Index,
        by: Option<usize>,
    },
    /// An operator queues a failed job again.
    Requeue {
        job: prop::sample::Index,
    },
    Reap {
        random: u64,
    },
    /// The only process that uses the database crashes with all workers and starts again.
    Restart,
    /// Jobs fail that have waited this long, and that these capabilities do not cover.
    Abandon {
        capabilities: Vec<Capability>,
        after_ms: u32,
    },
    Settle,
    Expire,
    /// Doomed artifacts are deleted: all, or only the first before a crash.
    Sweep {
        all: bool,
    },
    Delete,
    Pass {
        ms: u32,
    },
    SetBack {
        ms: u32,
    },
    /// All views are compared.
    Look,
}

/// A job that a caller submits.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    pub(crate) owner: usize,
    pub(crate) priority: Priority,
    pub(crate) kind: usize,
    pub(crate) subject: usize,
    pub(crate) version: usize,
    /// The idempotency key and the body, as numbers.
    pub(crate) request: Option<(u8, u8)>,
    pub(crate) tries: u32,
}

/// An action of a worker on its job.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Heartbeat,
    ReportStage { stage: &'static str },
    Complete { makes_artifact: bool },
    Fail,
    Retry { random: u64 },
    Release,
}

/// The answer to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    Intake(Intake),
    Claimed(Option<Claim>),
    /// Whether a caller cancelled the job; `None` if the lease is lost.
    Heard(Option<bool>),
    /// The job's new status; `None` if the step was refused.
    Became(Option<JobStatus>),
    Jobs(Vec<JobId>),
    Artifacts(Vec<String>),
}

/// A job that a worker has claimed. The lease may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) id: JobId,
    pub(crate) token: LeaseToken,
}

impl Submission {
    /// The submitted job, with this number.
    pub(crate) fn job(&self, number: u8) -> NewJob {
        let named = |(key, body)| Idempotency {
            key: format!("k{key}").parse().unwrap(),
            body: BodyDigest([body; 32]),
        };
        NewJob {
            id: JobId::new(None, [number; 16]).unwrap(),
            kind: KINDS[self.kind].to_owned(),
            subject: SUBJECTS[self.subject].to_owned(),
            version: VERSIONS[self.version].to_owned(),
            owner: OWNERS[self.owner].to_owned(),
            account: format!("key:{}", OWNERS[self.owner]),
            priority: self.priority,
            max_attempts: self.tries,
            idempotency: self.request.map(named),
            payload: format!("payload {number}"),
            input: (self.subject == 0).then(|| format!("input {number}")),
        }
    }
}

/// The next step. Steps that are likely to find an error are chosen more often than by chance alone.
pub(crate) fn any_step(model: &Model) -> impl Strategy<Value = Step> + use<> {
    // Idle workers claim and busy ones act. The slow worker acts seldom until another worker has claimed its job: its
    // actions must then be refused.
    let those = |busy: bool| {
        let those = (0..WORKERS).filter(|worker| model.workers[*worker].is_some() == busy);
        let often = |worker: usize| {
            let held = model.workers[worker];
            let is_lost = |held: Claim| {
                model.jobs.values().any(|job| job.id == held.id && job.lease_token > held.token)
            };
            let times = if held.is_some_and(is_lost) {
                40
            } else if busy && worker == SLOW {
                1
            } else {
                8
            };
            std::iter::repeat_n(worker, times)
        };
        let those: Vec<usize> = those.flat_map(often).collect();
        if those.is_empty() { (1, prop::sample::select(vec![0])) } else { (14, prop::sample::select(those)) }
    };
    let ((claims, idle), (works, busy)) = (those(false), those(true));
    let soon_or_later = prop_oneof![Just(0), any::<u64>()];
    prop_oneof![
        8 => submission().prop_map(Step::Enqueue),
        claims => (idle, capabilities()).prop_map(|(worker, capabilities)| Step::Claim { worker, capabilities }),
        works => (busy.clone(), action()).prop_map(|(worker, action)| Step::Work { worker, action }),
        1 => busy.prop_map(|worker| Step::Die { worker }),
        3 => (any::<prop::sample::Index>(), prop::option::of(0..OWNERS.len()))
            .prop_map(|(job, by)| Step::Cancel { job, by }),
        3 => any::<prop::sample::Index>().prop_map(|job| Step::Requeue { job }),
        6 => soon_or_later.prop_map(|random| Step::Reap { random }),
        1 => Just(Step::Restart),
        2 => (capabilities(), prop::sample::select(vec![0, 500, 5_000]))
            .prop_map(|(capabilities, after_ms)| Step::Abandon { capabilities, after_ms }),
        1 => Just(Step::Settle),
        3 => Just(Step::Expire),
        3 => any::<bool>().prop_map(|all| Step::Sweep { all }),
        3 => Just(Step::Delete),
        2 => (0..2_000_u32).prop_map(|ms| Step::Pass { ms }),
        10 => until_something(model).prop_map(|ms| Step::Pass { ms }),
        1 => (0..30_000_u32).prop_map(|ms| Step::SetBack { ms }),
        2 => Just(Step::Look),
    ]
}

/// Capabilities that often cover all jobs.
fn capabilities() -> impl Strategy<Value = Vec<Capability>> {
    let subjects = SUBJECTS.iter().flat_map(|name| {
        VERSIONS.map(|version| Subject { name: (*name).to_owned(), version: version.to_owned() })
    });
    let subjects: Vec<_> = subjects.collect();
    let of = move |kind| {
        let subjects = prop::sample::subsequence(subjects.clone(), 0..=subjects.len());
        prop_oneof![Just(None), subjects.prop_map(Some)]
            .prop_map(move |subjects| Capability { kind, subjects })
    };
    prop_oneof![
        2 => Just(KINDS.map(Capability::all_of).to_vec()),
        1 => prop::sample::select(KINDS.to_vec()).prop_flat_map(of.clone()).prop_map(|capability| vec![capability]),
        1 => KINDS.map(of).prop_map(|capabilities| capabilities.to_vec()),
    ]
}

fn submission() -> impl Strategy<Value = Submission> {
    let priority = prop::sample::select(Priority::ALL.to_vec());
    let request = prop::option::of((0..3_u8, 0..2_u8));
    let subject = (0..SUBJECTS.len(), 0..VERSIONS.len());
    (0..OWNERS.len(), priority, 0..KINDS.len(), subject, request, 1..4_u32).prop_map(
        |(owner, priority, kind, (subject, version), request, tries)| Submission {
            owner,
            priority,
            kind,
            subject,
            version,
            request,
            tries,
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Heartbeat),
        2 => prop::sample::select(vec!["loading", "proving"]).prop_map(|stage| Action::ReportStage { stage }),
        4 => any::<bool>().prop_map(|makes_artifact| Action::Complete { makes_artifact }),
        1 => Just(Action::Fail),
        3 => any::<u64>().prop_map(|random| Action::Retry { random }),
        1 => Just(Action::Release),
    ]
}

/// Milliseconds until 1 ms before, at, or 1 ms after the time at which something is due: errors are most likely there.
fn until_something(model: &Model) -> impl Strategy<Value = u32> + use<> {
    let due = |job: &Job| {
        let expires_at = job.expires_at.map(|at| match job.status {
            JobStatus::Expired => at.after(RULES.retention.tombstones),
            _ => at,
        });
        let run_at = (job.status == JobStatus::Queued).then_some(job.run_at);
        let lease = job.lease.as_ref().map(|lease| lease.until);
        let failed_at = job.finished_at.filter(|_| job.status == JobStatus::Failed);
        let input_until = failed_at.map(|at| at.after(RULES.retention.failed_inputs));
        [expires_at, run_at, input_until, lease, lease, lease]
    };
    let times =
        model.jobs.values().flat_map(due).flatten().filter_map(|at| u32::try_from(at.0 - model.now.0).ok());
    let mut times: Vec<u32> = times.filter(|ms| *ms > 0).collect();
    if times.is_empty() {
        times.push(1);
    }
    (prop::sample::select(times), 0..3_u32).prop_map(|(ms, late)| ms - 1 + late)
}
