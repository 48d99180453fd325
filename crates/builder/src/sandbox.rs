//! Runs one tool as a child process that cannot outlive its limits.
//!
//! - [`isolation`]: namespaces, where the system allows them.
//! - [`usage`]: what a tool takes while it runs.
//! - [`output`]: what it prints.
//! - [`message`]: what it printed, without paths.

mod isolation;
mod message;
mod output;
mod usage;

use std::{ffi::OsString, path::PathBuf, pin::pin, process::ExitStatus, sync::Arc, time::Duration};

use edgeprove_prover::child_process::{ChildProcess, DeathCause, Ended};
use edgeprove_spool::Spool;
use edgeprove_telemetry::supervisor::Supervisor;
use tokio::{process::Command, sync::oneshot};

pub use isolation::Isolation;

use crate::{
    error::{Status, ToolError},
    workspace::Workspace,
};
use output::Captured;

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
    /// The most processes.
    pub processes: usize,
}

impl Default for Limits {
    /// Enough to compile a circuit of a million constraints.
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
}

impl Sandbox {
    /// Finds out which namespaces the system allows. Folders of tools are created in the spool.
    pub async fn open(spool: Spool, supervisor: Supervisor) -> Result<Self, ToolError> {
        let mut sandbox = Self { spool, supervisor, isolation: Isolation::ProcessGroup };
        for isolation in Isolation::STRONGEST_FIRST {
            sandbox.isolation = isolation;
            if sandbox.works().await? {
                return Ok(sandbox);
            }
        }
        Ok(sandbox)
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

    /// Creates a folder for a build.
    pub fn workspace(&self) -> Result<Arc<Workspace>, ToolError> {
        Ok(Arc::new(Workspace::create(&self.spool)?))
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
            // The caller may have left, and many files take a while to remove.
            let removed = tokio::task::spawn_blocking(move || drop(run)).await;
            if removed.is_err() {
                tracing::error!("the folder of a build could not be removed");
            }
            // A caller that left does not need the result.
            let _ = reply.send(result);
        });
        response.await.map_err(|_| ToolError::Stopping)?
    }

    /// Whether a tool can be run with this isolation.
    async fn works(&self) -> Result<bool, ToolError> {
        let Some(program) = isolation::wrapper() else {
            return Ok(self.isolation == Isolation::ProcessGroup);
        };
        let tool = Tool { name: String::from("unshare"), program, arguments: vec!["--version".into()] };
        let limits = Limits { time: Duration::from_secs(10), ..Limits::default() };
        match self.run(tool, &self.workspace()?, limits).await {
            Ok(_) => Ok(true),
            Err(ToolError::Stopping) => Err(ToolError::Stopping),
            Err(error) => {
                tracing::debug!(isolation = ?self.isolation, %error, "an isolation of tools does not work");
                Ok(self.isolation == Isolation::ProcessGroup)
            }
        }
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
    /// Runs the tool. No process of it is left afterwards.
    async fn result(
        &self,
        reply: &mut oneshot::Sender<Result<ToolOutput, ToolError>>,
    ) -> Result<ToolOutput, ToolError> {
        let mut child = ChildProcess::start_unread(self.command())
            .map_err(|error| self.system("started", error.source))?;
        let pid = child.pid();
        usage::limit_files(pid, self.limits.folder_bytes);
        let output = Captured::new(self.limits.output_bytes);
        // Its standard input is empty.
        let stdout = child.take_pipes().map(|(_, stdout)| stdout);
        let mut reading = pin!(output.read(stdout, child.take_stderr()));
        let mut is_read = false;
        let stop = self.sandbox.supervisor.stop_token();
        let mut deadline = pin!(tokio::time::sleep(self.limits.time));
        let mut excess = pin!(usage::beyond_limits(pid, self.workspace.path(), &self.limits));
        let mut ended = pin!(ChildProcess::ended(pid));
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
                () = &mut ended => break None,
            }
        };
        let status = self.kill(&mut child).await?;
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

    fn command(&self) -> Command {
        let folder = self.workspace.path();
        let mut command = match self.sandbox.isolation.arguments() {
            Some(arguments) => {
                let mut unshare = Command::new("unshare");
                unshare.args(arguments).arg("--").arg(&self.tool.program);
                unshare
            }
            None => Command::new(&self.tool.program),
        };
        command
            .args(&self.tool.arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .env("HOME", folder)
            .env("TMPDIR", folder);
        command
    }

    /// Kills the process group and reaps the tool. With a process namespace, everything in it dies with its first
    /// process.
    async fn kill(&self, child: &mut ChildProcess) -> Result<ExitStatus, ToolError> {
        match child.kill().await {
            Ok(Ended::InGrace(status) | Ended::Killed(status)) => Ok(status),
            Err(source) => Err(self.system("killed", source)),
        }
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
