//! Finds the compilers and checks their versions, once, when the builder starts.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use edgeprove_files::regular_file;
use edgeprove_templates as templates;
use edgeprove_templates::Language;
use serde::Deserialize;

use crate::{
    error::ToolError,
    powers::Powers,
    sandbox::{Limits, Sandbox, Tool},
};

/// The largest `package.json` that is read.
const MANIFEST_MAX_BYTES: u64 = 1 << 20;

/// The number of our own part of a build: the flags and scripts of compilers, the setup of keys, and the verifier contract.
/// To be incremented with every change of them that makes other artifacts from the same sources.
const RECIPE: u32 = 2;

/// The pinned versions, as `versions.toml` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Of the packages `@noir-lang/noir_wasm` and `@noir-lang/noir_js`.
    pub noir: String,
    /// Of bb. It proves Noir's circuits, and writes their verifier contracts.
    pub bb: String,
    /// Of the package `circom2`.
    pub circom2: String,
    /// Of the package `circomlib`.
    pub circomlib: String,
    /// Of the package `solc`, which compiles verifier contracts.
    pub solc: String,
    /// Of the package `@ethereumjs/evm`, which runs them. Nothing of a circuit depends on it.
    pub evm: String,
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
            solc: env!("EDGEPROVE_BUILDER_SOLC").to_owned(),
            evm: env!("EDGEPROVE_BUILDER_EVM").to_owned(),
            node_major_min: 20,
        }
    }

    /// The versions that are part of the identity of a circuit in this language, the number of our own recipe, and for circom
    /// the powers of tau, where there are some.
    #[must_use]
    pub fn identity(&self, language: Language, powers: Option<&Powers>) -> templates::Toolchain {
        let Self { noir, bb, circom2, circomlib, solc, .. } = self;
        let recipe = &RECIPE.to_string();
        let of_all = [("solc", solc), ("recipe", recipe)];
        let powers =
            powers.filter(|_| language == Language::Circom).map(|powers| powers.digest().to_string());
        let of_setup = powers.as_ref().map(|digest| ("powers", digest));
        let of_language = match language {
            Language::Noir => [("noir", noir), ("bb", bb)],
            Language::Circom => [("circom2", circom2), ("circomlib", circomlib)],
        };
        of_language.into_iter().chain(of_all).chain(of_setup).collect()
    }
}

/// Where the tools are.
#[derive(Debug, Clone)]
pub struct ToolLocations {
    /// The program of Node.js.
    pub node: PathBuf,
    /// The folder with `compile_program.mjs` and Noir's packages: `circuit/` of the repository.
    pub noir: PathBuf,
    /// The folder with circom's packages, solc and an Ethereum virtual machine: `circuit/circom/` of the repository.
    pub circom: PathBuf,
    /// bb. Whoever starts the builder checks its version.
    pub bb: PathBuf,
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

    /// The tool that writes the Solidity verifier of a verification key for the target `evm`. bb has another one that takes
    /// less gas, and that nobody has audited.
    pub(crate) fn write_contract(&self, key: &str, contract: &str) -> Tool {
        let arguments = ["write_solidity_verifier", "-t", "evm", "-k", key, "-o", contract];
        Tool {
            name: String::from("bb"),
            program: self.locations.bb.clone(),
            arguments: arguments.map(OsString::from).to_vec(),
        }
    }

    /// The tool that compiles a verifier contract, and prints what [`Self::call_contract`] deploys.
    pub(crate) fn compile_contract(&self, source: &str, contract: &str) -> Tool {
        self.node("solc", &self.locations.circom.join(SOLC_SCRIPT), &[source, contract])
    }

    /// The tool that deploys a compiled verifier, calls it, and prints the results.
    pub(crate) fn call_contract(&self, verifier: &str, calls: &str) -> Tool {
        let script = self.locations.circom.join(EVM_SCRIPT);
        self.node("the Ethereum virtual machine", &script, &[verifier, calls])
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
        let ToolLocations { noir, circom, bb, .. } = &self.locations;
        let Versions { noir: noir_version, circom2, circomlib, solc, evm, .. } = &self.versions;
        for (folder, package, expected) in [
            (noir, "@noir-lang/noir_wasm", noir_version),
            (noir, "@noir-lang/noir_js", noir_version),
            (circom, "circom2", circom2),
            (circom, "circomlib", circomlib),
            (circom, "solc", solc),
            (circom, "@ethereumjs/evm", evm),
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
            (SOLC_SCRIPT, circom.join(SOLC_SCRIPT).is_file()),
            (EVM_SCRIPT, circom.join(EVM_SCRIPT).is_file()),
            ("bb", bb.is_file()),
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
const SOLC_SCRIPT: &str = "solc.mjs";
const EVM_SCRIPT: &str = "evm.mjs";

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
