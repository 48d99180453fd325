//! Why the edge refuses a submission, where a server refuses it for the same reason.

use edgeprove_protocol::ProblemType;

/// A refused submission: the type of the problem, and the explanation for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The type.
    pub kind: ProblemType,
    /// The explanation. It quotes nothing of a body.
    pub detail: String,
}

impl Refusal {
    /// A refusal of this type.
    #[must_use]
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// A part of the request is invalid.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::InvalidRequest, detail)
    }
}
