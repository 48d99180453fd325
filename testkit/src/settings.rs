//! What a server is started with.

use std::{
    fmt::Display,
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{Sample, paths, samples, skipped::namespace};

/// Processes that `--cores 2` keeps warm: one for both cores, and one for each of them.
pub const WARM_PROVERS: usize = 3;

/// What a server is started with. Tests change what they are about.
#[derive(Debug)]
pub struct Settings {
    /// bb, or what stands in its place.
    pub bb: PathBuf,
    /// The folder that the server's CRS is taken from.
    pub crs: PathBuf,
    /// The cache of verification keys.
    pub keys: PathBuf,
    /// The circuit that is served by name and by default.
    pub circuit: Option<PathBuf>,
    /// A folder of circuits.
    pub circuits: Option<PathBuf>,
    /// The spool; else a fresh one.
    pub spool: Option<PathBuf>,
    /// Where the server writes its address; else where the test looks for it.
    pub address_file: Option<PathBuf>,
    /// Further flags, with their values.
    pub flags: Vec<String>,
    /// Further environment.
    pub environment: Vec<(String, String)>,
    /// What the server is started by, such as `unshare`. It must become the server.
    pub wrapper: Option<Command>,
    /// bb processes of an idle server.
    pub provers: usize,
    /// What the server is asked to prove when it must be well; `None` if it cannot.
    pub good: Option<Sample>,
    /// Whether to wait until the server is ready.
    pub wait_until_ready: bool,
}

impl Settings {
    /// A server of `range_check` that is given nothing else.
    #[track_caller]
    #[expect(clippy::new_without_default, reason = "it looks for files, which a default should not")]
    pub fn new() -> Self {
        Self {
            bb: paths::bb(),
            crs: paths::crs(),
            keys: paths::shared_keys(),
            circuit: Some(samples::range().circuit.clone()),
            circuits: None,
            spool: None,
            address_file: None,
            flags: Vec::new(),
            environment: Vec::new(),
            wrapper: None,
            provers: WARM_PROVERS,
            good: Some(samples::range().clone()),
            wait_until_ready: true,
        }
    }

    /// Adds a flag with its value.
    pub fn flag(&mut self, name: &str, value: &(impl Display + ?Sized)) {
        self.flags.extend([name.to_owned(), value.to_string()]);
    }

    /// Gives the server a file system of so many bytes at this folder, in a mount namespace of its own, so that nothing
    /// is left mounted whatever happens. `options` are further ones of `mount`, each after a comma.
    pub fn small_disk(&mut self, folder: &Path, bytes: usize, options: &str) {
        let mount =
            format!("mount -t tmpfs -o size={bytes},mode=700{options} tmpfs \"$1\" && shift && exec \"$@\"");
        fs::create_dir(folder).unwrap();
        let mut wrapper = namespace(&["--mount"]);
        wrapper.args(["sh", "-c", &mount, "sh"]).arg(folder);
        self.wrapper = Some(wrapper);
    }

    /// One bb for each proof.
    pub fn process_mode(&mut self) {
        self.flag("--prover", "process");
        self.provers = 0;
    }
}

/// The folders and files of one server.
#[derive(Debug)]
pub(crate) struct Room {
    dir: TempDir,
    pub(crate) spool: PathBuf,
}

impl Room {
    pub(crate) fn new(settings: &Settings) -> Self {
        let dir = tempfile::Builder::new().prefix("edgeprove-test-").tempdir().unwrap();
        let spool = settings.spool.clone().unwrap_or_else(|| dir.path().join("spool"));
        let room = Self { dir, spool };
        // A CRS folder of its own, by which this server's processes are told from all others.
        fs::create_dir(room.crs()).unwrap();
        for name in ["bn254_g1.dat", "bn254_g2.dat"] {
            let file = settings.crs.join(name);
            if file.exists() {
                symlink(file, room.crs().join(name)).unwrap();
            }
        }
        room
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

    /// The command that starts the server. Nothing of the test's environment reaches it.
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
        command.arg("serve").args(["--log", "debug", "--log-format", "json", "--cores", "2"]);
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
        // The same witness is proved again and again, and each time it is the proving that is tested.
        if !settings.flags.iter().any(|flag| flag == "--proof-cache") {
            command.args(["--proof-cache", "0"]);
        }
        // A test's folder may be on a container's own file system, where jobs would not be taken.
        command
            .env("EDGEPROVE_EPHEMERAL_JOBS", settings.flags.iter().any(|flag| flag == "--data").to_string());
        command.args(settings.flags).envs(settings.environment);
        command
    }
}
