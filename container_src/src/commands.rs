//! The command line: one module for each command.
//!
//! An error of the command line itself, such as an unknown flag, ends with status 2. An invalid setting, from a flag or
//! a variable, ends with status 64.

use std::{ffi::OsString, process::ExitCode, sync::LazyLock};

use clap::{Parser, Subcommand};
use edgeprove_prover::barretenberg::version::{BB_VERSION, NOIR_VERSION};

use crate::config::{
    ConfigError, Environment, EnvironmentVariables,
    environment::{variables_not_utf8, with_variables, without_variables},
};

pub mod audit;
pub mod exit_status;
pub mod healthcheck;
pub mod keys;
pub mod prove;
pub mod serve;
pub mod stop_signals;
pub mod verify;
pub mod warm;

static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!("{} (built for bb {BB_VERSION} and Noir {NOIR_VERSION})", env!("CARGO_PKG_VERSION"))
});

/// Server-side zero-knowledge proving: returns a verified proof for a witness.
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

The help of a flag names its environment variable, if it has one; the flag overrides the variable.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve proofs over HTTP.
    Serve(Box<serve::ServeArgs>),
    /// Prove one witness.
    Prove(Box<prove::ProveArgs>),
    /// Verify one proof.
    Verify(Box<verify::VerifyArgs>),
    /// Fill the cache of verification keys for these circuits, for example while an image is built.
    Warm(Box<warm::WarmArgs>),
    /// Verify or export the audit log.
    Audit(audit::AuditArgs),
    /// Make API keys.
    Keys(keys::KeysArgs),
    /// Check that a running server is ready, for container health checks.
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs the command of the command line. Without a command, it is `serve`.
#[must_use]
pub fn run() -> ExitCode {
    let variables = EnvironmentVariables::of_this_process();
    let words: Vec<OsString> = std::env::args_os().collect();
    let environment = Environment::new(&variables);
    let run_command = |cli: Cli| -> Result<ExitCode, ConfigError> {
        Ok(match cli.command {
            Some(Command::Serve(args)) => serve::run(*args, &environment),
            None => {
                serve::run(parse::<ServeAlone>(&words[..words.len().min(1)], &variables)?.args, &environment)
            }
            Some(Command::Prove(args)) => prove::run(*args, &environment),
            Some(Command::Verify(args)) => verify::run(*args, &environment),
            Some(Command::Warm(args)) => warm::run(*args, &environment),
            Some(Command::Audit(args)) => audit::run(args),
            Some(Command::Keys(args)) => keys::run(args),
            Some(Command::Healthcheck(args)) => healthcheck::run(&args),
        })
    };
    parse(&words, &variables).and_then(run_command).unwrap_or_else(|error| exit_status::report(&error.into()))
}

/// The flags of `serve` without the word.
#[derive(Parser)]
struct ServeAlone {
    #[command(flatten)]
    args: serve::ServeArgs,
}

/// Parses the command line, whose flags have their defaults from the variables. An invalid command line, `--help` and
/// `--version` end the process here.
fn parse<P: Parser>(words: &[OsString], variables: &EnvironmentVariables) -> Result<P, ConfigError> {
    // First without the variables: what fails here is the command line's fault, and help must not show their values.
    if let Err(error) = without_variables(P::command()).try_get_matches_from(words) {
        error.exit();
    }
    let mut command = with_variables(P::command(), variables);
    let parsed = command.try_get_matches_from_mut(words).and_then(|matches| P::from_arg_matches(&matches));
    parsed.map_err(|error| match variables_not_utf8(&P::command(), variables).first() {
        Some(name) => ConfigError::new(format!("{name}: the value is not valid UTF-8")),
        None => ConfigError::new(format!("an environment variable is invalid: {}", error.kind())),
    })
}

#[cfg(test)]
mod tests;
