//! One file for each thing the binary can be asked to do.

use std::{ffi::OsString, process::ExitCode, sync::LazyLock};

use clap::{Parser, Subcommand};
use edgeprove_prover::barretenberg::version::{BB_VERSION, NOIR_VERSION};

use crate::config::environment::without_empty_variables;

pub mod audit;
pub mod healthcheck;
pub mod outcome;
pub mod prove;
pub mod serve;
pub mod signals;
pub mod verify;
pub mod warm;

static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!("{} (built for bb {BB_VERSION} and Noir {NOIR_VERSION})", env!("CARGO_PKG_VERSION"))
});

/// Server-side zero-knowledge proving: a witness goes in, a verified proof comes out.
#[derive(Debug, Parser)]
#[command(name = "edgeprove", version = VERSION.as_str(), about, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  edgeprove serve --circuit target/my_circuit.json
      serves POST /api/prove on 127.0.0.1:8080
  edgeprove serve --circuits circuits/ --listen 0.0.0.0:8080 --cors-origin https://app.example
      serves POST /api/prove/NAME for every circuits/NAME.json, to pages of one origin
  edgeprove prove --circuit target/my_circuit.json --witness target/my_circuit.gz --out proof/
      proves once, without a server

Every flag of a command has a twin in the environment; `edgeprove serve --help` names them.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve proofs over HTTP.
    Serve(Box<serve::ServeArgs>),
    /// Prove one witness.
    Prove(Box<prove::ProveArgs>),
    /// Verify one proof.
    Verify(Box<verify::VerifyArgs>),
    /// Fill the cache of verification keys for the given circuits, as images do when they are built.
    Warm(Box<warm::WarmArgs>),
    /// Verify or export the audit log.
    Audit(audit::AuditArgs),
    /// Ask a running server whether it is ready; for container health checks.
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Does what the command line asks for.
#[must_use]
pub fn run() -> ExitCode {
    match parse::<Cli>(std::env::args_os()).command {
        Some(Command::Serve(args)) => serve::run(*args),
        None => serve::run(serve::ServeArgs::from_environment()),
        Some(Command::Prove(args)) => prove::run(*args),
        Some(Command::Verify(args)) => verify::run(*args),
        Some(Command::Warm(args)) => warm::run(*args),
        Some(Command::Audit(args)) => audit::run(args),
        Some(Command::Healthcheck(args)) => healthcheck::run(&args),
    }
}

/// Reads flags and their variables, or ends the process with a word on what cannot be read.
fn parse<P: Parser>(words: impl IntoIterator<Item = OsString>) -> P {
    let mut command = without_empty_variables(P::command());
    let matches = command.try_get_matches_from_mut(words).unwrap_or_else(|error| error.exit());
    P::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

#[cfg(test)]
mod tests;
