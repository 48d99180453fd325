//! What the tests of deployments share.

use std::time::Duration;

use async_trait::async_trait;
use edgeprove_chain::{
    Contracts, DeployError, DeployerKey, Deployment, Journal, JournalError, Node, Record, deployment::Limits,
};
use edgeprove_outbound::{AllowedHosts, Timeouts};
use edgeprove_testkit::ethereum::{ANVIL_CHAIN, linked_contracts};
use parking_lot::Mutex;

/// Remembers every record.
#[derive(Default)]
pub(crate) struct Memory(pub(crate) Mutex<Vec<Record>>);

impl Memory {
    pub(crate) fn last(&self) -> Record {
        self.0.lock().last().cloned().unwrap_or_default()
    }
}

#[async_trait]
impl Journal for Memory {
    async fn store(&self, record: &Record) -> Result<(), JournalError> {
        self.0.lock().push(record.clone());
        Ok(())
    }
}

/// A node at this URL, which the operator listed.
pub(crate) fn node(url: &str) -> Node {
    let host = url.split('/').nth(2).unwrap();
    let allowed = AllowedHosts(vec![host.parse().unwrap()]);
    let timeouts = Timeouts { connect: Duration::from_secs(5), request: Duration::from_secs(5) };
    Node::new(allowed.admit(url).unwrap(), timeouts).unwrap()
}

/// The key with this number.
pub(crate) fn key(number: u32) -> DeployerKey {
    DeployerKey::parse(&format!("{number:064x}")).unwrap()
}

pub(crate) fn contracts() -> Contracts {
    Contracts::parse(linked_contracts().to_string().as_bytes()).unwrap()
}

/// Deploys the contracts, or continues.
pub(crate) async fn deploy(
    node: &Node,
    key: &DeployerKey,
    journal: &Memory,
    limits: Duration,
) -> Result<Record, DeployError> {
    let pauses = (Duration::from_millis(5), Duration::from_millis(10));
    let deployment = Deployment {
        node,
        chain_id: ANVIL_CHAIN,
        key,
        contracts: &contracts(),
        journal,
        limits: Limits { transaction: limits, pauses },
        on_stage: &|_| {},
    };
    deployment.run(journal.last()).await
}
