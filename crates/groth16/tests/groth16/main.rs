//! Keys, proofs and contracts, against snarkjs, solc and an Ethereum virtual machine.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic reports that a test has failed")]

mod against_snarkjs;
mod contract;
mod damaged_files;
mod powers;
mod support;
