//! The repository's folder, and the folders that setup fills.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// The folders that the commands use.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// The repository's root.
    pub(crate) root: PathBuf,
    /// Tools that all checkouts of one user share: `EDGEPROVE_HOME`, else `~/.edgeprove`.
    pub(crate) home: PathBuf,
    /// The CRS: `CRS_PATH`, else `~/.bb-crs`, bb's own default.
    pub(crate) crs: PathBuf,
    /// Compiled circuits and their witnesses.
    pub(crate) circuits: PathBuf,
    /// cargo's target folder.
    pub(crate) target: PathBuf,
    /// Programs that [`crate::cargo_tool`] installs, apart from the user's own.
    pub(crate) cargo_tools: PathBuf,
}

/// A folder of the repository with a `package.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NpmProject {
    /// Noir's compiler and bb.
    Circuit,
    /// circom's compiler, snarkjs, and what compiles and runs verifier contracts. Only tests need them.
    Circom,
    /// The tools that build, run and deploy the edge.
    Edge,
    /// The client package for pages and back ends, with what builds and tests it.
    Sdk,
    /// The pages that the server and the edge serve, with what builds and tests them.
    Page,
}

impl NpmProject {
    /// Every project.
    pub(crate) const ALL: [Self; 5] = [Self::Circuit, Self::Circom, Self::Edge, Self::Sdk, Self::Page];

    /// The folder's name in the repository.
    pub(crate) const fn folder(self) -> &'static str {
        match self {
            Self::Circuit => "circuit",
            Self::Circom => "circuit/circom",
            Self::Edge => "edge_worker",
            Self::Sdk => "web/sdk",
            Self::Page => "web/page",
        }
    }
}

/// Folders from the command line. Each takes precedence over the environment.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Overrides {
    /// Install bb under this folder instead of `EDGEPROVE_HOME` or `~/.edgeprove`.
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Put the CRS into this folder instead of `CRS_PATH` or `~/.bb-crs`.
    #[arg(long, value_name = "DIR")]
    crs_dir: Option<PathBuf>,
    /// Put compiled circuits and witnesses into this folder instead of `target/circuits`.
    #[arg(long, value_name = "DIR")]
    circuits_dir: Option<PathBuf>,
}

impl Paths {
    /// The folders for these options and the environment of this process.
    pub(crate) fn find(overrides: &Overrides) -> anyhow::Result<Self> {
        Self::read(overrides, |name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn read(overrides: &Overrides, variable: impl Fn(&str) -> Option<OsString>) -> anyhow::Result<Self> {
        let root = repository_root();
        let path = |name| variable(name).map(PathBuf::from);
        let in_home = |folder: &str| {
            let home = path("HOME").context("HOME is not set, so there is no folder for tools and data")?;
            Ok::<_, anyhow::Error>(home.join(folder))
        };
        let or_in_home = |named: Option<PathBuf>, folder| named.map_or_else(|| in_home(folder), Ok);

        let target = path("CARGO_TARGET_DIR").unwrap_or_else(|| root.join("target"));
        Ok(Self {
            home: or_in_home(overrides.home.clone().or_else(|| path("EDGEPROVE_HOME")), ".edgeprove")?,
            crs: or_in_home(overrides.crs_dir.clone().or_else(|| path("CRS_PATH")), ".bb-crs")?,
            circuits: overrides.circuits_dir.clone().unwrap_or_else(|| target.join("circuits")),
            cargo_tools: or_in_home(
                path("XDG_CACHE_HOME").map(|cache| cache.join("edgeprove/tools")),
                ".cache/edgeprove/tools",
            )?,
            target,
            root,
        })
    }

    /// This repository, with all other folders inside `dir`.
    #[cfg(test)]
    pub(crate) fn under(dir: &Path) -> Self {
        Self {
            root: repository_root(),
            home: dir.join("home"),
            crs: dir.join("crs"),
            circuits: dir.join("circuits"),
            target: dir.join("target"),
            cargo_tools: dir.join("tools"),
        }
    }

    /// The path of the bb of a version. The server looks there too.
    pub(crate) fn bb(&self, version: &str) -> PathBuf {
        self.home.join("bb").join(version).join("bb")
    }

    /// The folder of the circuits.
    pub(crate) fn circuit_dir(&self) -> PathBuf {
        self.npm_project_dir(NpmProject::Circuit)
    }

    /// The folder of the edge.
    pub(crate) fn edge_dir(&self) -> PathBuf {
        self.npm_project_dir(NpmProject::Edge)
    }

    /// The folder for wrangler's logs, state and cache.
    pub(crate) fn wrangler_scratch(&self) -> PathBuf {
        self.target.join("wrangler")
    }

    pub(crate) fn npm_project_dir(&self, project: NpmProject) -> PathBuf {
        self.root.join(project.folder())
    }
}

/// The root of the checkout that this program was built in.
pub(crate) fn repository_root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(overrides: &Overrides, environment: &[(&str, &str)]) -> anyhow::Result<Paths> {
        Paths::read(overrides, |name| {
            environment.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn flags_precede_the_environment_and_that_precedes_home() {
        let home = ("HOME", "/home/u");
        let plain = read(&Overrides::default(), &[home]).unwrap();
        assert_eq!(plain.bb("5.0.0"), Path::new("/home/u/.edgeprove/bb/5.0.0/bb"));
        assert_eq!(plain.crs, Path::new("/home/u/.bb-crs"));

        let environment = [home, ("EDGEPROVE_HOME", "/e"), ("CRS_PATH", "/c"), ("CARGO_TARGET_DIR", "/t")];
        let by_environment = read(&Overrides::default(), &environment).unwrap();
        assert_eq!(by_environment.bb("5.0.0"), Path::new("/e/bb/5.0.0/bb"));
        assert_eq!(by_environment.crs, Path::new("/c"));
        assert_eq!(by_environment.circuits, Path::new("/t/circuits"));

        let overrides = Overrides {
            home: Some("/fh".into()),
            crs_dir: Some("/fc".into()),
            circuits_dir: Some("/fk".into()),
        };
        let by_flag = read(&overrides, &environment).unwrap();
        assert_eq!(
            [&by_flag.home, &by_flag.crs, &by_flag.circuits].map(|p| p.to_str().unwrap()),
            ["/fh", "/fc", "/fk"]
        );
    }

    #[test]
    fn a_missing_home_is_an_error() {
        assert!(read(&Overrides::default(), &[]).unwrap_err().to_string().starts_with("HOME is not set"));
    }
}
