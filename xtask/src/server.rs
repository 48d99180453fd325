//! Runs the server on a free port, and stops it in every case.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use edgeprove_protocol::{
    JobDocument, Problem,
    answer::{Health, ProofAnswer},
};
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

use crate::{process, setup::Ready};

/// Loading circuits takes a second or two; the first start on a slow disk some more.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Longer than the server's request timeout.
const REQUEST_LIMIT: Duration = Duration::from_secs(150);
/// At a stop the server has at most the last request to finish.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Short, because `cargo xtask bench` measures the start.
const POLL: Duration = Duration::from_millis(1);

type Response = ureq::http::Response<ureq::Body>;

/// The running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Mutex<Child>,
    url: String,
    agent: ureq::Agent,
    /// Contains the log and the file with the address.
    folder: TempDir,
    ready_after: Duration,
}

impl Server {
    /// Compiles the server and returns the path of its executable.
    pub(crate) fn build(ready: &Ready, release: bool) -> anyhow::Result<PathBuf> {
        let (profile, folder) = if release { ("release", "release") } else { ("dev", "debug") };
        eprintln!("  server: building it, profile {profile}");
        let build =
            ["build", "--locked", "--package", "edgeprove", "--bin", "edgeprove", "--profile", profile];
        process::run(process::cargo(&build).current_dir(&ready.paths.root))?;
        Ok(ready.paths.target.join(folder).join("edgeprove"))
    }

    /// A command that starts the program with the circuits that setup compiled. The caller may add flags.
    pub(crate) fn command(program: &Path, ready: &Ready) -> Command {
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg("--circuits")
            .arg(&ready.paths.circuits)
            // The user's own jobs are none of its business.
            .env("EDGEPROVE_DATA", "off")
            .env("BB_PATH", ready.paths.bb(&ready.versions.bb.version))
            .env("CRS_PATH", &ready.paths.crs);
        command
    }

    /// Starts the server on a free port, and waits until it is ready.
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a temporary folder cannot be created")?;
        let address = folder.path().join("address");
        let log = File::create(folder.path().join("log")).context("the server's log cannot be created")?;
        command.args(["--listen", "127.0.0.1:0", "--addr-file"]).arg(&address);
        command.stdin(Stdio::null()).stderr(log);
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST_LIMIT))
            .http_status_as_error(false)
            .build()
            .into();
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("{} cannot be started", Path::new(command.get_program()).display()))?;
        let mut server =
            Self { child: Mutex::new(child), url: String::new(), agent, folder, ready_after: Duration::ZERO };
        server.wait_until_ready(&address, started)?;
        server.ready_after = started.elapsed();
        Ok(server)
    }

    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().id()
    }

    /// The time from the start of the process until `/readyz` returned 200.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its address, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn wait_until_ready(&mut self, address: &Path, started: Instant) -> anyhow::Result<()> {
        while started.elapsed() < START_LIMIT {
            self.check()?;
            if self.url.is_empty() {
                // The server writes the file as a whole when the port is bound.
                self.url = fs::read_to_string(address)
                    .map_or_else(|_| String::new(), |a| format!("http://{}", a.trim()));
            } else if self.agent.get(format!("{}/readyz", self.url)).call()?.status() == 200 {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        bail!("the server was not ready after {} s\n{}", START_LIMIT.as_secs(), self.log());
    }

    /// Returns an error with the end of its log if it has ended by itself.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match self.child.lock().try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server ended by itself, {status}\n{}", self.log()),
        }
    }

    /// Gets its health document.
    pub(crate) fn health(&self) -> anyhow::Result<Health> {
        let mut answer = self.agent.get(format!("{}/api/health", self.url)).call()?;
        Ok(answer.body_mut().read_json()?)
    }

    /// Proves a gzipped witness.
    pub(crate) fn prove(&self, circuit: &str, witness: &[u8]) -> anyhow::Result<ProofAnswer> {
        let mut answer = self.post(circuit, witness, &[("accept", "application/json")])?;
        Ok(answer.body_mut().read_json()?)
    }

    /// Submits a gzipped witness as a job.
    pub(crate) fn submit(&self, circuit: &str, witness: &[u8]) -> anyhow::Result<JobDocument> {
        let mut answer = self.post(circuit, witness, &[("prefer", "respond-async")])?;
        Ok(answer.body_mut().read_json()?)
    }

    /// Sends a GET request.
    pub(crate) fn get(&self, path: &str, accept: &str) -> anyhow::Result<Response> {
        let request = self.agent.get(format!("{}{path}", self.url)).header("accept", accept);
        check_status(request.call()?)
    }

    /// Sends JSON, and returns the status and the JSON of the answer, also where that is a problem.
    pub(crate) fn post_json(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("accept", "application/json");
        let mut answer = request.send_json(body)?;
        Ok((answer.status().as_u16(), answer.body_mut().read_json()?))
    }

    fn post(&self, circuit: &str, witness: &[u8], headers: &[(&str, &str)]) -> anyhow::Result<Response> {
        let mut request = self.agent.post(format!("{}/api/prove/{circuit}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check_status(request.header("content-type", "application/gzip").send(witness)?)
    }

    /// Stops it with SIGTERM, as an operator does, and waits until it has ended.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        let status =
            process::terminate(&mut self.child.lock(), STOP_LIMIT).context("the server cannot be stopped")?;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the server exited with an error, {status}\n{}", self.log()),
            None => bail!("the server had to be killed: it did not stop within {} s", STOP_LIMIT.as_secs()),
        }
    }

    /// Everything that it has logged.
    pub(crate) fn whole_log(&self) -> anyhow::Result<String> {
        fs::read_to_string(self.folder.path().join("log")).context("the server's log cannot be read")
    }

    fn log(&self) -> String {
        process::end_of_log(&self.folder.path().join("log"))
    }
}

/// Turns a response with an error status into an error.
fn check_status(mut response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let problem: Problem = response.body_mut().read_json().with_context(|| format!("status {status}"))?;
    bail!("{status} {}: {}", problem.code.as_str(), problem.detail)
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `stop` this does nothing. Drop cannot return an error.
        let _ = process::terminate(&mut self.child.lock(), STOP_LIMIT);
    }
}
