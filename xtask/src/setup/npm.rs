//! The npm packages of `circuit/`: Noir's compiler, and bb.
//!
//! `npm ci` checks each package against the SHA-512 in the lock file, and the lock file names no host, so it works
//! with any registry or mirror that npm is set up for.

use std::{fs, time::Duration};

use anyhow::Context;

use super::Job;
use crate::{digest, process, progress::Step};

/// Installing takes seconds; a registry that neither answers nor refuses is given up on.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);

/// Installs what the lock file says, unless just that is installed.
pub(super) fn install(job: &Job) -> anyhow::Result<()> {
    let room = job.places.circuit_room();
    let read = |name: &str| {
        let path = room.join(name);
        fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
    };
    job.versions
        .check_npm(&read("package.json")?)
        .context("circuit/package.json and versions.toml disagree")?;

    let stamp_file = room.join("node_modules/.edgeprove-stamp");
    let stamp = digest::of_bytes(read("package-lock.json")?.as_bytes());
    if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(());
    }
    let step = Step::begin("npm packages", "npm ci");
    process::read_with("npm", &["ci"], INSTALL_LIMIT, |npm| npm.dir(&room))
        .context("the npm packages of circuit/ cannot be installed; Node.js 20 or newer is needed")?;
    fs::write(&stamp_file, stamp).with_context(|| format!("{} cannot be written", stamp_file.display()))?;
    step.done("installed in circuit/node_modules");
    Ok(())
}
