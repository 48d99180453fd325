//! The kinds of jobs that this server runs, a file each: [`prove`], whose jobs [`proof_payload`] describes and whose files
//! [`job_files`] reads and writes, [`build`] and [`deploy`].
//!
//! A kind implements [`edgeprove_job_queue::kind::JobKind`]. A new kind is added here, and registered in
//! [`super::system`].

pub mod build;
pub mod deploy;
pub mod job_files;
pub mod proof_payload;
pub mod prove;

use edgeprove_job_rules::job::Job;
use edgeprove_protocol::CircuitId;

use proof_payload::JobVoucher;

/// The circuit that a job is about, for the audit log; `None` for kinds that have none.
#[must_use]
pub fn circuit_of(job: &Job) -> Option<CircuitId> {
    match job.kind.as_str() {
        proof_payload::KIND | build::KIND => job.subject.parse().ok(),
        deploy::KIND => deploy::Payload::of(job).ok().map(|payload| payload.circuit),
        _ => None,
    }
}

/// The voucher of the page that submitted a job; `None` for jobs of the holders of keys.
#[must_use]
pub fn voucher_of(job: &Job) -> Option<JobVoucher> {
    if job.kind != proof_payload::KIND {
        return None;
    }
    proof_payload::Payload::of(job).ok()?.voucher
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
