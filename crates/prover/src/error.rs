//! Why a prover could not do its work. Knows no HTTP; [`HasProblemType`] names the problem for callers.

use std::{error::Error, io, path::PathBuf, sync::Arc, time::Duration};

use edgeprove_protocol::{HasProblemType, ProblemType};
use edgeprove_spool::SpoolError;

use crate::child_process::{ChildDeath, DeathCause, LastWords, StartError};

/// Why a backend could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProverError {
    /// The prover rejected the request.
    #[error("the prover rejected the request: {reason}")]
    Refused {
        /// The prover's message, without values.
        reason: String,
    },
    /// The deadline passed, and the process was killed.
    #[error("the prover was stopped at the deadline")]
    Timeout,
    /// The process died, or stopped responding in the middle of its work.
    #[error("the prover crashed")]
    Crashed(#[source] ProcessFailure),
    /// No process could be started.
    #[error("the prover could not be started")]
    Unavailable(#[source] Arc<ProcessFailure>),
    /// The witness could not be read from the spool, or files for the prover could not be written to it.
    #[error("the prover could not use the spool")]
    Spool(#[from] SpoolError),
    /// The response does not fit the request.
    #[error("the prover's response was not understood")]
    UnexpectedResponse(#[from] UnexpectedResponse),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Stopping,
}

impl HasProblemType for ProverError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Refused { .. } | Self::UnexpectedResponse(_) => ProblemType::ProofFailed,
            Self::Timeout => ProblemType::ProofTimeout,
            Self::Crashed(failure) => failure.kind(),
            Self::Unavailable(_) => ProblemType::ProverUnavailable,
            Self::Spool(_) => ProblemType::SpoolUnavailable,
            Self::Stopping => ProblemType::NotReady,
        }
    }
}

/// Why a process could not be started, or how it failed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessFailure {
    /// The program could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The process died.
    #[error(transparent)]
    Died(#[from] ChildDeath),
    /// The process neither read nor responded, although it was alive. It was killed.
    #[error("it stopped responding; last words: {last_words}")]
    NoResponse {
        /// The error of the pipe.
        #[source]
        source: io::Error,
        /// The last lines of its standard error.
        last_words: LastWords,
    },
    /// The process runs but is not the expected program.
    #[error("it is not the expected program")]
    Handshake(#[source] HandshakeError),
}

impl ProcessFailure {
    /// Whether the process was killed because it took more memory than it may.
    #[must_use]
    pub fn is_over_budget(&self) -> bool {
        matches!(self, Self::Died(ChildDeath { cause: DeathCause::OverBudget { .. }, .. }))
    }
}

impl HasProblemType for ProcessFailure {
    /// Returns the type for callers if the process failed at work.
    fn kind(&self) -> ProblemType {
        match self {
            Self::Start(_) | Self::Handshake(_) => ProblemType::ProverUnavailable,
            Self::Died(death) if death.is_out_of_memory() => ProblemType::OutOfMemory,
            Self::Died(_) | Self::NoResponse { .. } => ProblemType::ProverCrashed,
        }
    }
}

/// Why a process that was started is not the expected program.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Its standard streams are not connected to this process.
    #[error("its standard streams are not connected")]
    NoPipes,
    /// It did not respond in time.
    #[error("it did not respond within {} s", limit.as_secs())]
    NoResponse {
        /// The time that it had.
        limit: Duration,
    },
    /// It responded to a known request with a wrong value.
    #[error("it responded to a known request with a wrong value")]
    WrongValue,
    /// It rejected the request.
    #[error("it rejected the request: {reason}")]
    Refused {
        /// Its message, without values.
        reason: String,
    },
    /// Its response does not fit the request.
    #[error("its response was not understood")]
    UnexpectedResponse(#[source] UnexpectedResponse),
}

/// What is wrong with a response. No variant contains values of the response, because it may hold a proof.
#[derive(Debug, thiserror::Error)]
pub enum UnexpectedResponse {
    /// It is too long.
    #[error("a response of {bytes} bytes, where {max_bytes} are allowed")]
    TooLong {
        /// Its length, in bytes.
        bytes: u64,
        /// The longest that is accepted, in bytes.
        max_bytes: u64,
    },
    /// It cannot be decoded.
    #[error("a response that cannot be decoded")]
    Undecodable(#[source] Box<dyn Error + Send + Sync>),
    /// It answers another request.
    #[error("a response of another type than {wanted}")]
    WrongType {
        /// The type of the response to the request, such as `proof`.
        wanted: &'static str,
    },
    /// A field element has the wrong length.
    #[error("a field element of {bytes} bytes")]
    FieldLength {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// A file of the response is missing or unreadable.
    #[error("{} is missing or cannot be read", path.display())]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The length of a file is not a multiple of the length of a field element.
    #[error("{} has {bytes} bytes, which is not a whole number of field elements", path.display())]
    FileLength {
        /// The file.
        path: PathBuf,
        /// Its length, in bytes.
        bytes: usize,
    },
}
