//! The edge as its deployer runs it on a machine of their own: `cargo xtask edge`, with the real wrangler and workerd.
//!
//! When it goes, it is held against what must be true of every edge: it ends when asked to, it leaves neither a process
//! nor a container behind, and its log holds no private value.

use std::{
    fs::{self, File},
    net::SocketAddr,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use edgeprove_testkit::{
    Answer, TestServer,
    client::Ask,
    places,
    processes::{self, Process},
    samples,
    wait::within,
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::docker;

/// wrangler starts slowly, and slower still beside others. The first start builds the image's last layers.
const START: Duration = Duration::from_mins(3);
/// It has containers to end.
const END: Duration = Duration::from_mins(1);

/// Between two looks at its memory.
const GLANCE: Duration = Duration::from_millis(10);

/// The repository's `wrangler.toml` with a change, as a file in this folder.
#[track_caller]
pub fn variant(dir: &Path, change: impl FnOnce(&mut toml::Table)) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e is in the repository");
    let text = fs::read_to_string(root.join("wrangler.toml")).unwrap();
    let mut config: toml::Table = text.parse().expect("it is TOML");
    // Paths in it count from where it lies.
    let absolute = |value: &mut toml::Value| {
        *value = root.join(value.as_str().expect("it is a path")).display().to_string().into();
    };
    absolute(&mut config["main"]);
    absolute(&mut config["containers"][0]["image"]);
    config["build"].as_table_mut().unwrap().insert("cwd".to_owned(), root.display().to_string().into());
    config.remove("env");
    change(&mut config);
    let file = dir.join("wrangler.toml");
    fs::write(&file, config.to_string()).unwrap();
    file
}

/// What the edge is started with. Tests change what they are about.
#[derive(Debug, Default)]
pub struct EdgeSettings {
    /// The server it stands in front of; without one it starts containers.
    upstream: Option<String>,
    /// Variables and secrets of the Worker.
    vars: Vec<(String, String)>,
    /// Another configuration than the repository's `wrangler.toml`.
    config: Option<PathBuf>,
}

impl EdgeSettings {
    /// Sets a variable.
    pub fn var(&mut self, name: &str, value: &str) -> &mut Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts it in front of this server.
    pub fn upstream(&mut self, address: SocketAddr) -> &mut Self {
        self.upstream = Some(format!("http://{address}"));
        self
    }

    /// Takes another configuration than the repository's.
    pub fn config(&mut self, file: PathBuf) -> &mut Self {
        self.config = Some(file);
        self
    }
}

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    child: Child,
    dir: TempDir,
    address: SocketAddr,
    has_containers: bool,
    ended: bool,
}

impl Edge {
    /// An edge in front of this server, with the settings of `wrangler.toml`.
    #[track_caller]
    pub fn before(server: &TestServer) -> Self {
        Self::start(|edge| {
            edge.upstream(server.address());
        })
    }

    /// An edge with other settings. It answers when this returns.
    #[track_caller]
    pub fn start(change: impl FnOnce(&mut EdgeSettings)) -> Self {
        let mut settings = EdgeSettings::default();
        change(&mut settings);
        let dir = tempfile::Builder::new().prefix("edgeprove-edge-").tempdir().unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let address_file = dir.path().join("address");
        let mut command = Command::new(places::program("xtask"));
        command.args(["edge", "--port", "0", "--addr-file"]).arg(&address_file);
        if let Some(url) = &settings.upstream {
            command.args(["--upstream", url]);
        }
        if let Some(config) = &settings.config {
            command.arg("--config").arg(config);
        }
        // The same witness is proved again and again, and each time it is the proving that is tested.
        if !settings.vars.iter().any(|(name, _)| name == "EDGEPROVE_PROOF_CACHE") {
            settings.var("EDGEPROVE_PROOF_CACHE", "0");
        }
        for (name, value) in &settings.vars {
            command.arg("--var").arg(format!("{name}={value}"));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("xtask can be started");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let has_containers = settings.upstream.is_none();
        let mut edge = Self { child, dir, address, has_containers, ended: false };
        edge.address = within(START, "the edge answers", || {
            let status = edge.child.try_wait().unwrap();
            assert!(status.is_none(), "the edge ended with {status:?}: {}", edge.log());
            fs::read_to_string(&address_file).ok()?.trim().parse().ok()
        });
        edge
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request to it.
    pub fn ask(&self, method: &str, path: &str) -> Ask {
        Ask::new(self.address, method.parse().expect("it is a method"), path)
    }

    /// Its answer to a GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send()
    }

    /// A request for a proof.
    pub fn posting(&self, path: &str, witness: &[u8]) -> Ask {
        Ask::to_prove(self.address, path, witness)
    }

    /// All it has said up to now.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("log")).unwrap()).into_owned()
    }

    /// Its own lines of JSON that bear this value under this name, oldest first. Waits until there is one.
    #[track_caller]
    pub fn logged(&self, name: &str, value: &str) -> Vec<Value> {
        edgeprove_testkit::eventually(&format!("the edge logs {name} {value}"), || {
            let log = self.log();
            // wrangler wraps what is an error in colours.
            let lines = log.lines().filter_map(|line| line.get(line.find('{')?..=line.rfind('}')?));
            let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let found: Vec<_> = lines.filter(|line| line[name] == value).collect();
            (!found.is_empty()).then_some(found)
        })
    }

    /// Names of its containers that run.
    pub fn containers(&self) -> Vec<String> {
        docker::running(&self.container_prefix())
    }

    fn container_prefix(&self) -> String {
        format!("workerd-edgeprove-dev-{}-", self.address.port())
    }

    /// Memory that its workerd processes have resident, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.descendants()
            .iter()
            .filter(|process| process.name() == "workerd")
            .map(|process| process.resident_bytes())
            .sum()
    }

    /// By how many bytes the memory of its workerd processes is at most larger than before, while something is done.
    #[track_caller]
    pub fn growth_while(&self, action: impl FnOnce()) -> u64 {
        let before = self.resident_bytes();
        assert!(before > 0, "workerd is not found");
        let (peak, over) = (AtomicU64::new(before), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    peak.fetch_max(self.resident_bytes(), Ordering::Relaxed);
                    thread::sleep(GLANCE);
                }
            });
            // The watcher ends also where the action fails.
            let outcome = panic::catch_unwind(AssertUnwindSafe(action));
            over.store(true, Ordering::Relaxed);
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

    /// Asks it to end and checks how it does.
    #[track_caller]
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.ended = true;
        let family = self.descendants();
        Process::look(i32::try_from(self.child.id()).unwrap()).expect("the edge lives").signal(Signal::INT);
        let status = within(END, "the edge ends", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{status}: {}", self.log());
        let left: Vec<_> = family.into_iter().filter(|process| process.lives()).collect();
        assert_eq!(left, [], "processes outlive the edge");
        if self.has_containers {
            assert_eq!(
                docker::all(&self.container_prefix()),
                Vec::<String>::new(),
                "containers outlive the edge"
            );
        }
        assert!(
            !samples::shows_secret(self.log().as_bytes()),
            "the log shows a private value:\n{}",
            self.log()
        );
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if self.ended {
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
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(Process::look) {
            process.signal(Signal::INT);
        }
        // It removes its containers; there is nothing to be done if it cannot.
        let _ = self.child.wait();
    }
}
