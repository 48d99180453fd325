//! The audit log's rule: what an entry says, and how each is chained to the one before it.
//!
//! Every entry's hash covers the hash before it, so that whoever changes, removes or moves one must make all later ones
//! anew. Against somebody who can do that stands an anchor: a place of the chain, noted where that somebody cannot write.
//! `docs/AUDIT.md` tells the format to those who write a verifier of their own.
//!
//! - [`entry`]: who did what, in typed members only, none of which can hold a witness.
//! - [`chain`]: hashes, and where a chain is broken.

pub mod chain;
pub mod entry;

pub use chain::{Hash, Link, Record, Verifier};
pub use entry::{Action, Actor, Entry, Outcome};
