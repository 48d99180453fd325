//! What the edge is built, run and deployed with, beside cargo: programs of cargo's and npm's.

use std::path::PathBuf;

use anyhow::Context;

use super::{Finding, Job, npm};
use crate::{
    cargo_tool::CargoTool,
    paths::{NpmProject, Paths},
    progress,
    versions::Versions,
};

/// Where everything is.
#[derive(Debug)]
pub(crate) struct EdgeTools {
    pub(crate) paths: Paths,
    pub(crate) versions: Versions,
    pub(crate) worker_build: PathBuf,
    pub(crate) wasm_bindgen: PathBuf,
}

impl EdgeTools {
    /// Once [`look`] misses nothing.
    pub(super) fn of(job: Job) -> anyhow::Result<Self> {
        let [wasm_bindgen, worker_build] = programs(&job.versions).map(|program| program.find(&job.paths));
        Ok(Self {
            wasm_bindgen: wasm_bindgen.context("wasm-bindgen is gone")?,
            worker_build: worker_build.context("worker-build is gone")?,
            paths: job.paths,
            versions: job.versions,
        })
    }

    /// A program of one of the npm packages.
    pub(crate) fn npm_program(&self, name: &str) -> PathBuf {
        self.paths.edge_dir().join("node_modules/.bin").join(name)
    }
}

fn programs(versions: &Versions) -> [CargoTool<'_>; 2] {
    let tool = |package, program, version| CargoTool { package, program, version, profile: "dev" };
    [
        tool("wasm-bindgen-cli", "wasm-bindgen", versions.wasm_bindgen.version.as_str()),
        tool("worker-build", "worker-build", versions.worker.version.as_str()),
    ]
}

fn title(program: &CargoTool<'_>) -> String {
    format!("{} {}", program.program, program.version)
}

fn npm_title(versions: &Versions) -> String {
    let pins = versions.npm_pins(NpmProject::Edge);
    pins.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ")
}

/// One finding for each program of cargo's, and one for npm's.
pub(super) fn look(job: &Job) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for program in programs(&job.versions) {
        findings.push(match program.find(&job.paths) {
            Some(path) => Finding::present(title(&program), path.display().to_string()),
            None => Finding::missing(title(&program), "not installed"),
        });
    }
    let modules = job.paths.edge_dir().join("node_modules");
    findings.push(if npm::is_installed(job, NpmProject::Edge)? {
        Finding::present(npm_title(&job.versions), modules.display().to_string())
    } else {
        Finding::missing(npm_title(&job.versions), "not what the lock file says")
    });
    Ok(findings)
}

/// Gets what a finding misses.
pub(super) fn get(job: &Job, what: &str) -> anyhow::Result<()> {
    let programs = programs(&job.versions);
    let Some(program) = programs.iter().find(|program| title(program) == what) else {
        return npm::install(job, NpmProject::Edge);
    };
    progress::caution(&format!("compiling {what} once; this takes a minute or two"));
    let path = program.install(&job.paths).with_context(|| match program.program {
        "worker-build" if cfg!(target_os = "linux") => {
            "worker-build cannot be compiled; it needs OpenSSL's headers (libssl-dev and pkg-config on Debian)"
        }
        _ => "it cannot be compiled",
    })?;
    progress::done(what, &path.display().to_string());
    Ok(())
}
