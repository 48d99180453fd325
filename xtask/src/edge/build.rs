//! Compiles the edge to the module that wrangler deploys: cargo compiles it, and worker-build turns the result into a
//! module with wasm-bindgen, wasm-opt and esbuild.
//!
//! worker-build takes seconds even if nothing has changed. A stamp beside its results contains the digest of their
//! sources, so it runs only if cargo has compiled something else.

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
/// The profile that the workspace's `Cargo.toml` defines: optimised for size, with the symbols that wasm-bindgen needs.
const PROFILE: &str = "edge";
/// worker-build compiles the crate `worker` with this variable. Other builds of the edge must set it too.
pub(crate) const WORKER_ENV: (&str, &str) = ("WASM_BINDGEN_USE_JS_SYS", "1");

/// The files that worker-build writes.
const RESULTS: [&str; 2] = ["index.js", "index_bg.wasm"];

/// What wasm-opt does: it optimises for size, and removes names and other sections that nothing reads when the edge runs. The
/// message of a panic has its file and line without them. The features are those of rustc's target and of wasm-bindgen, and
/// no newer ones, which workerd may not know.
const WASM_OPT: [&str; 10] = [
    "-Oz",
    "--strip-debug",
    "--strip-producers",
    "--enable-mutable-globals",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-reference-types",
    "--enable-exception-handling",
];

/// Updates `edge_worker/build`, unless it is up to date.
pub(super) fn run(tools: &EdgeTools) -> anyhow::Result<()> {
    let module = compile(tools)?;
    let results = tools.paths.edge_dir().join("build");
    let sources = sources_digest(tools, &module)?;
    if is_fresh(&results, &sources) {
        return Ok(());
    }
    let step = Step::start(TITLE, "worker-build");
    let mut worker_build = Command::new(&tools.worker_build);
    process::remove_own_package_env(&mut worker_build);
    worker_build
        .args(["--profile", PROFILE])
        .current_dir(tools.paths.edge_dir())
        .env("WASM_BINDGEN_BIN", &tools.wasm_bindgen)
        .env("ESBUILD_BIN", tools.npm_program("esbuild"));
    let (status, output) = capture(worker_build)?;
    if !status.success() {
        bail!("worker-build failed: {status}\n{output}");
    }
    optimise(tools, &results.join(RESULTS[1]))?;
    fs::write(stamp_file(&results), stamp(&results, &sources)?)
        .with_context(|| format!("{} cannot be written", stamp_file(&results).display()))?;
    let size = fs::metadata(results.join(RESULTS[1])).context("worker-build wrote no module")?.len();
    step.done(&format!("{} of WebAssembly in {}", ByteSize(size).display().si(), results.display()));
    Ok(())
}

/// Compiles the module with cargo, with the same options as worker-build.
fn compile(tools: &EdgeTools) -> anyhow::Result<PathBuf> {
    let step = Step::start(TITLE, "compiling it for WebAssembly");
    let mut cargo =
        process::cargo(&["build", "--quiet", "--locked", "--lib", "--profile", PROFILE, "--target", TARGET]);
    cargo.current_dir(tools.paths.edge_dir()).env(WORKER_ENV.0, WORKER_ENV.1);
    if io::stderr().is_terminal() {
        cargo.env("CARGO_TERM_COLOR", "always");
    }
    let (status, output) = capture(cargo)?;
    drop(step);
    if !status.success() {
        bail!("the edge does not compile\n{output}");
    }
    if !output.trim().is_empty() {
        progress::warn(output.trim_end());
    }
    Ok(tools.paths.target.join(TARGET).join(PROFILE).join("edgeprove_edge.wasm"))
}

/// Replaces the module by a smaller one.
fn optimise(tools: &EdgeTools, module: &Path) -> anyhow::Result<()> {
    let mut wasm_opt = Command::new(tools.npm_program("wasm-opt"));
    wasm_opt.args(WASM_OPT).arg("-o").arg(module).arg(module);
    let (status, output) = capture(wasm_opt)?;
    if !status.success() {
        bail!("wasm-opt failed: {status}\n{output}");
    }
    Ok(())
}

/// The digest of everything that the results depend on.
fn sources_digest(tools: &EdgeTools, module: &Path) -> anyhow::Result<String> {
    let versions = &tools.versions;
    let mut parts = vec![digest::of_file(module)?, WASM_OPT.join(" ")];
    parts.extend([&versions.worker.version, &versions.wasm_bindgen.version].map(Clone::clone));
    parts.extend(versions.edge_npm.values().cloned());
    Ok(digest::of_bytes(parts.join("\n").as_bytes()))
}

fn stamp_file(results: &Path) -> PathBuf {
    results.join(".edgeprove-stamp")
}

/// The stamp of results with these sources: the digest of the sources, and the digests of the results.
fn stamp(results: &Path, sources: &str) -> anyhow::Result<String> {
    let mut lines = vec![sources.to_owned()];
    for name in RESULTS {
        lines.push(digest::of_file(&results.join(name))?);
    }
    Ok(lines.join("\n"))
}

fn is_fresh(results: &Path, sources: &str) -> bool {
    let expected = stamp(results, sources);
    expected
        .is_ok_and(|expected| fs::read_to_string(stamp_file(results)).is_ok_and(|stamp| stamp == expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_sources_or_results_are_not_fresh() {
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
