//! The settings that a test server is started with.

use std::{
    fmt::Display,
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{Sample, paths, samples, skipped::namespace};

/// Number of bb processes that `--cores 2` keeps warm: one for both cores, and one for each core.
pub const WARM_PROVERS: usize = 3;

/// The settings of a test server. A test changes those that it is about.
#[derive(Debug)]
pub struct Settings {
    /// The program of bb, or of a fake bb.
    pub bb: PathBuf,
    /// The folder of the CRS.
    pub crs: PathBuf,
    /// The folder of the cache of verification keys.
    pub keys: PathBuf,
    /// The circuit for `--circuit`.
    pub circuit: Option<PathBuf>,
    /// The folder for `--circuits`.
    pub circuits: Option<PathBuf>,
    /// The spool folder; by default a new one.
    pub spool: Option<PathBuf>,
    /// The file that the server writes its address to; by default the one that [`crate::TestServer`] reads.
    pub address_file: Option<PathBuf>,
    /// Additional flags with their values.
    pub flags: Vec<String>,
    /// Additional variables of the environment.
    pub environment: Vec<(String, String)>,
    /// A command that starts the server, such as `unshare`. The command line of the server is appended to it.
    pub wrapper: Option<Command>,
    /// The number of bb processes of the idle server.
    pub provers: usize,
    /// A sample that the server can prove, for checks of its health.
    pub sample: Option<Sample>,
    /// Whether the start waits until the server is ready.
    pub wait_until_ready: bool,
}

impl Settings {
    /// A server of the circuit `range_check`, with defaults for everything else.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it looks for files, which a default should not do")]
    pub fn new() -> Self {
        Self {
            bb: paths::bb(),
            crs: paths::crs(),
            keys: paths::shared_keys(),
            circuit: Some(samples::range_check().circuit.clone()),
            circuits: None,
            spool: None,
            address_file: None,
            flags: Vec::new(),
            environment: Vec::new(),
            wrapper: None,
            provers: WARM_PROVERS,
            sample: Some(samples::range_check().clone()),
            wait_until_ready: true,
        }
    }

    /// Adds a flag with its value.
    pub fn flag(&mut self, name: &str, value: &(impl Display + ?Sized)) {
        self.flags.extend([name.to_owned(), value.to_string()]);
    }

    /// Mounts a small file system for the server at this new folder. The mount namespace belongs to the server, so
    /// nothing stays mounted after it. `options` are additional options of `mount`, each after a comma.
    pub fn small_disk(&mut self, folder: &Path, bytes: usize, options: &str) {
        let mount =
            format!("mount -t tmpfs -o size={bytes},mode=700{options} tmpfs \"$1\" && shift && exec \"$@\"");
        fs::create_dir(folder).unwrap();
        let mut wrapper = namespace(&["--mount"]);
        wrapper.args(["sh", "-c", &mount, "sh"]).arg(folder);
        self.wrapper = Some(wrapper);
    }

    /// Selects `--prover process`: one bb per proof.
    pub fn process_mode(&mut self) {
        self.flag("--prover", "process");
        self.provers = 0;
    }
}

/// The folders and files of one server.
#[derive(Debug)]
pub(crate) struct ServerFolder {
    dir: TempDir,
    pub(crate) spool: PathBuf,
}

impl ServerFolder {
    pub(crate) fn new(settings: &Settings) -> Self {
        let dir = tempfile::Builder::new().prefix("edgeprove-test-").tempdir().unwrap();
        let spool = settings.spool.clone().unwrap_or_else(|| dir.path().join("spool"));
        let folder = Self { dir, spool };
        // Each server has a CRS folder of its own, which identifies its processes.
        fs::create_dir(folder.crs()).unwrap();
        for name in ["bn254_g1.dat", "bn254_g1_compressed.dat", "bn254_g2.dat"] {
            let file = settings.crs.join(name);
            if file.exists() {
                symlink(file, folder.crs().join(name)).unwrap();
            }
        }
        folder
    }

    pub(crate) fn crs(&self) -> PathBuf {
        self.dir.path().join("crs")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub(crate) fn address_file(&self) -> PathBuf {
        self.dir.path().join("address")
    }

    /// The command that starts the server, without the environment of the test.
    pub(crate) fn command(&self, settings: Settings) -> Command {
        let mut command = match settings.wrapper {
            Some(mut wrapper) => {
                wrapper.arg(paths::edgeprove());
                wrapper
            }
            None => Command::new(paths::edgeprove()),
        };
        let log = File::create(self.log()).unwrap();
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.arg("serve").args(["--log-format", "json"]);
        if !settings.flags.iter().any(|flag| flag == "--log") {
            command.args(["--log", "debug"]);
        }
        if !settings.flags.iter().any(|flag| flag == "--cores") {
            command.args(["--cores", "2"]);
        }
        for (flag, path) in [
            ("--bb", Some(settings.bb)),
            ("--crs", Some(self.crs())),
            ("--cache-dir", Some(settings.keys)),
            ("--spool-dir", Some(self.spool.clone())),
            ("--addr-file", Some(settings.address_file.unwrap_or_else(|| self.address_file()))),
            ("--circuit", settings.circuit),
            ("--circuits", settings.circuits),
        ] {
            if let Some(path) = path {
                command.arg(flag).arg(path);
            }
        }
        if !settings.flags.iter().any(|flag| flag.starts_with("--listen")) {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        // Tests prove the same witness many times, and a cached proof would hide the prover.
        if !settings.flags.iter().any(|flag| flag == "--proof-cache") {
            command.args(["--proof-cache", "0"]);
        }
        // Inside a container, the server would refuse to store jobs in the temporary folder of a test.
        command
            .env("EDGEPROVE_EPHEMERAL_JOBS", settings.flags.iter().any(|flag| flag == "--data").to_string());
        command.args(settings.flags).envs(settings.environment);
        command
    }
}
