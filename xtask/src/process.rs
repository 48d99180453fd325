//! Runs other programs. Every error names the command and shows its output.

use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use duct::Expression;
use rustix::process::{Pid, Signal, kill_process};

use crate::paths::Paths;

/// The interval at which a process that should end is polled.
const POLL: Duration = Duration::from_millis(1);
/// The most lines of a failed program's output in an error.
const SHOWN_LINES: usize = 20;
/// The most bytes of a log in an error.
const SHOWN_LOG: i64 = 4096;

/// A command of cargo, the same one that runs this program.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_path());
    remove_own_package_env(&mut command);
    command.args(arguments);
    command
}

/// Removes the variables by which cargo describes this package, for cargo and for programs that call it.
///
/// Otherwise build scripts that depend on these variables would run again at each change between `cargo xtask` and
/// plain `cargo`.
pub(crate) fn remove_own_package_env(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
            .iter()
            .any(|own| name_text.starts_with(own))
        {
            command.env_remove(&name);
        }
    }
}

/// The path of the cargo that runs this program.
pub(crate) fn cargo_path() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Compiles an example of a package with optimisations, and returns the path of its executable.
pub(crate) fn example(paths: &Paths, package: &str, name: &str) -> anyhow::Result<PathBuf> {
    eprintln!("  {name}: building it, profile release");
    let build = ["build", "--locked", "--package", package, "--example", name, "--release"];
    run(cargo(&build).current_dir(&paths.root))?;
    Ok(paths.target.join("release/examples").join(name))
}

/// Runs a program whose input and output are the terminal.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let status = command.status().map_err(|error| start_error(&shown, error))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// Runs a program for at most `limit` and returns its stdout.
pub(crate) fn read(
    program: impl AsRef<OsStr>,
    arguments: &[&str],
    limit: Duration,
) -> anyhow::Result<String> {
    read_with(program, arguments, limit, |expression| expression)
}

/// As [`read`], with a folder, input or environment added to the command.
pub(crate) fn read_with(
    program: impl AsRef<OsStr>,
    arguments: &[&str],
    limit: Duration,
    prepare: impl FnOnce(Expression) -> Expression,
) -> anyhow::Result<String> {
    // Not a path: duct treats a path without a folder as a file in the current folder.
    let program = program.as_ref();
    let shown = format!("{} {}", program.display(), arguments.join(" "));
    let expression = duct::cmd(program, arguments);
    let running = prepare(expression).stdin_null().stdout_capture().stderr_capture().unchecked().start();
    let running = running.map_err(|error| start_error(&shown, error))?;
    let Some(output) =
        running.wait_timeout(limit).with_context(|| format!("`{shown}` cannot be waited for"))?
    else {
        running.kill().with_context(|| format!("`{shown}` does not end and cannot be killed"))?;
        bail!("`{shown}` did not end within {} s", limit.as_secs());
    };
    if !output.status.success() {
        let output_text =
            [output.stderr.as_slice(), output.stdout.as_slice()].map(String::from_utf8_lossy).join("\n");
        bail!("`{shown}` failed: {}\n{}", output.status, last_lines(&output_text));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program and returns its stdout and stderr together, in the order in which it wrote them.
pub(crate) fn capture(mut command: Command) -> anyhow::Result<(ExitStatus, String)> {
    let shown = show(&command);
    let (mut output, writer) = io::pipe().context("a pipe cannot be created")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().map_err(|error| start_error(&shown, error))?;
    // The command owns the writing end of the pipe. The read below ends only when all writers are closed.
    drop(command);
    let mut text = Vec::new();
    output.read_to_end(&mut text).with_context(|| format!("the output of `{shown}` cannot be read"))?;
    let status = child.wait().with_context(|| format!("`{shown}` cannot be waited for"))?;
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

/// Sends SIGTERM, waits for at most `grace`, then sends SIGKILL. Returns the exit status, or `None` after a SIGKILL.
pub(crate) fn terminate(child: &mut Child, grace: Duration) -> io::Result<Option<ExitStatus>> {
    // Checked first: a process that has ended is not signalled, because its id may belong to another process.
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    kill_process(Pid::from_child(child), Signal::TERM)?;
    let started = Instant::now();
    while started.elapsed() < grace {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(POLL);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// The last part of a process's log.
pub(crate) fn end_of_log(log: &Path) -> String {
    let read = || {
        let mut log = File::open(log)?;
        let length = i64::try_from(log.metadata()?.len()).unwrap_or(i64::MAX);
        log.seek(SeekFrom::End(-length.min(SHOWN_LOG)))?;
        let mut end = Vec::new();
        log.read_to_end(&mut end)?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&end).into_owned())
    };
    read().unwrap_or_else(|error| format!("(its log cannot be read: {error})"))
}

/// Whether a command succeeds. Its output is discarded.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A command as a user would type it.
fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn start_error(shown: &str, error: io::Error) -> anyhow::Error {
    let program = shown.split(' ').next().unwrap_or(shown);
    match error.kind() {
        io::ErrorKind::NotFound => anyhow!("`{program}` is not installed, or not on PATH"),
        _ => anyhow::Error::new(error).context(format!("`{shown}` cannot be started")),
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(2);

    #[test]
    fn an_error_names_the_command_and_its_output() {
        let error = read("sh", &["-c", "echo why >&2; exit 3"], LONG).unwrap_err().to_string();
        assert!(
            error.contains("sh -c") && error.contains("exit status: 3") && error.ends_with("why"),
            "{error}"
        );
        let error = read("no-such-program", &[], LONG).unwrap_err().to_string();
        assert_eq!(error, "`no-such-program` is not installed, or not on PATH");
    }

    #[test]
    fn a_program_gets_the_prepared_input_or_none() {
        assert_eq!(read_with("cat", &[], LONG, |cat| cat.stdin_bytes("text")).unwrap(), "text");
        assert_eq!(read("cat", &[], LONG).unwrap(), "");
    }

    #[test]
    fn stdout_and_stderr_are_captured_in_order() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; echo three; exit 3"]);
        let (status, output) = capture(command).unwrap();
        assert_eq!((status.code(), output.as_str()), (Some(3), "one\ntwo\nthree\n"));
    }

    #[test]
    fn a_program_gets_sigterm_before_sigkill() {
        let obedient = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
        let mut child = Command::new("sh").args(["-c", obedient]).stdout(Stdio::piped()).spawn().unwrap();
        // The trap is set once the line is there.
        child.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
        assert_eq!(terminate(&mut child, LONG).unwrap().unwrap().code(), Some(7));
        assert_eq!(terminate(&mut child, LONG).unwrap().unwrap().code(), Some(7));
    }

    #[test]
    fn a_program_that_ignores_sigterm_is_killed() {
        let ignoring = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
        let mut child = Command::new("sh").args(["-c", ignoring]).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
        assert!(terminate(&mut child, Duration::from_millis(50)).unwrap().is_none());
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn a_program_that_exceeds_the_limit_is_killed() {
        let error = read("sleep", &["60"], Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("did not end within"));
    }
}
