//! The times of a job's stages: the bars of its waterfall. They follow from the job's row, so that every server shows the same.

use std::time::Duration;

use edgeprove_protocol::{
    JobStage, JobStatus,
    answer::Timings,
    job::{StageTime, TimedStage},
};
use serde::{Deserialize, Serialize};

use crate::{job::Job, proof_job::KIND, time::UnixMillis};

/// How long the request of a job took to arrive, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadTimes {
    /// From the head of the request to the last byte of its body, which was checked meanwhile.
    pub upload_ms: u64,
    /// The computation of the witness, where the body had inputs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub witness_ms: Option<u64>,
}

/// Bars that follow each other.
struct Bars {
    at: UnixMillis,
    bars: Vec<StageTime>,
}

/// The stages of a job, in the order of time. `timings` are those of a completed proof.
#[must_use]
pub fn stage_times(job: &Job, received: Option<UploadTimes>, timings: Option<&Timings>) -> Vec<StageTime> {
    let UploadTimes { upload_ms, witness_ms } =
        received.unwrap_or(UploadTimes { upload_ms: 0, witness_ms: None });
    let before = upload_ms.saturating_add(witness_ms.unwrap_or(0));
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    let mut bars = Bars { at: UnixMillis(job.enqueued_at.0.saturating_sub(before)), bars: Vec::new() };
    if received.is_some() {
        bars.lasts(TimedStage::Upload, ms(upload_ms));
    }
    if let Some(witness_ms) = witness_ms {
        bars.lasts(TimedStage::Witness, ms(witness_ms));
    }
    bars.at = job.enqueued_at;
    // The start of an earlier attempt is no start of a job that waits again.
    let started_at = job.started_at.filter(|_| job.status != JobStatus::Queued);
    let Some(started_at) = started_at else {
        bars.until(TimedStage::Queue, job.finished_at);
        return bars.bars;
    };
    bars.until(TimedStage::Queue, Some(started_at));
    if let Some(timings) = timings {
        let work = timings.prove_ms + timings.verify_ms;
        bars.lasts(TimedStage::Load, (timings.total_ms - work).max(0.0));
        if work > 0.0 {
            bars.lasts(TimedStage::Prove, timings.prove_ms);
            bars.lasts(TimedStage::Verify, timings.verify_ms);
        }
        return bars.bars;
    }
    let stage = job.stage.as_deref().and_then(|stage| stage.parse::<JobStage>().ok());
    match (stage, job.stage_started_at) {
        (Some(JobStage::Proving), Some(at)) => {
            bars.until(TimedStage::Load, Some(at));
            bars.until(TimedStage::Prove, job.finished_at);
        }
        // When the proof began is not known any more.
        (Some(JobStage::Verifying), Some(at)) => {
            bars.until(TimedStage::Prove, Some(at));
            bars.until(TimedStage::Verify, job.finished_at);
        }
        _ if job.kind == KIND => {
            bars.until(TimedStage::Load, job.finished_at);
        }
        _ => bars.until(TimedStage::Prove, job.finished_at),
    }
    bars.bars
}

impl Bars {
    /// A bar of this length.
    fn lasts(&mut self, stage: TimedStage, duration_ms: f64) {
        self.push(stage, Some(duration_ms));
        #[expect(clippy::cast_possible_truncation, reason = "a duration in milliseconds is far below 2^53")]
        let end = self.at.0.saturating_add(duration_ms as i64);
        self.at = UnixMillis(end);
    }

    /// A bar until this time; `None`: it lasts.
    fn until(&mut self, stage: TimedStage, end: Option<UnixMillis>) {
        let length = end.map(|end| ms(millis(end.since(self.at))));
        self.push(stage, length);
        self.at = end.unwrap_or(self.at);
    }

    fn push(&mut self, stage: TimedStage, duration_ms: Option<f64>) {
        let started_at = self.at.rfc3339();
        self.bars.push(StageTime { stage, started_at, duration_ms });
    }
}

#[expect(clippy::cast_precision_loss, reason = "a duration in milliseconds is far below 2^53")]
fn ms(duration: u64) -> f64 {
    duration as f64
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use edgeprove_protocol::{JobId, Priority};

    use super::*;
    use crate::{
        job::NewJob,
        lease::LeaseToken,
        priority::Rank,
        turn::{OrderKey, Turn},
    };

    const NOW: i64 = 1_700_000_000_000;

    fn job(status: JobStatus) -> Job {
        let new = NewJob {
            id: JobId::new(None, [7; 16]).unwrap(),
            kind: "prove".to_owned(),
            subject: "maze".to_owned(),
            version: "1".to_owned(),
            owner: "key:alice".to_owned(),
            account: String::new(),
            priority: Priority::Normal,
            max_attempts: 3,
            idempotency: None,
            payload: "{}".to_owned(),
            input: None,
        };
        let job = new.arrive(1, UnixMillis(NOW), OrderKey { rank: Rank(0), turn: Turn(0) });
        let finished_at = status.is_finished().then_some(UnixMillis(NOW + 900));
        Job {
            status,
            started_at: Some(UnixMillis(NOW + 500)),
            finished_at,
            lease_token: LeaseToken(1),
            ..job
        }
    }

    fn shown(job: &Job, received: Option<UploadTimes>, timings: Option<&Timings>) -> String {
        let bar = |bar: &StageTime| {
            let stage = serde_json::to_value(bar.stage).unwrap();
            let length = bar.duration_ms.map_or("…".to_owned(), |ms| ms.to_string());
            format!("{} {}+{length}", stage.as_str().unwrap(), &bar.started_at[17..23])
        };
        stage_times(job, received, timings).iter().map(bar).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn a_completed_job_shows_all_stages() {
        let timings = Timings { prove_ms: 250.5, verify_ms: 5.0, total_ms: 300.5, ..Timings::default() };
        let received = UploadTimes { upload_ms: 30, witness_ms: Some(70) };
        assert_eq!(
            shown(&job(JobStatus::Completed), Some(received), Some(&timings)),
            "upload 19.900+30 | witness 19.930+70 | queue 20.000+500 | load 20.500+45 | prove 20.545+250.5 | \
             verify 20.795+5"
        );
        let cached = Timings { total_ms: 3.0, ..Timings::default() };
        let queued = "queue 20.000+500 | load 20.500+3";
        assert_eq!(shown(&job(JobStatus::Completed), None, Some(&cached)), queued);
    }

    #[test]
    fn an_unfinished_job_shows_what_lasts() {
        assert_eq!(
            shown(&job(JobStatus::Queued), None, None),
            "queue 20.000+…",
            "an earlier attempt is over"
        );
        let running = job(JobStatus::Running);
        assert_eq!(shown(&running, None, None), "queue 20.000+500 | load 20.500+…");
        let stage = |name: &str, job: Job| Job {
            stage: Some(name.to_owned()),
            stage_started_at: Some(UnixMillis(NOW + 600)),
            ..job
        };
        let proving = stage("proving", running.clone());
        assert_eq!(shown(&proving, None, None), "queue 20.000+500 | load 20.500+100 | prove 20.600+…");
        let verifying = stage("verifying", running);
        assert_eq!(shown(&verifying, None, None), "queue 20.000+500 | prove 20.500+100 | verify 20.600+…");
        let failed = stage("proving", job(JobStatus::Failed));
        assert_eq!(shown(&failed, None, None), "queue 20.000+500 | load 20.500+100 | prove 20.600+300");
        let cancelled = Job { started_at: None, ..job(JobStatus::Cancelled) };
        assert_eq!(shown(&cancelled, None, None), "queue 20.000+900");
    }
}
