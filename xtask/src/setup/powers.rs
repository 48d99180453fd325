//! Powers of tau of a ceremony, from a crate: the tests import them.

use std::{fs, path::PathBuf};

use anyhow::Context;

use super::{Finding, SetupContext, crate_file};
use crate::{digest, paths::NpmProject, progress::Step};

pub(super) const TITLE: &str = "powers of tau";

fn target(context: &SetupContext) -> PathBuf {
    context.paths.npm_project_dir(NpmProject::Circom).join(&context.versions.powers.path)
}

/// Reports whether the file is there.
pub(super) fn inspect(context: &SetupContext) -> Finding {
    let path = target(context);
    if digest::of_file(&path).ok().as_ref() == Some(&context.versions.powers.sha256) {
        Finding::present(TITLE, path.display().to_string())
    } else {
        Finding::missing(TITLE, format!("{} is missing or damaged", path.display()))
    }
}

/// Installs the file.
pub(super) fn install(context: &SetupContext) -> anyhow::Result<()> {
    let (pin, path) = (&context.versions.powers, target(context));
    let step = Step::start(TITLE, "fetching their crate");
    let fetched = crate_file::fetch(&pin.name, &pin.version, &pin.path)?;
    let found = digest::of_file(&fetched)?;
    anyhow::ensure!(
        found == pin.sha256,
        "{}: its SHA-256 is {found}, but versions.toml pins {}",
        fetched.display(),
        pin.sha256
    );
    fs::copy(&fetched, &path).with_context(|| format!("{} cannot be written", path.display()))?;
    step.done(&path.display().to_string());
    Ok(())
}
