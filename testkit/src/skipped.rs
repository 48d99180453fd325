//! Decides which tests this machine cannot run, and records them as skipped.
//!
//! A test that needs something this machine lacks calls one of these functions and returns early. `cargo xtask test`
//! prints the recorded tests at its end.

use std::{fs, io::Write as _, path::PathBuf, process::Command, thread};

use crate::{paths, processes};

/// Whether the CRS has fewer points than the test needs. If so, the test is recorded as skipped.
pub fn lacks_crs_points(needed: u64) -> bool {
    let available = paths::crs_points();
    available < needed && skip(&format!("needs {needed} CRS points, this machine has {available}"))
}

/// Whether this machine lets no process have a mount namespace of its own. If so, the test is recorded as skipped.
pub fn lacks_mount_namespaces() -> bool {
    !processes::succeeds(namespace(&["--mount"]).arg("true"))
        && skip("needs mount namespaces, which this machine does not allow")
}

/// Whether this machine lets no process have a PID namespace of its own. If so, the test is recorded as skipped.
pub fn lacks_pid_namespaces() -> bool {
    !processes::succeeds(namespace(&["--pid", "--fork", "--mount-proc"]).arg("true"))
        && skip("needs PID namespaces, which this machine does not allow")
}

/// Whether this machine lets no process have a network namespace of its own. A test that can do without one goes on.
pub fn lacks_network_namespaces() -> bool {
    !processes::succeeds(namespace(&["--net"]).arg("true"))
}

/// Whether this process may not change the memory of another one. If so, the test is recorded as skipped.
pub fn lacks_memory_of(pid: i32) -> bool {
    let memory = fs::OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"));
    memory.is_err()
        && skip("needs to change the memory of another process, which this machine does not allow")
}

/// Whether this machine lacks a program that prints its version in one of the usual ways. If so, the test is recorded as
/// skipped.
pub fn lacks_program(name: &str) -> bool {
    let prints = |argument| processes::succeeds(Command::new(name).arg(argument));
    !["-V", "--version", "version"].into_iter().any(prints)
        && skip(&format!("needs {name}, which is not installed"))
}

/// The folder with Helm's program, and a Python that reads YAML.
pub fn tools_of_the_chart() -> PathBuf {
    paths::target().join("chart/bin")
}

/// Whether `cargo xtask chart` has not installed its tools. If so, the test is recorded as skipped.
pub fn lacks_tools_of_the_chart() -> bool {
    !tools_of_the_chart().join("helm").exists() && skip("needs Helm, which `cargo xtask chart` installs")
}

/// Whether this machine has no Python. If so, the test is recorded as skipped.
pub fn lacks_python() -> bool {
    lacks_program("python3")
}

/// Whether the tests run as another user than root, who alone may give files away and read the memory of a server. If so, the
/// test is recorded as skipped.
pub fn is_not_root() -> bool {
    !rustix::process::geteuid().is_root() && skip("needs root")
}

/// Whether the tests run in a container, where a server has no user's data folder. If so, the test is recorded as skipped.
pub fn is_in_container() -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let is_layered = |mount: &str| mount.split(' ').nth(1) == Some("/") && mount.contains("overlay");
    mounts.lines().any(is_layered) && skip("needs a machine that is no container")
}

/// The command `unshare` with these namespaces. A user who is not root needs a user namespace around them.
pub fn namespace(kinds: &[&str]) -> Command {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(kinds).arg("--");
    unshare
}

/// Prints that the current test is skipped, and appends the line to the file in `EDGEPROVE_SKIP_LOG`. Returns true.
pub(crate) fn skip(reason: &str) -> bool {
    let line = format!("SKIPPED {}: {reason}", thread::current().name().unwrap_or("a test"));
    eprintln!("{line}");
    if let Some(log) = paths::variable("EDGEPROVE_SKIP_LOG") {
        let log = fs::OpenOptions::new().append(true).create(true).open(log);
        writeln!(log.expect("the skip log can be opened"), "{line}").expect("the skip log can be written");
    }
    true
}
