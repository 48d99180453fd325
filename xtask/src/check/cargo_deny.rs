//! cargo-deny: what may enter the dependency tree.

use std::{path::PathBuf, time::Duration};

use super::{Outcome, passed};
use crate::{cargo_tool::CargoTool, paths::Paths, process, progress, versions::Versions};

/// A host that neither answers nor refuses is given up on.
const FETCH_LIMIT: Duration = Duration::from_mins(1);

/// Licences, bans and sources, for which nothing but the lock file and the crates is needed.
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

/// Known vulnerabilities, where their database can be had.
pub(super) fn advisories(paths: &Paths, versions: &Versions) -> anyhow::Result<Outcome> {
    let deny = provide(paths, versions)?;
    let fetched = process::read_with(&deny, &["fetch", "db"], FETCH_LIMIT, |deny| deny.dir(&paths.root));
    if let Err(error) = fetched {
        let said = error.to_string();
        let reason = said.lines().last().unwrap_or_default().trim();
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

/// The pinned cargo-deny, compiled if need be.
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
    progress::caution("installing cargo-deny once; this takes some minutes");
    deny.install(paths)
}
