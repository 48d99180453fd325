//! How many jobs are accepted.
//!
//! The bounds apply to new jobs only. A job that returns to the queue because its attempt failed or its worker died was
//! accepted before and is never refused. While workers fail, the queue can therefore be longer than its bound, by the
//! number of jobs that were running.

/// The maximum numbers of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum number of queued jobs, of all callers.
    pub queued_max: u32,
    /// Maximum number of unfinished jobs of one account.
    pub unfinished_per_account_max: u32,
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
    /// The account has too many unfinished jobs.
    #[error("the caller has {unfinished} unfinished jobs, the maximum")]
    Account {
        /// Number of unfinished jobs of the account.
        unfinished: u32,
    },
}

impl Default for Bounds {
    fn default() -> Self {
        Self { queued_max: 100, unfinished_per_account_max: 100 }
    }
}

impl Bounds {
    /// Accepts or refuses one more job, given these numbers of jobs.
    pub fn admit(self, queued: u32, unfinished_of_account: u32) -> Result<(), Full> {
        if unfinished_of_account >= self.unfinished_per_account_max {
            return Err(Full::Account { unfinished: unfinished_of_account });
        }
        if queued >= self.queued_max {
            return Err(Full::Queue { queued });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_accepted_up_to_the_bounds() {
        let bounds = Bounds { queued_max: 5, unfinished_per_account_max: 3 };
        assert_eq!(bounds.admit(4, 2), Ok(()));
        assert_eq!(bounds.admit(5, 2), Err(Full::Queue { queued: 5 }));
        assert_eq!(bounds.admit(9, 2), Err(Full::Queue { queued: 9 }));
        assert_eq!(bounds.admit(4, 3), Err(Full::Account { unfinished: 3 }));
    }
}
