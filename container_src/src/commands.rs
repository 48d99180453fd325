//! The command line: one module for each command.
//!
//! An error of the command line itself, such as an unknown flag or no command, ends with status 2. A setting that cannot
//! be used, from a flag or a variable, ends with status 64.

use std::{ffi::OsString, process::ExitCode, sync::LazyLock};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use edgeprove_prover::barretenberg::version::{BB_VERSION, NOIR_VERSION};

use crate::config::{
    ConfigError, Environment, EnvironmentVariables,
    environment::{variables_not_utf8, with_variables, without_variables},
    misspelt_variables::{self, Misspelt},
};

pub mod audit;
pub mod check_config;
pub mod circuit;
pub mod doctor;
pub mod exit_status;
mod form_body;
pub mod healthcheck;
mod input_file;
pub mod keys;
mod own_flags;
pub mod prove;
pub mod ptau;
pub mod receipt;
mod remote_server;
pub mod serve;
mod start_checks;
pub mod stop_signals;
pub mod verify;
pub mod voucher;
pub mod warm;
pub mod witness;
pub mod work;

static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!("{} (built for bb {BB_VERSION} and Noir {NOIR_VERSION})", env!("CARGO_PKG_VERSION"))
});

/// Server-side zero-knowledge proving: returns a verified proof for a witness.
#[derive(Debug, Parser)]
#[command(
    name = "edgeprove",
    version = VERSION.as_str(),
    about,
    after_help = EXAMPLES,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
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
    /// Prove jobs that a server gives: a prover that needs no database and no bucket, and only outgoing connections.
    Work(Box<work::WorkArgs>),
    /// Check the settings and files of `serve`, and print what it would use. No server is started.
    ///
    /// Exit status: 0 if `serve` would start and can read every circuit, 64 with all errors if not. Nothing on the disk is
    /// changed, and a server with the same settings may run. bb is only run for its version: whether it can load the
    /// circuits is not checked. No database and no bucket is contacted. Secrets are not printed.
    CheckConfig(Box<serve::ServeArgs>),
    /// Prove one witness.
    Prove(Box<prove::ProveArgs>),
    /// Compute a witness from inputs, without a proof.
    Witness(witness::WitnessArgs),
    /// Verify one proof. It needs bb, and no CRS.
    Verify(Box<verify::VerifyArgs>),
    /// Fill the cache of verification keys for these circuits, for example while an image is built.
    Warm(Box<warm::WarmArgs>),
    /// Upload, list, show, build and remove the circuits of a server.
    Circuit(circuit::CircuitArgs),
    /// Verify or export the audit log.
    Audit(audit::AuditArgs),
    /// Make, import, verify and describe powers of tau, from which keys of circom circuits are made.
    Ptau(ptau::PtauArgs),
    /// Make API keys.
    Keys(keys::KeysArgs),
    /// Examine this machine, or a running server or edge, and print how to fix what is found.
    ///
    /// Exit status: 0 where nothing prevents proofs, 1 where something does, 64 where a setting of this command is invalid.
    /// Without a URL it takes the flags of `serve`, connects to database and bucket, and loads the circuits: their keys are
    /// stored in the cache, and one object is written to the bucket and deleted again. No table is changed.
    Doctor(Box<doctor::DoctorArgs>),
    /// Mint a voucher at a server, for a page: a short-lived token that proves in place of an API key. Prints it.
    Voucher(Box<voucher::VoucherArgs>),
    /// Verify receipts: what a server signed of its proofs.
    Receipt(receipt::ReceiptArgs),
    /// Check that a running server is ready, for container health checks.
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs the command of the command line. Without a command, the help is printed and the status is 2.
#[must_use]
pub fn run() -> ExitCode {
    let variables = EnvironmentVariables::of_this_process();
    let words: Vec<OsString> = std::env::args_os().collect();
    let environment = Environment::new(&variables);
    let run_command = |parsed: Cli| match parsed.command {
        Command::Serve(args) => serve::run(*args, &environment, &misspelt(&variables)),
        Command::Work(args) => work::run(*args, &environment, &misspelt(&variables)),
        Command::CheckConfig(args) => {
            let flags = check_config::parsed(cli(), &words, &variables);
            check_config::run(*args, &environment, &misspelt(&variables), &flags)
        }
        Command::Prove(args) => prove::run(*args, &environment),
        Command::Witness(args) => witness::run(args),
        Command::Verify(args) => verify::run(*args, &environment),
        Command::Warm(args) => warm::run(*args, &environment),
        Command::Circuit(args) => circuit::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Ptau(args) => ptau::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Doctor(args) => doctor::run(*args, &environment, &misspelt(&variables)),
        Command::Voucher(args) => voucher::run(*args),
        Command::Receipt(args) => receipt::run(args),
        Command::Healthcheck(args) => healthcheck::run(&args),
    };
    parse(&words, &variables).map_or_else(|error| exit_status::report(&error.into()), run_command)
}

/// The variables that no command reads, and that are probably misspelt.
fn misspelt(variables: &EnvironmentVariables) -> Vec<Misspelt> {
    misspelt_variables::find(variables, &cli())
}

/// The whole command line. The help of each command shows the flags that concern it.
fn cli() -> clap::Command {
    Cli::command()
        .mut_subcommand("prove", own_flags::of_prove)
        .mut_subcommand("verify", own_flags::of_verify)
        .mut_subcommand("warm", own_flags::of_warm)
        .mut_subcommand("work", own_flags::of_work)
}

/// Parses the command line, whose flags have their defaults from the variables. An invalid command line, `--help` and
/// `--version` end the process here.
fn parse(words: &[OsString], variables: &EnvironmentVariables) -> Result<Cli, ConfigError> {
    // First without the variables: what fails here is the command line's fault, and help must not show their values.
    if let Err(error) = without_variables(cli()).try_get_matches_from(words) {
        error.exit();
    }
    let mut command = with_variables(cli(), variables);
    let parsed = command.try_get_matches_from_mut(words).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| match variables_not_utf8(&cli(), variables).first() {
        Some(name) => ConfigError::new(format!("{name}: the value is not valid UTF-8")),
        None => ConfigError::new(format!("an environment variable is invalid: {}", error.kind())),
    })
}

#[cfg(test)]
mod tests;
