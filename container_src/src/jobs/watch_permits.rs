//! How many clients may follow jobs at the same time: each holds a connection and memory for as long as its job runs.
//!
//! Unless a bound for each caller is set, a caller may open a stream while it has fewer than may still be opened. One caller
//! alone gets half of the streams, two get a third each, and a further caller finds one until the last is taken.

use std::{collections::HashMap, sync::Arc, time::Duration};

use edgeprove_protocol::{HasProblemType, ProblemType};
use parking_lot::Mutex;

/// When a refused client may try again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The maximum numbers of open streams of job events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchLimits {
    /// Of one caller: a key, or the address of a caller without one. `None` divides all streams among the callers.
    pub per_caller_max: Option<u32>,
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
    accounts: Vec<String>,
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
    /// The caller has as many as may still be opened.
    #[error(
        "the caller has {open} open event streams, its share of them: the rest is for other callers (--watchers)"
    )]
    OfShare {
        /// The streams of the caller.
        open: u32,
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

    /// The number of open streams.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.lock().all
    }

    /// Counts a stream for each of these accounts until the permit is dropped.
    pub fn admit<const N: usize>(&self, accounts: [String; N]) -> Result<WatchPermit, TooManyWatchers> {
        let WatchLimits { per_caller_max, max } = self.limits;
        let mut open = self.open.lock();
        let own = accounts.iter().filter_map(|account| open.by_account.get(account)).max();
        let own = own.copied().unwrap_or_default();
        if let Some(max) = per_caller_max.filter(|max| own >= *max) {
            return Err(TooManyWatchers::OfCaller { max });
        }
        if open.all >= max {
            return Err(TooManyWatchers::OfServer { max });
        }
        if per_caller_max.is_none() && own.saturating_add(open.all) >= max {
            return Err(TooManyWatchers::OfShare { open: own });
        }
        open.all += 1;
        for account in &accounts {
            *open.by_account.entry(account.clone()).or_default() += 1;
        }
        Ok(WatchPermit { accounts: accounts.into(), open: Arc::clone(&self.open) })
    }
}

impl Drop for WatchPermit {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        open.all = open.all.saturating_sub(1);
        for account in &self.accounts {
            if let Some(streams) = open.by_account.get_mut(account) {
                *streams -= 1;
                if *streams == 0 {
                    open.by_account.remove(account);
                }
            }
        }
    }
}

impl HasProblemType for TooManyWatchers {
    fn kind(&self) -> ProblemType {
        match self {
            Self::OfCaller { .. } | Self::OfShare { .. } => ProblemType::RateLimited,
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
        let permits = WatchPermits::new(WatchLimits { per_caller_max: Some(2), max: 3 });
        let admit = |account: &str| permits.admit([account.to_owned()]);
        let first = admit("a").unwrap();
        let second = admit("a").unwrap();
        assert_eq!(admit("a").unwrap_err(), TooManyWatchers::OfCaller { max: 2 });
        let third = admit("b").unwrap();
        assert_eq!(admit("c").unwrap_err(), TooManyWatchers::OfServer { max: 3 });
        drop(first);
        let last = admit("c").unwrap();
        drop((second, third, last));
        assert!(permits.open.lock().by_account.is_empty() && permits.open.lock().all == 0);
    }

    #[test]
    fn every_further_caller_finds_a_stream() {
        let permits = WatchPermits::new(WatchLimits { per_caller_max: None, max: 512 });
        let mut open = Vec::new();
        let shares: Vec<usize> = ["a", "b", "c", "d"]
            .map(|account| {
                let before = open.len();
                while let Ok(permit) = permits.admit([account.to_owned()]) {
                    open.push(permit);
                }
                open.len() - before
            })
            .into();
        assert_eq!(shares, [256, 128, 64, 32]);
        let refused = permits.admit(["a".to_owned()]).unwrap_err();
        assert_eq!(refused, TooManyWatchers::OfShare { open: 256 });
        assert!(permits.admit(["e".to_owned()]).is_ok());
    }

    #[test]
    fn a_stream_counts_for_each_of_its_accounts() {
        let permits = WatchPermits::new(WatchLimits { per_caller_max: Some(2), max: 9 });
        let admit = |job: &str, address: &str| permits.admit([job.to_owned(), address.to_owned()]);
        let open = [admit("job", "here"), admit("job", "there")];
        assert_eq!(admit("job", "elsewhere").unwrap_err(), TooManyWatchers::OfCaller { max: 2 });
        let other = admit("other job", "here").unwrap();
        assert!(admit("third job", "here").is_err() && admit("third job", "there").is_ok());
        drop((open, other));
        assert!(permits.open.lock().by_account.is_empty() && permits.open.lock().all == 0);
    }
}
