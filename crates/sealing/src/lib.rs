//! Sealed bodies: a client encrypts a witness or inputs for the server alone, by HPKE (RFC 9180), so that nothing between
//! the two can read or change it. docs/SEALING.md describes the format.
//!
//! In scope: keys, the format, what a body is bound to, and replays. Out of scope: HTTP, and where bodies come from. The
//! present is an argument everywhere, in milliseconds since 1970.
//!
//! Reading order:
//! - [`secret`]: the secret that servers share.
//! - [`mod@format`]: the bytes of a sealed body.
//! - [`binding`]: what a body is bound to.
//! - [`error`]: why a body is refused.
//! - [`keys`]: the keys of a server, and how they follow each other.
//! - [`replays`]: which bodies have arrived before.
//! - [`unsealing`]: opens a body while it arrives.
//! - [`sealing`]: seals a body, for clients in Rust.

pub mod binding;
pub mod error;
pub mod format;
pub mod keys;
pub mod replays;
pub mod sealing;
pub mod secret;
pub mod unsealing;

pub use binding::Binding;
pub use error::UnsealError;
pub use keys::{KeySource, SealingKeys};
pub use replays::Replays;
pub use secret::SealingSecret;
pub use unsealing::{Arrival, Unsealer, Unsealing};

#[cfg(test)]
mod tests;
