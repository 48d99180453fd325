//! Starts provers that pull (`edgeprove work`), each as a process of its own. At its end it checks what must be true of every
//! prover: its spool is empty, it exits with 0 when it is asked to, no child is left, and its log contains neither a panic nor a
//! private value.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    paths,
    processes::{self, Process},
    server::{assert_clean, entries, parse_log_line},
    wait::eventually,
};

/// The settings of a prover that pulls.
#[derive(Debug)]
pub struct PullerSettings {
    /// The program of bb, or of a fake bb.
    pub bb: PathBuf,
    /// The circuit for `--circuit`.
    pub circuit: Option<PathBuf>,
    /// Additional flags with their values.
    pub flags: Vec<String>,
    /// Additional variables of the environment.
    pub environment: Vec<(String, String)>,
    /// A command that starts the prover. The command line of the prover is appended to it.
    pub wrapper: Option<Command>,
}

impl PullerSettings {
    /// Adds a flag with its value.
    pub fn flag(&mut self, name: &str, value: &(impl std::fmt::Display + ?Sized)) {
        self.flags.extend([name.to_owned(), value.to_string()]);
    }
}

/// A running prover that pulls.
#[derive(Debug)]
pub struct TestPuller {
    child: Child,
    dir: TempDir,
    has_ended: bool,
}

impl TestPuller {
    /// Starts a prover of this server with this key.
    #[track_caller]
    pub fn start(from: &str, key: &str, change: impl FnOnce(&mut PullerSettings)) -> Self {
        let mut settings = PullerSettings {
            bb: paths::bb(),
            circuit: Some(crate::samples::range_check().circuit.clone()),
            flags: Vec::new(),
            environment: vec![("EDGEPROVE_CLIENT_KEY".to_owned(), key.to_owned())],
            wrapper: None,
        };
        change(&mut settings);
        let dir = tempfile::Builder::new().prefix("edgeprove-puller-").tempdir().unwrap();
        // Each prover has a CRS folder of its own, which identifies its processes.
        let crs = dir.path().join("crs");
        fs::create_dir(&crs).unwrap();
        for name in ["bn254_g1.dat", "bn254_g1_compressed.dat", "bn254_g2.dat"] {
            let file = paths::crs().join(name);
            if file.exists() {
                symlink(file, crs.join(name)).unwrap();
            }
        }
        let mut command = match settings.wrapper {
            Some(mut wrapper) => {
                wrapper.arg(paths::edgeprove());
                wrapper
            }
            None => Command::new(paths::edgeprove()),
        };
        let log = File::create(dir.path().join("log")).unwrap();
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.args(["work", "--from", from, "--log-format", "json", "--log", "debug"]);
        if !settings.flags.iter().any(|flag| flag == "--cores") {
            command.args(["--cores", "1"]);
        }
        for (flag, path) in [
            ("--bb", Some(settings.bb)),
            ("--crs", Some(crs)),
            ("--cache-dir", Some(paths::shared_keys())),
            ("--spool-dir", Some(dir.path().join("spool"))),
            ("--circuit", settings.circuit),
        ] {
            if let Some(path) = path {
                command.arg(flag).arg(path);
            }
        }
        command.args(settings.flags).envs(settings.environment);
        let child = command.spawn().expect("the prover can be started");
        Self { child, dir, has_ended: false }
    }

    /// The process number of the prover.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Its bb processes.
    pub fn provers(&self) -> Vec<Process> {
        processes::with_crs(&self.dir.path().join("crs"))
    }

    /// The text of the log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("the log is text")
    }

    /// The complete lines of the log so far.
    pub fn log_lines(&self) -> Vec<Value> {
        let log = self.log();
        let complete = log.rsplit_once('\n').map_or("", |(complete, _)| complete);
        complete.lines().map(parse_log_line).collect()
    }

    /// Waits until it claims jobs.
    #[track_caller]
    pub fn wait_until_claiming(&self) {
        eventually("the prover claims jobs", || {
            self.log_lines().iter().any(|line| line["concurrency"].is_number()).then_some(())
        });
    }

    /// The number of jobs that it has started.
    pub fn started(&self) -> usize {
        self.log_lines().iter().filter(|line| line["message"] == "job started").count()
    }

    /// The files in its spool.
    pub fn spool_files(&self) -> Vec<PathBuf> {
        entries(&self.dir.path().join("spool")).iter().flat_map(|folder| entries(folder)).collect()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = Process::find(self.pid()) {
            process.signal(signal);
        }
    }

    /// Kills it with SIGKILL. Its bb processes end by themselves.
    #[track_caller]
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
        self.has_ended = true;
        assert_clean(&self.log());
    }

    /// Waits until it ends, and checks what it leaves behind.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let status = eventually("the prover ends", || self.child.try_wait().unwrap());
        self.has_ended = true;
        processes::assert_none_with_crs(&self.dir.path().join("crs"));
        assert_eq!(
            entries(&self.dir.path().join("spool")),
            Vec::<PathBuf>::new(),
            "something is left in the spool"
        );
        status
    }

    /// Waits until it ends by itself, and returns its exit code and its standard error.
    #[track_caller]
    pub fn fails(&mut self) -> (Option<i32>, String) {
        let status = self.wait_for_exit();
        (status.code(), self.log())
    }

    /// Asks it to end, and checks that it does so properly.
    #[track_caller]
    pub fn finish(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_for_exit();
        assert_eq!(status.code(), Some(0), "{status}");
        assert_clean(&self.log());
    }
}

impl Drop for TestPuller {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(40)) {
                eprintln!("prover: {line}");
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        } else if !self.has_ended {
            self.finish();
        }
        for bb in self.provers() {
            bb.signal(Signal::KILL);
        }
    }
}
