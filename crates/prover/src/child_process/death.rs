//! How a child process died. [`ChildDeath::judge`] is the only place that decides it.

use std::{fmt, os::unix::process::ExitStatusExt as _, path::Path, process::ExitStatus, sync::OnceLock};

use crate::cgroup::MemoryCgroups;

use super::stderr_tail::LastWords;

const SIGKILL: i32 = 9;

/// How a child process died, with the last lines of its standard error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it {cause}; last words: {last_words}")]
pub struct ChildDeath {
    /// Why it died.
    pub cause: DeathCause,
    /// The last lines of its standard error.
    pub last_words: LastWords,
}

/// Why a child process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeathCause {
    /// The kernel killed it because memory ran out.
    OutOfMemory,
    /// It was killed here, because it took more memory than it may.
    OverBudget {
        /// The memory that it took, in bytes.
        resident_bytes: u64,
        /// The most that it may take, in bytes.
        max_bytes: u64,
    },
    /// A signal killed it.
    Signal(i32),
    /// It ended by itself, with this exit code.
    Exit(i32),
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => f.write_str("was killed because memory ran out"),
            Self::OverBudget { resident_bytes, max_bytes } => write!(
                f,
                "was killed because it took {} MiB of memory, where {} MiB are allowed",
                // Rounded up: what is beyond the limit by a page must not read as if it were the limit.
                resident_bytes.div_ceil(1 << 20),
                max_bytes >> 20
            ),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::Exit(code) => write!(f, "ended with exit code {code}"),
        }
    }
}

impl ChildDeath {
    /// Judges a death by the exit status and the kernel's count of out-of-memory kills.
    ///
    /// SIGKILL alone does not prove that memory ran out, because operators and supervisors send it as well. The kernel
    /// counts a kill before it sends the signal, so the count has risen by the time the status is known.
    #[must_use]
    pub fn judge(status: ExitStatus, oom_kills: OomKills, last_words: LastWords) -> Self {
        let cause = match (status.code(), status.signal()) {
            (Some(code), _) => DeathCause::Exit(code),
            (None, Some(SIGKILL)) if oom_kills.has_risen() => DeathCause::OutOfMemory,
            (None, Some(signal)) => DeathCause::Signal(signal),
            // `wait` reports ended processes only, and those have a code or a signal.
            (None, None) => DeathCause::Signal(0),
        };
        Self { cause, last_words }
    }

    /// Whether memory ran out: that of the machine, or the child's own.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self.cause, DeathCause::OutOfMemory | DeathCause::OverBudget { .. })
    }

    /// Whether the child ended by itself, with an exit code.
    #[must_use]
    pub fn is_exit(&self) -> bool {
        matches!(self.cause, DeathCause::Exit(_))
    }
}

/// The kernel's count of out-of-memory kills, before a child's work and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomKills {
    /// The count before the work; `None` if the kernel does not count.
    pub before: Option<u64>,
    /// The count now.
    pub now: Option<u64>,
}

impl OomKills {
    /// Counts the kills since `before`.
    #[must_use]
    pub fn since(before: Option<u64>) -> Self {
        Self { before, now: Self::count() }
    }

    /// Returns the count of this process's control group now; `None` if the kernel does not count.
    #[must_use]
    pub fn count() -> Option<u64> {
        static CGROUPS: OnceLock<MemoryCgroups> = OnceLock::new();
        CGROUPS.get_or_init(|| MemoryCgroups::of_this_process(Path::new("/"))).oom_kills()
    }

    fn has_risen(self) -> bool {
        self.before.zip(self.now).is_some_and(|(before, now)| now > before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(raw_status: i32, before: Option<u64>, now: Option<u64>) -> DeathCause {
        let status = ExitStatus::from_raw(raw_status);
        ChildDeath::judge(status, OomKills { before, now }, LastWords::default()).cause
    }

    #[test]
    fn only_a_counted_kill_is_out_of_memory() {
        assert_eq!(cause(SIGKILL, Some(3), Some(4)), DeathCause::OutOfMemory);
        assert_eq!(cause(SIGKILL, Some(4), Some(4)), DeathCause::Signal(9), "someone else killed it");
        assert_eq!(cause(SIGKILL, None, None), DeathCause::Signal(9), "the kernel does not count");
        assert_eq!(cause(11, Some(3), Some(4)), DeathCause::Signal(11), "it crashed beside a kill");
        assert_eq!(cause(3 << 8, Some(3), Some(4)), DeathCause::Exit(3));
    }

    #[test]
    fn a_death_reads_as_a_sentence() {
        let death = |cause| ChildDeath { cause, last_words: LastWords::default() }.to_string();
        assert_eq!(death(DeathCause::OutOfMemory), "it was killed because memory ran out; last words: none");
        assert_eq!(death(DeathCause::Exit(3)), "it ended with exit code 3; last words: none");
    }
}
