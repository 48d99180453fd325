//! How a tool starts: in a shell that sets limits before anything else runs, and that leaves a watcher behind.

use std::{ffi::OsString, path::Path};

use rustix::process::{Resource, getrlimit};
use tokio::process::Command;

use super::{Isolation, Limits, SYSTEM_PATH, Tool};

/// The shell.
const SHELL: &str = "/bin/sh";

/// The most files that each process may have open.
const OPEN_FILES_MAX: u64 = 1024;

/// The unit of the shell's limit for the size of a file.
const BLOCK_BYTES: u64 = 512;

/// The watcher reads the pipe that the server holds open. The kernel closes it however the server ends, and the watcher then
/// kills its process group, which is the tool's. The limits come before the program, so that nothing runs without them.
const SCRIPT: &str = r#"exec 3<&0 </dev/null
{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 &
exec 3<&-
ulimit -c 0 && ulimit -f "$1" && ulimit -n "$2" || exit 125
shift 2
unset PWD OLDPWD SHLVL
exec "$@""#;

/// The processes of a tree that are not the tool's: the watcher, and `unshare`.
pub(super) const OWN_PROCESSES: usize = 2;

/// The command of a tool in its folder.
pub(super) fn command(
    tool: &Tool,
    isolation: Isolation,
    wrapper: Option<&Path>,
    folder: &Path,
    limits: &Limits,
) -> Command {
    let mut command = Command::new(SHELL);
    command.args(["-c", SCRIPT, "sh"]);
    // One block more than all files may have, so that a file of that size shows the excess.
    let blocks = at_most(Resource::Fsize, BLOCK_BYTES, limits.folder_bytes / BLOCK_BYTES + 1);
    command.args([blocks, at_most(Resource::Nofile, 1, OPEN_FILES_MAX)].map(|limit| limit.to_string()));
    if let Some((wrapper, arguments)) = wrapper.zip(isolation.arguments()) {
        command.arg(wrapper).args(arguments).arg("--");
    }
    command
        .arg(&tool.program)
        .args(tool.arguments.iter().map(OsString::as_os_str))
        .current_dir(folder)
        .env_clear()
        .env("PATH", SYSTEM_PATH)
        .env("HOME", folder)
        .env("TMPDIR", folder);
    command
}

/// The limit in the shell's unit, or the server's own where that is lower: nobody can raise it.
fn at_most(resource: Resource, unit: u64, limit: u64) -> u64 {
    getrlimit(resource).maximum.map_or(limit, |own| limit.min(own / unit))
}
