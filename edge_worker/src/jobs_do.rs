//! The Durable Object with the job queue of the edge.
//!
//! - [`protocol`]: what the Worker and the object send each other.

pub mod protocol;
