//! The npm packages of the folders with a `package.json`.
//!
//! `npm ci` checks each package against the SHA-512 in the lock file. The lock file names no host, so it works with any
//! registry or mirror that npm is configured for.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;

use super::{Finding, SetupContext};
use crate::{digest, paths::NpmProject, process, progress::Step};

/// Installing takes seconds. The limit is for a registry that neither answers nor refuses a connection.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);

/// One finding for all packages of a project.
pub(super) fn inspect(context: &SetupContext, project: NpmProject) -> anyhow::Result<Finding> {
    let pins = context.versions.npm_pins(project);
    let title = pins.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ");
    Ok(if is_installed(context, project)? {
        let modules = context.paths.npm_project_dir(project).join("node_modules");
        Finding::present(title, modules.display().to_string())
    } else {
        Finding::missing(title, "not installed as in the lock file")
    })
}

/// Whether the packages are installed exactly as in the lock file.
pub(super) fn is_installed(context: &SetupContext, project: NpmProject) -> anyhow::Result<bool> {
    let stamp = stamp(context, project)?;
    Ok(fs::read_to_string(stamp_file(context, project)).is_ok_and(|found| found == stamp))
}

/// Installs the packages of the lock file, unless they are installed.
pub(super) fn install(context: &SetupContext, project: NpmProject) -> anyhow::Result<()> {
    let folder = project.folder();
    context
        .versions
        .check_npm(project, &read(context, project, "package.json")?)
        .with_context(|| format!("{folder}/package.json and versions.toml disagree"))?;
    if is_installed(context, project)? {
        return Ok(());
    }
    let step = Step::start(format!("npm packages of {folder}"), "npm ci");
    let mut arguments = vec!["ci"];
    if project == NpmProject::Edge {
        // The packages contain compiled programs. Their scripts would only test them or shorten their paths.
        arguments.push("--ignore-scripts");
    }
    let npm = |npm: duct::Expression| npm.dir(context.paths.npm_project_dir(project));
    process::read_with("npm", &arguments, INSTALL_LIMIT, npm).with_context(|| {
        format!("the npm packages of {folder}/ cannot be installed; Node.js 20 or newer is needed")
    })?;
    let file = stamp_file(context, project);
    fs::write(&file, stamp(context, project)?)
        .with_context(|| format!("{} cannot be written", file.display()))?;
    step.done(&format!("installed in {folder}/node_modules"));
    Ok(())
}

fn stamp_file(context: &SetupContext, project: NpmProject) -> PathBuf {
    context.paths.npm_project_dir(project).join("node_modules/.edgeprove-stamp")
}

/// The stamp of an installation: the digest of its lock file.
fn stamp(context: &SetupContext, project: NpmProject) -> anyhow::Result<String> {
    Ok(digest::of_bytes(read(context, project, "package-lock.json")?.as_bytes()))
}

fn read(context: &SetupContext, project: NpmProject, name: &str) -> anyhow::Result<String> {
    let path = context.paths.npm_project_dir(project).join(name);
    fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::tests::context_in;

    #[test]
    fn a_changed_lock_file_needs_a_new_installation() {
        let dir = tempfile::tempdir().unwrap();
        let mut context = context_in(dir.path());
        context.paths.root = dir.path().to_owned();
        let dir = context.paths.npm_project_dir(NpmProject::Edge);
        fs::create_dir_all(dir.join("node_modules")).unwrap();
        fs::write(dir.join("package-lock.json"), "{}").unwrap();
        assert!(!is_installed(&context, NpmProject::Edge).unwrap());
        fs::write(stamp_file(&context, NpmProject::Edge), stamp(&context, NpmProject::Edge).unwrap())
            .unwrap();
        assert!(is_installed(&context, NpmProject::Edge).unwrap());
        fs::write(dir.join("package-lock.json"), "{ }").unwrap();
        assert!(!is_installed(&context, NpmProject::Edge).unwrap());
    }
}
