//! The verifier contract of a circuit: made, compiled, and tried with the proof of a sample.

use std::{
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use super::{BuildError, Builder, Turn};
use crate::{
    artifact::Artifact,
    contract::{
        BuiltContract, COMPILED, CallResult, ContractError, ContractTools, Flavor, Gas, NotDeployable,
        SOURCE, write_calls,
    },
    error::ToolError,
    gate::{SampleError, SampleProof, SampleProver},
    workspace::Workspace,
};

/// The file with a verification key of bb, in the folder of bb.
const KEY: &str = "vk";
/// The largest source of a contract, in bytes.
const SOURCE_MAX_BYTES: u64 = 4 << 20;
/// The most changed proofs that a contract is tried with. A circuit may have hundreds of public inputs.
const CHANGED_MAX: usize = 8;
/// The longest wait for calls of other callers.
const CALL_WAIT: Duration = Duration::from_secs(10);
/// Calls of callers at the same time. Each is a process that computes for seconds.
pub(super) const CALLS_MAX: NonZeroUsize = NonZeroUsize::MIN;

/// What the source of a contract is made from.
pub(super) enum Origin {
    /// It is there.
    Source(String),
    /// bb writes it for this verification key.
    KeyOfBb(Vec<u8>),
}

/// The calls of a contract with the proof of a sample.
pub(super) struct SampleCalls {
    /// The name of the sample.
    sample: String,
    /// The calldata with its proof, then that with changed ones.
    calldata: Vec<Vec<u8>>,
}

impl SampleCalls {
    /// The calls for a proof.
    pub(super) fn new(
        sample: String,
        proof: &SampleProof,
        prover: &dyn SampleProver,
        calldata: impl Fn(&SampleProof) -> Result<Vec<u8>, SampleError>,
    ) -> Result<Self, SampleError> {
        let changed = prover.tampered(proof);
        let proofs = [proof].into_iter().chain(changed.iter().take(CHANGED_MAX));
        Ok(Self { sample, calldata: proofs.map(calldata).collect::<Result<_, _>>()? })
    }
}

/// A contract with its files.
pub(super) struct ContractFiles {
    pub(super) artifacts: Vec<Artifact>,
    pub(super) contract: BuiltContract,
}

impl ContractFiles {
    /// There is none.
    pub(super) const fn none(flavor: Flavor, reason: NotDeployable) -> Self {
        Self { artifacts: Vec::new(), contract: BuiltContract { flavor, gas: Err(reason) } }
    }
}

impl Builder {
    /// Makes the contract of a circuit. It must accept the proof of the sample, and no changed one.
    ///
    /// One that cannot be deployed is tried as well, because its source is published.
    pub(super) async fn make_contract(
        &self,
        turn: &Turn,
        flavor: Flavor,
        origin: Origin,
        SampleCalls { sample, calldata }: SampleCalls,
    ) -> Result<ContractFiles, BuildError> {
        let workspace = self.contract_workspace(turn, origin).await?;
        let tools = ContractTools { sandbox: &self.sandbox, toolchain: &self.toolchain };
        let (compiled, printed) = tools.compile(&workspace, flavor, self.limits.compiler).await?;
        let prepared = Arc::clone(&workspace);
        let prepare = move |_: &AtomicBool| -> Result<Vec<u8>, BuildError> {
            write_calls(&prepared, &printed, &calldata)?;
            read(&prepared, SOURCE)
        };
        let source = turn.blocking(prepare).await??;
        let called = tools.call(&workspace).await?;
        let (accepted, changed) = called.calls.split_first().ok_or_else(|| refused(&sample))?;
        if !accepted.is_accepted() {
            return Err(refused(&sample).into());
        }
        if changed.is_empty() || changed.iter().any(CallResult::is_accepted) {
            return Err(ContractError::ChangedAccepted { sample }.into());
        }
        let gas = Gas { deploy: called.deploy_gas, verify: accepted.gas };
        let mut artifacts = vec![Artifact::new(SOURCE, source)];
        let gas = compiled.into_verifier(flavor, gas).map(|verifier| {
            // A struct of texts and numbers can always be written.
            let json = serde_json::to_vec(&verifier).unwrap_or_default();
            artifacts.push(Artifact::new(COMPILED, json));
            gas
        });
        Ok(ContractFiles { artifacts, contract: BuiltContract { flavor, gas } })
    }

    /// A folder with the source of a contract.
    async fn contract_workspace(&self, turn: &Turn, origin: Origin) -> Result<Arc<Workspace>, BuildError> {
        let (sandbox, held) = (self.sandbox.clone(), Arc::clone(&turn.permit));
        let create = move |_: &AtomicBool| -> Result<_, BuildError> {
            let workspace = sandbox.workspace(Some(held))?;
            let (name, bytes, is_of_bb) = match &origin {
                Origin::Source(source) => (SOURCE, source.as_bytes(), false),
                Origin::KeyOfBb(key) => (KEY, key.as_slice(), true),
            };
            workspace.write(name, bytes).map_err(ContractError::Files)?;
            Ok((workspace, is_of_bb))
        };
        let (workspace, is_of_bb) = turn.blocking(create).await??;
        if is_of_bb {
            let tool = self.toolchain.write_contract(KEY, SOURCE);
            self.sandbox.run(tool, &workspace, self.limits.compiler).await?;
        }
        Ok(workspace)
    }

    /// Verifies a proof by its calldata in an Ethereum virtual machine, with a verifier as [`COMPILED`] has it. It waits for
    /// the calls of other callers. Dropping the future ends the call.
    pub async fn call_verifier(&self, verifier: Vec<u8>, calldata: Vec<u8>) -> Result<bool, ContractError> {
        let turn = tokio::time::timeout(CALL_WAIT, Arc::clone(&self.calls).acquire_owned()).await;
        let turn = turn.map_err(|_| ContractError::Busy)?.map_err(|_| ToolError::Stopping)?;
        let sandbox = self.sandbox.clone();
        let prepare = move || -> Result<_, ContractError> {
            let workspace = sandbox.workspace(Some(Arc::new(turn)))?;
            write_calls(&workspace, &verifier, [calldata])?;
            Ok(workspace)
        };
        let workspace = tokio::task::spawn_blocking(prepare).await.map_err(|_| ToolError::Stopping)??;
        let tools = ContractTools { sandbox: &self.sandbox, toolchain: &self.toolchain };
        let called = tools.call(&workspace).await?;
        Ok(called.calls.first().is_some_and(CallResult::is_accepted))
    }
}

fn refused(sample: &str) -> ContractError {
    ContractError::Refused { sample: sample.to_owned() }
}

fn read(workspace: &Workspace, file: &str) -> Result<Vec<u8>, BuildError> {
    let missing = |source| ToolError::NoResult { tool: String::from("bb"), file: file.to_owned(), source };
    Ok(workspace.read(file, SOURCE_MAX_BYTES).map_err(missing)?)
}

#[cfg(test)]
mod tests {
    use std::{env, path::Path};

    use edgeprove_spool::Spool;
    use edgeprove_telemetry::Supervisor;

    use super::*;
    use crate::{
        build::BuildLimits,
        sandbox::{Required, Sandbox},
        toolchain::{ToolLocations, Toolchain, Versions},
    };

    /// A builder with the real tools, whose files are in this folder.
    async fn builder(folder: &Path) -> Builder {
        let spool = Spool::open(&folder.join("spool")).unwrap();
        let sandbox = Sandbox::open(spool, Supervisor::default(), Required::ProcessGroup).await.unwrap();
        let noir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../circuit").canonicalize().unwrap();
        let node = ToolLocations::find_program("node", &env::var_os("PATH").unwrap()).unwrap();
        let bb = edgeprove_testkit::paths::bb();
        let tools = ToolLocations { node, circom: noir.join("circom"), noir, bb };
        let toolchain = Toolchain::find(tools, Versions::pinned(), &sandbox).await.unwrap();
        Builder::new(sandbox, toolchain, BuildLimits::default(), NonZeroUsize::MIN).unwrap()
    }

    /// The error of a contract that returns this, whatever it is called with.
    async fn error_of(builder: &Builder, returned: &str) -> BuildError {
        let source = format!(
            "// SPDX-License-Identifier: MIT\npragma solidity ^0.8.0;\ncontract Groth16Verifier {{\n\
             fallback(bytes calldata) external returns (bytes memory) {{ return abi.encode({returned}); }}\n}}\n"
        );
        let turn = Turn { permit: Arc::new(()), is_cancelled: Arc::default() };
        let calls = SampleCalls { sample: String::from("sample"), calldata: vec![vec![1], vec![2]] };
        let made = builder.make_contract(&turn, Flavor::Groth16, Origin::Source(source), calls).await;
        made.map(|files| files.contract).unwrap_err()
    }

    #[tokio::test]
    async fn a_contract_with_one_answer_for_all_proofs_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let builder = builder(folder.path()).await;
        let error = error_of(&builder, "true").await;
        let is_expected = |error: &BuildError| matches!(error, BuildError::Contract(ContractError::ChangedAccepted { sample }) if sample == "sample");
        assert!(is_expected(&error), "{error:?}");
        let error = error_of(&builder, "false").await;
        let is_expected = |error: &BuildError| matches!(error, BuildError::Contract(ContractError::Refused { sample }) if sample == "sample");
        assert!(is_expected(&error), "{error:?}");
    }
}
