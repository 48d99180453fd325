//! How many jobs are accepted.
//!
//! The bounds apply to new jobs only. A job that returns to the queue because its attempt failed or its worker died was
//! accepted before and is never refused. While workers fail, the queue can therefore be longer than its bound, by the
//! number of jobs that were running.

/// The maximum numbers of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum number of queued jobs, of all owners.
    pub queued_max: u32,
    /// Maximum number of unfinished jobs of one owner.
    pub unfinished_per_owner_max: u32,
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
    /// The owner has too many unfinished jobs.
    #[error("the owner has {unfinished} unfinished jobs, the maximum")]
    Owner {
        /// Number of unfinished jobs of the owner.
        unfinished: u32,
    },
}

impl Default for Bounds {
    fn default() -> Self {
        Self { queued_max: 100, unfinished_per_owner_max: 100 }
    }
}

impl Bounds {
    /// Accepts or refuses one more job, given these numbers of jobs.
    pub fn admit(self, queued: u32, unfinished_of_owner: u32) -> Result<(), Full> {
        if unfinished_of_owner >= self.unfinished_per_owner_max {
            return Err(Full::Owner { unfinished: unfinished_of_owner });
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
        let bounds = Bounds { queued_max: 5, unfinished_per_owner_max: 3 };
        assert_eq!(bounds.admit(4, 2), Ok(()));
        assert_eq!(bounds.admit(5, 2), Err(Full::Queue { queued: 5 }));
        assert_eq!(bounds.admit(9, 2), Err(Full::Queue { queued: 9 }));
        assert_eq!(bounds.admit(4, 3), Err(Full::Owner { unfinished: 3 }));
    }
}
