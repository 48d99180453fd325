//! One way to prove: from a spooled witness to a verified proof.

pub mod circuits;
pub mod proof_cache;
pub mod proof_service;
pub mod proving;
pub mod scheduler;
pub mod witness;

#[cfg(test)]
mod test_support;
