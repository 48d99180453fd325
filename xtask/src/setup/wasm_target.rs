//! Rust's standard library for WebAssembly.
//!
//! rustup installs it in seconds. A machine that does not reach rustup's server compiles it: [`from_source`].

mod from_source;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::anyhow;

use super::{Finding, SetupContext};
use crate::{
    process,
    progress::{self, Step},
};

/// The target of the edge.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

const TITLE: &str = "Rust's library for WebAssembly";
/// The limit for a query of the compiler.
const QUERY_LIMIT: Duration = Duration::from_secs(30);
/// The download has twenty megabytes. The limit is for a server that neither answers nor refuses a connection.
const RUSTUP_LIMIT: Duration = Duration::from_mins(5);

pub(super) fn inspect() -> anyhow::Result<Finding> {
    let library = library()?;
    if is_library(&library) {
        return Ok(Finding::present(TITLE, library.display().to_string()));
    }
    Ok(Finding::missing(TITLE, format!("{} is empty", library.display())))
}

pub(super) fn install(context: &SetupContext) -> anyhow::Result<()> {
    let library = library()?;
    let step = Step::start(TITLE, &format!("rustup target add {TARGET}"));
    if let Err(by_rustup) = add_with_rustup(&library) {
        let source = &context.versions.rust_src;
        step.warn(&format!("rustup cannot add {TARGET}: {}", last_error(&by_rustup)));
        from_source::install(context, &library, &step).map_err(|from_source| {
            anyhow!(
                "neither of two ways to install it works.\n`rustup target add {TARGET}`: {by_rustup:#}\n\
                 Compiling Debian's package {} {} of {}: {from_source:#}",
                source.package,
                source.version,
                source.suite
            )
        })?;
    }
    step.done(&library.display().to_string());
    Ok(())
}

/// Installs it for a check, if it is missing.
pub(crate) fn provide() -> anyhow::Result<()> {
    if inspect()?.present {
        return Ok(());
    }
    progress::warn("installing the standard library to compile the edge");
    super::run(&super::SetupArgs { only: vec![super::Part::Wasm], ..Default::default() })
}

/// The folder in which the compiler looks for it.
fn library() -> anyhow::Result<PathBuf> {
    let library = process::read("rustc", &["--print", "target-libdir", "--target", TARGET], QUERY_LIMIT)?;
    Ok(library.trim().into())
}

/// Whether the folder contains the library. rustup may leave an empty folder.
fn is_library(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
    })
}

fn add_with_rustup(library: &Path) -> anyhow::Result<()> {
    process::read_with("rustup", &["target", "add", TARGET], RUSTUP_LIMIT, |rustup| {
        rustup.env("RUST_BACKTRACE", "0")
    })?;
    // The compiler may come from another rustup than the one on PATH.
    if is_library(library) { Ok(()) } else { Err(anyhow!("it installed nothing in {}", library.display())) }
}

/// The last line with an error in the output of a failed program.
fn last_error(error: &anyhow::Error) -> String {
    let output = error.to_string();
    let line = output.lines().rev().find(|line| line.starts_with("error:"));
    line.or(output.lines().last()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_is_not_a_library() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_library(dir.path()));
        fs::write(dir.path().join("libcore-1.rlib"), "").unwrap();
        assert!(!is_library(dir.path()), "a part of one");
        fs::write(dir.path().join("libstd-1.rlib"), "").unwrap();
        assert!(is_library(dir.path()));
    }

    #[test]
    fn the_error_line_of_a_long_output_is_found() {
        let long =
            anyhow!("`rustup target add x` failed\ninfo: downloading\nerror: no way\n\nCaused by:\n  0: dns");
        assert_eq!(last_error(&long), "error: no way");
        assert_eq!(last_error(&anyhow!("`rustup` is not installed")), "`rustup` is not installed");
    }
}
