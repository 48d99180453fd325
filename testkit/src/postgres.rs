//! A PostgreSQL of a test's own, that may be stopped, killed and started as the test likes.
//!
//! It is made from the programs of the machine (Debian's package `postgresql`), in a folder that goes with it, and is
//! reached through a socket there, so that any number of them run side by side.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    places,
    processes::{self, Process},
};

/// A PostgreSQL. It is ended when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    programs: PathBuf,
    dir: TempDir,
}

/// How it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// As for maintenance: everybody is disconnected, and what was committed is written.
    Fast,
    /// As by a crash: it recovers when it is started again.
    Immediate,
}

impl Cluster {
    /// Makes one and starts it, or reports the test as skipped where the machine has no PostgreSQL.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            places::skip("needs the programs of a PostgreSQL, which this machine does not have");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("edgeprove-postgres-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((uid, gid)) = other_user() {
            chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        let cluster = Self { programs, dir };
        let data = cluster.data();
        // It is to lose nothing when it is stopped, not when the power fails.
        cluster.run("initdb", &["--auth=trust", "--username=postgres", "--no-sync", "--pgdata", &data]);
        cluster.start_again();
        Some(cluster)
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn start_again(&self) {
        let (socket, log) = (self.path("."), self.path("log"));
        let options = format!("-c listen_addresses= -c fsync=off -k {socket}");
        self.run(
            "pg_ctl",
            &["--wait", "--pgdata", &self.data(), "--log", &log, "--options", &options, "start"],
        );
    }

    /// Stops it and waits until it has stopped.
    #[track_caller]
    pub fn stop(&self, how: Stop) {
        let mode = match how {
            Stop::Fast => "--mode=fast",
            Stop::Immediate => "--mode=immediate",
        };
        self.run("pg_ctl", &["--wait", "--pgdata", &self.data(), mode, "stop"]);
    }

    /// Its processes, which hang while they are stopped: connections stay open, and nobody answers.
    #[track_caller]
    pub fn processes(&self) -> Vec<Process> {
        let file = fs::read_to_string(self.dir.path().join("data/postmaster.pid")).unwrap();
        let first = file.lines().next().and_then(|pid| pid.parse().ok()).expect("its first process");
        let first = Process::look(first).expect("PostgreSQL runs");
        std::iter::once(first).chain(processes::children(first.pid)).collect()
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("postgres:///postgres?host={}&user=postgres", self.dir.path().display())
    }

    /// The folder of everything that it writes, its log included.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("its path is text").to_owned()
    }

    fn data(&self) -> String {
        self.path("data")
    }

    #[track_caller]
    fn run(&self, program: &str, args: &[&str]) {
        let status = self.command(program).args(args).status().unwrap();
        assert!(status.success(), "{program} failed: {status}");
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match other_user() {
            Some((uid, gid)) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={uid}"), format!("--regid={gid}")]).arg("--clear-groups");
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["--wait", "--pgdata", &self.data(), "--mode=immediate", "stop"]).stderr(Stdio::null());
        // It may have been stopped by the test.
        let _ = stop.status();
    }
}

/// Whom PostgreSQL is run as where we are root, which it refuses to be run by: the user that its package made.
fn other_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let postgres =
        users.lines().find(|line| line.starts_with("postgres:")).expect("there is a user postgres");
    let mut fields = postgres.split(':').skip(2).map(|number| number.parse().unwrap());
    Some((fields.next().unwrap(), fields.next().unwrap()))
}

/// The folder of the latest release's programs.
fn programs() -> Option<PathBuf> {
    let releases = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path());
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let programs = releases.max_by_key(number)?.join("bin");
    is_whole(&programs).then_some(programs)
}

fn is_whole(programs: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres"].iter().all(|program| programs.join(program).exists())
}
