//! How many jobs are accepted.
//!
//! The bounds apply to new jobs only. A job that returns to the queue because its attempt failed or its worker died was
//! accepted before and is never refused. While workers fail, the queue can therefore be longer than its bound, by the
//! number of jobs that were running.

/// The numbers of jobs that a new job is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Queued jobs of all callers.
    pub queued: u32,
    /// Queued jobs of the account.
    pub queued_of_account: u32,
    /// Unfinished jobs of the account, running or queued.
    pub unfinished_of_account: u32,
}

/// The maximum numbers of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum number of queued jobs, of all callers.
    pub queued_max: u32,
    /// Maximum number of unfinished jobs of one account.
    pub unfinished_per_account_max: u32,
    /// Whether an account may queue a job only while it has fewer queued jobs than there are free slots. One account alone gets
    /// half of the queue, two get a third each, and a further account always finds a place until the last one is taken.
    pub has_shares: bool,
}

/// Why a job is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The queue is full.
    #[error("the queue is full: {queued} jobs are queued")]
    Queue {
        /// Number of queued jobs.
        queued: u32,
    },
    /// The account has as many queued jobs as there are free slots.
    #[error(
        "the caller has {queued} queued jobs, its share of the queue: the free slots are for other callers"
    )]
    Share {
        /// Number of queued jobs of the account.
        queued: u32,
    },
    /// The account has too many unfinished jobs.
    #[error("the caller has {unfinished} unfinished jobs, the maximum")]
    Account {
        /// Number of unfinished jobs of the account.
        unfinished: u32,
    },
}

impl Default for Bounds {
    fn default() -> Self {
        Self { queued_max: 100, unfinished_per_account_max: 100, has_shares: false }
    }
}

impl Bounds {
    /// Accepts or refuses one more job, given these numbers of jobs.
    pub fn admit(self, load: Load) -> Result<(), Full> {
        let Load { queued, queued_of_account, unfinished_of_account } = load;
        if unfinished_of_account >= self.unfinished_per_account_max {
            return Err(Full::Account { unfinished: unfinished_of_account });
        }
        if queued >= self.queued_max {
            return Err(Full::Queue { queued });
        }
        if self.has_shares && queued.saturating_add(queued_of_account) >= self.queued_max {
            return Err(Full::Share { queued: queued_of_account });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_accepted_up_to_the_bounds() {
        let bounds = Bounds { queued_max: 5, unfinished_per_account_max: 3, has_shares: false };
        let admit = |queued, unfinished_of_account| {
            bounds.admit(Load { queued, queued_of_account: 2, unfinished_of_account })
        };
        assert_eq!(admit(4, 2), Ok(()));
        assert_eq!(admit(5, 2), Err(Full::Queue { queued: 5 }));
        assert_eq!(admit(9, 2), Err(Full::Queue { queued: 9 }));
        assert_eq!(admit(4, 3), Err(Full::Account { unfinished: 3 }));
    }

    #[test]
    fn every_further_account_finds_a_place() {
        let queued_max = 100;
        let bounds = Bounds { queued_max, unfinished_per_account_max: u32::MAX, has_shares: true };
        let (mut queued, mut shares) = (0, Vec::new());
        while queued < queued_max {
            let mut own = 0;
            let load = |own| Load { queued: queued + own, queued_of_account: own, ..Load::default() };
            while bounds.admit(load(own)).is_ok() {
                own += 1;
            }
            queued += own;
            shares.push(own);
        }
        assert_eq!(shares, [50, 25, 13, 6, 3, 2, 1]);
        let alone = Load { queued: 50, queued_of_account: 50, ..Load::default() };
        assert_eq!(bounds.admit(alone), Err(Full::Share { queued: 50 }));
        let one = Bounds { queued_max: 1, ..bounds };
        assert_eq!(one.admit(Load::default()), Ok(()));
    }
}
