//! Programs that cargo installs, each at its pinned version and once for all checkouts of a user.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use crate::{paths::Paths, process};

const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// A program to be had with `cargo install`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CargoTool<'a> {
    pub(crate) package: &'a str,
    /// The one program of the package that is needed.
    pub(crate) program: &'a str,
    pub(crate) version: &'a str,
    /// The profile it is compiled with. `dev` takes a third of the time, and does for what has little to do.
    pub(crate) profile: &'a str,
}

impl CargoTool<'_> {
    /// The pinned version: the program on PATH if it is that one, else the one apart from the user's own tools.
    pub(crate) fn find(&self, paths: &Paths) -> Option<PathBuf> {
        [PathBuf::from(self.program), self.own(paths)].into_iter().find(|program| self.is_pinned(program))
    }

    /// Compiles it; cargo's words go to the terminal.
    pub(crate) fn install(&self, paths: &Paths) -> anyhow::Result<PathBuf> {
        let root = paths.cargo_tools.to_string_lossy();
        let package = format!("{}@{}", self.package, self.version);
        let mut cargo = process::cargo(&["install", "--locked", "--root", &root, "--profile", self.profile]);
        cargo.args(["--bin", self.program, &package]);
        // Nobody debugs it, and without it less is written.
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").current_dir(&paths.root);
        process::run(&mut cargo).with_context(|| format!("{package} cannot be installed"))?;
        Ok(self.own(paths))
    }

    fn own(&self, paths: &Paths) -> PathBuf {
        paths.cargo_tools.join("bin").join(self.program)
    }

    /// Some programs report their version alone, others their name before it.
    fn is_pinned(&self, program: &Path) -> bool {
        let reports = process::read(program, &["--version"], VERSION_LIMIT);
        reports.is_ok_and(|reports| reports.split_whitespace().last() == Some(self.version))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn only_the_pinned_version_is_found_however_it_reports_itself() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::under(dir.path());
        let tool =
            CargoTool { package: "p", program: "edgeprove-test-tool", version: "1.2.3", profile: "dev" };
        let own = tool.own(&paths);
        fs::create_dir_all(own.parent().unwrap()).unwrap();
        for (reports, is_found) in [("1.2.3", true), ("tool 1.2.3", true), ("tool 1.2.30", false)] {
            fs::write(&own, format!("#!/bin/sh\necho {reports}\n")).unwrap();
            fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(tool.find(&paths).is_some(), is_found, "{reports}");
        }
    }
}
