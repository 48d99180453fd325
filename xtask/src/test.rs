//! `cargo xtask test`: everything that can be tested on this machine, and a word on what could not be.
//!
//! A test that needs what this machine lacks, such as more CRS points or a mount of its own, appends a line to the
//! file that `EDGEPROVE_SKIP_LOG` names and returns. The lines are shown at the end, so that a skipped test is never taken for one that passed.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail};

use crate::{edge, process, setup};

/// Runs setup, then all tests but those that need a Docker Engine or a browser.
#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// Run just those that need a Docker Engine or Chromium, one after the other.
    #[arg(long)]
    heavy: bool,
    /// Run only these, as the test runner takes them; then neither the circuits' own tests nor those in
    /// documentation are run.
    #[arg(last = true, value_name = "FILTER")]
    filter: Vec<String>,
}

/// The command.
pub(crate) fn run(args: &TestArgs) -> anyhow::Result<()> {
    let ready = setup::server()?;
    // Many tests start the edge, and only one can build it.
    edge::built()?;
    let skip_log = tempfile::NamedTempFile::new().context("no temporary file can be made")?;
    let root = &ready.paths.root;

    let mut circuits = Command::new("node");
    circuits.args(["--test-reporter=spec", "test.mjs"]).current_dir(ready.paths.circuit_dir());

    let mut documentation = process::cargo(&["test", "--locked", "--workspace", "--doc"]);
    documentation.current_dir(root);

    let has_nextest = process::succeeds(&mut process::cargo(&["nextest", "--version"]));
    let mut code = process::cargo(match (has_nextest, args.heavy) {
        (true, false) => &["nextest", "run", "--locked", "--workspace"],
        (true, true) => {
            &["nextest", "run", "--locked", "--workspace", "--run-ignored", "only", "--test-threads", "1"]
        }
        (false, false) => &["test", "--locked", "--workspace", "--lib", "--bins", "--tests", "--"],
        (false, true) => {
            &["test", "--locked", "--workspace", "--tests", "--", "--ignored", "--test-threads", "1"]
        }
    });
    code.args(&args.filter)
        .current_dir(root)
        .env("BB_PATH", ready.paths.bb(&ready.versions.bb.version))
        .env("CRS_PATH", &ready.paths.crs)
        .env("EDGEPROVE_TEST_CIRCUITS", &ready.paths.circuits)
        .env("EDGEPROVE_SKIP_LOG", skip_log.path());

    // The largest suite comes last: its summary is what one looks for at the end.
    let mut suites = vec![("the tests", &mut code)];
    if args.filter.is_empty() && !args.heavy {
        suites.splice(
            0..0,
            [("the circuits' tests", &mut circuits), ("the documentation's tests", &mut documentation)],
        );
    }
    let mut failed = Vec::new();
    for (name, suite) in suites {
        if let Err(error) = process::run(suite) {
            eprintln!("{error:#}");
            failed.push(name);
        }
    }
    println!("{}", skipped(skip_log.path())?);
    if !failed.is_empty() {
        bail!("{} failed", failed.join(" and "));
    }
    Ok(())
}

/// The tests that were skipped, a line each.
fn skipped(log: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(log).with_context(|| format!("{} cannot be read", log.display()))?;
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let tests = if lines.len() == 1 { "test" } else { "tests" };
    let head = format!("{} {tests} skipped for want of what this machine lacks", lines.len());
    Ok(std::iter::once(head.as_str()).chain(lines).collect::<Vec<_>>().join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_tests_are_listed() {
        let log = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(skipped(log.path()).unwrap(), "0 tests skipped for want of what this machine lacks");
        fs::write(log.path(), "SKIPPED b: needs 32769 CRS points, have 4097\nSKIPPED a: x\n").unwrap();
        assert_eq!(
            skipped(log.path()).unwrap(),
            "2 tests skipped for want of what this machine lacks\n  SKIPPED a: x\n  \
             SKIPPED b: needs 32769 CRS points, have 4097"
        );
    }
}
