//! The tools that build, run and deploy the edge, from cargo and npm.

use std::path::PathBuf;

use anyhow::Context;

use super::{Finding, SetupContext, npm};
use crate::{
    cargo_tool::CargoTool,
    paths::{NpmProject, Paths},
    progress,
    versions::Versions,
};

/// The paths of the tools.
#[derive(Debug)]
pub(crate) struct EdgeTools {
    pub(crate) paths: Paths,
    pub(crate) versions: Versions,
    pub(crate) worker_build: PathBuf,
    pub(crate) wasm_bindgen: PathBuf,
}

impl EdgeTools {
    /// The tools, when all are installed.
    pub(super) fn of(context: SetupContext) -> anyhow::Result<Self> {
        let [wasm_bindgen, worker_build] =
            programs(&context.versions).map(|program| program.find(&context.paths));
        Ok(Self {
            wasm_bindgen: wasm_bindgen.context("wasm-bindgen is not installed")?,
            worker_build: worker_build.context("worker-build is not installed")?,
            paths: context.paths,
            versions: context.versions,
        })
    }

    /// The path of a program from the npm packages.
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

/// One finding for each program from cargo, and one for the npm packages.
pub(super) fn inspect(context: &SetupContext) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for program in programs(&context.versions) {
        findings.push(match program.find(&context.paths) {
            Some(path) => Finding::present(title(&program), path.display().to_string()),
            None => Finding::missing(title(&program), "not installed"),
        });
    }
    findings.push(npm::inspect(context, NpmProject::Edge)?);
    Ok(findings)
}

/// Installs the missing part that a finding names.
pub(super) fn install(context: &SetupContext, what: &str) -> anyhow::Result<()> {
    let programs = programs(&context.versions);
    let Some(program) = programs.iter().find(|program| title(program) == what) else {
        return npm::install(context, NpmProject::Edge);
    };
    progress::warn(&format!("compiling {what} once; this takes a minute or two"));
    let path = program.install(&context.paths).with_context(|| match program.program {
        "worker-build" if cfg!(target_os = "linux") => {
            "worker-build cannot be compiled; it needs OpenSSL's headers (libssl-dev and pkg-config on Debian)"
        }
        _ => "it cannot be compiled",
    })?;
    progress::done(what, &path.display().to_string());
    Ok(())
}
