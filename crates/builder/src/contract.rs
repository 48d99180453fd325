//! Verifier contracts: compiled by solc, and called in an Ethereum virtual machine.

use std::{io, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Fate, ToolError},
    sandbox::{Limits, Sandbox},
    toolchain::Toolchain,
    workspace::Workspace,
};

/// The file with the Solidity source.
pub const SOURCE: &str = "verifier.sol";
/// The file with the compiled verifier.
pub const COMPILED: &str = "verifier.json";
/// The file with the calls of a verifier, in the folder of a tool.
pub(crate) const CALLS: &str = "calls";

/// Ethereum's limit for the code of a contract, in bytes (EIP-170).
const CODE_MAX_BYTES: usize = 24_576;
/// Ethereum's limit for the code that creates a contract, in bytes (EIP-3860).
const CREATION_CODE_MAX_BYTES: usize = 2 * CODE_MAX_BYTES;

/// What the virtual machine may take.
const EVM_LIMITS: Limits = Limits {
    time: Duration::from_mins(2),
    memory_bytes: 2 << 30,
    output_bytes: 1 << 20,
    folder_bytes: 64 << 20,
    files: 100,
    processes: 16,
};

/// The kind of a verifier contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavor {
    /// The contract of `edgeprove-groth16`. It returns false for a proof that is not valid.
    #[serde(rename = "groth16")]
    Groth16,
    /// bb's contract for zero-knowledge proofs, not the optimized one. It reverts for a proof that is not valid.
    #[serde(rename = "honk-zk")]
    HonkZk,
}

impl Flavor {
    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Groth16 => "groth16",
            Self::HonkZk => "honk-zk",
        }
    }

    /// The name of the contract.
    #[must_use]
    pub const fn contract(self) -> &'static str {
        match self {
            Self::Groth16 => "Groth16Verifier",
            Self::HonkZk => "HonkVerifier",
        }
    }

    /// Whether a report on an audit of this contract is published.
    ///
    /// None is known. bb's authors name this contract of bb in the scope of an external audit, and not the optimized one for
    /// zero-knowledge proofs; the scope names no version.
    #[must_use]
    pub const fn is_audited(self) -> bool {
        match self {
            Self::Groth16 | Self::HonkZk => false,
        }
    }
}

/// The file `verifier.json`: everything that is needed to deploy a verifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    /// The compiler with its version, such as `solc 0.8.37`.
    pub compiler: String,
    /// The license of the source, as an SPDX expression.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub license: Option<String>,
    /// The name of the contract that verifies.
    pub contract: String,
    /// Its kind.
    pub flavor: Flavor,
    /// Whether a report on an audit of the contract is published.
    pub audited: bool,
    /// What is deployed, in this order: libraries, and at the end the contract that verifies.
    pub contracts: Vec<Deployment>,
    /// What deployment and verification take.
    pub gas: Gas,
}

/// One contract that is deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// The code that creates it, in hexadecimal digits. Instead of each library's address are 40 other characters.
    #[serde(rename = "creationCode")]
    pub creation_code: String,
    /// The positions of addresses.
    pub links: Vec<Link>,
}

/// A place of a library's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The name of the library.
    pub library: String,
    /// The position in the code, in bytes.
    pub start: usize,
}

/// The gas of transactions, measured with the rules of the hard fork Osaka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gas {
    /// Of those that deploy the verifier and its libraries.
    pub deploy: u64,
    /// Of one that verifies the proof of a sample and does nothing else.
    pub verify: u64,
}

/// Why a verifier cannot be deployed. The circuit can be proved nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDeployable {
    /// There is no contract for such a circuit.
    #[error("the circuit has no public inputs, and its verifier contract would have nothing to verify")]
    NoPublicInputs,
    /// A contract is larger than Ethereum allows.
    #[error("the contract {contract} has {bytes} bytes of code, and Ethereum allows {limit}")]
    TooLarge {
        /// The name of the contract.
        contract: String,
        /// The size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The builder makes no contracts.
    #[error("the builder makes no contracts")]
    NotMade,
}

/// The verifier contract of a circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltContract {
    /// Its kind.
    pub flavor: Flavor,
    /// The gas that it takes; or why there is no file `verifier.json`.
    pub gas: Result<Gas, NotDeployable>,
}

/// Why a contract was not made or not called.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A tool printed something else than its result.
    #[error("{tool} printed something else than its result")]
    Unreadable {
        /// The tool.
        tool: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The files for a tool could not be written.
    #[error("the files of a contract could not be written")]
    Files(#[source] io::Error),
    /// The contract refuses a proof that it must accept.
    #[error("the verifier contract refuses the proof of the sample {sample:?}")]
    Refused {
        /// The name of the sample.
        sample: String,
    },
    /// The contract accepts a proof that it must refuse.
    #[error("the verifier contract accepts a changed proof of the sample {sample:?}")]
    ChangedAccepted {
        /// The name of the sample.
        sample: String,
    },
    /// Other calls did not end in time.
    #[error("other proofs are being verified in the Ethereum virtual machine")]
    Busy,
}

impl ContractError {
    /// Whether another attempt may succeed.
    #[must_use]
    pub fn fate(&self) -> Fate {
        match self {
            Self::Tool(error) => error.fate(),
            Self::Files(_) | Self::Busy => Fate::Temporary,
            Self::Unreadable { .. } | Self::Refused { .. } | Self::ChangedAccepted { .. } => Fate::Permanent,
        }
    }
}

/// What solc made of a source.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Compiled {
    compiler: String,
    license: Option<String>,
    contracts: Vec<CompiledContract>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CompiledContract {
    name: String,
    creation_code: String,
    runtime_bytes: usize,
    links: Vec<Link>,
}

impl Compiled {
    /// The file `verifier.json`; or why the verifier cannot be deployed.
    pub(crate) fn into_verifier(self, flavor: Flavor, gas: Gas) -> Result<Verifier, NotDeployable> {
        for contract in &self.contracts {
            let sizes = [
                (contract.runtime_bytes, CODE_MAX_BYTES),
                (contract.creation_code.len() / 2, CREATION_CODE_MAX_BYTES),
            ];
            if let Some((bytes, limit)) = sizes.into_iter().find(|(bytes, limit)| bytes > limit) {
                return Err(NotDeployable::TooLarge { contract: contract.name.clone(), bytes, limit });
            }
        }
        let deployment =
            |CompiledContract { name, creation_code, links, .. }| Deployment { name, creation_code, links };
        Ok(Verifier {
            compiler: self.compiler,
            license: self.license,
            contract: flavor.contract().to_owned(),
            flavor,
            audited: flavor.is_audited(),
            contracts: self.contracts.into_iter().map(deployment).collect(),
            gas,
        })
    }
}

/// What the calls of a deployed verifier returned.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Called {
    /// The gas of the deployment.
    pub(crate) deploy_gas: u64,
    /// One for each call.
    pub(crate) calls: Vec<CallResult>,
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct CallResult {
    returned: String,
    reverted: bool,
    /// The gas of the transaction.
    pub(crate) gas: u64,
}

impl CallResult {
    /// Whether the verifier accepts the proof: it returned true. It may refuse one by false or by a revert.
    pub(crate) fn is_accepted(&self) -> bool {
        let digits = self.returned.strip_suffix('1');
        !self.reverted
            && digits.is_some_and(|zeros| zeros.len() == 63 && zeros.bytes().all(|digit| digit == b'0'))
    }
}

/// The sandbox and the tools for contracts.
#[derive(Clone, Copy)]
pub(crate) struct ContractTools<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) toolchain: &'a Toolchain,
}

impl ContractTools<'_> {
    /// Compiles the source in this folder. Returns the compiled contracts, and the bytes that solc printed.
    pub(crate) async fn compile(
        self,
        workspace: &Arc<Workspace>,
        flavor: Flavor,
        limits: Limits,
    ) -> Result<(Compiled, Vec<u8>), ContractError> {
        let tool = self.toolchain.compile_contract(SOURCE, flavor.contract());
        let printed = self.sandbox.run(tool, workspace, limits).await?.stdout;
        let read = serde_json::from_slice(&printed);
        Ok((read.map_err(|source| ContractError::Unreadable { tool: "solc", source })?, printed))
    }

    /// Deploys the compiled verifier in this folder, and makes the calls in this folder.
    pub(crate) async fn call(self, workspace: &Arc<Workspace>) -> Result<Called, ContractError> {
        let tool = self.toolchain.call_contract(COMPILED, CALLS);
        let printed = self.sandbox.run(tool, workspace, EVM_LIMITS).await?.stdout;
        let tool = "the Ethereum virtual machine";
        serde_json::from_slice(&printed).map_err(|source| ContractError::Unreadable { tool, source })
    }
}

/// Writes a compiled verifier and the calldata of its calls into the folder of a tool. Blocking.
pub(crate) fn write_calls(
    workspace: &Workspace,
    compiled: &[u8],
    calls: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Result<(), ContractError> {
    let lines: Vec<_> = calls.into_iter().map(hex::encode).collect();
    let write = || {
        workspace.write(COMPILED, compiled)?;
        workspace.write(CALLS, lines.join("\n").as_bytes())
    };
    write().map_err(ContractError::Files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(runtime_bytes: usize, creation_bytes: usize) -> Compiled {
        let library = Link { library: String::from("Library"), start: 1 };
        let contract = |name: &str, links: Vec<Link>| CompiledContract {
            name: name.to_owned(),
            creation_code: "60".repeat(creation_bytes),
            runtime_bytes,
            links,
        };
        Compiled {
            compiler: String::from("solc 0.8.37"),
            license: None,
            contracts: vec![contract("Library", Vec::new()), contract("HonkVerifier", vec![library])],
        }
    }

    #[test]
    fn a_contract_beyond_ethereums_limits_is_not_deployable() {
        let gas = Gas { deploy: 1, verify: 2 };
        let verifier = compiled(24_576, 49_152).into_verifier(Flavor::HonkZk, gas).unwrap();
        let json = serde_json::to_value(&verifier).unwrap();
        assert_eq!(json["flavor"], "honk-zk");
        assert_eq!(json["contract"], "HonkVerifier");
        assert_eq!(json["contracts"][1]["links"][0]["library"], "Library");
        assert_eq!(json["contracts"][1]["creationCode"].as_str().unwrap().len(), 2 * 49_152);
        assert!(json.get("license").is_none());
        assert_eq!(serde_json::from_value::<Verifier>(json).unwrap(), verifier);
        for (runtime, creation, limit) in [(24_577, 49_152, 24_576), (24_576, 49_153, 49_152)] {
            let error = compiled(runtime, creation).into_verifier(Flavor::HonkZk, gas).unwrap_err();
            let contract = String::from("Library");
            assert_eq!(error, NotDeployable::TooLarge { contract, bytes: limit + 1, limit });
        }
    }

    #[test]
    fn only_true_accepts_a_proof() {
        let result =
            |returned: &str, reverted| CallResult { returned: returned.to_owned(), reverted, gas: 1 };
        let one = format!("{:064x}", 1);
        assert!(result(&one, false).is_accepted());
        for (returned, reverted) in [
            (one.as_str(), true),
            ("", false),
            ("1", false),
            ("01", false),
            (&format!("{:064x}", 0), false),
            (&"1".repeat(64), false),
        ] {
            assert!(!result(returned, reverted).is_accepted(), "{returned} {reverted}");
        }
    }
}
