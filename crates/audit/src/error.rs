//! Errors of the audit log.

use std::{fmt, io, path::PathBuf, sync::Arc};

use edgeprove_files::trusted_path::UntrustedPath;
use edgeprove_job_rules::audit::chain::LineFault;
use edgeprove_protocol::{HasProblemType, ProblemType};

/// The log cannot be opened, written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// A system call failed.
    #[error("the audit log {} cannot be {action}", path.display())]
    Io {
        /// The log.
        path: PathBuf,
        /// The action, as a participle such as `written`.
        action: &'static str,
        /// The system's error.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another process has the log open.
    #[error("another process writes the audit log {}: give each server a log of its own", path.display())]
    InUse {
        /// The log.
        path: PathBuf,
    },
    /// A line is not one that a server wrote.
    #[error("the audit log {} is damaged or not an audit log: run `edgeprove audit verify` on it", path.display())]
    Damaged {
        /// The log.
        path: PathBuf,
        /// The fault of the line.
        #[source]
        fault: LineFault,
    },
    /// The log is not the one that this server wrote before.
    #[error(
        "the audit log {} {change}: put the file back, or move it away and send SIGHUP to continue the chain in a new one \
         (docs/AUDIT.md)",
        path.display()
    )]
    Changed {
        /// The log.
        path: PathBuf,
        /// What happened to it.
        change: LogChange,
    },
    /// Another user could exchange or change the log.
    #[error("the audit log is not safe from other users")]
    Untrusted(#[from] Arc<UntrustedPath>),
    /// The task that writes the log ended before it wrote the entry.
    #[error("the task that writes the audit log ended unexpectedly")]
    WriterEnded,
}

/// What happened to a log while a server writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogChange {
    /// No file has its name.
    Missing,
    /// Another file has its name.
    Replaced,
    /// It is shorter than what was written.
    Cut,
    /// Another program wrote to it.
    Extended,
    /// Its last entry is not the one that was written.
    OtherEnd,
}

impl fmt::Display for LogChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "was moved or removed",
            Self::Replaced => "was replaced by another file",
            Self::Cut => "was cut",
            Self::Extended => "was written by another program",
            Self::OtherEnd => "has another last entry than the one that was written",
        })
    }
}

impl HasProblemType for AuditError {
    fn kind(&self) -> ProblemType {
        ProblemType::AuditUnavailable
    }
}
