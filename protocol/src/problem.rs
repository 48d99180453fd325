//! Every way a request can fail: RFC 9457 problem documents with a stable code each.
//!
//! One enum is shared by server, edge and clients. Adding a variant makes the compiler list the places that must
//! know it; `docs/ERRORS.md` is held against [`ProblemType::ALL`] by a test.

use serde::{Deserialize, Serialize};

/// Media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! problem_types {
    ($($(#[$doc:meta])* $variant:ident = ($code:literal, $status:literal, $title:literal, $retryable:literal);)+) => {
        /// The kind of a problem. Its code never changes once released; titles may.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ProblemType {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)+
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

            /// A short sentence for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// Whether the same request may succeed later without being changed.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)+ }
            }
        }
    };
}

problem_types! {
    /// A path, query or header could not be understood.
    InvalidRequest = ("invalid_request", 400, "The request could not be understood", false);
    /// The body had no bytes.
    WitnessEmpty = ("witness_empty", 400, "The witness is empty", false);
    /// The body does not begin as a gzip stream does.
    WitnessNotGzip = ("witness_not_gzip", 400, "The witness is not gzip", false);
    /// The gzip stream ends too early.
    WitnessTruncated = ("witness_truncated", 400, "The witness is cut short", false);
    /// The gzip stream is damaged: a bad block, checksum or length, or bytes after its end.
    WitnessCorrupt = ("witness_corrupt", 400, "The witness is damaged", false);
    /// The inflated bytes are not a Noir witness stack.
    WitnessMalformed = ("witness_malformed", 400, "The upload is not a Noir witness", false);
    /// An API key is wanted, and there is none, or none that is known.
    ApiKeyRequired = ("api_key_required", 401, "An API key is required", false);
    /// The request did not come through the edge, or the edge and the server do not share a secret.
    NotFromTheEdge = ("not_from_the_edge", 403, "Requests must come through the edge", false);
    /// The caller is known, and its role does not reach to what it asks for.
    NotAllowed = ("not_allowed", 403, "The caller may not do this", false);
    /// Pages of this origin may not call.
    OriginNotAllowed = ("origin_not_allowed", 403, "Pages of this origin may not call", false);
    /// No such path.
    NotFound = ("not_found", 404, "There is nothing at this path", false);
    /// No circuit of that name is loaded.
    CircuitNotFound = ("circuit_not_found", 404, "No such circuit", false);
    /// The path exists but not for this method.
    MethodNotAllowed = ("method_not_allowed", 405, "The method is not allowed here", false);
    /// The upload was silent for too long.
    UploadStalled = ("upload_stalled", 408, "The upload stalled", true);
    /// The upload is larger than the server takes.
    WitnessTooLarge = ("witness_too_large", 413, "The witness is too large", false);
    /// The upload inflates to more than the circuit or the server allows.
    WitnessInflatesTooFar = ("witness_inflates_too_far", 413, "The witness inflates too far", false);
    /// The body is of a type that cannot be a gzipped witness.
    UnsupportedMediaType = ("unsupported_media_type", 415, "The content type is not supported", false);
    /// A well-formed witness whose shape belongs to another circuit.
    WitnessOfAnotherCircuit = ("witness_of_another_circuit", 422, "The witness belongs to another circuit", false);
    /// A well-formed witness that violates the circuit's constraints.
    WitnessUnsatisfied = ("witness_unsatisfied", 422, "The witness does not satisfy the circuit", false);
    /// The caller has sent more requests than it may, or has more of them at work.
    RateLimited = ("rate_limited", 429, "Too many requests", true);
    /// The caller has had as many proofs as it may have a day.
    QuotaExceeded = ("quota_exceeded", 429, "The quota of proofs is used up", true);
    /// bb refused the witness or failed on it, and the witness is not to blame.
    ProofFailed = ("proof_failed", 500, "The proof could not be made", false);
    /// The prover died, twice, while it worked on this request.
    ProverCrashed = ("prover_crashed", 500, "The prover crashed", true);
    /// A proof was made of a satisfied witness and did not verify. It was not handed out.
    ProofInvalid = ("proof_invalid", 500, "The proof did not verify", true);
    /// Something else broke inside the server.
    Internal = ("internal", 500, "The server failed", true);
    /// The edge lacks a setting or a binding, cannot understand one, or has another secret than the server.
    EdgeMisconfigured = ("edge_misconfigured", 500, "The edge is not configured", false);
    /// The container ended or became unreachable while it worked on this request.
    ContainerLost = ("container_lost", 502, "The container was lost", true);
    /// The container answered what no server of ours answers.
    ContainerGarbled = ("container_garbled", 502, "The container's answer makes no sense", true);
    /// No container could be started, or none became ready in time.
    ContainerUnavailable = ("container_unavailable", 503, "No container is available", true);
    /// The wait queue is full, or the wait for a prover lasted too long.
    ProverBusy = ("prover_busy", 503, "All provers are busy", true);
    /// No prover is running at the moment.
    ProverUnavailable = ("prover_unavailable", 503, "No prover is available", true);
    /// The circuit is known but could not be loaded; health says why.
    CircuitUnavailable = ("circuit_unavailable", 503, "The circuit could not be loaded", false);
    /// The server is starting or shutting down.
    NotReady = ("not_ready", 503, "The server is not ready", true);
    /// The audit log cannot be written, and nothing is done that is not put on record.
    AuditUnavailable = ("audit_unavailable", 503, "The request could not be put on record", true);
    /// The upload could not be stored: the spool is full or not writable.
    SpoolUnavailable = ("spool_unavailable", 503, "The upload could not be stored", true);
    /// The proof took longer than the server allows one to take, and was stopped.
    ProofTimeout = ("proof_timeout", 504, "The proof took too long", true);
    /// The whole request took longer than the server allows one to take.
    RequestTimeout = ("request_timeout", 504, "The request took too long", true);
}

impl ProblemType {
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
