//! `cargo xtask contract`: sends requests that the OpenAPI document allows, and such that it does not allow, to a real server, with all
//! checks of schemathesis. The same seed sends the same requests.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail};
use sha2::{Digest as _, Sha256};

use crate::{
    process, python,
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
const OPERATOR: (&str, &str) = ("operator", "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0");
const PROVER: (&str, &str) = ("prover", "1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f00f");
/// The endpoints of provers.
const WORK: &str = "^/v1/work/";
/// Streams without an end, and what a page loads.
const LEFT_OUT: &str = "(/events$|^/v1/work/)";
const VOUCHER_SECRET: &str = "a-secret-for-the-vouchers-of-this-run";

pub(crate) fn run(args: &ContractArgs) -> anyhow::Result<()> {
    let ready = setup::server()?;
    let folder = ready.paths.root.join(FOLDER);
    let python = python::environment_of(&ready.paths, "contract", &folder.join("requirements.txt"))?;
    let Some(python) = python else { bail!("{}", python::MISSING) };
    let program = Server::build(&ready, false)?;
    let data = tempfile::tempdir().context("a temporary folder cannot be created")?;
    let server = start(&program, &ready, data.path())?;
    let outcomes = [(OPERATOR, ["--exclude-path-regex", LEFT_OUT]), (PROVER, ["--include-path-regex", WORK])]
        .map(|(caller, operations)| send(&python, &folder, &server, args, caller, operations));
    server.check()?;
    server.stop()?;
    outcomes.into_iter().collect()
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
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "--config-file"]).arg(folder.join("schemathesis.toml"));
    command
        .arg("run")
        .arg(format!("{}/openapi.json", server.url()))
        .args(["--header", &format!("X-Api-Key: {key}"), "--request-timeout", "60"])
        .args(["--max-examples", &args.examples.to_string(), "--seed", &args.seed.to_string()])
        .args(operations);
    process::run(&mut command).with_context(|| format!("answers to the role {role} differ from the document"))
}
