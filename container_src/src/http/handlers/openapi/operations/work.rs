//! Provers that pull.

use edgeprove_protocol::{
    ProblemType::{self, *},
    headers,
    work::{ClaimAnswer, ClaimRequest, HeartbeatAnswer, HeartbeatRequest, OutcomeAnswer, OutcomeRequest},
};

use super::text;
use crate::http::handlers::openapi::{
    operation::{Operation, Tag},
    problems::{BODY, CALLER, JOB_STORE, WORK},
    schemas::{self, received},
};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        with_body(Operation::post("/v1/work/claims", "claimJobs", Tag::Work))
            .accepts("application/json", received::<ClaimRequest>())
            .answers::<ClaimAnswer>(200, "The claimed jobs.")
            .problems(WORK)
            .problems(&[ProverVersionMismatch, TooManyWatchers]),
        Operation::get("/v1/work/{job}/witness", "getWorkWitness", Tag::Work)
            .header(headers::LEASE, text(), "The lease.")
            .required()
            .answers_with(200, "The witnesses.", "application/octet-stream", |_| schemas::bytes())
            .problems(CALLER)
            .problems(JOB_STORE)
            .problems(OF_LEASE)
            .problems(&[ArtifactUnavailable]),
        with_body(Operation::post("/v1/work/{job}/heartbeat", "renewLease", Tag::Work))
            .accepts("application/json", received::<HeartbeatRequest>())
            .answers::<HeartbeatAnswer>(200, "The lease holds.")
            .problems(OF_LEASE),
        with_body(Operation::post("/v1/work/{job}/outcome", "endJob", Tag::Work))
            .accepts("application/json", received::<OutcomeRequest>())
            .answers::<OutcomeAnswer>(200, "The status of the job.")
            .problems(OF_LEASE)
            .problems(WORK)
            .problems(&[
                ProofRejected,
                ProverBusy,
                ProverUnavailable,
                ProverCrashed,
                ProofFailed,
                ProofTimeout,
                OutOfMemory,
                CircuitNotFound,
                CircuitUnavailable,
                TooManyCircuits,
                ArtifactUnavailable,
            ]),
    ]
}

/// The caller has no such lease.
const OF_LEASE: &[ProblemType] = &[JobNotFound, LeaseLost];

fn with_body(operation: Operation) -> Operation {
    operation.problems(CALLER).problems(JOB_STORE).problems(BODY).problems(&[InputsTooLarge])
}
