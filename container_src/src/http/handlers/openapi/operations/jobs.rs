//! Jobs: listed, read, followed, cancelled.

use edgeprove_protocol::{
    JobDocument, Priority,
    ProblemType::*,
    answer::{Calldata, PROOF_MEDIA_TYPE, ProofAnswer, TAR_MEDIA_TYPE},
    endpoints::LINK_TOKEN,
    headers,
    job::JobPage,
};
use serde_json::{Value, json};

use super::{circuit, one_of, text, whole};
use crate::http::handlers::openapi::{
    operation::{Operation, Tag},
    problems::{CALLER, JOB_STORE},
    schemas::{self, ProofForm},
};

/// The longest age of a job in a filter: a year, in seconds.
const AGE_MAX_S: u64 = 366 * 24 * 3600;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        filter(Operation::get("/v1/proofs", "listJobs", Tag::Jobs), 200)
            .query("total", one_of(["true", "false"]), "Whether the number of jobs on all pages is wanted.")
            .answers::<JobPage>(200, "A page of jobs.")
            .problems(CALLER)
            .problems(JOB_STORE),
        Operation::get("/v1/proofs/{id}", "getJob", Tag::Jobs)
            .query(LINK_TOKEN, text(), "The token of the job's link.")
            .answers::<JobDocument>(200, "The job.")
            .problems(CALLER)
            .problems(JOB_STORE)
            .problems(&[JobNotFound, JobExpired]),
        Operation::delete("/v1/proofs/{id}", "cancelJob", Tag::Jobs)
            .answers::<JobDocument>(200, "The job, which is cancelled.")
            .answers::<JobDocument>(202, "The job, whose prover has yet to stop.")
            .problems(CALLER)
            .problems(JOB_STORE)
            .problems(&[JobNotFound, JobAlreadyFinished, AuditUnavailable]),
        Operation::get("/v1/proofs/{id}/proof", "getProof", Tag::Jobs)
            .answers::<ProofAnswer<ProofForm>>(200, "The proof.")
            .answers_with(200, "The proof.", PROOF_MEDIA_TYPE, |_| schemas::bytes())
            .answers_with(200, "The proof.", TAR_MEDIA_TYPE, |_| schemas::bytes())
            .with_headers(
                200,
                &[headers::PUBLIC_INPUTS, headers::CIRCUIT_ID, headers::VK_HASH, headers::PROOF_HASH],
            )
            .problems(CALLER)
            .problems(JOB_STORE)
            .problems(OF_RESULT),
        Operation::get("/v1/proofs/{id}/calldata", "getCalldata", Tag::Jobs)
            .answers::<Calldata>(200, "The call of the verifier contract.")
            .problems(CALLER)
            .problems(JOB_STORE)
            .problems(OF_RESULT),
        Operation::post("/v1/proofs/{id}/retry", "retryJob", Tag::Operators)
            .answers::<JobDocument>(202, "The job, which is queued again.")
            .problems(CALLER)
            .problems(JOB_STORE)
            .problems(&[JobNotFound, JobNotRetryable, QueueFull, TooManyJobs, AuditUnavailable]),
        events(Operation::get("/v1/proofs/{id}/events", "followJob", Tag::Jobs))
            .query(LINK_TOKEN, text(), "The token of the job's link.")
            .problems(CALLER)
            .problems(JOB_STORE)
            .problems(&[JobNotFound, JobExpired, TooManyWatchers, NotReady]),
        filter(Operation::post("/v1/board/cancel", "cancelJobs", Tag::Operators), 100)
            .answers::<edgeprove_protocol::board::BatchResult>(200, "A batch.")
            .problems(CALLER)
            .problems(JOB_STORE)
            .problems(&[AuditUnavailable, NotReady]),
        filter(Operation::post("/v1/board/retry", "retryJobs", Tag::Operators), 100)
            .answers::<edgeprove_protocol::board::BatchResult>(200, "A batch.")
            .problems(CALLER)
            .problems(JOB_STORE)
            .problems(&[AuditUnavailable, NotReady, QueueFull]),
    ]
}

/// Why there is no proof of a job.
const OF_RESULT: &[edgeprove_protocol::ProblemType] = &[
    JobNotFound,
    ProofNotReady,
    JobCancelled,
    JobExpired,
    ArtifactUnavailable,
    ProofFailed,
    ProofInvalid,
    ProofTimeout,
    ProverCrashed,
    ProverUnavailable,
    ProverBusy,
    OutOfMemory,
    WorkerLost,
    CircuitNotFound,
    CircuitUnavailable,
    WitnessUnsatisfied,
    WitnessOfAnotherCircuit,
    WitnessMalformed,
    WitnessCorrupt,
    WitnessTruncated,
    WitnessTooLargeDecompressed,
    ProofRejected,
    AuditUnavailable,
    SpoolUnavailable,
    CircuitCompilationFailed,
    TooManyCircuits,
    WitnessPreparationFailed,
];

/// Events of a job or a build: server-sent, or messages of a WebSocket.
pub(super) fn events(operation: Operation) -> Operation {
    operation
        .query("last_event_id", text(), "The id of the last event that was seen.")
        .header("last-event-id", text(), "The same, as a browser sends it.")
        .answers_with(200, "The events, as server-sent events.", "text/event-stream", |_| schemas::events())
        .answers_empty(101, "The events, as messages of a WebSocket, where the request asks for one.")
        .answers_empty(204, "The last event was seen.")
}

/// The filter of jobs.
fn filter(operation: Operation, page_max: u64) -> Operation {
    let statuses = json!({
        "type": "string",
        "pattern": "^(queued|running|completed|failed|cancelled|expired)(,(queued|running|completed|failed|cancelled|expired))*$",
    });
    let number = |description: &str| -> (Value, String) { (whole(0, AGE_MAX_S), description.to_owned()) };
    let (min_age, min_text) = number("The least age, in seconds.");
    let (max_age, max_text) = number("The largest age, in seconds.");
    operation
        .query("status", statuses, "One or several statuses.")
        .query("circuit", circuit(), "The circuit.")
        .query("id", json!({ "type": "string", "pattern": "^[0-9a-z-]{1,64}$" }), "How the id begins.")
        .query("min_age", min_age, &min_text)
        .query("max_age", max_age, &max_text)
        .query(
            "problem",
            json!({ "type": "string", "pattern": "^[a-z0-9_]{1,64}$" }),
            "The code of the problem.",
        )
        .query("priority", one_of(Priority::ALL.map(Priority::as_str)), "The priority.")
        .query("order", one_of(["latest", "oldest"]), "Which jobs come first.")
        .query("limit", whole(1, page_max), "The number of jobs.")
        .query(
            "after",
            json!({ "type": "integer" }),
            "Where the page starts: `next` of the previous one has it.",
        )
        .query("owner", text(), "Whose jobs, or `all`. For operators and observers.")
        .query("kind", text(), "The kind of the jobs, or `all`. For operators and observers.")
        .query(
            "container",
            whole(0, 9999),
            "The container, behind an edge whose containers keep their own jobs.",
        )
}
