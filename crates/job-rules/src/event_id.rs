//! The ids of events of jobs.

use std::{fmt, num::ParseIntError, str::FromStr};

use edgeprove_protocol::JobStatus;

use crate::{job_view::JobView, queue_position::QueuePosition};

/// The id of an event of a job. It describes what the event shows, so that every server knows what a client that
/// reconnects with `Last-Event-ID` has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    /// The fencing token of the attempt: unlike the number of attempts, it never falls.
    attempt: i64,
    /// The number of the stage: 0 if the job is queued. It rises within an attempt.
    stage: usize,
    percent: u8,
    /// 0 if the job is not queued.
    position: u64,
}

impl EventId {
    /// The id of the event that shows this view. `stage` is the number of the stage by the job's kind, as
    /// [`crate::job_document::stage_number`] has it for proofs.
    #[must_use]
    pub fn new(view: &JobView, stage: usize) -> Self {
        Self {
            attempt: view.job.lease_token.0,
            stage,
            percent: view.percent,
            position: view.position.as_ref().map_or(0, QueuePosition::number),
        }
    }

    /// Whether this is the id of the last event of a job with this status, whose event now would be `shown`. Its percentage may
    /// differ: it is an estimate where the job did not complete.
    #[must_use]
    pub fn is_last_of(&self, status: JobStatus, shown: &Self) -> bool {
        status.is_finished() && (self.attempt, self.stage) == (shown.attempt, shown.stage)
    }

    /// Whether a client that has seen the event `last` must get this one. Within an attempt neither stage nor percentage may
    /// fall for a client, also where it reconnects to a server with other estimates.
    #[must_use]
    pub fn is_news_after(&self, last: &Self) -> bool {
        let is_queued = |id: &Self| id.stage == 0;
        if is_queued(self) || is_queued(last) || self.attempt != last.attempt {
            self != last
        } else {
            (self.stage, self.percent) > (last.stage, last.percent)
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempt, stage, percent, position } = self;
        write!(f, "{attempt}.{stage}.{percent}.{position}")
    }
}

/// A text that is no id of an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEventId {
    /// A part is not a number.
    #[error("a part of the event id is not a number")]
    Number(#[from] ParseIntError),
    /// It has not four parts.
    #[error("an event id has four numbers with dots between them")]
    Parts,
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('.').collect();
        let [attempt, stage, percent, position] = parts[..] else { return Err(InvalidEventId::Parts) };
        Ok(Self {
            attempt: attempt.parse()?,
            stage: stage.parse()?,
            percent: percent.parse()?,
            position: position.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> EventId {
        text.parse().unwrap()
    }

    #[test]
    fn ids_survive_a_round_trip() {
        assert_eq!(id("3.2.45.0").to_string(), "3.2.45.0");
        assert!("3.2.45".parse::<EventId>().is_err() && "a.b.c.d".parse::<EventId>().is_err());
    }

    #[test]
    fn a_client_sees_no_percentage_fall_within_an_attempt() {
        let last = id("1.2.45.0");
        let news = |text: &str| id(text).is_news_after(&last);
        assert!(!news("1.2.45.0") && !news("1.2.40.0") && !news("1.1.2.0"));
        assert!(news("1.2.46.0") && news("1.3.90.0") && news("1.4.45.0"));
    }

    #[test]
    fn another_attempt_and_the_queue_are_news() {
        let last = id("1.2.45.0");
        assert!(id("1.0.0.3").is_news_after(&last), "queued again");
        assert!(id("2.1.2.0").is_news_after(&last), "another attempt");
        assert!(id("1.0.0.2").is_news_after(&id("1.0.0.3")), "another position");
        assert!(!id("1.0.0.3").is_news_after(&id("1.0.0.3")));
        assert!(id("2.1.2.0").is_news_after(&id("1.0.0.1")), "started");
    }
}
