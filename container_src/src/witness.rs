//! Uploads: streamed to disk while they are checked, and gone without a trace afterwards.
//!
//! - [`intake`]: takes an upload in, refusing at the first byte that shows it is no witness. Start here.
//! - [`stack`]: holds the inflated bytes against Noir's format and the circuit's shape.
//! - [`spool`]: the files it all lives in, which wipe themselves.

pub mod intake;
pub mod spool;
pub mod stack;
