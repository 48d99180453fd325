//! Calls wrangler without side effects: it does not look for newer versions, sends no reports, and writes only under
//! `target/wrangler` and `.wrangler`.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{images, process, setup::EdgeTools};

/// wrangler removes its containers at its end.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A wrangler command, run in the repository's root.
pub(super) fn command(tools: &EdgeTools, arguments: &[&str]) -> Command {
    let scratch = tools.paths.wrangler_scratch();
    let mut command = Command::new(tools.npm_program("wrangler"));
    process::remove_own_package_env(&mut command);
    command
        .args(arguments)
        .current_dir(&tools.paths.root)
        .stdin(Stdio::null())
        .env("WRANGLER_SEND_METRICS", "false")
        .env("WRANGLER_SEND_ERROR_REPORTS", "false")
        // The banner includes a look for a newer version.
        .env("WRANGLER_HIDE_BANNER", "true")
        .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
        .env("WRANGLER_LOG_PATH", scratch.join("wrangler.log"))
        .env("WRANGLER_REGISTRY_PATH", registry(tools))
        .env("WRANGLER_CACHE_DIR", scratch.join("cache"));
    command
}

/// Where a program is put into the images: lets wrangler build them with the argument of [`images::for_edge`], so that it
/// finds every step in the build cache.
pub(super) fn use_given_server(command: &mut Command, tools: &EdgeTools) -> anyhow::Result<()> {
    let Some(argument) = images::argument_for_wrangler() else { return Ok(()) };
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = build ]; then\n  shift\n  set -- build --build-arg {argument} \"$@\"\nfi\n\
         exec docker \"$@\"\n"
    );
    let program = tools.paths.wrangler_scratch().join("docker");
    let write = || {
        let folder = tools.paths.wrangler_scratch();
        fs::create_dir_all(&folder)?;
        // Another wrangler may run the script at this moment, so it is replaced as a whole.
        let mut file =
            tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempfile_in(folder)?;
        file.write_all(script.as_bytes())?;
        file.into_temp_path().persist(&program)?;
        Ok::<_, io::Error>(())
    };
    write().with_context(|| format!("{} cannot be written", program.display()))?;
    command.env("WRANGLER_DOCKER_BIN", program);
    Ok(())
}

/// The folder in which each wrangler registers its Workers: one file for each, with the Worker's name.
pub(super) fn registry(tools: &EdgeTools) -> PathBuf {
    tools.paths.wrangler_scratch().join("registry")
}

/// A wrangler that runs until it is stopped.
#[derive(Debug)]
pub(super) struct Wrangler {
    child: Child,
}

impl Wrangler {
    /// Starts wrangler in its own process group. Ctrl-C does not reach it there, so only [`Self::stop`] ends it.
    pub(super) fn start(mut command: Command) -> anyhow::Result<Self> {
        let child = command.process_group(0).spawn().context("wrangler cannot be started")?;
        Ok(Self { child })
    }

    /// The id of its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns an error if it has ended by itself.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("wrangler ended by itself, {status}"),
        }
    }

    /// Stops it and waits until it has ended.
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
            // A killed wrangler does not end its children.
            let _ = kill_process_group(group, Signal::KILL);
        }
        Ok(status)
    }
}

impl Drop for Wrangler {
    fn drop(&mut self) {
        // After `stop` this does nothing. Drop cannot return an error.
        let _ = self.end();
    }
}
