//! One file for each endpoint.

pub mod audit;
pub mod health;
pub mod index;
pub mod problems;
pub mod prove;
