//! The kinds of jobs that this server runs, a file each: [`prove`], whose jobs [`proof_payload`] describes, [`build`]
//! and [`deploy`].
//!
//! A kind implements [`edgeprove_job_queue::kind::JobKind`]. A new kind is added here, and registered in
//! [`super::system`].

pub mod build;
pub mod deploy;
pub mod proof_payload;
pub mod prove;

use edgeprove_job_rules::job::Job;
use edgeprove_protocol::CircuitId;

/// The circuit that a job is about, for the audit log; `None` for kinds that have none.
#[must_use]
pub fn circuit_of(job: &Job) -> Option<CircuitId> {
    match job.kind.as_str() {
        proof_payload::KIND | build::KIND => job.subject.parse().ok(),
        deploy::KIND => deploy::Payload::of(job).ok().map(|payload| payload.circuit),
        _ => None,
    }
}

/// The id of the request that a job came with; `None` for kinds that have none.
#[must_use]
pub fn request_of(job: &Job) -> Option<String> {
    match job.kind.as_str() {
        proof_payload::KIND => proof_payload::Payload::of(job).ok().map(|payload| payload.request_id),
        build::KIND => build::Payload::of(job).ok().map(|payload| payload.request_id),
        deploy::KIND => deploy::Payload::of(job).ok().map(|payload| payload.request_id),
        _ => None,
    }
}
