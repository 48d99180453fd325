//! Running other programs, so that each failure names the command and shows what it said.

use std::{
    env,
    ffi::OsStr,
    io,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use duct::Expression;

/// Lines of a failed program's output that are worth showing.
const SHOWN_LINES: usize = 20;

/// A command of the cargo that runs this program.
///
/// What cargo told this program about its own package is taken back: build scripts that listen to it would run again
/// at every turn from `cargo xtask` to plain `cargo` and back.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_path());
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
            .iter()
            .any(|own| name_text.starts_with(own))
        {
            command.env_remove(&name);
        }
    }
    command.args(arguments);
    command
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
    fn a_program_that_does_not_end_is_ended() {
        let error = read("sleep", &["60"], Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("did not end within"));
    }
}
