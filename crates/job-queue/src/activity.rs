//! How many jobs this server runs, and since when it runs none.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Counts the running jobs of a server. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<String, usize>,
    ended_at: Option<Instant>,
}

/// A running job. It counts until this value is dropped.
#[derive(Debug)]
#[must_use]
pub struct Running {
    activity: Activity,
    kind: String,
}

impl Activity {
    /// Counts a job of this kind as running until the returned value is dropped.
    pub fn start(&self, kind: &str) -> Running {
        *self.0.lock().running.entry(kind.to_owned()).or_default() += 1;
        Running { activity: self.clone(), kind: kind.to_owned() }
    }

    /// The number of running jobs.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.lock().running.values().sum()
    }

    /// The number of running jobs of a kind.
    #[must_use]
    pub fn running_of(&self, kind: &str) -> usize {
        self.0.lock().running.get(kind).copied().unwrap_or(0)
    }

    /// The time since the last attempt ended; `None` if none has ended yet.
    #[must_use]
    pub fn since_last_end(&self) -> Option<Duration> {
        self.0.lock().ended_at.map(|at| at.elapsed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.activity.0.lock();
        if let Some(running) = state.running.get_mut(&self.kind) {
            *running = running.saturating_sub(1);
        }
        state.ended_at = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_counts_until_its_guard_is_dropped() {
        let activity = Activity::default();
        let first = activity.start("prove");
        let _second = activity.start("noop");
        assert_eq!((activity.running(), activity.running_of("prove")), (2, 1));
        assert!(activity.since_last_end().is_none());
        drop(first);
        assert_eq!((activity.running(), activity.running_of("prove")), (1, 0));
        assert!(activity.since_last_end().is_some());
    }
}
