//! bb, the prover: copied from its npm package after a check of its SHA-256.

use std::{collections::BTreeMap, fs, io, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::{Context, bail};

use super::{Finding, SetupContext, npm};
use crate::{digest, paths::NpmProject, platform::Platform, process, progress::Step};

/// `bb --version` takes milliseconds.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

fn title(context: &SetupContext) -> String {
    format!("bb {}", context.versions.bb.version)
}

fn pinned(context: &SetupContext) -> anyhow::Result<&str> {
    for_platform(context, &context.versions.bb.sha256)
        .context("versions.toml has no SHA-256 of bb for this platform")
}

fn for_platform<'a>(context: &SetupContext, table: &'a BTreeMap<Platform, String>) -> Option<&'a str> {
    table.get(&context.platform).map(String::as_str)
}

/// Reports whether the pinned version of bb is installed, by its SHA-256.
pub(super) fn inspect(context: &SetupContext) -> anyhow::Result<Finding> {
    let path = context.paths.bb(&context.versions.bb.version);
    if !path.is_file() {
        return Ok(Finding::missing(title(context), format!("{} does not exist", path.display())));
    }
    if digest::of_file(&path)? != pinned(context)? {
        return Ok(Finding::missing(
            title(context),
            format!("{} is damaged or for another platform", path.display()),
        ));
    }
    Ok(Finding::present(title(context), path.display().to_string()))
}

/// Installs bb at the path that [`inspect`] reads.
pub(super) fn install(context: &SetupContext) -> anyhow::Result<()> {
    npm::install(context, NpmProject::Circuit)?;
    let bb = &context.versions.bb;
    let step = Step::start(title(context), "copying it from its npm package");
    let packed = context.paths.circuit_dir().join("node_modules").join(&bb.package);
    let packed = packed.join("build").join(context.platform.npm_folder()).join("bb");
    let found = digest::of_file(&packed)?;
    if found != pinned(context)? {
        bail!("{} has the SHA-256 {found}, but versions.toml pins {}", packed.display(), pinned(context)?);
    }
    let path = context.paths.bb(&bb.version);
    copy_executable(&packed, &path).with_context(|| format!("{} cannot be written", path.display()))?;

    if Platform::host().is_ok_and(|host| host == context.platform) {
        let pinned = for_platform(context, &bb.reports)
            .context("versions.toml has no bb version string for this platform")?;
        let reports = process::read(&path, &["--version"], VERSION_LIMIT)?;
        if reports.trim() != pinned {
            bail!("{} reports {}, but versions.toml pins {pinned}", path.display(), reports.trim());
        }
    }
    step.done(&path.display().to_string());
    Ok(())
}

/// Copies an executable. The target is replaced as a whole, so no process starts a part of it.
fn copy_executable(from: &Path, to: &Path) -> io::Result<()> {
    let dir = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut copy = tempfile::NamedTempFile::new_in(dir)?;
    io::copy(&mut fs::File::open(from)?, &mut copy)?;
    copy.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
    copy.persist(to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::tests::context_in;

    #[test]
    fn a_bb_with_another_digest_counts_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let mut context = context_in(dir.path());
        let source = dir.path().join("packed");
        fs::write(&source, "#!/bin/sh\n").unwrap();
        let path = context.paths.bb(&context.versions.bb.version);
        copy_executable(&source, &path).unwrap();
        assert!(inspect(&context).unwrap().note.ends_with("is damaged or for another platform"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);

        context.versions.bb.sha256.insert(context.platform, digest::of_file(&path).unwrap());
        assert!(inspect(&context).unwrap().present);
    }
}
