//! The circuits that the server proves, and their keys.
//!
//! - [`registry`]: every configured circuit, loaded or not. Start here.
//! - [`family`]: the same statement at several sizes.
//! - [`circuit`]: one loaded circuit and its keys.
//! - [`key_cache`], [`peak_cache`]: files with keys and memory peaks, for the next start.

mod cache_folder;
pub mod circuit;
pub mod family;
pub mod key_cache;
pub mod peak_cache;
pub mod registry;

pub use circuit::{Circuit, Key};
pub use registry::Registry;
