//! What is left of a caller's limits.

use std::time::Duration;

/// One limit of a caller, and what is left of it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Which limit it is.
    pub limit: LimitName,
    /// The whole quota.
    pub quota: u32,
    /// The time for which the quota is; `None` for a number of unfinished proofs.
    pub window: Option<Duration>,
    /// What is left of the quota.
    pub remaining: u32,
    /// The time until the quota is whole again; `None` for a number of unfinished proofs.
    pub reset: Option<Duration>,
}

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitName {
    /// Requests in a short time.
    Requests,
    /// Proofs of a day by UTC.
    ProofsPerDay,
    /// Proofs that a caller waits for.
    Unfinished,
}
