//! cargo-deny: checks licences, bans, sources and advisories of the dependency tree.

use std::{path::PathBuf, time::Duration};

use super::{Outcome, passed};
use crate::{cargo_tool::CargoTool, paths::Paths, process, progress, versions::Versions};

/// For a host that neither answers nor refuses a connection.
const FETCH_LIMIT: Duration = Duration::from_mins(1);

/// Checks licences, bans and sources. This needs only the lock file and the crates.
pub(super) fn tree(paths: &Paths, versions: &Versions) -> anyhow::Result<Outcome> {
    let deny = provide(paths, versions)?;
    let mut command = std::process::Command::new(deny);
    command.current_dir(&paths.root).args([
        "--workspace",
        "--locked",
        "check",
        "licenses",
        "bans",
        "sources",
    ]);
    passed(&mut command)
}

/// Checks known vulnerabilities, if their database can be fetched.
pub(super) fn advisories(paths: &Paths, versions: &Versions) -> anyhow::Result<Outcome> {
    let deny = provide(paths, versions)?;
    let fetched = process::read_with(&deny, &["fetch", "db"], FETCH_LIMIT, |deny| deny.dir(&paths.root));
    if let Err(error) = fetched {
        let message = error.to_string();
        let reason = message.lines().last().unwrap_or_default().trim();
        return Ok(Outcome::Skipped(format!("their database cannot be fetched ({reason})")));
    }
    let mut command = std::process::Command::new(deny);
    command.current_dir(&paths.root).args([
        "--workspace",
        "--locked",
        "check",
        "--disable-fetch",
        "advisories",
    ]);
    passed(&mut command)
}

/// Returns the pinned cargo-deny, and installs it if it is missing.
fn provide(paths: &Paths, versions: &Versions) -> anyhow::Result<PathBuf> {
    let deny = CargoTool {
        package: "cargo-deny",
        program: "cargo-deny",
        version: &versions.cargo_deny.version,
        profile: "release",
    };
    if let Some(found) = deny.find(paths) {
        return Ok(found);
    }
    progress::warn("installing cargo-deny once; this takes some minutes");
    deny.install(paths)
}
