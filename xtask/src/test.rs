//! `cargo xtask test`: runs every test that this machine can run, and lists those that it cannot.
//!
//! A test that needs something this machine lacks, such as more CRS points or a mount namespace, appends a line to the
//! file in `EDGEPROVE_SKIP_LOG` and returns. The lines are printed at the end, so that nobody takes a skipped test for
//! one that passed.
//!
//! All tests share one PostgreSQL server. It is the one in `EDGEPROVE_TEST_POSTGRES`, otherwise one that this command
//! starts for the run where PostgreSQL's programs are installed.

use std::{env, fs, num::NonZeroUsize, path::Path, process::Command, thread};

use anyhow::{Context, bail};
use edgeprove_test_postgres::Cluster;

use crate::{edge, process, python, setup};

/// The number of tests that run at the same time, for each core: many wait for a timeout, a process or a disk.
const THREADS_PER_CORE: usize = 2;

/// Runs setup, then all tests except those that need a Docker Engine or a browser.
#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// Run only the tests that need a Docker Engine or Chromium, or take long. Those with containers run one after the other.
    #[arg(long)]
    heavy: bool,
    /// Arguments for the test runner, such as the names of tests. With them, the tests of circuits,
    /// documentation, clients and pages are not run.
    #[arg(last = true, value_name = "FILTER")]
    filter: Vec<String>,
}

/// Runs the tests.
pub(crate) fn run(args: &TestArgs) -> anyhow::Result<()> {
    let ready = setup::server()?;
    setup::circom()?;
    let [sdk, page] = setup::web()?;
    let python =
        if args.heavy || !args.filter.is_empty() { None } else { Some(python::environment(&ready.paths)?) };
    // Many tests start the edge, and only one process can build it.
    edge::built()?;
    let skip_log = tempfile::NamedTempFile::new().context("a temporary file cannot be created")?;
    let postgres = own_postgres()?;
    let root = &ready.paths.root;

    let mut circuits = Command::new("node");
    circuits.args(["--test-reporter=spec", "test.mjs"]).current_dir(ready.paths.circuit_dir());

    let mut documentation = process::cargo(&["test", "--locked", "--workspace", "--doc"]);
    documentation.current_dir(root);

    let has_nextest = process::succeeds(&mut process::cargo(&["nextest", "--version"]));
    let mut compile = process::cargo(if has_nextest {
        &["nextest", "run", "--locked", "--workspace", "--no-run"]
    } else {
        &["test", "--locked", "--workspace", "--lib", "--bins", "--tests", "--examples", "--no-run"]
    });
    compile.current_dir(root);

    let npm = |folder| {
        let mut npm = Command::new("npm");
        npm.args(["run", "--silent", if args.heavy { "check:browser" } else { "check" }]).current_dir(folder);
        npm
    };
    let (mut client, mut pages) = (npm(sdk), npm(page));
    let mut code = process::cargo(match (has_nextest, args.heavy) {
        (true, false) => &["nextest", "run", "--locked", "--workspace"],
        (true, true) => {
            &["nextest", "run", "--locked", "--workspace", "--run-ignored", "only", "--test-threads", "2"]
        }
        (false, false) => &["test", "--locked", "--workspace", "--lib", "--bins", "--tests", "--"],
        (false, true) => {
            &["test", "--locked", "--workspace", "--tests", "--", "--ignored", "--test-threads", "1"]
        }
    });
    code.args(&args.filter).current_dir(root);
    let mut python_client = python.as_ref().and_then(Option::as_ref).map(|python| {
        let mut command = Command::new(python);
        command.args(["-m", "pytest", "--quiet"]).current_dir(python::package_dir(&ready.paths));
        command
    });
    if python.is_some() && python_client.is_none() {
        fs::write(skip_log.path(), format!("SKIPPED web/python: {}\n", python::MISSING))?;
    }
    for suite in [&mut code, &mut client, &mut pages].into_iter().chain(&mut python_client) {
        suite
            .env("BB_PATH", ready.paths.bb(&ready.versions.bb.version))
            .env("CRS_PATH", &ready.paths.crs)
            .env("EDGEPROVE_TEST_CIRCUITS", &ready.paths.circuits)
            .env("EDGEPROVE_SKIP_LOG", skip_log.path());
    }
    if !args.heavy {
        let threads = THREADS_PER_CORE * thread::available_parallelism().map_or(1, NonZeroUsize::get);
        code.envs(["NEXTEST_TEST_THREADS", "RUST_TEST_THREADS"].map(|name| (name, threads.to_string())));
    }
    if let Some(cluster) = &postgres {
        code.env("EDGEPROVE_TEST_POSTGRES", cluster.url());
    }

    // The largest suite runs last, so that its summary is at the end of the output.
    let mut suites = Vec::new();
    if args.filter.is_empty() {
        if !args.heavy {
            suites.push(("the circuits' tests", &mut circuits));
            suites.push(("the documentation's tests", &mut documentation));
        }
        // The tests of client and pages start the server.
        suites.push(("the compilation of the tests", &mut compile));
        suites.push(("the client's tests", &mut client));
        suites.push(("the pages' tests", &mut pages));
        if let Some(suite) = &mut python_client {
            suites.push(("the Python client's tests", suite));
        }
    }
    suites.push(("the tests", &mut code));
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

/// Starts a PostgreSQL server for this run. `None`: the environment names one, or the programs are not installed.
fn own_postgres() -> anyhow::Result<Option<Cluster>> {
    if env::var_os("EDGEPROVE_TEST_POSTGRES").is_some_and(|url| !url.is_empty()) {
        return Ok(None);
    }
    Cluster::start().context("the PostgreSQL server for the tests cannot be started")
}

/// Lists the skipped tests, one per line.
fn skipped(log: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(log).with_context(|| format!("{} cannot be read", log.display()))?;
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let tests = if lines.len() == 1 { "test" } else { "tests" };
    let head = format!("{} {tests} skipped: this machine lacks something they need", lines.len());
    Ok(std::iter::once(head.as_str()).chain(lines).collect::<Vec<_>>().join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_tests_are_listed() {
        let log = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(skipped(log.path()).unwrap(), "0 tests skipped: this machine lacks something they need");
        fs::write(log.path(), "SKIPPED b: needs 32769 CRS points, have 4097\nSKIPPED a: x\n").unwrap();
        assert_eq!(
            skipped(log.path()).unwrap(),
            "2 tests skipped: this machine lacks something they need\n  SKIPPED a: x\n  \
             SKIPPED b: needs 32769 CRS points, have 4097"
        );
    }
}
