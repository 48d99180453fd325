//! Files of crates, which cargo fetches from the registry that it is configured for.

use std::{env, fs, path::PathBuf, time::Duration};

use anyhow::Context;

use crate::process;

/// cargo reads a registry's index and one crate.
const CARGO_LIMIT: Duration = Duration::from_mins(5);

/// Fetches and unpacks a crate with cargo, and returns the path of the file in it. The caller checks its digest.
///
/// `cargo info` unpacks only this crate. As a dependency it would bring its own dependencies.
pub(super) fn fetch(name: &str, version: &str, path: &str) -> anyhow::Result<PathBuf> {
    let fetch = || {
        let named = format!("{name}@{version}");
        let outside = tempfile::tempdir().context("a temporary folder cannot be created")?;
        process::read_with(process::cargo_path(), &["info", "--quiet", &named], CARGO_LIMIT, |cargo| {
            cargo.dir(outside.path())
        })?;
        let home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
        let sources = home.context("neither CARGO_HOME nor HOME is set")?.join("registry/src");
        let registries =
            fs::read_dir(&sources).with_context(|| format!("{} cannot be read", sources.display()))?;
        let crates = registries.flatten().map(|registry| registry.path().join(format!("{name}-{version}")));
        let mut files = crates.map(|unpacked| unpacked.join(path)).filter(|file| file.is_file());
        files.next().with_context(|| format!("cargo did not unpack it into {}", sources.display()))
    };
    fetch().with_context(|| format!("the crate {name} cannot be fetched"))
}
