//! cargo-deny: what may enter the dependency tree.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Outcome, cargo, passed};
use crate::{places::Places, process, progress, versions::Versions};

const VERSION_LIMIT: Duration = Duration::from_secs(20);
/// A host that neither answers nor refuses is given up on.
const FETCH_LIMIT: Duration = Duration::from_mins(1);

/// Licences, bans and sources, for which nothing but the lock file and the crates is needed.
pub(super) fn tree(places: &Places, versions: &Versions) -> anyhow::Result<Outcome> {
    let deny = provide(places, versions)?;
    let mut command = std::process::Command::new(deny);
    command.current_dir(&places.root).args([
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
pub(super) fn advisories(places: &Places, versions: &Versions) -> anyhow::Result<Outcome> {
    let deny = provide(places, versions)?;
    let fetched = process::read_with(&deny, &["fetch", "db"], FETCH_LIMIT, |deny| deny.dir(&places.root));
    if let Err(error) = fetched {
        let said = error.to_string();
        let reason = said.lines().last().unwrap_or_default().trim();
        return Ok(Outcome::Skipped(format!("their database cannot be fetched ({reason})")));
    }
    let mut command = std::process::Command::new(deny);
    command.current_dir(&places.root).args([
        "--workspace",
        "--locked",
        "check",
        "--disable-fetch",
        "advisories",
    ]);
    passed(&mut command)
}

/// The pinned cargo-deny: the one on PATH if it is that one, else one apart from the user's own tools.
fn provide(places: &Places, versions: &Versions) -> anyhow::Result<PathBuf> {
    let pinned = &versions.cargo_deny.version;
    let is_pinned = |program: &Path| {
        let reports = process::read(program, &["--version"], VERSION_LIMIT);
        reports.is_ok_and(|reports| reports.trim() == format!("cargo-deny {pinned}"))
    };
    let own = places.cargo_tools.join("bin/cargo-deny");
    if let Some(found) =
        [PathBuf::from("cargo-deny"), own.clone()].into_iter().find(|program| is_pinned(program))
    {
        return Ok(found);
    }
    progress::caution("installing cargo-deny once; this takes some minutes");
    let root = places.cargo_tools.to_string_lossy();
    let package = format!("cargo-deny@{pinned}");
    process::run(&mut cargo(places, &["install", "--locked", "--root", &root, &package]))?;
    Ok(own)
}
