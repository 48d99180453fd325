//! Proofs: made while the caller waits, or as a job; and verified.

use edgeprove_protocol::{
    JobDocument, Priority,
    ProblemType::*,
    answer::{NewVoucher, PROOF_MEDIA_TYPE, ProofAnswer, TAR_MEDIA_TYPE, Verdict},
    headers,
    voucher::CIRCUITS_MAX,
};
use serde_json::{Value, json};

use super::{circuit, one_of, target, text};
use crate::http::handlers::openapi::{
    operation::{Operation, Tag},
    problems::{BODY, CALLER, CIRCUIT, JOB_STORE, PROVING, SUBMISSION, WITNESS, WORK},
    schemas::{self, ProofForm},
};

/// A proof with its public inputs.
const PROVED: &str = "The proof.";
/// The headers of a proof.
const PROOF_HEADERS: [&str; 8] = [
    headers::PUBLIC_INPUTS,
    headers::CIRCUIT_ID,
    headers::VK_HASH,
    headers::PROOF_HASH,
    headers::RECEIPT,
    headers::VERIFIED,
    headers::PROOF_CACHE,
    headers::FALLBACK_FROM,
];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        submission(Operation::post("/api/prove", "proveDefault", Tag::Proofs)),
        submission(Operation::post("/api/prove/{circuit}", "prove", Tag::Proofs)),
        submission(Operation::post("/v1/proofs", "submitJob", Tag::Jobs)),
        Operation::post("/v1/verify/{circuit}", "verify", Tag::Proofs)
            .query("on", one_of(["backend", "evm"]), "What verifies: the backend, or the verifier contract.")
            .query("target", target(), "The target of the proof.")
            .accepts("application/json", schemas::sent_proof())
            .answers::<Verdict>(200, "Whether the proof is valid.")
            .problems(CALLER)
            .problems(CIRCUIT)
            .problems(BODY)
            .problems(WORK)
            .problems(&[InputsTooLarge, BuilderUnavailable]),
        Operation::post("/v1/vouchers", "mintVoucher", Tag::Proofs)
            .accepts("application/json", voucher_request())
            .answers::<NewVoucher>(201, "The voucher.")
            .problems(CALLER)
            .problems(BODY)
            .problems(&[CircuitNotFound, InputsTooLarge, VouchersDisabled, AuditUnavailable, NotReady]),
    ]
}

/// A request for a proof: proved while the caller waits, or accepted as a job.
fn submission(operation: Operation) -> Operation {
    let seconds = || json!({ "type": "string", "pattern": "^[0-9]{1,9}(\\.[0-9]{1,9})?$" });
    let operation = if operation.path.ends_with("{circuit}") {
        operation
    } else {
        operation.query("circuit", circuit(), "The circuit.")
    };
    operation
        .query("target", target(), "The verifier that the proof is for.")
        .header(headers::PRIORITY, one_of(Priority::ALL.map(Priority::as_str)), "The priority.")
        .header(headers::DEADLINE, seconds(), "Seconds after which the proof is of no use.")
        .header(headers::TIMEOUT, seconds(), "The longest time for the proof, in seconds.")
        .header(
            headers::MAX_ATTEMPTS,
            json!({ "type": "string", "pattern": "^[1-9][0-9]{0,8}$" }),
            "The maximum number of attempts at the job.",
        )
        .header(headers::CALLBACK_URL, text(), "A URL that is called when the job has finished.")
        .header(
            headers::PREFER,
            text(),
            "`respond-async`, `wait=SECONDS` or both: the request may become a job.",
        )
        .header(
            headers::IDEMPOTENCY_KEY,
            json!({ "type": "string", "pattern": "^[!-+\\--~]{1,255}$" }),
            "The same proof for the same request and key.",
        )
        .accepts("application/gzip", schemas::bytes())
        .accepts("application/octet-stream", schemas::bytes())
        .accepts("application/json", schemas::inputs())
        .accepts("application/vnd.edgeprove.sealed", schemas::bytes())
        .accepts("multipart/form-data", json!({ "type": "object" }))
        .answers::<ProofAnswer<ProofForm>>(200, PROVED)
        .answers_with(200, PROVED, PROOF_MEDIA_TYPE, |_| schemas::bytes())
        .answers_with(200, PROVED, TAR_MEDIA_TYPE, |_| schemas::bytes())
        .with_headers(200, &PROOF_HEADERS)
        .answers::<JobDocument>(202, "The job.")
        .with_headers(202, &["location", headers::PREFERENCE_APPLIED])
        .problems(CALLER)
        .problems(CIRCUIT)
        .problems(BODY)
        .problems(WITNESS)
        .problems(PROVING)
        .problems(WORK)
        .problems(SUBMISSION)
        .problems(JOB_STORE)
}

/// The body of a request for a voucher.
fn voucher_request() -> Value {
    json!({
        "type": "object",
        "properties": {
            "circuit": {
                "description": "The circuit, or the circuits.",
                "anyOf": [circuit(), {
                    "type": "array", "items": circuit(), "minItems": 1, "maxItems": CIRCUITS_MAX, "uniqueItems": true,
                }],
            },
            "uses": { "type": "integer", "minimum": 1, "description": "How many proofs or jobs. Default: 1." },
            "expires": { "type": "integer", "minimum": 1, "description": "Seconds. Default: 300." },
            "origin": { "type": "string", "description": "The origin of the pages that may use it." },
            "priority": one_of(Priority::ALL.map(Priority::as_str)),
            "subject": { "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$", "description": "The user of the page." },
        },
        "required": ["circuit"],
        "additionalProperties": false,
    })
}
