//! A private, temporary PostgreSQL server for tests.
//!
//! [`Cluster::start`] runs `initdb` and starts a server from the programs of this machine (Debian's package
//! `postgresql`). The server has a folder of its own and listens on a socket in that folder only, so any number of them
//! run side by side. It ends with the process that started it, also when that process is killed.
//!
//! `cargo xtask test` starts one server for the whole run; a test that is run by hand starts its own. This is a crate
//! of its own so that `xtask` does not have to build everything that the tests use.

use std::{
    env, fs, io,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};

/// Longest time for the server to start or to stop, in seconds.
const LIMIT_S: &str = "180";

/// Waits for its standard input to end, then stops the server and removes its folder.
///
/// `$1` is the folder; the other arguments are the command that stops the server.
const GUARD: &str = r#"
trap '' HUP INT TERM
cat >/dev/null
folder=$1
shift
if [ -e "$folder/data/postmaster.pid" ]; then
  # A test may have suspended the server: a suspended process does not stop on request.
  kill -CONT "$(head -n 1 "$folder/data/postmaster.pid")"
  "$@"
fi
rm -rf "$folder"
"#;

/// Why a PostgreSQL server could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The server's folder cannot be created.
    #[error("the folder of the test database cannot be created")]
    Folder(#[source] io::Error),
    /// A program cannot be run.
    #[error("`{program}` cannot be run")]
    Run {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{program}` failed ({status}): {stderr}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// Its standard error.
        stderr: String,
    },
    /// The current user is root, and PostgreSQL refuses to run as root.
    #[error(
        "PostgreSQL does not run as root, and this machine has neither a user `postgres` nor a user `nobody`"
    )]
    NoUser,
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// As for maintenance: clients are disconnected, and committed data is written to disk.
    Fast,
    /// As in a crash: the next start recovers.
    Immediate,
}

impl Stop {
    fn mode(self) -> &'static str {
        match self {
            Self::Fast => "--mode=fast",
            Self::Immediate => "--mode=immediate",
        }
    }
}

/// Whether writes reach the disk before a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// They do, as in production.
    Synced,
    /// They do not: tests lose their data in any case.
    NotSynced,
}

/// A PostgreSQL server with a folder of its own. Dropping it stops the server and removes the folder.
///
/// ```no_run
/// # fn main() -> Result<(), edgeprove_test_postgres::ClusterError> {
/// if let Some(cluster) = edgeprove_test_postgres::Cluster::start()? {
///     println!("connect to {}", cluster.url());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    user: Option<User>,
    disk: Disk,
    _guard: Guard,
}

impl Cluster {
    /// Creates a database cluster and starts its server. `None`: this machine does not have PostgreSQL's programs.
    pub fn start() -> Result<Option<Self>, ClusterError> {
        Self::start_on(Disk::NotSynced)
    }

    /// As [`Self::start`], with the choice whether writes reach the disk.
    pub fn start_on(disk: Disk) -> Result<Option<Self>, ClusterError> {
        let Some(programs) = programs() else { return Ok(None) };
        let user = User::to_run_as()?;
        // The user that runs PostgreSQL must be able to reach the folder, and the path of a socket is at most 107 bytes
        // long. Both hold for /tmp, but not for every TMPDIR.
        let folder = tempfile::Builder::new().prefix("edgeprove-postgres-").tempdir_in("/tmp");
        let folder = folder.map_err(ClusterError::Folder)?.keep();
        let guard = Guard::start(
            &folder,
            &command(&programs.join("pg_ctl"), user, &stop_arguments(&folder, Stop::Immediate)),
        )?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).map_err(ClusterError::Folder)?;
        if let Some(User { uid, gid }) = user {
            chown(&folder, Some(uid), Some(gid)).map_err(ClusterError::Folder)?;
        }
        let cluster = Self { programs, folder, user, disk, _guard: guard };
        // Nothing of the first files has to reach the disk.
        let data = cluster.data();
        cluster.run(
            "initdb",
            &[
                "--auth=trust",
                "--username=postgres",
                "--no-locale",
                "--encoding=UTF8",
                "--no-sync",
                "--pgdata",
                &data,
            ],
        )?;
        cluster.start_again()?;
        Ok(Some(cluster))
    }

    /// Starts the server after [`Cluster::stop`] and waits until it accepts connections.
    pub fn start_again(&self) -> Result<(), ClusterError> {
        let log = self.folder.join("log").display().to_string();
        let fsync = match self.disk {
            Disk::Synced => "on",
            Disk::NotSynced => "off",
        };
        let folder = self.folder.display();
        let options = format!("-c listen_addresses= -c fsync={fsync} -c max_connections=300 -k {folder}");
        self.run(
            "pg_ctl",
            &[
                "--wait",
                "--timeout",
                LIMIT_S,
                "--pgdata",
                &self.data(),
                "--log",
                &log,
                "--options",
                &options,
                "start",
            ],
        )
    }

    /// Stops the server and waits until it has stopped.
    pub fn stop(&self, how: Stop) -> Result<(), ClusterError> {
        let arguments = stop_arguments(&self.folder, how);
        self.run("pg_ctl", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The URL of the database `postgres`, whose user may do anything.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres:///postgres?host={}&user=postgres", self.folder.display())
    }

    /// The folder of everything that the server writes, its log included.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), ClusterError> {
        let path = self.programs.join(program);
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let [name, arguments @ ..] = &command(&path, self.user, &arguments)[..] else { return Ok(()) };
        // A file: the server inherits it from `pg_ctl`, and a pipe would stay open for as long as the server runs.
        let stderr_file = self.folder.join("stderr");
        let stderr = fs::File::create(&stderr_file).map_err(ClusterError::Folder)?;
        let mut command = Command::new(name);
        command.args(arguments).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let status =
            command.status().map_err(|source| ClusterError::Run { program: program.to_owned(), source })?;
        if status.success() {
            return Ok(());
        }
        let stderr = fs::read_to_string(stderr_file).unwrap_or_default().trim().to_owned();
        Err(ClusterError::Failed { program: program.to_owned(), status, stderr })
    }
}

fn stop_arguments(folder: &Path, how: Stop) -> Vec<String> {
    let data = folder.join("data").display().to_string();
    ["--wait", "--timeout", LIMIT_S, "--pgdata", &data, how.mode(), "stop"].map(str::to_owned).into()
}

/// The command line that runs a program as this user.
fn command(program: &Path, user: Option<User>, arguments: &[String]) -> Vec<String> {
    let mut command = Vec::new();
    if let Some(User { uid, gid }) = user {
        command.extend(["setpriv".to_owned(), format!("--reuid={uid}"), format!("--regid={gid}")]);
        command.push("--clear-groups".to_owned());
    }
    command.push(program.display().to_string());
    command.extend_from_slice(arguments);
    command
}

/// A process that stops the server as soon as the process that started it has ended, whichever way it ended.
#[derive(Debug)]
struct Guard {
    child: Child,
    /// The guard waits until no process holds this end of the pipe.
    input: Option<ChildStdin>,
}

impl Guard {
    fn start(folder: &Path, stop: &[String]) -> Result<Self, ClusterError> {
        let mut shell = Command::new("sh");
        shell.args(["-c", GUARD, "sh"]).arg(folder).args(stop).current_dir("/");
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Signals to the process group of the tests, such as Ctrl-C, must not end it early.
        shell.process_group(0);
        let mut child =
            shell.spawn().map_err(|source| ClusterError::Run { program: "sh".to_owned(), source })?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.input.take());
        // An error means that it has ended already.
        let _ = self.child.wait();
    }
}

/// A user who is not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The user to run PostgreSQL as; `None`: the current one.
    fn to_run_as() -> Result<Option<Self>, ClusterError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").map_err(ClusterError::Folder)?;
        // PostgreSQL's package creates the first; every Linux has the second.
        let user = ["postgres", "nobody"].iter().find_map(|name| Self::named(name, &users));
        user.map(Some).ok_or(ClusterError::NoUser)
    }

    /// The user of this name in the text of `/etc/passwd`.
    fn named(name: &str, users: &str) -> Option<Self> {
        let fields =
            users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
        Some(Self { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
    }
}

/// The folder of PostgreSQL's programs: of the latest release where Debian installs them, otherwise on the PATH.
fn programs() -> Option<PathBuf> {
    let release = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut releases: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    releases.sort_by_key(release);
    let debian = releases.into_iter().rev().map(|release| release.join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = env::split_paths(&path).collect();
    debian
        .chain(on_path)
        .find(|folder| ["initdb", "pg_ctl", "postgres"].iter().all(|program| folder.join(program).exists()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\npostgresql:x:1:2::/:\npostgres:x:103:106::/:/bin/bash\n";
        assert_eq!(User::named("postgres", users), Some(User { uid: 103, gid: 106 }));
        assert_eq!(User::named("nobody", users), None);
    }

    #[test]
    fn a_dropped_cluster_leaves_nothing_behind() {
        let Some(cluster) = Cluster::start().unwrap() else { return };
        let folder = cluster.folder().to_owned();
        let process_file = folder.join("data/postmaster.pid");
        assert!(process_file.exists());
        cluster.stop(Stop::Fast).unwrap();
        assert!(!process_file.exists());
        cluster.start_again().unwrap();
        drop(cluster);
        assert!(!folder.exists());
    }
}
