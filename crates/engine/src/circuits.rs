//! What can be proved, and under which keys.
//!
//! - [`artifact`]: a compiled circuit's file, parsed.
//! - [`registry`]: every circuit the server was given, loaded or not.
//! - [`circuit`]: one loaded circuit and its keys.
//! - [`vk_cache`], [`peak_cache`]: keys, and what proofs took, kept between starts.
//! - [`shape`], [`satisfaction`]: what a circuit's own constraints say of a witness.

pub mod artifact;
pub mod circuit;
pub mod family;
pub mod peak_cache;
pub mod registry;
pub mod satisfaction;
pub mod shape;
pub mod vk_cache;

pub use circuit::{Circuit, Key};
pub use registry::Registry;
