//! Rust's standard library for WebAssembly.
//!
//! rustup adds it in seconds. A machine that does not reach rustup's server compiles it, in [`from_source`].

mod from_source;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::anyhow;

use super::{Finding, Job};
use crate::{
    process,
    progress::{self, Step},
};

/// What the edge is compiled for.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

const TITLE: &str = "Rust's library for WebAssembly";
/// The compiler answers at once.
const ANSWER: Duration = Duration::from_secs(30);
/// Twenty megabytes; a server that neither answers nor refuses is given up on.
const RUSTUP_LIMIT: Duration = Duration::from_mins(5);

pub(super) fn look() -> anyhow::Result<Finding> {
    let library = library()?;
    if is_library(&library) {
        return Ok(Finding::present(TITLE, library.display().to_string()));
    }
    Ok(Finding::missing(TITLE, format!("nothing is in {}", library.display())))
}

pub(super) fn get(job: &Job) -> anyhow::Result<()> {
    let library = library()?;
    let step = Step::begin(TITLE, &format!("rustup target add {TARGET}"));
    if let Err(by_rustup) = add_with_rustup(&library) {
        let source = &job.versions.rust_src;
        step.caution(&format!("rustup cannot add {TARGET}: {}", last_error(&by_rustup)));
        from_source::install(job, &library, &step).map_err(|from_source| {
            anyhow!(
                "it can be had in neither of two ways.\n`rustup target add {TARGET}`: {by_rustup:#}\n\
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

/// Gets it where a check needs it; the error says why it cannot be had.
pub(crate) fn provide() -> anyhow::Result<()> {
    if look()?.present {
        return Ok(());
    }
    progress::caution("installing what the edge needs to be compiled");
    super::run(&super::SetupArgs { only: vec![super::Part::Wasm], ..Default::default() })
}

/// Where the compiler looks for it.
fn library() -> anyhow::Result<PathBuf> {
    let library = process::read("rustc", &["--print", "target-libdir", "--target", TARGET], ANSWER)?;
    Ok(library.trim().into())
}

/// The folder alone says nothing: rustup leaves an empty one behind.
fn is_library(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
    })
}

fn add_with_rustup(library: &Path) -> anyhow::Result<()> {
    process::read_with("rustup", &["target", "add", TARGET], RUSTUP_LIMIT, |rustup| {
        rustup.env("RUST_BACKTRACE", "0")
    })?;
    // The rustup on PATH need not be the one that the compiler comes from.
    if is_library(library) { Ok(()) } else { Err(anyhow!("it put nothing into {}", library.display())) }
}

/// Of all that a failed program said, what it calls its error.
fn last_error(error: &anyhow::Error) -> String {
    let said = error.to_string();
    let line = said.lines().rev().find(|line| line.starts_with("error:"));
    line.or(said.lines().last()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_is_no_library() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_library(dir.path()));
        fs::write(dir.path().join("libcore-1.rlib"), "").unwrap();
        assert!(!is_library(dir.path()), "half of one");
        fs::write(dir.path().join("libstd-1.rlib"), "").unwrap();
        assert!(is_library(dir.path()));
    }

    #[test]
    fn of_a_long_complaint_the_error_is_told() {
        let long =
            anyhow!("`rustup target add x` failed\ninfo: downloading\nerror: no way\n\nCaused by:\n  0: dns");
        assert_eq!(last_error(&long), "error: no way");
        assert_eq!(last_error(&anyhow!("`rustup` is not installed")), "`rustup` is not installed");
    }
}
