//! How many jobs are taken in.
//!
//! What is counted is what was asked for: a job that comes back into the queue, because its attempt failed or its worker
//! died, was taken in already and is never turned away. While workers fail the queue can therefore be longer than its
//! bound, by as many jobs as were running.

/// How many jobs are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most jobs in the queue, of all owners.
    pub queued_max: u32,
    /// Most jobs of one owner that are not over.
    pub unfinished_per_owner_max: u32,
}

/// Why a job is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The queue is full.
    #[error("{queued} jobs are queued already, which is all that may")]
    Queue {
        /// Jobs in the queue.
        queued: u32,
    },
    /// The owner has as many as one may.
    #[error("{unfinished} jobs of this owner are not over yet, which is all that may")]
    Owner {
        /// The owner's jobs that are not over.
        unfinished: u32,
    },
}

impl Default for Bounds {
    fn default() -> Self {
        Self { queued_max: 100, unfinished_per_owner_max: 100 }
    }
}

impl Bounds {
    /// Whether one more is taken in beside these.
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
    fn the_last_place_is_given_and_no_more() {
        let bounds = Bounds { queued_max: 5, unfinished_per_owner_max: 3 };
        assert_eq!(bounds.admit(4, 2), Ok(()));
        assert_eq!(bounds.admit(5, 2), Err(Full::Queue { queued: 5 }));
        assert_eq!(bounds.admit(9, 2), Err(Full::Queue { queued: 9 }));
        assert_eq!(bounds.admit(4, 3), Err(Full::Owner { unfinished: 3 }));
    }
}
