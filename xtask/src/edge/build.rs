//! From Rust to the module that wrangler deploys: compiled by cargo, and made into a module by worker-build, which
//! calls wasm-bindgen, wasm-opt and esbuild.
//!
//! worker-build takes seconds also when nothing has changed. A stamp beside its results holds what they were made of, so
//! that it runs only when cargo has compiled something else.

use std::{
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use bytesize::ByteSize;

use crate::{
    digest,
    process::{self, capture},
    progress::{self, Step},
    setup::{EdgeTools, wasm_target::TARGET},
};

const TITLE: &str = "edge";
/// Optimised for size, and with the names that wasm-bindgen needs; the workspace's `Cargo.toml` defines it.
const PROFILE: &str = "edge";
/// What the crate `worker` is compiled with by worker-build, and must be wherever else it is compiled for the edge.
pub(crate) const WORKER_ENV: (&str, &str) = ("WASM_BINDGEN_USE_JS_SYS", "1");

/// What worker-build leaves in the folder of its results.
const RESULTS: [&str; 2] = ["index.js", "index_bg.wasm"];

/// Makes `edge_worker/build`, unless it is what would come out.
pub(super) fn run(tools: &EdgeTools) -> anyhow::Result<()> {
    let module = compile(tools)?;
    let results = tools.paths.edge_dir().join("build");
    let made_of = made_of(tools, &module)?;
    if is_fresh(&results, &made_of) {
        return Ok(());
    }
    let step = Step::begin(TITLE, "worker-build");
    let mut worker_build = Command::new(&tools.worker_build);
    process::forget_own_package(&mut worker_build);
    worker_build
        .args(["--profile", PROFILE])
        .current_dir(tools.paths.edge_dir())
        .env("WASM_BINDGEN_BIN", &tools.wasm_bindgen)
        .env("WASM_OPT_BIN", tools.npm_program("wasm-opt"))
        .env("ESBUILD_BIN", tools.npm_program("esbuild"));
    let (status, said) = capture(worker_build)?;
    if !status.success() {
        bail!("worker-build failed: {status}\n{said}");
    }
    fs::write(stamp_file(&results), stamp(&results, &made_of)?)
        .with_context(|| format!("{} cannot be written", stamp_file(&results).display()))?;
    let size = fs::metadata(results.join(RESULTS[1])).context("worker-build made no module")?.len();
    step.done(&format!("{} of WebAssembly in {}", ByteSize(size).display().si(), results.display()));
    Ok(())
}

/// The module as cargo compiles it, with just what worker-build will tell cargo too.
fn compile(tools: &EdgeTools) -> anyhow::Result<PathBuf> {
    let step = Step::begin(TITLE, "compiling it for WebAssembly");
    let mut cargo =
        process::cargo(&["build", "--quiet", "--locked", "--lib", "--profile", PROFILE, "--target", TARGET]);
    cargo.current_dir(tools.paths.edge_dir()).env(WORKER_ENV.0, WORKER_ENV.1);
    if io::stderr().is_terminal() {
        cargo.env("CARGO_TERM_COLOR", "always");
    }
    let (status, said) = capture(cargo)?;
    drop(step);
    if !status.success() {
        bail!("the edge does not compile\n{said}");
    }
    if !said.trim().is_empty() {
        progress::caution(said.trim_end());
    }
    Ok(tools.paths.target.join(TARGET).join(PROFILE).join("edgeprove_edge.wasm"))
}

/// Digest of all that the results depend on.
fn made_of(tools: &EdgeTools, module: &Path) -> anyhow::Result<String> {
    let versions = &tools.versions;
    let mut parts = vec![digest::of_file(module)?];
    parts.extend([&versions.worker.version, &versions.wasm_bindgen.version].map(Clone::clone));
    parts.extend(versions.edge_npm.values().cloned());
    Ok(digest::of_bytes(parts.join("\n").as_bytes()))
}

fn stamp_file(results: &Path) -> PathBuf {
    results.join(".edgeprove-stamp")
}

/// What the stamp says of results that were made of this: that, and what they are.
fn stamp(results: &Path, made_of: &str) -> anyhow::Result<String> {
    let mut lines = vec![made_of.to_owned()];
    for name in RESULTS {
        lines.push(digest::of_file(&results.join(name))?);
    }
    Ok(lines.join("\n"))
}

fn is_fresh(results: &Path, made_of: &str) -> bool {
    let expected = stamp(results, made_of);
    expected
        .is_ok_and(|expected| fs::read_to_string(stamp_file(results)).is_ok_and(|stamp| stamp == expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_made_anew_when_they_or_what_they_are_made_of_changed() {
        let dir = tempfile::tempdir().unwrap();
        let results = dir.path();
        assert!(!is_fresh(results, "a"));
        for name in RESULTS {
            fs::write(results.join(name), name).unwrap();
        }
        fs::write(stamp_file(results), stamp(results, "a").unwrap()).unwrap();
        assert!(is_fresh(results, "a"));
        assert!(!is_fresh(results, "b"));
        fs::write(results.join(RESULTS[0]), "damaged").unwrap();
        assert!(!is_fresh(results, "a"));
        fs::remove_file(results.join(RESULTS[0])).unwrap();
        assert!(!is_fresh(results, "a"));
    }
}
