//! Programs that cargo installs: each at its pinned version, once for all checkouts of a user.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use crate::{paths::Paths, process};

const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// A program that `cargo install` installs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CargoTool<'a> {
    pub(crate) package: &'a str,
    /// The program of the package to install.
    pub(crate) program: &'a str,
    pub(crate) version: &'a str,
    /// The profile to compile with. `dev` compiles in a third of the time, which suits programs with little work.
    pub(crate) profile: &'a str,
}

impl CargoTool<'_> {
    /// Finds the pinned version: on PATH, else in the folder that [`Self::install`] uses.
    pub(crate) fn find(&self, paths: &Paths) -> Option<PathBuf> {
        [PathBuf::from(self.program), self.installed_path(paths)]
            .into_iter()
            .find(|program| self.is_pinned(program))
    }

    /// Compiles and installs it. cargo writes its progress to the terminal.
    pub(crate) fn install(&self, paths: &Paths) -> anyhow::Result<PathBuf> {
        let root = paths.cargo_tools.to_string_lossy();
        let package = format!("{}@{}", self.package, self.version);
        let mut cargo = process::cargo(&["install", "--locked", "--root", &root, "--profile", self.profile]);
        cargo.args(["--bin", self.program, &package]);
        // Without debug symbols cargo writes less.
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").current_dir(&paths.root);
        process::run(&mut cargo).with_context(|| format!("{package} cannot be installed"))?;
        Ok(self.installed_path(paths))
    }

    fn installed_path(&self, paths: &Paths) -> PathBuf {
        paths.cargo_tools.join("bin").join(self.program)
    }

    /// Some programs print only their version, others print their name before it.
    fn is_pinned(&self, program: &Path) -> bool {
        let output = process::read(program, &["--version"], VERSION_LIMIT);
        output.is_ok_and(|output| output.split_whitespace().last() == Some(self.version))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn only_the_pinned_version_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::under(dir.path());
        let tool =
            CargoTool { package: "p", program: "edgeprove-test-tool", version: "1.2.3", profile: "dev" };
        let own = tool.installed_path(&paths);
        fs::create_dir_all(own.parent().unwrap()).unwrap();
        for (reports, is_found) in [("1.2.3", true), ("tool 1.2.3", true), ("tool 1.2.30", false)] {
            fs::write(&own, format!("#!/bin/sh\necho {reports}\n")).unwrap();
            fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(tool.find(&paths).is_some(), is_found, "{reports}");
        }
    }
}
