//! The kinds of jobs that this server runs, a file each. [`proof_payload`] describes the jobs of [`prove`].
//!
//! A kind implements [`edgeprove_job_queue::kind::JobKind`]. A new kind is added here, and registered in
//! [`super::system`].

pub mod proof_payload;
pub mod prove;

use edgeprove_job_rules::job::Job;
use edgeprove_protocol::CircuitId;

/// The circuit that a job is about, for the audit log; `None` for kinds that have none.
#[must_use]
pub fn circuit_of(job: &Job) -> Option<CircuitId> {
    match job.kind.as_str() {
        proof_payload::KIND => job.subject.parse().ok(),
        _ => None,
    }
}
