//! `cargo xtask contract`: sends requests that the OpenAPI document allows, and such that it does not allow, to a real server, with all
//! checks of schemathesis. The same seed sends the same requests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use sha2::{Digest as _, Sha256};

use crate::{
    interrupt, process, progress, python,
    server::Server,
    setup::{self, Ready},
};

/// Compare a real server with its OpenAPI document.
#[derive(Debug, clap::Args)]
pub(crate) struct ContractArgs {
    /// The most requests of a kind for each operation. More find more, and take longer.
    #[arg(long, default_value_t = 25)]
    examples: u32,
    /// The number that determines the requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The folder with the lock file and the settings.
const FOLDER: &str = "container_src/contract";
/// The keys of the callers, with their roles. An operator may use all endpoints but those of provers.
const OPERATOR: (&str, &str) =
    ("operator", "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0");
const PROVER: (&str, &str) = ("prover", "1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f00f");
/// The endpoints of provers.
const WORK: &str = "^/v1/work/";
const VOUCHER_SECRET: &str = "a-secret-for-the-vouchers-of-this-run";

/// The command.
pub(crate) fn run(args: &ContractArgs) -> anyhow::Result<()> {
    // A signal must not end this process before the server has ended.
    interrupt::watch()?;
    compare(args).or_else(|error| interrupt::check().and(Err(error)))
}

fn compare(args: &ContractArgs) -> anyhow::Result<()> {
    let ready = setup::server()?;
    let folder = ready.paths.root.join(FOLDER);
    let python = python::environment_of(&ready.paths, "contract", &folder.join("requirements.txt"))?;
    let Some(python) = python else { bail!("{}", python::MISSING) };
    interrupt::check()?;
    let program = build(&ready)?;
    interrupt::check()?;
    let data = tempfile::tempdir().context("a temporary folder cannot be created")?;
    let server = start(&program, &ready, data.path())?;
    let outcomes = [(OPERATOR, ["--exclude-path-regex", WORK]), (PROVER, ["--include-path-regex", WORK])]
        .map(|(caller, operations)| send(&python, &folder, &server, args, caller, operations));
    server.check()?;
    if outcomes.iter().any(Result::is_err) {
        keep_log(&server, &ready.paths.target);
    }
    server.stop()?;
    outcomes.into_iter().collect()
}

/// Keeps the log of the server after a failure. An error here must not replace the failure.
fn keep_log(server: &Server, target: &Path) {
    let path = target.join("contract.log");
    if server.whole_log().is_ok_and(|log| fs::write(&path, log).is_ok()) {
        progress::warn(&format!("the log of the server is in {}", path.display()));
    }
}

/// Compiles the server with the features of the whole workspace, so that the tests need not compile it again.
fn build(ready: &Ready) -> anyhow::Result<PathBuf> {
    let build = ["build", "--locked", "--workspace", "--bin", "edgeprove"];
    process::run(process::cargo(&build).current_dir(&ready.paths.root))?;
    Ok(ready.paths.target.join("debug/edgeprove"))
}

/// Starts a server with everything that needs no other program: jobs, keys, vouchers, an audit log.
fn start(program: &Path, ready: &Ready, data: &Path) -> anyhow::Result<Server> {
    let keys = data.join("keys.toml");
    let lines = [OPERATOR, PROVER].map(|(role, key)| {
        format!("[keys.{role}]\nsha256 = [\"{}\"]\nrole = \"{role}\"\n", hex::encode(Sha256::digest(key)))
    });
    fs::write(&keys, lines.concat()).with_context(|| format!("{} cannot be written", keys.display()))?;
    let mut command = Server::command(program, ready);
    command.arg("--keys-file").arg(keys);
    command.arg("--data").arg(data.join("jobs")).arg("--audit").arg(data.join("audit.jsonl"));
    command.env("EDGEPROVE_VOUCHER_SECRET", VOUCHER_SECRET);
    Server::start(command)
}

/// Sends the requests of one caller.
fn send(
    python: &Path,
    folder: &Path,
    server: &Server,
    args: &ContractArgs,
    (role, key): (&str, &str),
    operations: [&str; 2],
) -> anyhow::Result<()> {
    eprintln!("  contract: requests with the role {role}");
    // It writes files of its own into the working folder.
    let scratch = tempfile::tempdir().context("a temporary folder cannot be created")?;
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "--config-file"]).arg(folder.join("schemathesis.toml"));
    command
        .arg("run")
        .arg(format!("{}/openapi.json", server.url()))
        .args(["--header", &format!("X-Api-Key: {key}"), "--checks", "all"])
        .args(["--max-examples", &args.examples.to_string(), "--seed", &args.seed.to_string()])
        .args(operations)
        .current_dir(scratch.path())
        .stdin(Stdio::null());
    process::run(&mut command).with_context(|| format!("answers to the role {role} differ from the document"))
}
