//! Edgeprove's server.
/// Placeholder until the rooms stand.
pub const ROOM: () = ();
