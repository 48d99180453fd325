//! Roles and limits of callers.

pub use edgeprove_protocol::role::{Forbidden, Role, UnknownRole};

/// A rate limit: a bucket of `burst` requests that refills by `per_minute`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests per minute, at least 1.
    pub per_minute: u32,
    /// Requests at once after a pause, at least 1.
    pub burst: u32,
}

/// Limits of a caller. `None` is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Rate of requests.
    pub rate: Option<Rate>,
    /// Proofs per day, by UTC.
    pub proofs_per_day: Option<u32>,
    /// Unfinished proofs, running or waiting.
    pub unfinished_max: Option<u32>,
}
