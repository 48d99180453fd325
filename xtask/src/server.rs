//! A server of our own on a free port, stopped whatever happens.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use edgeprove_protocol::{
    JobDocument, Problem,
    answer::{Health, ProofAnswer},
};
use tempfile::TempDir;

use crate::{process, setup::Ready};

/// Loading circuits takes a second or two; the first start on a slow disk some more.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Longer than the server lets any request take.
const REQUEST_LIMIT: Duration = Duration::from_secs(150);
/// A server that is asked to stop has no more to finish than the last request.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Short, because the start is among the things that are measured.
const POLL: Duration = Duration::from_millis(1);

type Answer = ureq::http::Response<ureq::Body>;

/// The running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Mutex<Child>,
    url: String,
    agent: ureq::Agent,
    /// Has the log and the file with the address.
    folder: TempDir,
    ready_after: Duration,
}

impl Server {
    /// Compiles the server, and says where it is.
    pub(crate) fn build(ready: &Ready, release: bool) -> anyhow::Result<PathBuf> {
        let (profile, folder) = if release { ("release", "release") } else { ("dev", "debug") };
        eprintln!("  server: building it, profile {profile}");
        let build =
            ["build", "--locked", "--package", "edgeprove", "--bin", "edgeprove", "--profile", profile];
        process::run(process::cargo(&build).current_dir(&ready.paths.root))?;
        Ok(ready.paths.target.join(folder).join("edgeprove"))
    }

    /// How to start the program with the circuits that setup made. More flags may be added.
    pub(crate) fn command(program: &Path, ready: &Ready) -> Command {
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg("--circuits")
            .arg(&ready.paths.circuits)
            .env("BB_PATH", ready.paths.bb(&ready.versions.bb.version))
            .env("CRS_PATH", &ready.paths.crs);
        command
    }

    /// Starts it on a free port, and waits until it takes work.
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder can be made")?;
        let address = folder.path().join("address");
        let log = File::create(folder.path().join("log")).context("the server's log cannot be made")?;
        command.args(["--listen", "127.0.0.1:0", "--addr-file"]).arg(&address);
        command.stdin(Stdio::null()).stderr(log);
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST_LIMIT))
            .http_status_as_error(false)
            .build()
            .into();
        let begun = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("{} cannot be started", Path::new(command.get_program()).display()))?;
        let mut server =
            Self { child: Mutex::new(child), url: String::new(), agent, folder, ready_after: Duration::ZERO };
        server.wait_until_ready(&address, begun)?;
        server.ready_after = begun.elapsed();
        Ok(server)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.lock().id()
    }

    /// From the start of the process until `/readyz` said yes.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Where it listens, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn wait_until_ready(&mut self, address: &Path, begun: Instant) -> anyhow::Result<()> {
        while begun.elapsed() < START_LIMIT {
            self.check()?;
            if self.url.is_empty() {
                // The file appears in one piece, once the port is bound.
                self.url = fs::read_to_string(address)
                    .map_or_else(|_| String::new(), |a| format!("http://{}", a.trim()));
            } else if self.agent.get(format!("{}/readyz", self.url)).call()?.status() == 200 {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        bail!("the server was not ready after {} s\n{}", START_LIMIT.as_secs(), self.log());
    }

    /// An error with the end of its log if it ended on its own.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match self.lock().try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server ended by itself, {status}\n{}", self.log()),
        }
    }

    /// What it says of itself.
    pub(crate) fn health(&self) -> anyhow::Result<Health> {
        let mut answer = self.agent.get(format!("{}/api/health", self.url)).call()?;
        Ok(answer.body_mut().read_json()?)
    }

    /// Proves a gzipped witness.
    pub(crate) fn prove(&self, circuit: &str, witness: &[u8]) -> anyhow::Result<ProofAnswer> {
        let mut answer = self.post(circuit, witness, &[("accept", "application/json")])?;
        Ok(answer.body_mut().read_json()?)
    }

    /// Hands a gzipped witness in, to be proved in its time.
    pub(crate) fn submit(&self, circuit: &str, witness: &[u8]) -> anyhow::Result<JobDocument> {
        let mut answer = self.post(circuit, witness, &[("prefer", "respond-async")])?;
        Ok(answer.body_mut().read_json()?)
    }

    /// Gets what is at a path.
    pub(crate) fn get(&self, path: &str, accept: &str) -> anyhow::Result<Answer> {
        let request = self.agent.get(format!("{}{path}", self.url)).header("accept", accept);
        unless_refused(request.call()?)
    }

    fn post(&self, circuit: &str, witness: &[u8], headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let mut request = self.agent.post(format!("{}/api/prove/{circuit}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        unless_refused(request.header("content-type", "application/gzip").send(witness)?)
    }

    /// Asks it to stop, as an operator would, and waits until it has.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        let status =
            process::terminate(&mut self.lock(), STOP_LIMIT).context("the server cannot be stopped")?;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the server did not end well, {status}\n{}", self.log()),
            None => bail!("the server had to be killed: it did not stop within {} s", STOP_LIMIT.as_secs()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn log(&self) -> String {
        process::end_of_log(&self.folder.path().join("log"))
    }
}

fn unless_refused(mut answer: Answer) -> anyhow::Result<Answer> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let problem: Problem = answer.body_mut().read_json().with_context(|| format!("status {status}"))?;
    bail!("{status} {}: {}", problem.code.code(), problem.detail)
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `stop` there is nothing left to do; on the way out of an error there is nobody left to tell.
        let _ = process::terminate(&mut self.lock(), STOP_LIMIT);
    }
}
