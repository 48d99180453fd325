//! The server that is measured: a process of its own on a free port, with settings as they come but for the flags of
//! the row at hand.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use edgeprove_protocol::answer::Health;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{client::Client, milliseconds, rig::Rig};

const START_LIMIT: Duration = Duration::from_mins(1);
/// No request is under way when a server is stopped, or nobody waits for it any more.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Short, because the start is among the things measured.
const POLL: Duration = Duration::from_millis(1);

/// A running server, stopped when dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    url: String,
    /// From the start of the process until `/readyz` said yes, in milliseconds.
    pub(super) ready_ms: f64,
    /// Has the log and the file with the address.
    folder: TempDir,
}

impl Server {
    /// Starts the server and waits until it takes work.
    pub(super) fn start<S: AsRef<OsStr>>(rig: &Rig, flags: &[S]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder can be made")?;
        let address = folder.path().join("address");
        let log = File::create(folder.path().join("log")).context("the server's log cannot be made")?;
        let mut command = Command::new(&rig.program);
        // Settings of whoever runs this are not what is measured.
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"EDGEPROVE_"))
        {
            command.env_remove(name);
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--addr-file"]).arg(&address);
        command.arg("--circuits").arg(&rig.ready.places.circuits).arg("--cache-dir").arg(rig.vk_cache());
        command.args(flags).env("BB_PATH", &rig.bb.program).env("CRS_PATH", &rig.bb.crs);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);

        let started = Instant::now();
        let child =
            command.spawn().with_context(|| format!("{} cannot be started", rig.program.display()))?;
        let mut server = Self { child, url: String::new(), ready_ms: f64::NAN, folder };
        while started.elapsed() < START_LIMIT {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended by itself, {status}\n{}", server.log());
            }
            if server.url.is_empty() {
                // The file appears in one piece, once the port is bound.
                server.url = fs::read_to_string(&address)
                    .map_or_else(|_| String::new(), |address| format!("http://{}", address.trim()));
            } else if server.client().get("/readyz")?.status() == 200 {
                server.ready_ms = milliseconds(started.elapsed());
                return Ok(server);
            }
            thread::sleep(POLL);
        }
        bail!("the server was not ready after {} s\n{}", START_LIMIT.as_secs(), server.log());
    }

    /// Where it listens, without a slash at the end.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// A client with a connection of its own.
    pub(super) fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it says of itself.
    pub(super) fn health(&self) -> anyhow::Result<Health> {
        Ok(self.client().get("/api/health")?.body_mut().read_json()?)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Asks it to stop, waits for a while, kills it.
    fn stop(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        // Asked first, so that no signal goes to a process that took over the number of one long gone.
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let begun = Instant::now();
        while begun.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(POLL);
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.stop() {
            Ok(Some(status)) if status.success() => {}
            outcome => eprintln!("! the server did not end well: {outcome:?}\n{}", self.log()),
        }
    }
}
