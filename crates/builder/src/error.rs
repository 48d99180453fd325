//! Why a tool has no result.

use std::{fmt, io, process::ExitStatus, time::Duration};

use edgeprove_spool::SpoolError;

/// Why a tool has no result. No message has the path of a file outside the tool's own folder, but the sources of
/// [`Self::Workspace`] and [`Self::System`] may.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error("{tool} is not installed where the builder looks for it")]
    NotFound {
        /// The tool.
        tool: String,
    },
    /// It has another version than the pinned one.
    #[error("{tool} has version {found}, and the builder needs {expected}")]
    WrongVersion {
        /// The tool.
        tool: String,
        /// The pinned version.
        expected: String,
        /// The version of the installed tool.
        found: String,
    },
    /// It did not end in time.
    #[error("{tool} did not end within {limit:?}")]
    TimedOut {
        /// The tool.
        tool: String,
        /// The limit.
        limit: Duration,
    },
    /// It took too much memory, or the machine has none left.
    #[error("{tool} needs more memory than {} MiB, or than the machine has", limit_bytes >> 20)]
    OutOfMemory {
        /// The tool.
        tool: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// It printed too much.
    #[error("{tool} printed more than {limit_bytes} bytes")]
    TooMuchOutput {
        /// The tool.
        tool: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// It created too many files, or folders that cannot be looked into: nested too deeply, or closed.
    #[error("{tool} created more than {limit} files and folders, nested them too deeply or closed them")]
    TooManyFiles {
        /// The tool.
        tool: String,
        /// The limit.
        limit: u64,
    },
    /// Its files are too large.
    #[error("{tool} wrote more than {limit_bytes} bytes")]
    TooLarge {
        /// The tool.
        tool: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// It started too many processes.
    #[error("{tool} started more than {limit} processes")]
    TooManyProcesses {
        /// The tool.
        tool: String,
        /// The limit.
        limit: usize,
    },
    /// It ended with a failure.
    #[error("{tool} {status}: {message}")]
    Failed {
        /// The tool.
        tool: String,
        /// How it ended.
        status: Status,
        /// What it printed, without paths.
        message: String,
    },
    /// It did not leave a file that a successful run leaves, or something else than a file of its own.
    #[error("{tool} left no usable file {file}")]
    NoResult {
        /// The tool.
        tool: String,
        /// The file, relative to the tool's folder.
        file: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The system refused something.
    #[error("{tool} could not be {action}")]
    System {
        /// The tool.
        tool: String,
        /// What was refused.
        action: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The system refuses the isolation that is required.
    #[error("tools cannot be separated from the network: {reason}")]
    NotIsolated {
        /// What the system refuses.
        reason: String,
    },
    /// There is no folder for it.
    #[error("there is no folder for the files of a build")]
    Workspace(#[from] SpoolError),
    /// The server stops.
    #[error("the server stops")]
    Stopping,
}

/// Whether another attempt may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Another attempt would fail as well.
    Permanent,
    /// Another attempt may succeed, here or on another server.
    Temporary,
    /// The server stops, or the caller left: nothing is wrong.
    Stopping,
}

impl ToolError {
    /// Whether another attempt may succeed.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match self {
            // Somebody else may have killed it.
            Self::Failed { status, .. } if status.0.code().is_none() => Fate::Temporary,
            Self::TimedOut { .. }
            | Self::TooMuchOutput { .. }
            | Self::TooManyFiles { .. }
            | Self::TooLarge { .. }
            | Self::TooManyProcesses { .. }
            | Self::NoResult { .. }
            | Self::Failed { .. } => Fate::Permanent,
            // The machine may have been short of memory for another reason.
            Self::OutOfMemory { .. }
            | Self::NotFound { .. }
            | Self::WrongVersion { .. }
            | Self::System { .. }
            | Self::NotIsolated { .. }
            | Self::Workspace(_) => Fate::Temporary,
            Self::Stopping => Fate::Stopping,
        }
    }
}

/// How a tool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub ExitStatus);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::os::unix::process::ExitStatusExt as _;
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "failed with exit code {code}"),
            (None, signal) => write!(f, "was killed by signal {}", signal.unwrap_or_default()),
        }
    }
}
