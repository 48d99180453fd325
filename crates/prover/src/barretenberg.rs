//! Proving with Barretenberg's `bb`.
//!
//! - [`wire`]: bb's msgpack commands and answers, as bytes.
//! - [`daemon`]: one warm `bb msgpack run` and the task that owns it.
//! - [`warm`]: the backend that keeps daemons of every width ready.
//! - [`process`]: the backend that starts one `bb prove` for each proof.
//! - [`version`]: the handshake with the program file itself.

pub mod crs;
pub mod daemon;
pub mod process;
pub mod version;
pub mod warm;
pub mod wire;
