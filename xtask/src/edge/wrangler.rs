//! wrangler, called so that it keeps to itself: it asks nobody for newer versions of itself, sends no reports, and
//! writes nowhere but under `target/wrangler` and `.wrangler`.

use std::{
    io,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{process, setup::EdgeTools};

/// It has containers to remove.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A command of wrangler's, in the repository's root.
pub(super) fn command(tools: &EdgeTools, arguments: &[&str]) -> Command {
    let scratch = tools.paths.wrangler_scratch();
    let mut command = Command::new(tools.npm_program("wrangler"));
    process::forget_own_package(&mut command);
    command
        .args(arguments)
        .current_dir(&tools.paths.root)
        .stdin(Stdio::null())
        .env("WRANGLER_SEND_METRICS", "false")
        .env("WRANGLER_SEND_ERROR_REPORTS", "false")
        // With the banner comes the question for a newer version.
        .env("WRANGLER_HIDE_BANNER", "true")
        .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
        .env("WRANGLER_LOG_PATH", scratch.join("wrangler.log"))
        .env("WRANGLER_REGISTRY_PATH", registry(tools))
        .env("WRANGLER_CACHE_DIR", scratch.join("cache"));
    command
}

/// Where wranglers tell each other of the Workers that they run: a file for each, under its name.
pub(super) fn registry(tools: &EdgeTools) -> PathBuf {
    tools.paths.wrangler_scratch().join("registry")
}

/// A wrangler that runs until it is stopped.
#[derive(Debug)]
pub(super) struct Wrangler {
    child: Child,
}

impl Wrangler {
    /// Starts it where Ctrl-C does not reach it: it is stopped by us alone, and once.
    pub(super) fn start(mut command: Command) -> anyhow::Result<Self> {
        let child = command.process_group(0).spawn().context("wrangler cannot be started")?;
        Ok(Self { child })
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error if it ended on its own.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("wrangler ended by itself, {status}"),
        }
    }

    /// Asks it to stop and waits until it has.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        match self.end().context("wrangler cannot be stopped")? {
            Some(_) => Ok(()),
            None => bail!("wrangler had to be killed: it did not stop within {} s", STOP_LIMIT.as_secs()),
        }
    }

    fn end(&mut self) -> io::Result<Option<ExitStatus>> {
        let group = Pid::from_child(&self.child);
        let status = process::terminate(&mut self.child, STOP_LIMIT)?;
        if status.is_none() {
            // Killed, it leaves those behind that it started.
            let _ = kill_process_group(group, Signal::KILL);
        }
        Ok(status)
    }
}

impl Drop for Wrangler {
    fn drop(&mut self) {
        // After `stop` there is nothing left to do; on the way out of an error there is nobody left to tell.
        let _ = self.end();
    }
}
