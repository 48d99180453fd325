//! `cargo xtask check`: all that can be said of the code without running it.
//!
//! Every check runs even if one before it failed, and what cannot be run here is reported as skipped.

mod deny;
mod files;

use std::{fs, process::Command, time::Duration};

use anyhow::bail;

use crate::{
    places::{Overrides, Places},
    process,
    versions::Versions,
};

/// `rustc` answers at once.
const RUSTC_LIMIT: Duration = Duration::from_secs(30);

/// What a check that did not fail came to.
enum Outcome {
    Passed,
    /// It could not be run, for this reason.
    Skipped(String),
}

type Check = fn(&Places, &Versions) -> anyhow::Result<Outcome>;

/// In order of what is fastest to fail.
const CHECKS: [(&str, Check); 9] = [
    ("formatting", formatting),
    ("file length", |places, _| files::lengths(&places.root)),
    ("registry hosts", |places, _| files::registry_hosts(&places.root)),
    ("pinned versions", pins),
    ("licences, bans and sources", deny::tree),
    ("advisories", deny::advisories),
    ("lints", lints),
    ("documentation", documentation),
    ("protocol for WebAssembly", protocol_for_wasm),
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
    versions.check_npm(&fs::read_to_string(places.circuit_room().join("package.json"))?)?;
    Ok(Outcome::Passed)
}

/// A dependency that only works with an operating system below it fails here at once.
fn protocol_for_wasm(places: &Places, _: &Versions) -> anyhow::Result<Outcome> {
    let target = "wasm32-unknown-unknown";
    let library = process::read("rustc", &["--print", "target-libdir", "--target", target], RUSTC_LIMIT)?;
    let installed = fs::read_dir(library.trim()).is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libcore")))
    });
    if !installed {
        return Ok(Outcome::Skipped(format!("`rustup target add {target}` installs what it needs")));
    }
    passed(&mut cargo(places, &["build", "--locked", "--package", "edgeprove-protocol", "--target", target]))
}
