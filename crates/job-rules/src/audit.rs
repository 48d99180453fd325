//! The audit log: the content of an entry, and the chain of entries.
//!
//! The hash of each entry covers the hash of the entry before. A change of one entry therefore requires new hashes for all
//! later ones. An anchor protects against an attacker who can do that: it is the number and hash of an entry, stored where the
//! attacker cannot write. `docs/AUDIT.md` describes the format for other verifiers.
//!
//! - [`entry`]: who did what, in typed members only, none of which can hold a witness.
//! - [`chain`]: hashes, and where a chain is broken.

pub mod chain;
pub mod entry;

pub use chain::{Hash, Link, Record, Verifier};
pub use entry::{Action, Actor, Entry, Outcome};
