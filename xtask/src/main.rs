//! The repository's development commands: `cargo xtask --help`.
//!
//! Reading order:
//! - [`setup`]: installs bb, the CRS and the circuits. Start here; `test` and `demo` begin with it.
//! - [`demo`]: everything once, from setup to a verified proof.
//! - [`mod@test`], [`check`]: run the tests; check the code without running it.
//! - [`mod@bench`]: measures speed and memory against goals.
//! - [`chart`]: renders the Helm chart and checks its objects.
//! - [`contract`]: sends requests by the OpenAPI document to a server.
//! - [`images`]: builds the container images.
//! - [`mod@edge`]: builds and runs the Worker in front of the containers.
//! - [`versions`], [`paths`]: the pinned versions, and the folders that the commands use.
//! - [`python`]: Python with the packages of a lock file.
//! - [`server`], [`interrupt`]: starts and stops a server; handles Ctrl-C.
//! - [`process`], [`progress`], [`digest`], [`platform`], [`cargo_tool`]: shared helpers.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the commands write to a terminal")]

mod bench;
mod cargo_tool;
mod chart;
mod check;
mod contract;
mod demo;
mod digest;
mod edge;
mod images;
mod interrupt;
mod paths;
mod platform;
mod process;
mod progress;
mod python;
mod range_circuit;
mod server;
mod setup;
mod test;
mod versions;

use std::process::ExitCode;

use clap::Parser;

/// Development commands of Edgeprove's repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    Setup(setup::SetupArgs),
    Test(test::TestArgs),
    Images(images::ImagesArgs),
    Demo(demo::DemoArgs),
    Bench(bench::BenchArgs),
    Edge(edge::EdgeArgs),
    Check(check::CheckArgs),
    Contract(contract::ContractArgs),
    Chart(chart::ChartArgs),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Setup(args) => setup::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Images(args) => images::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Edge(args) => edge::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Contract(args) => contract::run(&args),
        Command::Chart(args) => chart::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
