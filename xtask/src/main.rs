//! The repository's chores: `cargo xtask --help`.
//!
//! Reading order:
//! - [`setup`]: gets bb, the CRS and the circuits. Start here; `test` and `demo` begin with it.
//! - [`demo`]: the whole way once, from setup to a verified proof.
//! - [`mod@test`], [`check`]: whether the code works, and whether it is well.
//! - [`mod@bench`]: how fast it is, against its goals.
//! - [`images`]: the container images.
//! - [`mod@edge`]: the Worker in front of them.
//! - [`versions`], [`paths`]: what is pinned, and where things are.
//! - [`server`], [`interrupt`]: a server of our own, and what ends it early.
//! - [`process`], [`progress`], [`digest`], [`platform`], [`cargo_tool`]: small tools of all of them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "talking to a terminal is what chores are for")]

mod bench;
mod cargo_tool;
mod check;
mod demo;
mod digest;
mod edge;
mod images;
mod interrupt;
mod paths;
mod platform;
mod process;
mod progress;
mod server;
mod setup;
mod test;
mod versions;

use std::process::ExitCode;

use clap::Parser;

/// The chores of Edgeprove's repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    Setup(setup::SetupArgs),
    Test(test::TestArgs),
    Images(images::ImagesArgs),
    Demo(demo::DemoArgs),
    Bench(bench::BenchArgs),
    Edge(edge::EdgeArgs),
    Check(check::CheckArgs),
}

fn main() -> ExitCode {
    let outcome = match Chore::parse() {
        Chore::Setup(args) => setup::run(&args),
        Chore::Test(args) => test::run(&args),
        Chore::Images(args) => images::run(&args),
        Chore::Demo(args) => demo::run(&args),
        Chore::Bench(args) => bench::run(&args),
        Chore::Edge(args) => edge::run(&args),
        Chore::Check(args) => check::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
