//! bb, the prover: copied out of its npm package and held against its SHA-256.

use std::{collections::BTreeMap, fs, io, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::{Context, bail};

use super::{Finding, Job, npm};
use crate::{digest, paths::NpmProject, platform::Platform, process, progress::Step};

/// `bb --version` answers at once.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

fn title(job: &Job) -> String {
    format!("bb {}", job.versions.bb.version)
}

fn pinned(job: &Job) -> anyhow::Result<&str> {
    of_platform(job, &job.versions.bb.sha256).context("versions.toml has no SHA-256 of bb for this platform")
}

fn of_platform<'a>(job: &Job, table: &'a BTreeMap<Platform, String>) -> Option<&'a str> {
    table.get(&job.platform).map(String::as_str)
}

/// Whether the bb of the pinned version is there, byte for byte.
pub(super) fn look(job: &Job) -> anyhow::Result<Finding> {
    let path = job.paths.bb(&job.versions.bb.version);
    if !path.is_file() {
        return Ok(Finding::missing(title(job), format!("there is no {}", path.display())));
    }
    if digest::of_file(&path)? != pinned(job)? {
        return Ok(Finding::missing(
            title(job),
            format!("{} is damaged or for another platform", path.display()),
        ));
    }
    Ok(Finding::present(title(job), path.display().to_string()))
}

/// Puts bb where [`look`] looks.
pub(super) fn get(job: &Job) -> anyhow::Result<()> {
    npm::install(job, NpmProject::Circuit)?;
    let bb = &job.versions.bb;
    let step = Step::begin(title(job), "copying it out of its npm package");
    let packed = job.paths.circuit_dir().join("node_modules").join(&bb.package);
    let packed = packed.join("build").join(job.platform.npm_folder()).join("bb");
    let found = digest::of_file(&packed)?;
    if found != pinned(job)? {
        bail!("{} has the SHA-256 {found}, but versions.toml pins {}", packed.display(), pinned(job)?);
    }
    let path = job.paths.bb(&bb.version);
    install(&packed, &path).with_context(|| format!("{} cannot be written", path.display()))?;

    if Platform::host().is_ok_and(|host| host == job.platform) {
        let pinned =
            of_platform(job, &bb.reports).context("versions.toml does not say what bb reports here")?;
        let reports = process::read(&path, &["--version"], VERSION_LIMIT)?;
        if reports.trim() != pinned {
            bail!("{} reports {}, but versions.toml says {pinned}", path.display(), reports.trim());
        }
    }
    step.done(&path.display().to_string());
    Ok(())
}

/// Copies an executable so that nobody ever sees half of it.
fn install(from: &Path, to: &Path) -> io::Result<()> {
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
    use crate::setup::tests::job_in;

    #[test]
    fn a_bb_with_another_digest_counts_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let mut job = job_in(dir.path());
        let source = dir.path().join("packed");
        fs::write(&source, "#!/bin/sh\n").unwrap();
        let path = job.paths.bb(&job.versions.bb.version);
        install(&source, &path).unwrap();
        assert!(look(&job).unwrap().note.ends_with("is damaged or for another platform"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);

        job.versions.bb.sha256.insert(job.platform, digest::of_file(&path).unwrap());
        assert!(look(&job).unwrap().present);
    }
}
