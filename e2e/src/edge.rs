//! Starts the edge on this machine with `cargo xtask edge`, which uses the real wrangler and workerd.
//!
//! At its end, an edge is checked for what must be true of every edge: it exits when it is asked to, it leaves neither
//! a process nor a container behind, and its log contains no private value.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use edgeprove_testkit::{
    Response, TestServer,
    client::Request,
    paths,
    processes::{self, Process},
    reserved_port::ReservedPort,
    samples,
    wait::{LONG_LIMIT, eventually, try_eventually, within},
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::docker;

/// Interval between two measurements of its memory.
const MEASURING_INTERVAL: Duration = Duration::from_millis(10);

/// The id of the local Secrets Store of tests.
pub const STORE: &str = "test-store";

fn state_of(port: u16) -> PathBuf {
    paths::target().join("wrangler/state").join(port.to_string())
}

/// Puts a secret into the local Secrets Store of the edge on this port. wrangler writes it to the edge's state folder,
/// without a request to anywhere.
#[track_caller]
fn store_secret(port: u16, name: &str, value: &str, log_folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e is in the repository");
    let state = state_of(port);
    let output = Command::new(root.join("edge_worker/node_modules/.bin/wrangler"))
        .args(["secrets-store", "secret", "create", STORE, "--scopes", "workers"])
        .args(["--name", name, "--value", value, "--persist-to"])
        .arg(state)
        .current_dir(log_folder)
        .env("WRANGLER_SEND_METRICS", "false")
        .env("WRANGLER_HIDE_BANNER", "true")
        .env("WRANGLER_LOG_PATH", log_folder.join("wrangler.log"))
        .stdin(Stdio::null())
        .output()
        .expect("wrangler can be started");
    assert!(output.status.success(), "{output:?}");
}

/// Writes a changed copy of the repository's `wrangler.toml` to this folder.
#[track_caller]
pub fn variant(dir: &Path, change: impl FnOnce(&mut toml::Table)) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e is in the repository");
    let text = fs::read_to_string(root.join("wrangler.toml")).unwrap();
    let mut config: toml::Table = text.parse().expect("wrangler.toml is TOML");
    // Its paths are relative to its folder.
    let absolute = |value: &mut toml::Value| {
        *value = root.join(value.as_str().expect("the value is a path")).display().to_string().into();
    };
    absolute(&mut config["main"]);
    absolute(&mut config["containers"][0]["image"]);
    absolute(&mut config["assets"]["directory"]);
    config["build"].as_table_mut().unwrap().insert("cwd".to_owned(), root.display().to_string().into());
    config.remove("env");
    change(&mut config);
    let file = dir.join("wrangler.toml");
    fs::write(&file, config.to_string()).unwrap();
    file
}

/// The settings of an edge. A test changes those that it is about.
#[derive(Debug, Default)]
pub struct EdgeSettings {
    /// The server behind the edge; without one, the edge starts containers.
    upstream: Option<String>,
    /// The variables and secrets of the Worker.
    vars: Vec<(String, String)>,
    /// A configuration in place of the repository's `wrangler.toml`.
    config: Option<PathBuf>,
    /// The secrets in the local Secrets Store.
    stored_secrets: Vec<(String, String)>,
}

impl EdgeSettings {
    /// Sets a variable.
    pub fn var(&mut self, name: &str, value: &str) -> &mut Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the server behind the edge.
    pub fn upstream(&mut self, address: SocketAddr) -> &mut Self {
        self.upstream = Some(format!("http://{address}"));
        self
    }

    /// Puts a secret into the local Secrets Store, under the id [`STORE`]. A binding in the configuration names both.
    pub fn stored_secret(&mut self, name: &str, value: &str) -> &mut Self {
        self.stored_secrets.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a configuration in place of the repository's `wrangler.toml`.
    pub fn config(&mut self, file: PathBuf) -> &mut Self {
        self.config = Some(file);
        self
    }
}

/// Starts the processes of an edge.
#[track_caller]
fn spawn(settings: &EdgeSettings, dir: &TempDir, port: u16) -> Child {
    let log = File::options().create(true).append(true).open(dir.path().join("log")).unwrap();
    let mut command = Command::new(paths::program("xtask"));
    command.args(["edge", "--port", &port.to_string(), "--addr-file"]).arg(dir.path().join("address"));
    if let Some(url) = &settings.upstream {
        command.args(["--upstream", url]);
    }
    if let Some(config) = &settings.config {
        command.arg("--config").arg(config);
    }
    for (name, value) in &settings.vars {
        command.arg("--var").arg(format!("{name}={value}"));
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().expect("xtask can be started")
}

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    child: Child,
    dir: TempDir,
    port: ReservedPort,
    settings: EdgeSettings,
    has_containers: bool,
    has_ended: bool,
}

impl Edge {
    /// Starts an edge in front of this server, with the settings of `wrangler.toml`.
    #[track_caller]
    pub fn before(server: &TestServer) -> Self {
        Self::start(|edge| {
            edge.upstream(server.address());
        })
    }

    /// Starts an edge with changed settings, and waits until it responds.
    #[track_caller]
    pub fn start(change: impl FnOnce(&mut EdgeSettings)) -> Self {
        let mut settings = EdgeSettings::default();
        change(&mut settings);
        // Tests prove the same witness many times, and a cached proof would hide the prover.
        if !settings.vars.iter().any(|(name, _)| name == "EDGEPROVE_PROOF_CACHE") {
            settings.var("EDGEPROVE_PROOF_CACHE", "0");
        }
        let dir = tempfile::Builder::new().prefix("edgeprove-edge-").tempdir().unwrap();
        // wrangler opens the port some seconds after its start. Until then, nothing else may take it.
        let port = ReservedPort::new();
        let number = port.address().port();
        // A port may come again, and with it what an earlier edge stored.
        let _ = fs::remove_dir_all(state_of(number));
        for (name, value) in &settings.stored_secrets {
            store_secret(number, name, value, dir.path());
        }
        let child = spawn(&settings, &dir, number);
        let has_containers = settings.upstream.is_none();
        let mut edge = Self { child, dir, port, settings, has_containers, has_ended: false };
        edge.wait_until_ready();
        edge
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let address_file = self.dir.path().join("address");
        // The first start with containers builds the last layers of the image.
        let address: SocketAddr = within(LONG_LIMIT, "the edge responds", || {
            let status = self.child.try_wait().unwrap();
            assert!(status.is_none(), "the edge ended with {status:?}: {}", self.log());
            fs::read_to_string(&address_file).ok()?.trim().parse().ok()
        });
        assert_eq!(address, self.address());
    }

    /// Kills workerd and everything around it at once, as the failure of a machine does, and starts the edge again with what it
    /// had stored.
    #[track_caller]
    pub fn crash_and_start_again(&mut self) {
        let descendants = self.descendants();
        assert!(descendants.iter().any(|process| process.name() == "workerd"), "workerd runs");
        self.child.kill().expect("the edge runs");
        for process in &descendants {
            process.signal(Signal::KILL);
        }
        self.child.wait().unwrap();
        try_eventually("no process of the edge is left", || {
            let left: Vec<_> = descendants.iter().filter(|process| process.is_alive()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        fs::remove_file(self.dir.path().join("address")).unwrap();
        // The connections of the killed processes may hold the port for a moment.
        try_eventually("the port is free", || {
            TcpListener::bind(self.address()).map(drop).map_err(|error| error.to_string())
        });
        self.child = spawn(&self.settings, &self.dir, self.address().port());
        self.wait_until_ready();
    }

    /// The address that the edge listens on.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The folder with the local R2, the databases of objects and the Secrets Store.
    pub fn state(&self) -> PathBuf {
        state_of(self.address().port())
    }

    /// A request to the edge.
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.address(), method.parse().expect("a method"), path)
    }

    /// Sends a GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path).send()
    }

    /// A request for a proof.
    pub fn prove_request(&self, path: &str, witness: &[u8]) -> Request {
        Request::prove(self.address(), path, witness)
    }

    /// The text of the log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("log")).unwrap()).into_owned()
    }

    /// Waits until the log has a line of JSON with this value in this field. Returns all such lines, oldest first.
    #[track_caller]
    pub fn logged(&self, name: &str, value: &str) -> Vec<Value> {
        self.logged_times(1, name, value)
    }

    /// As [`Self::logged`], but waits until there are this many lines.
    #[track_caller]
    pub fn logged_times(&self, times: usize, name: &str, value: &str) -> Vec<Value> {
        eventually(&format!("the edge logs {name} {value} ({times} times)"), || {
            let log = self.log();
            // wrangler adds terminal colours to lines about errors.
            let lines = log.lines().filter_map(|line| line.get(line.find('{')?..=line.rfind('}')?));
            let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let found: Vec<_> = lines.filter(|line| line[name] == value).collect();
            (found.len() >= times).then_some(found)
        })
    }

    /// The names of its running containers.
    pub fn containers(&self) -> Vec<String> {
        docker::running(&self.container_prefix())
    }

    fn container_prefix(&self) -> String {
        format!("workerd-edgeprove-dev-{}-", self.address().port())
    }

    /// The resident memory of its workerd processes, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.descendants()
            .iter()
            .filter(|process| process.name() == "workerd")
            .map(|process| process.resident_bytes())
            .sum()
    }

    /// Measures by how many bytes the memory of its workerd processes grows at most during an action.
    #[track_caller]
    pub fn growth_while(&self, action: impl FnOnce()) -> u64 {
        let before = self.resident_bytes();
        assert!(before > 0, "no workerd process was found");
        let (peak, is_finished) = (AtomicU64::new(before), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_finished.load(Ordering::Relaxed) {
                    peak.fetch_max(self.resident_bytes(), Ordering::Relaxed);
                    thread::sleep(MEASURING_INTERVAL);
                }
            });
            // The measuring thread must also end if the action fails.
            let outcome = panic::catch_unwind(AssertUnwindSafe(action));
            is_finished.store(true, Ordering::Relaxed);
            if let Err(failure) = outcome {
                panic::resume_unwind(failure);
            }
        });
        peak.into_inner() - before
    }

    fn descendants(&self) -> Vec<Process> {
        let mut found = processes::children(i32::try_from(self.child.id()).unwrap());
        let mut at = 0;
        while at < found.len() {
            found.extend(processes::children(found[at].pid));
            at += 1;
        }
        found
    }

    /// Asks the edge to end, and checks that it does so properly.
    #[track_caller]
    pub fn finish(mut self) {
        self.end();
    }

    #[track_caller]
    fn end(&mut self) {
        self.has_ended = true;
        let descendants = self.descendants();
        Process::find(i32::try_from(self.child.id()).unwrap()).expect("the edge runs").signal(Signal::INT);
        let status = eventually("the edge ends", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{status}: {}", self.log());
        // A process that was signalled to end takes a moment to disappear, and so does a container.
        try_eventually("no process of the edge is left", || {
            let left: Vec<_> = descendants.iter().filter(|process| process.is_alive()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        if self.has_containers {
            try_eventually("no container of the edge is left", || {
                let left = docker::all(&self.container_prefix());
                if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
            });
        }
        let log = self.log();
        assert!(!samples::contains_secret(log.as_bytes()), "the log contains a private value:\n{log}");
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        if !thread::panicking() {
            return self.end();
        }
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(40)) {
            eprintln!("edge: {line}");
        }
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(Process::find) {
            process.signal(Signal::INT);
        }
        // The test has failed already, so an edge that does not end properly is of no interest.
        let _ = self.child.wait();
    }
}
