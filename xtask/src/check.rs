//! `cargo xtask check`: all that can be said of the code without running it.
//!
//! Every check runs even if one before it failed, and what cannot be run here is reported as skipped.

mod deny;
mod files;

use std::{fs, process::Command};

use anyhow::{Context, bail};

use crate::{
    edge::WORKER_ENV,
    places::{NpmRoom, Overrides, Places},
    process,
    setup::wasm_target,
    versions::Versions,
};

/// What a check that did not fail came to.
enum Outcome {
    Passed,
    /// It could not be run, for this reason.
    Skipped(String),
}

type Check = fn(&Places, &Versions) -> anyhow::Result<Outcome>;

/// In order of what is fastest to fail.
const CHECKS: [(&str, Check); 10] = [
    ("formatting", formatting),
    ("file length", |places, _| files::lengths(&places.root)),
    ("registry hosts", |places, _| files::registry_hosts(&places.root)),
    ("pinned versions", pins),
    ("licences, bans and sources", deny::tree),
    ("advisories", deny::advisories),
    ("lints", lints),
    ("documentation", documentation),
    ("protocol and pipeline for WebAssembly", pure_for_wasm),
    ("edge for WebAssembly", edge_for_wasm),
];

/// The command.
pub(crate) fn run() -> anyhow::Result<()> {
    let places = Places::find(&Overrides::default())?;
    let versions = Versions::load(&places.root)?;
    let mut summary = Vec::new();
    let mut failed = 0;
    for (name, check) in CHECKS {
        eprintln!("── {name}");
        summary.push(match check(&places, &versions) {
            Ok(Outcome::Passed) => format!("✓ {name}"),
            Ok(Outcome::Skipped(why)) => format!("- {name}: skipped, {why}"),
            Err(error) => {
                eprintln!("{error:#}");
                failed += 1;
                format!("✗ {name}")
            }
        });
    }
    println!("\n{}", summary.join("\n"));
    if failed > 0 {
        bail!("{failed} of {} checks failed", CHECKS.len());
    }
    Ok(())
}

fn cargo(places: &Places, arguments: &[&str]) -> Command {
    let mut command = process::cargo(arguments);
    command.current_dir(&places.root);
    command
}

fn passed(command: &mut Command) -> anyhow::Result<Outcome> {
    process::run(command).map(|()| Outcome::Passed)
}

fn formatting(places: &Places, _: &Versions) -> anyhow::Result<Outcome> {
    passed(&mut cargo(places, &["fmt", "--all", "--check"]))
}

fn lints(places: &Places, _: &Versions) -> anyhow::Result<Outcome> {
    passed(&mut cargo(
        places,
        &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
    ))
}

fn documentation(places: &Places, _: &Versions) -> anyhow::Result<Outcome> {
    let arguments = ["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"];
    passed(cargo(places, &arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

fn pins(places: &Places, versions: &Versions) -> anyhow::Result<Outcome> {
    versions.check_cargo(&fs::read_to_string(places.root.join("Cargo.toml"))?)?;
    for room in [NpmRoom::Circuit, NpmRoom::Edge] {
        let package = fs::read_to_string(places.npm_room(room).join("package.json"))?;
        versions.check_npm(room, &package).with_context(|| format!("{}/package.json", room.folder()))?;
    }
    Ok(Outcome::Passed)
}

/// A dependency that only works with an operating system below it fails here at once.
fn pure_for_wasm(places: &Places, _: &Versions) -> anyhow::Result<Outcome> {
    let mut arguments = vec!["build", "--locked", "--target", wasm_target::TARGET];
    arguments.extend(["--package", "edgeprove-protocol", "--package", "edgeprove-job-rules"]);
    for_wasm(&mut cargo(places, &arguments))
}

/// Natively much of the edge is compiled for its tests alone.
fn edge_for_wasm(places: &Places, _: &Versions) -> anyhow::Result<Outcome> {
    let mut arguments = vec!["clippy", "--locked", "--package", "edgeprove-edge", "--lib"];
    arguments.extend(["--target", wasm_target::TARGET, "--", "-D", "warnings"]);
    let (name, value) = WORKER_ENV;
    for_wasm(cargo(places, &arguments).env(name, value))
}

fn for_wasm(command: &mut Command) -> anyhow::Result<Outcome> {
    if let Err(error) = wasm_target::provide() {
        eprintln!("{error:#}");
        return Ok(Outcome::Skipped(format!("there is no standard library for {}", wasm_target::TARGET)));
    }
    passed(command)
}
