//! The queue of a fleet: a thousand simulated provers on one PostgreSQL, whose commits wait for the disk. The example `fleet` of the
//! queue's crate is measured, so requests over HTTP are not part of it; the rows `pull` are about those.

use std::process::Command;

use anyhow::{Context, ensure};
use edgeprove_test_postgres::{Cluster, Disk};
use serde::Deserialize;

use super::{
    fixture::Fixture,
    report::{Figure, Goal, Row, Unit},
    sampling,
};
use crate::process;

const JOBS: usize = 20_000;
const PROVERS: usize = 1000;
/// The time that a prover sleeps in the place of a proof. A thousand provers do 2,500 jobs a second where nothing else takes time.
const WORK_MS: usize = 400;
/// Jobs a second on two cores, which PostgreSQL and the provers share.
const RATE_MIN: f64 = 2000.0;
const CLAIM_P99_MAX_MS: f64 = 100.0;
/// A job of a caller with few jobs starts before a prover could do two others.
const SMALL_WAIT_MAX: f64 = 2.0;
/// Leases end, and another prover does the job.
const RECOVERY_MAX: f64 = 2.0;

/// What the example prints.
#[derive(Debug, Deserialize)]
struct Measured {
    jobs_per_second: f64,
    claim_p50_ms: f64,
    claim_p99_ms: f64,
    submit_p50_ms: f64,
    small_wait_max_ms: f64,
    recovered_ms: f64,
    lease_ms: f64,
    work_ms: f64,
}

/// All rows.
pub(super) fn rows(fixture: &Fixture) -> anyhow::Result<Vec<Row>> {
    let what = |what| format!("{what} of {PROVERS} simulated provers on PostgreSQL");
    let program = process::example(&fixture.ready.paths, "edgeprove-job-queue", "fleet")?;
    let mut is_missing = false;
    let run = || {
        let Some(cluster) = Cluster::start_on(Disk::Synced)? else {
            is_missing = true;
            return Ok(None);
        };
        let mut command = Command::new(&program);
        command.arg(cluster.url()).args([JOBS, PROVERS, WORK_MS].map(|number| number.to_string()));
        let output = command.output().with_context(|| format!("{} cannot be run", program.display()))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} failed: {stderr}", program.display());
        Ok(Some(serde_json::from_slice::<Measured>(&output.stdout)?))
    };
    let samples: Vec<_> = sampling::repeated(fixture.few_rounds(), run)?.into_iter().flatten().collect();
    if is_missing {
        return Ok(vec![Row::skipped(what("all rows"), "PostgreSQL is not installed")]);
    }
    let figure = |name: &str, unit, of: fn(&Measured) -> f64| {
        Figure::new(name, unit, samples.iter().map(of).collect())
    };
    let rate = figure("jobs", Unit::JobsPerSecond, |run| run.jobs_per_second);
    let submit = figure("a job is accepted after (p50)", Unit::Milliseconds, |run| run.submit_p50_ms);
    let claim = figure("p99", Unit::Milliseconds, |run| run.claim_p99_ms);
    let usual = figure("p50", Unit::Milliseconds, |run| run.claim_p50_ms);
    let work = figure("work of a job", Unit::Milliseconds, |run| run.work_ms);
    let wait = figure("longest wait", Unit::Milliseconds, |run| run.small_wait_max_ms);
    let lease = figure("length of a lease", Unit::Milliseconds, |run| run.lease_ms);
    let recovered = figure("all are completed after", Unit::Milliseconds, |run| run.recovered_ms);
    Ok(vec![
        Row::with_goal(what("jobs a second"), rate, Goal::AtLeast(RATE_MIN), vec![submit]),
        Row::with_goal(what("time of a claim"), claim, Goal::AtMost(CLAIM_P99_MAX_MS), vec![usual]),
        Row::with_goal(
            what("wait of callers with one job beside one with ten thousand over the work of a job,"),
            Figure::ratio(&wait, &work),
            Goal::AtMost(SMALL_WAIT_MAX),
            vec![wait, work],
        ),
        Row::with_goal(
            what("time until jobs of vanished provers are completed over a lease, after half"),
            Figure::ratio(&recovered, &lease),
            Goal::AtMost(RECOVERY_MAX),
            vec![recovered, lease],
        ),
    ])
}
