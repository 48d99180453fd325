//! Remembers which sealed bodies have arrived, as long as their time is within the window.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use edgeprove_spool::{Budget, Share};
use parking_lot::Mutex;

use crate::{error::UnsealError, format::ENCAPSULATED_BYTES};

/// Most bodies that are remembered. Each takes some 200 bytes.
const REMEMBERED_MAX: u64 = 1 << 17;

type Encapsulated = [u8; ENCAPSULATED_BYTES];

/// The sealed bodies that have arrived. An account may have as many as would still be free after it.
#[derive(Debug)]
pub struct Replays {
    budget: Arc<Budget>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    bodies: HashSet<Encapsulated>,
    by_expiry: BTreeSet<Remembered>,
}

/// One body. It is found by its expiry.
#[derive(Debug)]
struct Remembered {
    expires_ms: u64,
    encapsulated: Encapsulated,
    _share: Share,
}

impl Remembered {
    fn order(&self) -> (u64, &Encapsulated) {
        (self.expires_ms, &self.encapsulated)
    }
}

impl PartialEq for Remembered {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Remembered {}

impl PartialOrd for Remembered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Remembered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl Default for Replays {
    fn default() -> Self {
        Self::of_at_most(REMEMBERED_MAX)
    }
}

impl Replays {
    fn of_at_most(most: u64) -> Self {
        Self { budget: Arc::new(Budget::new(most)), seen: Mutex::default() }
    }

    /// Remembers a body until it expires. Fails if it is remembered already, or no more can be.
    pub fn remember(
        &self,
        encapsulated: Encapsulated,
        expires_ms: u64,
        account: &Arc<str>,
        now_ms: u64,
    ) -> Result<(), UnsealError> {
        let mut seen = self.seen.lock();
        while seen.by_expiry.first().is_some_and(|oldest| oldest.expires_ms <= now_ms) {
            if let Some(oldest) = seen.by_expiry.pop_first() {
                seen.bodies.remove(&oldest.encapsulated);
            }
        }
        if seen.bodies.contains(&encapsulated) {
            return Err(UnsealError::Replayed);
        }
        let share = Share::new(Arc::clone(&self.budget), Some(Arc::clone(account)));
        share.take(1).map_err(|bound| UnsealError::TooMany { bound })?;
        seen.bodies.insert(encapsulated);
        seen.by_expiry.insert(Remembered { expires_ms, encapsulated, _share: share });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use edgeprove_spool::Bound;

    use super::*;

    #[test]
    fn a_body_is_refused_until_it_expires() {
        let replays = Replays::default();
        let account = Arc::from("alice");
        let remember = |body: u8, expires, now| replays.remember([body; 32], expires, &account, now);
        assert_eq!(remember(1, 100, 10), Ok(()));
        assert_eq!(remember(2, 50, 10), Ok(()));
        assert_eq!(remember(1, 100, 99), Err(UnsealError::Replayed));
        assert_eq!(remember(1, 200, 100), Ok(()), "its time is over, which the caller checks");
        assert_eq!(replays.seen.lock().bodies.len(), 1, "expired ones are forgotten");
    }

    #[test]
    fn one_account_cannot_fill_the_memory() {
        let replays = Replays::of_at_most(8);
        let [alice, bob] = ["alice", "bob"].map(Arc::from);
        let remember = |body: u8, account| replays.remember([body; 32], 100, account, 0);
        let refused = (0..8).find_map(|body| remember(body, &alice).err());
        assert_eq!(refused, Some(UnsealError::TooMany { bound: Bound::Owner }));
        assert_eq!(remember(100, &bob), Ok(()));
        assert_eq!(replays.remember([101; 32], 200, &alice, 100), Ok(()), "expired ones are given back");
    }
}
