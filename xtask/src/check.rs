//! `cargo xtask check`: everything that can be checked without running the code.
//!
//! Every check runs even if an earlier one failed. A check that this machine cannot run is reported as skipped.
//!
//! - [`files`]: rules for every file. [`plain_words`]: words that no file may contain.
//! - [`named_tests`]: tests that a document names exist.
//! - [`crate_order`], [`import_order`]: dependencies and imports run in the documented direction. [`rust_tokens`]
//!   reads the sources for them.
//! - [`cargo_deny`]: licences, sources and advisories of dependencies.

mod cargo_deny;
mod crate_order;
mod files;
mod import_order;
mod named_tests;
mod plain_words;
mod rust_tokens;

use std::{fs, process::Command};

use anyhow::{Context, bail};

use crate::{
    edge::WORKER_ENV,
    paths::{NpmProject, Overrides, Paths},
    process,
    setup::wasm_target,
    versions::Versions,
};

/// The result of a check that did not fail.
enum Outcome {
    Passed,
    /// This machine cannot run it, for this reason.
    Skipped(String),
}

type Check = fn(&Paths, &Versions) -> anyhow::Result<Outcome>;

/// Fast checks come first.
const CHECKS: [(&str, Check); 14] = [
    ("formatting", formatting),
    ("file length", |paths, _| files::lengths(&paths.root)),
    ("registry hosts", |paths, _| files::registry_hosts(&paths.root)),
    ("plain words", |paths, _| plain_words::check(&paths.root)),
    ("named tests", |paths, _| named_tests::check(&paths.root)),
    ("order of crates", |paths, _| crate_order::check(&paths.root)),
    ("order of modules", |paths, _| import_order::check(&paths.root)),
    ("pinned versions", pins),
    ("licences, bans and sources", cargo_deny::tree),
    ("advisories", cargo_deny::advisories),
    ("lints", lints),
    ("documentation", documentation),
    ("protocol and pipeline for WebAssembly", pure_for_wasm),
    ("edge for WebAssembly", edge_for_wasm),
];

/// Checks formatting, words, structure, lints, documentation and dependencies without running the code.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Run these checks only, for example `plain-words,order-of-modules`. The summary of a full run has all names.
    #[arg(long, value_delimiter = ',', value_name = "CHECK,...")]
    only: Vec<String>,
}

/// The command.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let checks = chosen(&args.only)?;
    let paths = Paths::find(&Overrides::default())?;
    let versions = Versions::load(&paths.root)?;
    let mut summary = Vec::new();
    let mut failed = 0;
    for &(name, check) in &checks {
        eprintln!("── {name}");
        summary.push(match check(&paths, &versions) {
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
        bail!("{failed} of {} checks failed", checks.len());
    }
    Ok(())
}

/// The checks with these names, or all of them if there are none.
fn chosen(names: &[String]) -> anyhow::Result<Vec<(&'static str, Check)>> {
    let dashed = |name: &str| {
        name.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join("-")
    };
    if let Some(unknown) = names.iter().find(|name| !CHECKS.iter().any(|check| dashed(check.0) == **name)) {
        let known: Vec<_> = CHECKS.iter().map(|check| dashed(check.0)).collect();
        bail!("there is no check `{unknown}`; the checks are {}", known.join(", "));
    }
    let is_chosen = |check: &&(&str, Check)| names.is_empty() || names.contains(&dashed(check.0));
    Ok(CHECKS.iter().filter(is_chosen).copied().collect())
}

fn cargo(paths: &Paths, arguments: &[&str]) -> Command {
    let mut command = process::cargo(arguments);
    command.current_dir(&paths.root);
    command
}

fn passed(command: &mut Command) -> anyhow::Result<Outcome> {
    process::run(command).map(|()| Outcome::Passed)
}

fn formatting(paths: &Paths, _: &Versions) -> anyhow::Result<Outcome> {
    passed(&mut cargo(paths, &["fmt", "--all", "--check"]))
}

fn lints(paths: &Paths, _: &Versions) -> anyhow::Result<Outcome> {
    passed(&mut cargo(paths, &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn documentation(paths: &Paths, _: &Versions) -> anyhow::Result<Outcome> {
    let arguments = ["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"];
    passed(cargo(paths, &arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

fn pins(paths: &Paths, versions: &Versions) -> anyhow::Result<Outcome> {
    versions.check_cargo(&fs::read_to_string(paths.root.join("Cargo.toml"))?)?;
    for project in NpmProject::ALL {
        let package = fs::read_to_string(paths.npm_project_dir(project).join("package.json"))?;
        versions
            .check_npm(project, &package)
            .with_context(|| format!("{}/package.json", project.folder()))?;
    }
    Ok(Outcome::Passed)
}

/// A dependency that needs an operating system fails to compile here.
fn pure_for_wasm(paths: &Paths, _: &Versions) -> anyhow::Result<Outcome> {
    let mut arguments = vec!["build", "--locked", "--target", wasm_target::TARGET];
    arguments.extend(["--package", "edgeprove-protocol", "--package", "edgeprove-job-rules"]);
    for_wasm(&mut cargo(paths, &arguments))
}

/// Much of the edge is compiled natively for its tests only.
fn edge_for_wasm(paths: &Paths, _: &Versions) -> anyhow::Result<Outcome> {
    let mut arguments = vec!["clippy", "--locked", "--package", "edgeprove-edge", "--lib"];
    arguments.extend(["--target", wasm_target::TARGET, "--", "-D", "warnings"]);
    let (name, value) = WORKER_ENV;
    for_wasm(cargo(paths, &arguments).env(name, value))
}

fn for_wasm(command: &mut Command) -> anyhow::Result<Outcome> {
    if let Err(error) = wasm_target::provide() {
        eprintln!("{error:#}");
        return Ok(Outcome::Skipped(format!(
            "the standard library for {} is not installed",
            wasm_target::TARGET
        )));
    }
    passed(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_chosen_by_their_names() {
        let names = |only: &[&str]| {
            let only: Vec<_> = only.iter().map(|name| (*name).to_owned()).collect();
            chosen(&only).map(|checks| checks.iter().map(|check| check.0).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), CHECKS.len());
        assert_eq!(names(&["lints", "plain-words"]).unwrap(), ["plain words", "lints"]);
        assert_eq!(names(&["licences-bans-and-sources"]).unwrap(), ["licences, bans and sources"]);
        assert!(names(&["other"]).unwrap_err().to_string().contains("file-length"));
    }
}
