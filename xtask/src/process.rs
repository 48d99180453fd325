//! Running other programs, so that each failure names the command and shows what it said.

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

/// How often a process that was asked to end is looked at.
const POLL: Duration = Duration::from_millis(1);
/// Lines of a failed program's output that are worth showing.
const SHOWN_LINES: usize = 20;
/// Bytes of the log that are, of a process that ended on its own.
const SHOWN_LOG: i64 = 4096;

/// A command of the cargo that runs this program.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_path());
    forget_own_package(&mut command);
    command.args(arguments);
    command
}

/// Takes back what cargo told this program about its own package: build scripts that listen to it would run again at
/// every turn from `cargo xtask` to plain `cargo` and back. For cargo, and for programs that call it.
pub(crate) fn forget_own_package(command: &mut Command) {
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

/// The cargo that runs this program.
pub(crate) fn cargo_path() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Runs a program with the terminal as its own; its output is the user's to read.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let status = command.status().map_err(|error| unstartable(&shown, error))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// Runs a program quietly, for so long at most, and gives its stdout.
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
    // Not as a path: duct would take a bare name for a file of the current folder.
    let program = program.as_ref();
    let shown = format!("{} {}", program.display(), arguments.join(" "));
    let expression = duct::cmd(program, arguments);
    let running = prepare(expression).stdin_null().stdout_capture().stderr_capture().unchecked().start();
    let running = running.map_err(|error| unstartable(&shown, error))?;
    let Some(output) = running.wait_timeout(limit).with_context(|| format!("`{shown}` was lost"))? else {
        running.kill().with_context(|| format!("`{shown}` does not end and cannot be killed"))?;
        bail!("`{shown}` did not end within {} s", limit.as_secs());
    };
    if !output.status.success() {
        let said =
            [output.stderr.as_slice(), output.stdout.as_slice()].map(String::from_utf8_lossy).join("\n");
        bail!("`{shown}` failed: {}\n{}", output.status, last_lines(&said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program quietly and gives all that it said, on stdout and stderr, in the order in which it did.
pub(crate) fn capture(mut command: Command) -> anyhow::Result<(ExitStatus, String)> {
    let shown = show(&command);
    let (mut said, writer) = io::pipe().context("no pipe can be made")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().map_err(|error| unstartable(&shown, error))?;
    // The command holds the pipe's other end, and as long as it does there is no end to read to.
    drop(command);
    let mut text = Vec::new();
    said.read_to_end(&mut text).with_context(|| format!("`{shown}` cannot be heard"))?;
    let status = child.wait().with_context(|| format!("`{shown}` was lost"))?;
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

/// SIGTERM, some patience, SIGKILL. The status it ended with by itself, or `None` if it had to be killed.
pub(crate) fn terminate(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    // Asked first, so that no signal goes to a process that took over the number of one long gone.
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    kill_process(Pid::from_child(child), Signal::TERM)?;
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(POLL);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// What a process wrote into its log last.
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

/// Whether a command succeeds; what it says goes nowhere.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A command as it would be typed.
fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn unstartable(shown: &str, error: io::Error) -> anyhow::Error {
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

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = read("sh", &["-c", "echo why >&2; exit 3"], LONG).unwrap_err().to_string();
        assert!(
            error.contains("sh -c") && error.contains("exit status: 3") && error.ends_with("why"),
            "{error}"
        );
        let error = read("no-such-program", &[], LONG).unwrap_err().to_string();
        assert_eq!(error, "`no-such-program` is not installed, or not on PATH");
    }

    #[test]
    fn a_program_gets_the_input_that_was_prepared_for_it_or_none() {
        assert_eq!(read_with("cat", &[], LONG, |cat| cat.stdin_bytes("text")).unwrap(), "text");
        assert_eq!(read("cat", &[], LONG).unwrap(), "");
    }

    #[test]
    fn all_that_a_program_said_is_captured_in_order_whether_it_failed_or_not() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; echo three; exit 3"]);
        let (status, said) = capture(command).unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(3), "one\ntwo\nthree\n"));
    }

    #[test]
    fn a_program_is_asked_before_it_is_killed_and_is_gone_afterwards() {
        let polite = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
        let mut child = Command::new("sh").args(["-c", polite]).stdout(Stdio::piped()).spawn().unwrap();
        // The trap is set once the line is there.
        child.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
        assert_eq!(terminate(&mut child, LONG).unwrap().unwrap().code(), Some(7));
        assert_eq!(terminate(&mut child, LONG).unwrap().unwrap().code(), Some(7));
    }

    #[test]
    fn a_program_that_does_not_listen_is_killed() {
        let deaf = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
        let mut child = Command::new("sh").args(["-c", deaf]).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
        assert!(terminate(&mut child, Duration::from_millis(50)).unwrap().is_none());
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let error = read("sleep", &["60"], Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("did not end within"));
    }
}
