//! The engine: from an uploaded witness to a verified proof.
//!
//! Requests, jobs and the command line prove through [`proof_service`]. The engine knows proofs, circuits and provers. It
//! knows neither HTTP nor the job queue.
//!
//! Reading order: [`proof_service`] first, then [`proving`], [`scheduler`] and [`witness`].
//!
//! Imports run down this list only.
//!
//! - [`proof_service`]: the one way to prove: cache, fallback, estimates, metrics and the audit entry of a proof.
//! - [`proof_cache`]: proofs of the recent past, per tenant.
//! - [`proving`]: the proving core: admit, prove, verify.
//! - [`witness`]: the checks of a witness while it is uploaded, and its copies in the spool.
//! - [`circuits`]: the circuits that the server proves, and their keys.
//! - [`proof_systems`]: how a circuit's file is read and how its witnesses are checked and judged; Noir's is one.
//! - [`scheduler`]: when a proof starts, and with how many cores.

pub mod circuits;
pub mod proof_cache;
pub mod proof_service;
pub mod proof_systems;
pub mod proving;
pub mod scheduler;
pub mod witness;

pub use edgeprove_prover::private_thread;
