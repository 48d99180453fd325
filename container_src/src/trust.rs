//! Who may do what, and what is told of it afterwards.
//!
//! - [`access`]: keys, roles, rates and quotas.
//! - [`audit`]: the log that shows whether it was changed.

pub mod access;
pub mod audit;
