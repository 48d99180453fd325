//! Tests the server from outside: as a process of its own, with a real bb and a real CRS.
//!
//! Nothing is mocked. A test that needs a fault causes it: it suspends, kills or replaces bb, fills the disk, or cuts
//! the connection. At its end, every server is checked for what must be true of all servers; see [`support::server`].
//!
//! Processes are watched through /proc, so these tests run on Linux alone.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and a panic reports it"
)]

mod support;

mod access;
mod artifacts;
mod audit;
mod audit_of_jobs;
mod audit_trust;
mod bad_request;
mod bad_witness;
mod bb_js;
mod board;
mod built_circuits;
mod cache_files;
mod check_config;
mod circom;
mod circom_commands;
mod circom_faults;
mod circuit_commands;
mod circuit_uploads;
mod circuits;
mod command_line;
mod configuration;
mod connections;
mod cors;
mod data_folder;
mod deployments;
mod doctor;
mod edge_secret;
mod fallback_circuits;
mod inputs;
mod inputs_of_callers;
mod inputs_of_commands;
mod ipv6_crowds;
mod job_limits;
mod job_requests;
mod job_streams;
mod jobs;
mod load;
mod local_files;
mod lost_database;
mod memory;
mod metrics;
mod monitoring;
mod msm;
mod other_users;
mod page;
mod pages;
mod powers;
mod private_memory;
mod process_mode;
mod progress_bar;
mod proof_cache;
mod prover_faults;
mod proving;
mod quick_starts;
mod receipts;
mod retries;
mod scale;
mod sealing;
mod separate_callers;
mod shutdown;
mod spool_faults;
mod start;
mod start_faults;
mod statistics;
mod templates;
mod timeouts;
mod upload_bounds;
mod uploads;
mod verification_keys;
mod vouchers;
mod webhooks;
