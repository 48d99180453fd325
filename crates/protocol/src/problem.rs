//! Every way a request can fail: RFC 9457 problem documents with a stable code each.
//!
//! One enum is shared by server, edge and clients. Adding a variant makes the compiler list the places that must
//! know it; the table of `docs/ERRORS.md` is made of [`ProblemType::ALL`] by a test.

use serde::{Deserialize, Serialize};

use crate::CircuitId;

/// Media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// How bad a problem is, for whoever watches the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The caller's to mend, or as it should be: the service did well.
    Notice,
    /// A passing state, such as a full queue.
    Warning,
    /// The service failed at this request.
    Error,
    /// It will fail at others as well until somebody acts.
    Critical,
}

impl Severity {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// Whether the same request may succeed another time.
#[derive(Clone, Copy)]
enum Again {
    Never,
    Later,
}

// Each: what it means; its code, status, severity, whether the same request may succeed later, a short sentence for
// people, and what to do about it.
macro_rules! problem_types {
    ($(#[doc = $meaning:literal] $variant:ident =
        $code:literal, $status:literal, $severity:ident, $again:ident, $title:literal, $advice:literal;)+) => {
        /// The kind of a problem. Its code never changes once released; titles may.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ProblemType {
            $(#[doc = $meaning] #[serde(rename = $code)] $variant,)+
        }

        impl ProblemType {
            /// Every problem type, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The stable code, for programs.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The HTTP status the problem is answered with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// How bad it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }

            /// Whether the same request may succeed later without being changed.
            #[must_use]
            pub const fn retryable(self) -> bool {
                let again = match self { $(Self::$variant => Again::$again,)+ };
                matches!(again, Again::Later)
            }

            /// A short sentence for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }

            /// What to do about it.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)+ }
            }
        }
    };
}

problem_types! {
    #[doc = "A path, query or header could not be understood."]
    InvalidRequest = "invalid_request", 400, Notice, Never, "The request could not be understood", "Mend the part that the detail names.";
    #[doc = "The body had no bytes."]
    WitnessEmpty = "witness_empty", 400, Notice, Never, "The witness is empty", "Send the gzipped witness as the request's body.";
    #[doc = "The body does not begin as a gzip stream does."]
    WitnessNotGzip = "witness_not_gzip", 400, Notice, Never, "The witness is not gzip", "Send the witness gzipped, as `nargo execute` and noir_js make it.";
    #[doc = "The gzip stream ends too early."]
    WitnessTruncated = "witness_truncated", 400, Notice, Never, "The witness is cut short", "Send it again, whole.";
    #[doc = "The gzip stream is damaged: a bad block, checksum or length, or bytes after its end."]
    WitnessCorrupt = "witness_corrupt", 400, Notice, Never, "The witness is damaged", "Make the witness anew: its bytes were damaged on the way or before.";
    #[doc = "The inflated bytes are not a Noir witness stack."]
    WitnessMalformed = "witness_malformed", 400, Notice, Never, "The upload is not a Noir witness", "Send what `nargo execute` or noir_js made, and nothing around it.";
    #[doc = "An API key is wanted, and there is none, or none that is known."]
    ApiKeyRequired = "api_key_required", 401, Notice, Never, "An API key is required", "Send a key as `Authorization: Bearer KEY` or `X-Api-Key: KEY`.";
    #[doc = "The request did not come through the edge, or the edge and the server do not share a secret."]
    NotFromTheEdge = "not_from_the_edge", 403, Error, Never, "Requests must come through the edge", "Call the edge instead; as its operator, give edge and server one secret.";
    #[doc = "The caller is known, and its role does not reach to what it asks for."]
    NotAllowed = "not_allowed", 403, Notice, Never, "The caller may not do this", "Ask the operator for a role that may, or ask for less.";
    #[doc = "Pages of this origin may not call."]
    OriginNotAllowed = "origin_not_allowed", 403, Notice, Never, "Pages of this origin may not call", "Have the operator add the page's origin to `ALLOWED_ORIGINS`.";
    #[doc = "No such path."]
    NotFound = "not_found", 404, Notice, Never, "There is nothing at this path", "`GET /` lists the endpoints.";
    #[doc = "No circuit of that name is loaded."]
    CircuitNotFound = "circuit_not_found", 404, Notice, Never, "No such circuit", "Name a circuit that `/api/health` lists.";
    #[doc = "The caller has no job of that name."]
    JobNotFound = "job_not_found", 404, Notice, Never, "No such proof", "Look at the id, and at whose key it was submitted with.";
    #[doc = "The path exists but not for this method."]
    MethodNotAllowed = "method_not_allowed", 405, Notice, Never, "The method is not allowed here", "Use a method that the `Allow` header names.";
    #[doc = "The upload was silent for too long."]
    UploadStalled = "upload_stalled", 408, Notice, Later, "The upload stalled", "Send it again without a pause.";
    #[doc = "The job is over, so it cannot be called off."]
    JobAlreadyFinished = "job_already_finished", 409, Notice, Never, "The job has already finished", "The job cannot be cancelled any more; fetch the proof or ignore it.";
    #[doc = "The job is not over yet, so there is no proof of it."]
    ProofNotReady = "proof_not_ready", 409, Notice, Later, "The proof is not there yet", "Ask again after `Retry-After`, or follow the job's events.";
    #[doc = "The job was called off."]
    JobCancelled = "job_cancelled", 410, Notice, Never, "The proof was called off", "Submit it again if the proof is wanted after all.";
    #[doc = "The job was over so long ago that nothing of it is kept."]
    JobExpired = "job_expired", 410, Notice, Never, "The proof has expired", "Submit it again, and fetch the proof sooner.";
    #[doc = "The upload is larger than the server takes."]
    WitnessTooLarge = "witness_too_large", 413, Notice, Never, "The witness is too large", "Have the operator raise `--upload-max`, or use a smaller circuit.";
    #[doc = "The upload inflates to more than the circuit or the server allows."]
    WitnessTooLargeDecompressed = "witness_too_large_decompressed", 413, Notice, Never, "The witness inflates too far", "Look whether the witness is of this circuit; the bounds are the operator's.";
    #[doc = "The body is of a type that cannot be a gzipped witness."]
    UnsupportedMediaType = "unsupported_media_type", 415, Notice, Never, "The content type is not supported", "Send `Content-Type: application/gzip`.";
    #[doc = "A well-formed witness whose shape belongs to another circuit."]
    WitnessOfAnotherCircuit = "witness_of_another_circuit", 422, Notice, Never, "The witness belongs to another circuit", "Prove it with its own circuit, or compile page and server from the same version.";
    #[doc = "A well-formed witness that violates the circuit's constraints."]
    WitnessUnsatisfied = "witness_unsatisfied", 422, Notice, Never, "The witness does not satisfy the circuit", "Look at the inputs: they break a constraint of the circuit.";
    #[doc = "The caller used this idempotency key for another request."]
    IdempotencyKeyReused = "idempotency_key_reused", 422, Notice, Never, "The idempotency key belongs to another request", "Use a new `Idempotency-Key` for a new request.";
    #[doc = "The caller has as many unfinished jobs as it may."]
    TooManyJobs = "too_many_jobs", 429, Notice, Later, "Too many proofs are under way", "Wait for some of them, or call some off.";
    #[doc = "The caller has sent more requests than it may, or has more of them at work."]
    RateLimited = "rate_limited", 429, Notice, Later, "Too many requests", "Slow down, and try again after `Retry-After`.";
    #[doc = "The caller has had as many proofs as it may have a day."]
    QuotaExceeded = "quota_exceeded", 429, Notice, Later, "The quota of proofs is used up", "Try again after `Retry-After`, or have the operator raise the quota.";
    #[doc = "bb refused the witness or failed on it, and the witness is not to blame."]
    ProofFailed = "proof_failed", 500, Error, Never, "The proof could not be made", "Report the request's id to the operator; the log has what bb said.";
    #[doc = "The prover died, twice, while it worked on this request."]
    ProverCrashed = "prover_crashed", 500, Error, Later, "The prover crashed", "Try again; where it stays, the machine has too little memory for the circuit.";
    #[doc = "A proof was made of a satisfied witness and did not verify. It was not handed out."]
    ProofInvalid = "proof_invalid", 500, Critical, Later, "The proof did not verify", "Try again; as operator, hold bb, the circuit and the CRS against their versions.";
    #[doc = "The workers that had the job died, each time it was tried."]
    WorkerLost = "worker_lost", 500, Error, Never, "The job's workers died", "As operator, look why workers die: most often it is memory.";
    #[doc = "Something else broke inside the server."]
    Internal = "internal", 500, Error, Later, "The server failed", "Try again; report the request's id if it stays.";
    #[doc = "The edge lacks a setting or a binding, cannot understand one, or has another secret than the server."]
    EdgeMisconfigured = "edge_misconfigured", 500, Critical, Never, "The edge is not configured", "As operator, set what the detail or the edge's log names.";
    #[doc = "The container ended or became unreachable while it worked on this request."]
    ContainerLost = "container_lost", 502, Error, Later, "The container was lost", "Try again: another container is started.";
    #[doc = "The container answered what no server of ours answers."]
    ContainerBadResponse = "container_bad_response", 502, Error, Later, "The container's answer makes no sense", "Try again; as operator, look whether edge and image are of one version.";
    #[doc = "No container could be started, or none became ready in time."]
    ContainerUnavailable = "container_unavailable", 503, Error, Later, "No container is available", "Try again after `Retry-After`; as operator, look at the container's log.";
    #[doc = "The wait queue is full, or the wait for a prover lasted too long."]
    ProverBusy = "prover_busy", 503, Warning, Later, "All provers are busy", "Try again after `Retry-After`, or submit a job, which waits for its turn.";
    #[doc = "No prover is running at the moment."]
    ProverUnavailable = "prover_unavailable", 503, Error, Later, "No prover is available", "Try again after `Retry-After`; as operator, look at the log.";
    #[doc = "The circuit is known but could not be loaded; health says why."]
    CircuitUnavailable = "circuit_unavailable", 503, Critical, Never, "The circuit could not be loaded", "As operator, read `/api/health`, which says why it could not be loaded.";
    #[doc = "The job queue is full."]
    QueueFull = "queue_full", 503, Warning, Later, "The queue is full", "Try again after `Retry-After`.";
    #[doc = "The proof would come later than the caller has use for it, as far as can be foreseen."]
    DeadlineCannotBeMet = "deadline_cannot_be_met", 503, Warning, Later, "The proof would come too late", "Try again after `Retry-After`, or give it more time.";
    #[doc = "This server has no place where a job would outlive it."]
    JobsDisabled = "jobs_disabled", 503, Notice, Never, "This server keeps no jobs", "Ask without `Prefer`; as operator, set `--data`, `DATABASE_URL` or `--ephemeral-jobs`.";
    #[doc = "The database of jobs cannot be asked."]
    JobStoreUnavailable = "job_store_unavailable", 503, Critical, Later, "The job store is not available", "Try again after `Retry-After`; as operator, look at the database.";
    #[doc = "A kept witness or proof cannot be had, or none can be kept."]
    ArtifactUnavailable = "artifact_unavailable", 503, Critical, Later, "What is kept cannot be reached", "Try again; as operator, look at the artefact store.";
    #[doc = "The server is starting or shutting down."]
    NotReady = "not_ready", 503, Warning, Later, "The server is not ready", "Try again after `Retry-After`.";
    #[doc = "The audit log cannot be written, and nothing is done that is not put on record."]
    AuditUnavailable = "audit_unavailable", 503, Critical, Later, "The request could not be put on record", "Try again after `Retry-After`; as operator, look at the disk of the audit log.";
    #[doc = "The upload could not be stored: the spool is full or not writable."]
    SpoolUnavailable = "spool_unavailable", 503, Critical, Later, "The upload could not be stored", "Try again after `Retry-After`; as operator, look at the spool's disk.";
    #[doc = "The proof took longer than the server allows one to take, and was stopped."]
    ProofTimeout = "proof_timeout", 504, Error, Later, "The proof took too long", "Try again when the server is less busy, or submit a job.";
    #[doc = "The whole request took longer than the server allows one to take."]
    RequestTimeout = "request_timeout", 504, Warning, Later, "The request took too long", "Try again, or submit a job, which outlives its request.";
}

impl ProblemType {
    /// Whether a smaller circuit may succeed where this arose: the machine had too little time or memory. A prover that
    /// crashes twice on one request has nearly always been killed for its memory.
    #[must_use]
    pub const fn fallback(self) -> bool {
        matches!(self, Self::ProofTimeout | Self::ProverCrashed | Self::CircuitUnavailable | Self::WorkerLost)
    }

    /// Where the type is documented, relative to the service: RFC 9457's `type` member.
    #[must_use]
    pub fn type_uri(self) -> String {
        format!("/problems/{}", self.code())
    }
}

/// A problem document: RFC 9457 members, and beside them `error` and `message` for callers who expect just those.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Documentation of the problem type, relative to the service.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The same short sentence for every problem of the type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time, where, and what to do about it.
    pub detail: String,
    /// The same as `title`.
    pub error: String,
    /// The same as `detail`.
    pub message: String,
    /// The stable code.
    pub code: ProblemType,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The next smaller circuit of the family, which may do where this one asked too much of the machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback_circuit: Option<CircuitId>,
    /// The request the problem belongs to, as in the server's log; `None` where it never got an id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
}

impl Problem {
    /// A problem of a type, with what was wrong this time.
    #[must_use]
    pub fn new(code: ProblemType, detail: impl Into<String>, request_id: Option<String>) -> Self {
        let detail = detail.into();
        Self {
            type_uri: code.type_uri(),
            title: code.title().to_owned(),
            status: code.status(),
            error: code.title().to_owned(),
            message: detail.clone(),
            detail,
            code,
            retryable: code.retryable(),
            fallback_circuit: None,
            request_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_survive_a_round_trip() {
        let mut seen = HashSet::new();
        for &kind in ProblemType::ALL {
            assert!(seen.insert(kind.code()), "{} stands twice", kind.code());
            let text = serde_json::to_string(&Problem::new(kind, "what", Some("id".into()))).unwrap();
            let back: Problem = serde_json::from_str(&text).unwrap();
            assert_eq!(back, Problem::new(kind, "what", Some("id".into())));
            assert!(text.contains(&format!("\"code\":\"{}\"", kind.code())));
        }
    }

    #[test]
    fn statuses_are_errors() {
        for &kind in ProblemType::ALL {
            assert!((400..600).contains(&kind.status()), "{kind:?}");
        }
    }
}
