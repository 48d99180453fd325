//! How many clients may follow jobs at the same time: each holds a connection and memory for as long as its job runs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use edgeprove_protocol::{HasProblemType, ProblemType};
use parking_lot::Mutex;

/// When a refused client may try again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The maximum numbers of open streams of job events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchLimits {
    /// Of one caller: a key, or the address of a caller without one.
    pub per_caller_max: u32,
    /// Of all callers.
    pub max: u32,
}

/// Counts the open streams of job events. Clones share the counts.
#[derive(Debug, Clone)]
pub struct WatchPermits {
    limits: WatchLimits,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    all: u32,
    by_account: HashMap<String, u32>,
}

/// The permit of one open stream.
#[derive(Debug)]
pub struct WatchPermit {
    account: String,
    open: Arc<Mutex<Open>>,
}

/// A stream was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooManyWatchers {
    /// The caller has too many.
    #[error("at most {max} open event streams of one caller (--watchers-per-caller)")]
    OfCaller {
        /// The limit.
        max: u32,
    },
    /// All callers together have too many.
    #[error("at most {max} open event streams of all callers (--watchers)")]
    OfServer {
        /// The limit.
        max: u32,
    },
}

impl WatchPermits {
    /// No stream is open yet.
    #[must_use]
    pub fn new(limits: WatchLimits) -> Self {
        Self { limits, open: Arc::default() }
    }

    /// Counts a stream of this account until the permit is dropped.
    pub fn admit(&self, account: &str) -> Result<WatchPermit, TooManyWatchers> {
        let WatchLimits { per_caller_max, max } = self.limits;
        let mut open = self.open.lock();
        if open.by_account.get(account).is_some_and(|&streams| streams >= per_caller_max) {
            return Err(TooManyWatchers::OfCaller { max: per_caller_max });
        }
        if open.all >= max {
            return Err(TooManyWatchers::OfServer { max });
        }
        open.all += 1;
        *open.by_account.entry(account.to_owned()).or_default() += 1;
        Ok(WatchPermit { account: account.to_owned(), open: Arc::clone(&self.open) })
    }
}

impl Drop for WatchPermit {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        open.all = open.all.saturating_sub(1);
        if let Some(streams) = open.by_account.get_mut(&self.account) {
            *streams -= 1;
            if *streams == 0 {
                open.by_account.remove(&self.account);
            }
        }
    }
}

impl HasProblemType for TooManyWatchers {
    fn kind(&self) -> ProblemType {
        match self {
            Self::OfCaller { .. } => ProblemType::RateLimited,
            Self::OfServer { .. } => ProblemType::TooManyWatchers,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(RETRY_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_bounded_by_caller_and_in_all() {
        let permits = WatchPermits::new(WatchLimits { per_caller_max: 2, max: 3 });
        let first = permits.admit("a").unwrap();
        let second = permits.admit("a").unwrap();
        assert_eq!(permits.admit("a").unwrap_err(), TooManyWatchers::OfCaller { max: 2 });
        let third = permits.admit("b").unwrap();
        assert_eq!(permits.admit("c").unwrap_err(), TooManyWatchers::OfServer { max: 3 });
        drop(first);
        let last = permits.admit("c").unwrap();
        drop((second, third, last));
        assert!(permits.open.lock().by_account.is_empty() && permits.open.lock().all == 0);
    }
}
