//! `edgeprove circuit deploy`: deploys the verifier contract of a circuit.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use edgeprove_protocol::{
    CircuitId,
    answer::{DeploymentEntry, DeploymentStatus},
};
use http::Method;
use serde_json::{Value, json};

use super::{
    ServerArgs, print, print_json, read, reason,
    waiting::{Awaited, until_ended},
};
use crate::{
    commands::{
        exit_status::{Failure, other},
        remote_server::first_line,
    },
    config::{Faults, RawSetting, raw_setting},
};

#[derive(Debug, Args)]
pub(super) struct DeployArgs {
    /// Id of the circuit.
    #[arg(value_name = "ID", value_parser = raw_setting::<CircuitId>)]
    id: RawSetting<CircuitId>,

    /// URL of an Ethereum node, by which the server deploys. The server must allow it (`--deploy-rpc`).
    #[arg(long, env = "EDGEPROVE_RPC_URL", hide_env_values = true, value_name = "URL")]
    rpc_url: String,

    /// File whose first line is the private key of the account that deploys. `-` reads standard input. The server keeps the key
    /// in memory only.
    #[arg(long, value_name = "FILE")]
    private_key_file: PathBuf,

    /// Id of the chain. The server refuses a node that is on another one.
    #[arg(long, value_name = "ID", value_parser = raw_setting::<u64>)]
    chain_id: Option<RawSetting<u64>>,

    /// Longest wait for the contracts. The server goes on in any case.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = raw_setting::<Duration>)]
    wait: RawSetting<Duration>,

    /// Print the deployment as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// The contracts are not on the chain.
#[derive(Debug, thiserror::Error)]
enum NotDeployed {
    /// The deployment failed.
    #[error("the contracts were not deployed: {reason}. The same command continues")]
    Failed { reason: String },
    /// It took too long.
    #[error(
        "the contracts are not on the chain after {}; the same command waits on",
        humantime::format_duration(*wait)
    )]
    TooLate { wait: Duration },
    /// The server does not list it any more.
    #[error("the server does not know the deployment any more")]
    Gone,
    /// The private key cannot be read.
    #[error("--private-key-file: {} cannot be read", path.display())]
    UnreadableKey {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

fn private_key(path: &Path) -> Result<String, Failure> {
    let line = first_line(path);
    let unreadable = |source| NotDeployed::UnreadableKey { path: path.to_owned(), source };
    line.map_err(|source| Failure::NoInput(Box::new(unreadable(source))))
}

impl DeployArgs {
    pub(super) async fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let server = if self.server.key.reads_stdin() && self.private_key_file == Path::new("-") {
            faults.add("--key-file and --private-key-file cannot both be standard input");
            None
        } else {
            self.server.open(&mut faults)
        };
        let (id, wait) = (faults.take_named("ID", self.id), faults.take_named("--wait", self.wait));
        let chain_id = self.chain_id.map(|chain_id| faults.take_named("--chain-id", chain_id));
        let ((server, id), wait) = faults.finish(server.zip(id).zip(wait))?;
        let key = private_key(&self.private_key_file)?;
        let body = json!({ "rpcUrl": self.rpc_url, "privateKey": key, "chainId": chain_id.flatten() });
        let path = format!("/v1/circuits/{id}/deploy");
        let document = server.json(Method::POST, &path, Some(&body)).await?;
        drop(body);
        let DeploymentEntry { chain_id, deployer, .. } = read(&document)?;
        let deployment = PendingDeployment { id, chain_id, deployer };
        let document = until_ended(&server, &deployment, document, wait).await?;
        if self.json {
            return print_json(&document);
        }
        let entry: DeploymentEntry = read(&document)?;
        print(&format!("{}\n", entry.address.unwrap_or_default()))
    }
}

/// The deployment that a command waits for: there is one for each chain and account.
struct PendingDeployment {
    id: CircuitId,
    chain_id: u64,
    deployer: String,
}

impl Awaited for PendingDeployment {
    fn doing(&self) -> String {
        format!("{} is being deployed", self.id)
    }

    fn path(&self) -> String {
        format!("/v1/circuits/{}", self.id)
    }

    fn part_of(&self, mut circuit: Value) -> Option<Value> {
        let deployments = circuit["deployments"].as_array_mut()?;
        let is_own = |other: &Value| {
            other["chain_id"] == self.chain_id && other["deployer"].as_str() == Some(&self.deployer)
        };
        deployments.iter().position(is_own).map(|index| deployments.swap_remove(index))
    }

    fn has_ended(&self, deployment: &Value) -> Result<bool, Failure> {
        let entry: DeploymentEntry = read(deployment)?;
        match entry.status {
            DeploymentStatus::Deployed => Ok(true),
            DeploymentStatus::Pending => Ok(false),
            DeploymentStatus::Failed => Err(other(NotDeployed::Failed { reason: reason(entry.error) })),
        }
    }

    fn gone(&self) -> Failure {
        other(NotDeployed::Gone)
    }

    fn too_late(&self, wait: Duration) -> Failure {
        other(NotDeployed::TooLate { wait })
    }
}
