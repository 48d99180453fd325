//! Finds the compilers and checks their versions, once, when the builder starts.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

use edgeprove_files::regular_file;
use edgeprove_templates as templates;
use edgeprove_templates::Language;
use serde::Deserialize;

use crate::{
    error::ToolError,
    sandbox::{Limits, Sandbox, Tool},
};

/// The largest `package.json` that is read.
const MANIFEST_MAX_BYTES: u64 = 1 << 20;

/// The number of our own part of a build: the flags and scripts of compilers, the setup of keys, and the verifier contract.
/// To be incremented with every change of them that makes other artifacts from the same sources.
const RECIPE: u32 = 1;

/// The pinned versions, as `versions.toml` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Of the packages `@noir-lang/noir_wasm` and `@noir-lang/noir_js`.
    pub noir: String,
    /// Of bb. It proves Noir's circuits, and is part of their identity; the builder does not run it.
    pub bb: String,
    /// Of the package `circom2`.
    pub circom2: String,
    /// Of the package `circomlib`.
    pub circomlib: String,
    /// The oldest major version of Node.js.
    pub node_major_min: u32,
}

impl Versions {
    /// The versions of `versions.toml` when this program was built.
    #[must_use]
    pub fn pinned() -> Self {
        Self {
            noir: env!("EDGEPROVE_BUILDER_NOIR").to_owned(),
            bb: env!("EDGEPROVE_BUILDER_BB").to_owned(),
            circom2: env!("EDGEPROVE_BUILDER_CIRCOM2").to_owned(),
            circomlib: env!("EDGEPROVE_BUILDER_CIRCOMLIB").to_owned(),
            node_major_min: 20,
        }
    }

    /// The versions that are part of the identity of a circuit in this language, and the number of our own recipe.
    #[must_use]
    pub fn identity(&self, language: Language) -> templates::Toolchain {
        let Self { noir, bb, circom2, circomlib, .. } = self;
        let recipe = &RECIPE.to_string();
        match language {
            Language::Noir => {
                templates::Toolchain::from_iter([("noir", noir), ("bb", bb), ("recipe", recipe)])
            }
            Language::Circom => {
                let versions = [("circom2", circom2), ("circomlib", circomlib), ("recipe", recipe)];
                templates::Toolchain::from_iter(versions)
            }
        }
    }
}

/// Where the tools are.
#[derive(Debug, Clone)]
pub struct ToolLocations {
    /// The program of Node.js.
    pub node: PathBuf,
    /// The folder with `compile_program.mjs` and Noir's packages: `circuit/` of the repository.
    pub noir: PathBuf,
    /// The folder with circom's packages: `circuit/circom/` of the repository.
    pub circom: PathBuf,
}

impl ToolLocations {
    /// Finds a program in the folders of a search path, as in the variable `PATH`.
    #[must_use]
    pub fn find_program(name: &str, search_path: &OsStr) -> Option<PathBuf> {
        env::split_paths(search_path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|program| program.is_file())
    }
}

/// The tools, of the pinned versions.
#[derive(Debug, Clone)]
pub struct Toolchain {
    locations: ToolLocations,
    versions: Versions,
}

impl Toolchain {
    /// Finds the tools and compares their versions with the pinned ones. A difference is an error.
    pub async fn find(
        locations: ToolLocations,
        versions: Versions,
        sandbox: &Sandbox,
    ) -> Result<Self, ToolError> {
        check_node(&locations.node, versions.node_major_min, sandbox).await?;
        let toolchain = Self { locations, versions };
        tokio::task::spawn_blocking(move || toolchain.check_packages().map(|()| toolchain))
            .await
            .map_err(|_| ToolError::Stopping)?
    }

    /// The pinned versions.
    #[must_use]
    pub const fn versions(&self) -> &Versions {
        &self.versions
    }

    /// The tool that compiles the Noir package in its working folder's `package` to this file.
    pub(crate) fn compile_noir(&self, package: &str, program: &str) -> Tool {
        let script = self.locations.noir.join(NOIR_SCRIPT);
        self.node("Noir's compiler", &script, &[package, program])
    }

    /// The tool that compiles a circom circuit. Sources, libraries and results are in its working folder, so that no path of
    /// the machine is in what it writes. Its runner lets it open folders above as well.
    pub(crate) fn compile_circom(&self, main: &str, libraries: &str, results: &str) -> Tool {
        let script = self.locations.circom.join(CIRCOM_COMPILER);
        let options = [main, "--r1cs", "--wasm", "--sym", "--O2", "-l", libraries, "-o", results];
        self.node("circom", &script, &options)
    }

    /// The folder with circomlib's circuits.
    pub(crate) fn circomlib(&self) -> PathBuf {
        self.locations.circom.join(CIRCOMLIB)
    }

    fn node(&self, name: &str, script: &Path, arguments: &[&str]) -> Tool {
        let arguments = arguments.iter().map(|argument| OsStr::new(*argument).to_owned());
        Tool {
            name: name.to_owned(),
            program: self.locations.node.clone(),
            arguments: [script.as_os_str().to_owned()].into_iter().chain(arguments).collect(),
        }
    }

    fn check_packages(&self) -> Result<(), ToolError> {
        let ToolLocations { noir, circom, .. } = &self.locations;
        let Versions { noir: noir_version, circom2, circomlib, .. } = &self.versions;
        for (folder, package, expected) in [
            (noir, "@noir-lang/noir_wasm", noir_version),
            (noir, "@noir-lang/noir_js", noir_version),
            (circom, "circom2", circom2),
            (circom, "circomlib", circomlib),
        ] {
            let found = package_version(folder, package)?;
            if found != *expected {
                let (tool, expected) = (package.to_owned(), expected.clone());
                return Err(ToolError::WrongVersion { tool, expected, found });
            }
        }
        for (tool, exists) in [
            (NOIR_SCRIPT, noir.join(NOIR_SCRIPT).is_file()),
            (CIRCOM_COMPILER, circom.join(CIRCOM_COMPILER).is_file()),
            (CIRCOMLIB, self.circomlib().is_dir()),
        ] {
            if !exists {
                return Err(ToolError::NotFound { tool: tool.to_owned() });
            }
        }
        Ok(())
    }
}

const NOIR_SCRIPT: &str = "compile_program.mjs";
const CIRCOM_COMPILER: &str = "node_modules/circom2/cli.js";
const CIRCOMLIB: &str = "node_modules/circomlib/circuits";

async fn check_node(program: &Path, major_min: u32, sandbox: &Sandbox) -> Result<(), ToolError> {
    let name = String::from("Node.js");
    let tool = Tool { name: name.clone(), program: program.to_owned(), arguments: vec!["--version".into()] };
    let limits = Limits { time: Duration::from_secs(30), ..Limits::default() };
    let printed = sandbox.run(tool, &sandbox.workspace(None)?, limits).await?;
    let printed = String::from_utf8_lossy(&printed.stdout);
    let found = printed.trim().trim_start_matches('v');
    match found.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major >= major_min => Ok(()),
        _ => Err(ToolError::WrongVersion {
            tool: name,
            expected: format!("{major_min} or newer"),
            found: found.chars().filter(|c| !c.is_control()).take(40).collect(),
        }),
    }
}

/// The version of an installed npm package.
fn package_version(folder: &Path, package: &str) -> Result<String, ToolError> {
    #[derive(Deserialize)]
    struct Manifest {
        version: String,
    }
    let path = folder.join("node_modules").join(package).join("package.json");
    let not_found = || ToolError::NotFound { tool: package.to_owned() };
    let text = regular_file::read_to_string(&path, MANIFEST_MAX_BYTES).map_err(|_| not_found())?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|_| not_found())?;
    Ok(manifest.version)
}
