//! Every way a request can fail: RFC 9457 problem documents with stable codes.
//!
//! Server, edge and clients share one enum, [`ProblemType`]. A test generates the table of `docs/ERRORS.md` from it.
//!
//! ```
//! use edgeprove_protocol::{Problem, ProblemType};
//!
//! let problem = Problem::new(ProblemType::WitnessEmpty, "the witness has no bytes", None);
//! assert_eq!((problem.status, problem.retryable), (400, false));
//! assert_eq!(problem.code, ProblemType::WitnessEmpty);
//! ```

mod table;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::CircuitId;

pub use table::ProblemType;

/// Media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// How serious a problem is for the operator of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The caller has to change the request, or nothing is wrong. The service did its part.
    Notice,
    /// A temporary state, such as a full queue.
    Warning,
    /// The service failed on this request.
    Error,
    /// The service fails on other requests as well until an operator acts.
    Critical,
}

impl Severity {
    /// Returns the name.
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

/// An error that callers see as a problem of a certain type.
///
/// Every error that can reach a caller implements it, so that one generic conversion makes the response.
pub trait HasProblemType: std::error::Error {
    /// Returns the type of the problem.
    fn kind(&self) -> ProblemType;

    /// Returns what was wrong, for the caller. [`Self::public_detail`] replaces it where the text of a type could name files
    /// or databases of the server.
    fn detail(&self) -> String {
        self.to_string()
    }

    /// Returns the detail that every caller may see: the type's own text, where it has one.
    fn public_detail(&self) -> String {
        self.kind().hidden_detail().map_or_else(|| self.detail(), str::to_owned)
    }

    /// Returns when a retry makes sense; `None` leaves it to the type.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// Returns the next smaller circuit of the family, where that may succeed.
    fn fallback_circuit(&self) -> Option<&CircuitId> {
        None
    }

    /// Returns the path of the input that is wrong, where it is one.
    fn field(&self) -> Option<&str> {
        None
    }
}

impl ProblemType {
    /// Returns the path of the type's documentation at the service: RFC 9457's `type` member.
    #[must_use]
    pub fn type_uri(self) -> String {
        format!("/problems/{}", self.code())
    }
}

/// The code of a problem document, which may come from a newer version than this one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ProblemCode {
    /// A type that this version has.
    Known(ProblemType),
    /// A code that this version does not have. Its document is passed on unchanged.
    Unknown(UnknownCode),
}

/// A code that this version does not have: 1 to 64 characters of `a-z`, `0-9` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnknownCode(Box<str>);

/// A text that cannot be the code of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a problem code has 1 to 64 characters of a-z, 0-9 and _")]
pub struct InvalidProblemCode;

impl ProblemCode {
    /// Returns the code as it is on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(kind) => kind.code(),
            Self::Unknown(UnknownCode(code)) => code,
        }
    }

    /// Returns the type; `None` if this version does not have it.
    #[must_use]
    pub const fn known(&self) -> Option<ProblemType> {
        match self {
            Self::Known(kind) => Some(*kind),
            Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<ProblemType> for ProblemCode {
    fn from(kind: ProblemType) -> Self {
        Self::Known(kind)
    }
}

impl From<ProblemCode> for String {
    fn from(code: ProblemCode) -> Self {
        code.as_str().to_owned()
    }
}

impl TryFrom<String> for ProblemCode {
    type Error = InvalidProblemCode;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        const LENGTH_MAX: usize = 64;
        if let Some(kind) = ProblemType::from_code(&code) {
            return Ok(Self::Known(kind));
        }
        let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if (1..=LENGTH_MAX).contains(&code.len()) && code.bytes().all(is_valid) {
            Ok(Self::Unknown(UnknownCode(code.into())))
        } else {
            Err(InvalidProblemCode)
        }
    }
}

impl PartialEq<ProblemType> for ProblemCode {
    fn eq(&self, kind: &ProblemType) -> bool {
        self.known() == Some(*kind)
    }
}

/// A problem document: the members of RFC 9457, and `error` and `message` for callers that expect those.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    /// The path of the type's documentation at the service.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The short sentence that is the same for every problem of the type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time, where, and what to do about it.
    pub detail: String,
    /// The same as `title`.
    pub error: String,
    /// The same as `detail`.
    pub message: String,
    /// The stable code.
    pub code: ProblemCode,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// How serious it is for the operator of the service; `None` in documents of older versions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub severity: Option<Severity>,
    /// The next smaller circuit of the family, if the machine had too little time or memory for this one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback_circuit: Option<CircuitId>,
    /// The path of the input that is wrong, such as `privateInputs.voters[3].age`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The id of the request as in the server's log; `None` if the request never got one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
}

impl Problem {
    /// Makes a problem of a type. `detail` states what is wrong this time.
    #[must_use]
    pub fn new(kind: ProblemType, detail: impl Into<String>, request_id: Option<String>) -> Self {
        let detail = detail.into();
        Self {
            type_uri: kind.type_uri(),
            title: kind.title().to_owned(),
            status: kind.status(),
            error: kind.title().to_owned(),
            message: detail.clone(),
            detail,
            code: kind.into(),
            retryable: kind.retryable(),
            severity: Some(kind.severity()),
            fallback_circuit: None,
            field: None,
            request_id,
        }
    }

    /// Returns how serious it is. A problem of an unknown type that does not state it is judged by its status.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match (self.code.known(), self.severity, self.status) {
            (Some(kind), _, _) => kind.severity(),
            (None, Some(severity), _) => severity,
            (None, None, ..500) => Severity::Notice,
            (None, None, 500..) => Severity::Error,
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
            assert!(seen.insert(kind.code()), "{} is used twice", kind.code());
            let text = serde_json::to_string(&Problem::new(kind, "what", Some("id".into()))).unwrap();
            let back: Problem = serde_json::from_str(&text).unwrap();
            assert_eq!(back, Problem::new(kind, "what", Some("id".into())));
            assert!(text.contains(&format!("\"code\":\"{}\"", kind.code())));
            assert_eq!((back.code.known(), ProblemType::from_code(kind.code())), (Some(kind), Some(kind)));
        }
    }

    #[test]
    fn statuses_are_errors() {
        for &kind in ProblemType::ALL {
            assert!((400..600).contains(&kind.status()), "{kind:?}");
        }
    }

    #[test]
    fn every_retryable_problem_has_a_time_to_retry() {
        for &kind in ProblemType::ALL {
            assert_eq!(kind.retry_after().is_some(), kind.retryable(), "{kind:?}");
        }
    }

    #[test]
    fn a_document_states_its_severity() {
        let problem = Problem::new(ProblemType::AuditUnavailable, "what", None);
        assert_eq!(serde_json::to_value(&problem).unwrap()["severity"], "critical");
    }

    #[test]
    fn a_problem_of_a_newer_version_is_passed_on() {
        let document = serde_json::json!({
            "type": "/problems/prover_out_of_memory",
            "title": "The prover ran out of memory",
            "status": 507,
            "detail": "bb was killed",
            "error": "The prover ran out of memory",
            "message": "bb was killed",
            "code": "prover_out_of_memory",
            "retryable": true,
        });
        let problem: Problem = serde_json::from_value(document.clone()).unwrap();
        assert_eq!((problem.code.as_str(), problem.code.known()), ("prover_out_of_memory", None));
        assert_eq!((problem.severity(), problem.retryable), (Severity::Error, true));
        assert_eq!(serde_json::to_value(&problem).unwrap(), document);
    }

    #[test]
    fn a_code_is_short_and_plain() {
        let longest = "a".repeat(64);
        for code in ["x", "http_2", &longest] {
            assert_eq!(ProblemCode::try_from(code.to_owned()).unwrap().as_str(), code);
        }
        for code in ["", "Not_Ready", "two words", "line\n", &"a".repeat(65)] {
            assert_eq!(ProblemCode::try_from(code.to_owned()), Err(InvalidProblemCode), "{code:?}");
        }
    }
}
