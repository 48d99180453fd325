//! The owner of one child process: starts it, reads its standard error, ends it, and reports how it died.
//!
//! - [`death`]: why a child died.
//! - [`stderr_tail`]: its last words.
//! - [`termination`]: how a child is ended.

mod death;
mod stderr_tail;
mod termination;

use std::{
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use edgeprove_telemetry::{process::ProcessStatus, supervisor::Supervisor};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

pub use death::{ChildDeath, DeathCause, OomKills};
pub use stderr_tail::{LastWords, Redact};
pub use termination::Ended;

use stderr_tail::StderrTail;

/// A program that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{} could not be started", program.display())]
pub struct StartError {
    /// The program.
    pub program: PathBuf,
    /// The system's reason.
    #[source]
    pub source: io::Error,
}

/// A child process, the leader of a process group of its own. Dropping it kills the child.
///
/// ```
/// # use edgeprove_prover::child_process::{ChildProcess, DeathCause};
/// # use edgeprove_telemetry::supervisor::Supervisor;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut command = tokio::process::Command::new("sh");
/// command.args(["-c", "exit 3"]);
/// let mut child = ChildProcess::start(command, str::to_owned, &Supervisor::default())?;
/// let status = child.wait().await?;
/// assert_eq!(child.death(status).cause, DeathCause::Exit(3));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ChildProcess {
    child: Child,
    stderr: StderrTail,
    /// The kernel's count of out-of-memory kills when the child began its work.
    oom_kills_before: Option<u64>,
}

/// The shortest pause between two measurements of a process's memory. One takes some 20 µs.
const BUDGET_PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause.
const BUDGET_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The most memory that a process takes within a millisecond, in bytes: 16 GiB a second, which is what many threads reach
/// that do nothing else.
const BYTES_PER_MILLISECOND: u64 = 16 << 20;

/// The pause before the next measurement of a process that may take so many bytes more: it could not take them sooner.
#[must_use]
pub fn budget_pause(left_bytes: u64) -> Duration {
    Duration::from_millis(left_bytes / BYTES_PER_MILLISECOND).clamp(BUDGET_PAUSE_MIN, BUDGET_PAUSE_MAX)
}

impl ChildProcess {
    /// Starts a program with all standard streams piped. A task of its own logs each line of standard error, redacted.
    pub fn start(command: Command, redact: Redact, supervisor: &Supervisor) -> Result<Self, StartError> {
        let mut started = Self::start_unread(command)?;
        if let Some(stderr) = started.take_stderr() {
            let pid = started.pid().unwrap_or_default();
            supervisor.spawn("prover stderr", started.stderr.clone().drain(stderr, redact, pid));
        }
        Ok(started)
    }

    /// Starts a program as [`Self::start`] does, and leaves its standard error to the caller, who must read it. The child
    /// then has no last words.
    pub fn start_unread(mut command: Command) -> Result<Self, StartError> {
        let oom_kills_before = OomKills::count();
        let spawned = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let child = spawned
            .map_err(|source| StartError { program: command.as_std().get_program().into(), source })?;
        Ok(Self { child, stderr: StderrTail::default(), oom_kills_before })
    }

    /// Returns the process id; `None` once the child was reaped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Takes standard input and output; `None` if they were taken before.
    pub fn take_pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        self.child.stdin.take().zip(self.child.stdout.take())
    }

    /// Takes standard error of a child from [`Self::start_unread`]; `None` if it was taken before.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Notes that the child begins new work. Out-of-memory kills before this moment do not explain a later death.
    pub fn begin_work(&mut self) {
        self.oom_kills_before = OomKills::count();
    }

    /// Waits until the child ends, and reaps it. Dropping the future is safe.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Waits until the child has ended, and does not reap it. [`Self::kill`] then reaches what is left of its process
    /// group, because its number cannot belong to another process yet.
    pub async fn ended(pid: Option<u32>) {
        const PAUSE: Duration = Duration::from_millis(5);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.cast_signed())) else { return };
        while matches!(waitid(WaitId::Pid(pid), options), Ok(None)) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Judges the death of a child that ended with this status.
    #[must_use]
    pub fn death(&self, status: ExitStatus) -> ChildDeath {
        ChildDeath::judge(status, OomKills::since(self.oom_kills_before), self.last_words())
    }

    /// Waits until the process takes more resident memory than this, in bytes, and returns why it is to be killed. It
    /// waits for ever on systems that do not report memory.
    pub async fn beyond_budget(pid: Option<u32>, max_bytes: u64) -> DeathCause {
        let mut pause = BUDGET_PAUSE_MIN;
        loop {
            tokio::time::sleep(pause).await;
            let Some(ProcessStatus { resident_bytes, .. }) = pid.and_then(ProcessStatus::read) else {
                continue;
            };
            if resident_bytes > max_bytes {
                return DeathCause::OverBudget { resident_bytes, max_bytes };
            }
            pause = budget_pause(max_bytes - resident_bytes);
        }
    }

    /// Returns the last lines of standard error so far.
    #[must_use]
    pub fn last_words(&self) -> LastWords {
        self.stderr.last_words()
    }

    /// Waits for a child that was asked to end, and kills its process group after the grace period.
    pub async fn end(&mut self, grace: Duration) -> io::Result<Ended> {
        termination::end(&mut self.child, grace).await
    }

    /// Kills the whole process group and reaps the child.
    pub async fn kill(&mut self) -> io::Result<Ended> {
        termination::kill(&mut self.child).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_measured_more_often_near_the_limit() {
        assert_eq!(budget_pause(0), BUDGET_PAUSE_MIN);
        assert_eq!(budget_pause(800 << 20), Duration::from_millis(50));
        assert_eq!(budget_pause(u64::MAX), BUDGET_PAUSE_MAX);
    }
}
