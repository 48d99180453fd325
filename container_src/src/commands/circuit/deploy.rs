//! `edgeprove circuit deploy`: deploys the verifier contract of a circuit.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use edgeprove_protocol::{
    CircuitId,
    answer::{DeploymentEntry, DeploymentStatus},
};
use http::Method;
use serde_json::{Value, json};

use super::{Progress, ServerArgs, described, print, print_json, read};
use crate::{
    commands::{
        exit_status::{Failure, other},
        remote_server::first_line,
    },
    config::{Faults, RawSetting, raw_setting},
};

/// How often the state of a deployment is requested.
const POLL: Duration = Duration::from_secs(1);

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
    server: ServerArgs,
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
        let started = Instant::now();
        let path = format!("/v1/circuits/{id}");
        let mut document = server.json(Method::POST, &format!("{path}/deploy"), Some(&body)).await?;
        drop(body);
        let progress = Progress::start();
        let entry = loop {
            let entry: DeploymentEntry = read(&document)?;
            match entry.status {
                DeploymentStatus::Deployed => break entry,
                DeploymentStatus::Failed => {
                    let reason = entry.error.map_or_else(|| "no reason is stored".to_owned(), described);
                    return Err(other(NotDeployed::Failed { reason }));
                }
                DeploymentStatus::Pending if started.elapsed() >= wait => {
                    return Err(other(NotDeployed::TooLate { wait }));
                }
                DeploymentStatus::Pending => {}
            }
            progress.show(&format!("{id} is being deployed"), started.elapsed());
            tokio::time::sleep(POLL).await;
            document = match server.json(Method::GET, &path, None).await {
                Ok(circuit) => deployment(&circuit, &entry).ok_or_else(|| other(NotDeployed::Gone))?,
                // A server that is busy or starts again does not end the deployment.
                Err(error) if error.may_succeed_later() && started.elapsed() < wait => continue,
                Err(error) => return Err(error.into()),
            };
        };
        progress.end();
        if self.json {
            return print_json(&document);
        }
        print(&format!("{}\n", entry.address.unwrap_or_default()))
    }
}

/// The deployment of the same chain and account in the document of a circuit.
fn deployment(circuit: &Value, entry: &DeploymentEntry) -> Option<Value> {
    let is_same = |other: &&Value| {
        other["chain_id"] == entry.chain_id && other["deployer"].as_str() == Some(&entry.deployer)
    };
    circuit["deployments"].as_array()?.iter().find(is_same).cloned()
}
