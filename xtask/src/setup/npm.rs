//! The npm packages of the rooms that have some.
//!
//! `npm ci` checks each package against the SHA-512 in the lock file, and the lock file names no host, so it works
//! with any registry or mirror that npm is set up for.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;

use super::Job;
use crate::{digest, paths::NpmProject, process, progress::Step};

/// Installing takes seconds; a registry that neither answers nor refuses is given up on.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);

/// Whether just what the lock file says is installed.
pub(super) fn is_installed(job: &Job, room: NpmProject) -> anyhow::Result<bool> {
    let stamp = stamp(job, room)?;
    Ok(fs::read_to_string(stamp_file(job, room)).is_ok_and(|found| found == stamp))
}

/// Installs what the lock file says, unless just that is installed.
pub(super) fn install(job: &Job, room: NpmProject) -> anyhow::Result<()> {
    let folder = room.folder();
    job.versions
        .check_npm(room, &read(job, room, "package.json")?)
        .with_context(|| format!("{folder}/package.json and versions.toml disagree"))?;
    if is_installed(job, room)? {
        return Ok(());
    }
    let step = Step::begin(format!("npm packages of {folder}"), "npm ci");
    let mut arguments = vec!["ci"];
    if room == NpmProject::Edge {
        // Their programs come ready in packages of their own; the scripts would only test or shorten the way to them.
        arguments.push("--ignore-scripts");
    }
    let npm = |npm: duct::Expression| npm.dir(job.paths.npm_project_dir(room));
    process::read_with("npm", &arguments, INSTALL_LIMIT, npm).with_context(|| {
        format!("the npm packages of {folder}/ cannot be installed; Node.js 20 or newer is needed")
    })?;
    let file = stamp_file(job, room);
    fs::write(&file, stamp(job, room)?).with_context(|| format!("{} cannot be written", file.display()))?;
    step.done(&format!("installed in {folder}/node_modules"));
    Ok(())
}

fn stamp_file(job: &Job, room: NpmProject) -> PathBuf {
    job.paths.npm_project_dir(room).join("node_modules/.edgeprove-stamp")
}

/// What the stamp of an installed lock file says.
fn stamp(job: &Job, room: NpmProject) -> anyhow::Result<String> {
    Ok(digest::of_bytes(read(job, room, "package-lock.json")?.as_bytes()))
}

fn read(job: &Job, room: NpmProject, name: &str) -> anyhow::Result<String> {
    let path = job.paths.npm_project_dir(room).join(name);
    fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::tests::job_in;

    #[test]
    fn another_lock_file_calls_for_another_installation() {
        let dir = tempfile::tempdir().unwrap();
        let mut job = job_in(dir.path());
        job.paths.root = dir.path().to_owned();
        let room = job.paths.npm_project_dir(NpmProject::Edge);
        fs::create_dir_all(room.join("node_modules")).unwrap();
        fs::write(room.join("package-lock.json"), "{}").unwrap();
        assert!(!is_installed(&job, NpmProject::Edge).unwrap());
        fs::write(stamp_file(&job, NpmProject::Edge), stamp(&job, NpmProject::Edge).unwrap()).unwrap();
        assert!(is_installed(&job, NpmProject::Edge).unwrap());
        fs::write(room.join("package-lock.json"), "{ }").unwrap();
        assert!(!is_installed(&job, NpmProject::Edge).unwrap());
    }
}
