//! What the Worker and the object of the jobs send each other.
//!
//! The Worker finds the caller and whether it is admitted. The object decides everything about jobs, and its response is that
//! of the API: the Worker forwards it, and adds only the headers that every response of the edge has.
//!
//! | request to the object | response |
//! |---|---|
//! | `POST` [`ENQUEUE_PATH`] with a [`Submission`] | 202 with the job's document, or a problem. [`ARTIFACT_UNUSED`] is set where the job does not use the stored body: it must be deleted |
//! | `GET /v1/proofs`, `GET /v1/queue` | as the server's |
//! | `GET`, `DELETE /v1/proofs/{id}` | as the server's |
//! | `POST /v1/proofs/{id}/retry` | as the server's |
//! | `GET /v1/proofs/{id}/events` | as the server's: a stream of events, or a WebSocket |
//! | `GET /v1/proofs/{id}/proof` | 200 with a [`StoredProof`], or a problem |
//! | `GET /v1/audit`, `GET /metrics` | as the server's |
//!
//! Each request has a [`Viewer`] in the header [`VIEWER`], as JSON, and the id of its request in `x-request-id`. The headers
//! and the body of a submission are in its artifact and its [`StoredBody`]; neither reaches the object.

use edgeprove_protocol::{CircuitId, JobId, Priority, Target, TraceContext};
use serde::{Deserialize, Serialize};

/// The path of submissions. No request of a caller has this path.
pub const ENQUEUE_PATH: &str = "/_/enqueue";
/// The header with the [`Viewer`].
pub const VIEWER: &str = "x-edgeprove-viewer";
/// The header of a response to a submission whose artifact no job uses.
pub const ARTIFACT_UNUSED: &str = "x-edgeprove-artifact-unused";

/// The prefix of the names of artifacts with bodies of submissions. The rest is a random UUID.
pub const WITNESS_PREFIX: &str = "jobs/witness/";
/// The prefix of the names of marks of sealed bodies that arrived. No job names them, and they are needed for minutes.
pub const SEALED_PREFIX: &str = "jobs/sealed/";
/// The prefix of the names of artifacts with proofs.
pub const PROOF_PREFIX: &str = "jobs/proof/";

/// A job that is to be enqueued. Its body is stored before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// The id of the job, which has no number of a container.
    pub id: JobId,
    /// The circuit.
    pub circuit: CircuitId,
    /// The verifier that the proof is for; `None` is the circuit's default, which the edge does not know.
    pub target: Option<Target>,
    /// The caller that the job belongs to: `key:NAME` or `anonymous`.
    pub owner: String,
    /// The account that takes turns: `key:NAME`, or one by address.
    pub account: String,
    /// Its priority.
    pub priority: Priority,
    /// The largest number of attempts, where the caller lowered it.
    pub max_attempts: Option<u32>,
    /// The largest number of unfinished jobs of the account, if it is lower than the queue's.
    pub unfinished_max: Option<u32>,
    /// The idempotency key. A page has keys of its own, as `own_key` of the server makes them.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the body and of everything else that the result depends on, as 64 hexadecimal digits in lower case.
    pub body_digest: Option<String>,
    /// The name of the artifact with the body: [`WITNESS_PREFIX`] and a random UUID.
    pub artifact: String,
    /// The body.
    pub body: StoredBody,
    /// How the proof cache may be used: the value of the request's header, if any.
    pub cache_control: Option<String>,
    /// The longest time for the proof, in milliseconds, where the caller lowered it.
    pub timeout_ms: Option<u64>,
    /// The time from now in which the job must be able to finish, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// How long the body took to arrive, in milliseconds.
    pub upload_ms: u64,
    /// The id of the request.
    pub request_id: String,
    /// The trace of the request, for the log.
    pub trace: Option<TraceContext>,
    /// The voucher of the page that submits the job.
    pub voucher: Option<JobVoucher>,
}

/// The body of a submission as it is sent to a container, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBody {
    /// The path and query to which the body is sent, as its caller named circuit and target. A sealed body is bound to them.
    pub path: String,
    /// Its length in bytes, before it was encrypted.
    pub bytes: u64,
    /// The headers that describe it, such as `content-type`, in lower case. At most [`Self::HEADERS_MAX`].
    pub headers: Vec<(String, String)>,
}

impl StoredBody {
    /// The largest number of headers.
    pub const HEADERS_MAX: usize = 16;
}

/// The voucher with which a page submitted a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobVoucher {
    /// Its id, for the audit log.
    pub id: String,
    /// Whose jobs it sees.
    pub scope: String,
    /// How many jobs are accepted with it.
    pub uses: u32,
    /// When it expires, in seconds since 1970.
    pub expires_s: u64,
}

/// Who sends a request about jobs, and what it may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Viewer {
    /// The owner of its jobs: `key:NAME` or `anonymous`.
    pub owner: String,
    /// Whether it may see, cancel and retry the jobs of all.
    pub operates: bool,
    /// The scope of the voucher of a page, which sees only jobs of that scope.
    pub scope: Option<String>,
    /// The id of that voucher.
    pub voucher: Option<String>,
}

/// A proof that is stored: where, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredProof {
    /// The name of the artifact: the server's JSON answer of the proof ([`edgeprove_protocol::answer::ProofAnswer`]).
    pub artifact: String,
    /// The length of that answer in bytes.
    pub bytes: u64,
}
