//! Bounds the bytes of all files in a spool, or of other things of callers, and divides them among their owners.
//!
//! An owner may store as many bytes as would still be free after it. One owner alone gets half of the spool, two get a
//! third each, and a further owner always finds some space. No owner has to be known in advance.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// Why bytes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// All files together have as many bytes as they may.
    All,
    /// The files of this owner have as many bytes as they may.
    Owner,
}

/// Bytes that owners share.
#[derive(Debug)]
pub struct Budget {
    max_bytes: u64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    total: u64,
    owners: HashMap<Arc<str>, u64>,
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        Self { max_bytes, used: Mutex::default() }
    }

    /// The bytes of all owners together.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.used.lock().total
    }

    fn take(&self, owner: Option<&Arc<str>>, bytes: u64) -> Result<(), Bound> {
        let mut used = self.used.lock();
        let total = used.total.saturating_add(bytes);
        let Some(free) = self.max_bytes.checked_sub(total) else { return Err(Bound::All) };
        if let Some(owner) = owner {
            let own = used.owners.get(owner).copied().unwrap_or_default().saturating_add(bytes);
            if own > free {
                return Err(Bound::Owner);
            }
            used.owners.insert(Arc::clone(owner), own);
        }
        used.total = total;
        Ok(())
    }

    fn give_back(&self, owner: Option<&Arc<str>>, bytes: u64) {
        let mut used = self.used.lock();
        used.total = used.total.saturating_sub(bytes);
        let Some(owner) = owner else { return };
        if let Some(own) = used.owners.get_mut(owner) {
            *own = own.saturating_sub(bytes);
            if *own == 0 {
                used.owners.remove(owner);
            }
        }
    }
}

/// The bytes of one file. Dropping it gives them back.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    owner: Option<Arc<str>>,
    bytes: Mutex<u64>,
}

impl Share {
    /// No bytes yet.
    #[must_use]
    pub fn new(budget: Arc<Budget>, owner: Option<Arc<str>>) -> Self {
        Self { budget, owner, bytes: Mutex::new(0) }
    }

    /// Adds bytes to the file, if they are within the bounds.
    pub fn take(&self, bytes: u64) -> Result<(), Bound> {
        let mut own = self.bytes.lock();
        self.budget.take(self.owner.as_ref(), bytes)?;
        *own += bytes;
        Ok(())
    }

    /// Gives all bytes back.
    pub(crate) fn give_back(&self) {
        self.budget.give_back(self.owner.as_ref(), std::mem::take(&mut *self.bytes.lock()));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(budget: &Arc<Budget>, owner: Option<&str>) -> Share {
        Share::new(Arc::clone(budget), owner.map(Arc::from))
    }

    #[test]
    fn one_owner_gets_half_and_another_still_finds_space() {
        let budget = Arc::new(Budget::new(100));
        let greedy = [share(&budget, Some("a")), share(&budget, Some("a"))];
        assert_eq!(greedy[0].take(30), Ok(()));
        assert_eq!(greedy[1].take(21), Err(Bound::Owner));
        assert_eq!(greedy[1].take(20), Ok(()));
        let other = share(&budget, Some("b"));
        assert_eq!(other.take(26), Err(Bound::Owner));
        assert_eq!(other.take(25), Ok(()));
        assert_eq!(share(&budget, Some("c")).take(12), Ok(()));
        assert_eq!(budget.used_bytes(), 75, "a dropped share is free again");
        drop(greedy);
        assert_eq!(other.take(12), Ok(()));
        drop(other);
        assert_eq!(budget.used_bytes(), 0);
        assert!(budget.used.lock().owners.is_empty());
    }

    #[test]
    fn files_without_an_owner_count_for_all() {
        let budget = Arc::new(Budget::new(100));
        let ours = share(&budget, None);
        assert_eq!(ours.take(90), Ok(()));
        assert_eq!(ours.take(11), Err(Bound::All));
        let owner = share(&budget, Some("a"));
        assert_eq!((owner.take(6), owner.take(5)), (Err(Bound::Owner), Ok(())));
        assert_eq!(share(&budget, Some("b")).take(u64::MAX), Err(Bound::All));
    }
}
