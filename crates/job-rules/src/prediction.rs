//! Estimates of how long work will take, from how long such work took.
//!
//! Durations have outliers: a cold cache, a paused machine, a clock that was set. The median and the median of the
//! deviations from it (MAD) do not care how far out an outlier lies, only how many there are, and stay put until half of
//! what is remembered is off. Only the latest durations are remembered, so that a changed machine is learnt of.
//!
//! With few samples the deviation is known badly, and of one sample it is nothing at all. It is therefore blended with
//! an assumed one of half the median that counts for [`ASSUMED_SAMPLES`] samples:
//!
//! ```text
//! spread     = (n * 1.4826 * MAD + 4 * median / 2) / (n + 4)      1.4826 * MAD is the standard deviation
//! interval   = median ± 2 * spread                                 of what is normally distributed
//! confidence = n / (n + 4) * median / (median + spread)
//! ```
//!
//! The interval narrows as samples come in, and the confidence rises towards 1 for work that always takes the same.

use std::{collections::VecDeque, num::NonZeroUsize, time::Duration};

/// How many durations are remembered of one kind of work.
pub const WINDOW: usize = 64;
/// How many samples the assumed deviation counts for.
pub const ASSUMED_SAMPLES: usize = 4;

/// The standard deviation of a normal distribution over its MAD.
const SIGMA_PER_MAD: f64 = 1.4826;
/// The deviation that is assumed before there are samples, as a part of the median.
const ASSUMED_SPREAD: f64 = 0.5;

/// The latest durations of one kind of work on one subject, such as proofs of one circuit, with any number of cores.
#[derive(Debug, Clone, Default)]
pub struct History(VecDeque<Duration>);

/// How long something will take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The expected time.
    pub expected: Duration,
    /// It hardly takes less.
    pub low: Duration,
    /// It hardly takes more.
    pub high: Duration,
    /// The confidence, from 0 to 1.
    pub confidence: f64,
}

/// Work that is under way.
#[derive(Debug, Clone, Copy)]
pub struct Underway {
    /// The estimated total duration.
    pub estimate: Estimate,
    /// The time since it started.
    pub elapsed: Duration,
}

/// Work of one sort that waits.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    /// How long each takes.
    pub estimate: Estimate,
    /// How many there are.
    pub jobs: u64,
}

impl History {
    /// Remembers one more, and forgets the oldest of more than [`WINDOW`].
    pub fn record(&mut self, took: Duration) {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(took);
    }

    /// The number of durations that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there was none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long the next one will take; `None` before there was any.
    #[must_use]
    pub fn estimate(&self) -> Option<Estimate> {
        let seconds: Vec<f64> = self.0.iter().map(Duration::as_secs_f64).collect();
        let middle = median(seconds.clone())?;
        let mad = median(seconds.iter().map(|took| (took - middle).abs()).collect())?;
        let (samples, assumed) = (count(seconds.len()), count(ASSUMED_SAMPLES));
        let spread =
            (samples * SIGMA_PER_MAD * mad + assumed * ASSUMED_SPREAD * middle) / (samples + assumed);
        let steadiness = if middle > 0.0 { middle / (middle + spread) } else { 1.0 };
        Some(Estimate {
            expected: duration(middle),
            low: duration(middle - 2.0 * spread),
            high: duration(middle + 2.0 * spread),
            confidence: samples / (samples + assumed) * steadiness,
        })
    }
}

impl FromIterator<Duration> for History {
    /// The oldest first.
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut history = Self::default();
        durations.into_iter().for_each(|took| history.record(took));
        history
    }
}

impl Estimate {
    /// Nothing to do, for certain.
    pub const NOTHING: Self =
        Self { expected: Duration::ZERO, low: Duration::ZERO, high: Duration::ZERO, confidence: 1.0 };

    /// The number of words of an encoded estimate.
    pub(crate) const PARTS: usize = 4;

    /// The sum of both. Deviations add up, which is right for work that is slow for the same reason, and cautious
    /// for all other.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            expected: self.expected.saturating_add(next.expected),
            low: self.low.saturating_add(next.low),
            high: self.high.saturating_add(next.high),
            confidence: self.confidence.min(next.confidence),
        }
    }

    /// The time that is left after this much of it. It never rises, and is never zero.
    ///
    /// Near its end and beyond, a part of the interval is left, which shrinks the longer the work is overdue.
    #[must_use]
    pub fn remaining(self, elapsed: Duration) -> Self {
        let least = Duration::from_millis(1);
        let reserve = self.high.saturating_sub(self.expected) / 4;
        let lateness = self.expected.as_secs_f64() / elapsed.max(self.expected).as_secs_f64();
        let left = if lateness.is_finite() { reserve.mul_f64(lateness) } else { reserve }.max(least);
        Self {
            expected: self.expected.saturating_sub(elapsed).max(left),
            low: self.low.saturating_sub(elapsed),
            high: self.high.saturating_sub(elapsed).max(left.saturating_mul(2)),
            confidence: if elapsed <= self.expected { self.confidence } else { self.confidence / 2.0 },
        }
    }

    /// The estimate as text, for the row of a job.
    #[must_use]
    pub fn encode(&self) -> String {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let Self { expected, low, high, confidence } = *self;
        // Formatting a fraction would be the only such use in the Worker, and a part of its size.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 1000")]
        let thousandths = (confidence.clamp(0.0, 1.0) * 1000.0).round() as u32;
        let (whole, rest) = (thousandths / 1000, thousandths % 1000);
        format!("{} {} {} {whole}.{rest:03}", ms(expected), ms(low), ms(high))
    }

    /// Reads an estimate back; `None` if this version did not write it. What follows it is ignored.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let mut ms = || parts.next()?.parse().ok().map(Duration::from_millis);
        let (expected, low, high) = (ms()?, ms()?, ms()?);
        let confidence = parts.next()?.parse().ok()?;
        Some(Self { expected, low, high, confidence })
    }

    /// Whether it cannot be met that this is over within `limit`, however well it goes. Work is refused for this reason
    /// only when the refusal is certain enough.
    #[must_use]
    pub fn exceeds(self, limit: Duration) -> bool {
        self.low > limit
    }

    /// The value of `Retry-After`, in seconds: rounded up, and at least 1.
    #[must_use]
    pub fn retry_after_s(self) -> u64 {
        let whole = self.expected.as_secs();
        (whole + u64::from(self.expected.subsec_nanos() > 0)).max(1)
    }
}

/// The time until a worker is free for a job, given the running work and the jobs ahead of it. With no job ahead and an idle
/// worker, that is [`Estimate::NOTHING`].
///
/// Each job goes to the worker that is free first, as it will in fact, one sort of them after the other. The three
/// figures are three runs of this: one where everything goes well, one as expected, one where everything goes badly.
/// It takes as long for ten thousand jobs as for ten.
#[must_use]
pub fn wait(workers: NonZeroUsize, underway: &[Underway], ahead: &[Waiting]) -> Estimate {
    let remaining: Vec<Estimate> =
        underway.iter().map(|work| work.estimate.remaining(work.elapsed)).collect();
    let run = |figure: fn(&Estimate) -> Duration| {
        let mut free_at: Vec<Duration> = remaining.iter().map(figure).collect();
        free_at.resize(free_at.len().max(workers.get()), Duration::ZERO);
        free_at.sort_unstable();
        // More work may be under way than there are workers, when their number was just lowered.
        let mut free_at = free_at.split_off(free_at.len() - workers.get());
        for waiting in ahead {
            give_out(&mut free_at, figure(&waiting.estimate), waiting.jobs);
        }
        free_at.first().copied().unwrap_or_default()
    };
    let ahead = ahead.iter().map(|waiting| &waiting.estimate);
    let confidences = remaining.iter().chain(ahead).map(|estimate| estimate.confidence);
    Estimate {
        expected: run(|estimate| estimate.expected),
        low: run(|estimate| estimate.low),
        high: run(|estimate| estimate.high),
        confidence: confidences.fold(1.0, f64::min),
    }
}

/// Gives so many jobs to workers, each to the one that is free first. `free_at` is and stays sorted.
fn give_out(free_at: &mut [Duration], took: Duration, mut jobs: u64) {
    let workers = free_at.len() as u64;
    while jobs > 0 && !took.is_zero() {
        let (Some(&soonest), Some(&latest)) = (free_at.first(), free_at.last()) else { break };
        if latest.abs_diff(soonest) <= took && jobs >= workers {
            // From now on each has one in turn, and the order stays as it is.
            let rounds = u32::try_from(jobs / workers).unwrap_or(u32::MAX);
            for at in free_at.iter_mut() {
                *at = at.saturating_add(took.saturating_mul(rounds));
            }
            jobs -= u64::from(rounds) * workers;
        } else {
            let next = soonest.saturating_add(took);
            let place = free_at[1..].partition_point(|at| *at < next);
            free_at.copy_within(1..=place, 0);
            free_at[place] = next;
            jobs -= 1;
        }
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests;
