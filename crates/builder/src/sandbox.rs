//! Runs one tool as a child process within limits, and kills it at the first one that it exceeds.
//!
//! - [`usage`]: what it takes while it runs.
//! - [`termination`]: how it is killed, with everything that it started.
//! - [`start`]: how it starts, and what kills it when the server dies.
//! - [`isolation`]: namespaces, where the system allows them.
//! - [`output`]: what it prints.
//! - [`message`]: what it printed, without paths.

mod isolation;
mod message;
mod output;
mod start;
mod termination;
mod usage;

use std::{any::Any, ffi::OsString, path::PathBuf, pin::pin, process::ExitStatus, sync::Arc, time::Duration};

use edgeprove_prover::child_process::{ChildProcess, DeathCause};
use edgeprove_spool::Spool;
use edgeprove_telemetry::supervisor::Supervisor;
use tokio::sync::oneshot;

pub use isolation::{Isolation, Required};

use crate::{
    error::{Status, ToolError},
    workspace::Workspace,
};
use output::Captured;
use termination::Seen;

/// Where the system's programs are. A tool gets nothing else from the server's environment.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The signal for a file beyond the largest size.
const SIGXFSZ: i32 = 25;

/// The time that the output of a killed tool takes to end. Only a process that left its group could still hold it open.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// A program with its arguments.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its name in errors.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// The arguments. Its working folder is the workspace, so relative paths lead there.
    pub arguments: Vec<OsString>,
}

/// What a tool may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest time.
    pub time: Duration,
    /// The largest resident memory of the tool and all processes that it starts, in bytes.
    pub memory_bytes: u64,
    /// The most bytes that it may print.
    pub output_bytes: usize,
    /// The most bytes of all files in its folder, those that were there before included.
    pub folder_bytes: u64,
    /// The most files and folders in its folder.
    pub files: u64,
    /// The most processes, without the two of the sandbox itself.
    pub processes: usize,
}

/// The longest time for the check of an isolation.
const PROBE_TIME: Duration = Duration::from_secs(30);

impl Default for Limits {
    /// What a compiler may take by default. One that needs more fails with an error that names the limit.
    fn default() -> Self {
        Self {
            time: Duration::from_mins(5),
            memory_bytes: 4 << 30,
            output_bytes: 1 << 20,
            folder_bytes: 2 << 30,
            files: 2_000,
            processes: 32,
        }
    }
}

/// What a tool printed before it ended with success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutput {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// Runs tools. Clones share the same spool and supervisor.
#[derive(Debug, Clone)]
pub struct Sandbox {
    spool: Spool,
    supervisor: Supervisor,
    isolation: Isolation,
    /// The program that creates namespaces.
    wrapper: Option<PathBuf>,
}

impl Sandbox {
    /// Finds the best isolation that the system allows. Less than is required is an error.
    ///
    /// Folders of tools are created in the spool. It should be one of its own on a disk: a tool may write
    /// [`Limits::folder_bytes`] into its folder, and a spool of witnesses is often in memory. [`Builder`](crate::Builder) has
    /// one folder of a build at a time, and the one before it may still be being removed; beside them is the small one of a call
    /// of a contract.
    pub async fn open(spool: Spool, supervisor: Supervisor, required: Required) -> Result<Self, ToolError> {
        Self::open_with(spool, supervisor, required, isolation::wrapper(), PROBE_TIME).await
    }

    async fn open_with(
        spool: Spool,
        supervisor: Supervisor,
        required: Required,
        wrapper: Option<PathBuf>,
        probe_time: Duration,
    ) -> Result<Self, ToolError> {
        let mut sandbox = Self { spool, supervisor, isolation: Isolation::ProcessGroup, wrapper };
        let mut reason = String::from("the program `unshare` is not installed");
        for isolation in Isolation::STRONGEST_FIRST {
            if isolation.arguments().is_some() && sandbox.wrapper.is_none() {
                continue;
            }
            if !isolation.satisfies(required) {
                return Err(ToolError::NotIsolated { reason });
            }
            sandbox.isolation = isolation;
            match sandbox.probe(probe_time).await {
                Ok(()) => {
                    if !isolation.blocks_network() {
                        tracing::warn!(%reason, "compilers are not separated from the network");
                    }
                    return Ok(sandbox);
                }
                Err(error) if isolation::is_refusal(&error) => {
                    tracing::debug!(?isolation, %error, "the system refuses an isolation of tools");
                    reason = error.to_string();
                }
                Err(error) => return Err(error),
            }
        }
        Err(ToolError::NotIsolated { reason })
    }

    /// Runs a tool that does nothing.
    async fn probe(&self, time: Duration) -> Result<(), ToolError> {
        let tool = Tool {
            name: String::from("the isolation of tools"),
            program: "/bin/sh".into(),
            arguments: ["-c", ":"].map(OsString::from).to_vec(),
        };
        let limits = Limits { time, ..Limits::default() };
        self.run(tool, &self.workspace(None)?, limits).await.map(drop)
    }

    /// Runs tools with less isolation than the system allows.
    #[must_use]
    pub fn with_isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// How tools are separated from the system. The caller decides whether that is enough.
    #[must_use]
    pub const fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Creates a folder for a build, with something that is held until it is dropped.
    pub fn workspace(&self, held: Option<Arc<dyn Any + Send + Sync>>) -> Result<Arc<Workspace>, ToolError> {
        Ok(Arc::new(Workspace::create(&self.spool, held)?))
    }

    /// Runs a tool in a folder. Dropping the future kills it. Its folder is removed when both the caller and the killed
    /// tool no longer use it.
    pub async fn run(
        &self,
        tool: Tool,
        workspace: &Arc<Workspace>,
        limits: Limits,
    ) -> Result<ToolOutput, ToolError> {
        if !tool.program.is_file() {
            return Err(ToolError::NotFound { tool: tool.name });
        }
        let (mut reply, response) = oneshot::channel();
        let run = Run { sandbox: self.clone(), tool, workspace: Arc::clone(workspace), limits };
        self.supervisor.spawn("tool", async move {
            let result = run.result(&mut reply).await;
            drop(run);
            // A caller that left does not need the result.
            let _ = reply.send(result);
        });
        response.await.map_err(|_| ToolError::Stopping)?
    }
}

/// One run of a tool.
struct Run {
    sandbox: Sandbox,
    tool: Tool,
    workspace: Arc<Workspace>,
    limits: Limits,
}

impl Run {
    /// Runs the tool, and ends it with everything that it started, as far as its isolation allows.
    async fn result(
        &self,
        reply: &mut oneshot::Sender<Result<ToolOutput, ToolError>>,
    ) -> Result<ToolOutput, ToolError> {
        let Sandbox { isolation, wrapper, .. } = &self.sandbox;
        let (folder, limits) = (self.workspace.path(), &self.limits);
        let command = start::command(&self.tool, *isolation, wrapper.as_deref(), folder, limits);
        let mut child =
            ChildProcess::start_unread(command).map_err(|error| self.system("started", error.source))?;
        let (pid, seen) = (child.pid(), Seen::default());
        let output = Captured::new(limits.output_bytes);
        // The tool's standard input is empty. Its watcher kills it when this end of the pipe is closed.
        let (watched, mut stdout) = child.take_pipes().unzip();
        // A tool whose output is closed might end before it is stopped, and its children would be lost.
        let mut stderr = child.take_stderr();
        let mut reading = pin!(output.read(stdout.as_mut(), stderr.as_mut()));
        let mut is_read = false;
        let stop = self.sandbox.supervisor.stop_token();
        let mut deadline = pin!(tokio::time::sleep(self.limits.time));
        let mut excess = pin!(usage::beyond_limits(pid, folder, limits, &seen));
        let mut exit = pin!(ChildProcess::ended(pid));
        let stopped = loop {
            tokio::select! {
                biased;
                () = reply.closed() => break Some(ToolError::Stopping),
                () = stop.cancelled() => break Some(ToolError::Stopping),
                () = &mut deadline => {
                    break Some(ToolError::TimedOut { tool: self.tool.name.clone(), limit: self.limits.time });
                }
                excess = &mut excess => break Some(excess.into_error(&self.tool.name, &self.limits)),
                is_within = &mut reading, if !is_read => {
                    if !is_within {
                        break Some(self.too_much_output());
                    }
                    is_read = true;
                }
                () = &mut exit => break None,
            }
        };
        let ended = termination::end(&mut child, &seen).await;
        drop(watched);
        let status = ended.map_err(|source| self.system("killed", source))?;
        if let Some(error) = stopped {
            return Err(error);
        }
        // A tool that ended may have written a lot at the end.
        let is_within = is_read || tokio::time::timeout(OUTPUT_GRACE, reading).await.unwrap_or(true);
        if !is_within {
            return Err(self.too_much_output());
        }
        if let Some(excess) = usage::folder_excess(self.workspace.path(), &self.limits).await {
            return Err(excess.into_error(&self.tool.name, &self.limits));
        }
        let printed = output.take_output();
        if status.success() { Ok(printed) } else { Err(self.failure(&child, status, &printed)) }
    }

    fn failure(&self, child: &ChildProcess, status: ExitStatus, printed: &ToolOutput) -> ToolError {
        let tool = self.tool.name.clone();
        match child.death(status).cause {
            DeathCause::OutOfMemory => ToolError::OutOfMemory { tool, limit_bytes: self.limits.memory_bytes },
            DeathCause::Signal(SIGXFSZ) => {
                ToolError::TooLarge { tool, limit_bytes: self.limits.folder_bytes }
            }
            _ => {
                let message = message::of(printed, self.workspace.path(), &self.tool);
                ToolError::Failed { tool, status: Status(status), message }
            }
        }
    }

    fn too_much_output(&self) -> ToolError {
        ToolError::TooMuchOutput { tool: self.tool.name.clone(), limit_bytes: self.limits.output_bytes }
    }

    fn system(&self, action: &'static str, source: std::io::Error) -> ToolError {
        ToolError::System { tool: self.tool.name.clone(), action, source }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;

    /// Opens a sandbox where this script is `unshare`.
    async fn open(home: &Path, script: Option<&str>, required: Required) -> Result<Sandbox, ToolError> {
        let wrapper = script.map(|script| {
            let path = home.join("unshare");
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        });
        let spool = Spool::open(&home.join("spool")).unwrap();
        Sandbox::open_with(spool, Supervisor::default(), required, wrapper, Duration::from_secs(2)).await
    }

    #[tokio::test]
    async fn only_a_refusal_leads_to_less_isolation() {
        let home = tempfile::tempdir().unwrap();
        let refused = "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1";
        let only_for_users = format!("case $1 in --user) {refused};; esac");
        let isolation = async |script, required| {
            open(home.path(), script, required).await.map(|sandbox| sandbox.isolation())
        };
        let found = isolation(Some(only_for_users.as_str()), Required::NoNetwork).await.unwrap();
        assert_eq!(found, Isolation::Namespaces);
        for script in [None, Some(refused)] {
            let found = isolation(script, Required::ProcessGroup).await.unwrap();
            assert_eq!(found, Isolation::ProcessGroup, "{script:?}");
            let error = isolation(script, Required::NoNetwork).await.unwrap_err();
            assert!(matches!(error, ToolError::NotIsolated { .. }), "{script:?}: {error}");
        }
        // What may pass is no refusal.
        for script in [
            "exec sleep 600",
            "echo 'unshare: fork failed: Resource temporarily unavailable' >&2; exit 1",
            "kill -9 $$",
            "yes",
        ] {
            let error = isolation(Some(script), Required::ProcessGroup).await.unwrap_err();
            assert!(!matches!(error, ToolError::NotIsolated { .. }), "{script}: {error}");
        }
    }
}
