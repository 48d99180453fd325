//! Contracts of circuits on chains: what is known of each deployment.
//!
//! The record of a deployment is a text of its caller.

use edgeprove_job_queue::store::{
    Durability, StoreError,
    session::{Value, host_now},
};
use edgeprove_job_rules::{sql::deployments, time::UnixMillis};
use edgeprove_protocol::{CircuitId, JobId};
use sqlx::{Row as _, any::AnyRow};

use crate::{CircuitStore, CircuitStoreError, StoredCircuit, signed, text};

/// What identifies a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentKey {
    /// The circuit.
    pub circuit: CircuitId,
    /// Its version. A circuit of circom that is built again has other keys, and so another contract.
    pub version: String,
    /// The chain.
    pub chain_id: u64,
    /// The address of the account that deploys.
    pub deployer: String,
}

/// What is known of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDeployment {
    /// The chain.
    pub chain_id: u64,
    /// The address of the account that deploys.
    pub deployer: String,
    /// The record of its caller.
    pub record: String,
    /// When it was completed.
    pub completed_at: Option<UnixMillis>,
}

impl DeploymentKey {
    fn values(&self) -> [Value; 4] {
        [
            self.circuit.as_str().into(),
            self.version.as_str().into(),
            signed(self.chain_id).into(),
            self.deployer.as_str().into(),
        ]
    }
}

impl CircuitStore {
    /// Notes that a deployment was requested.
    pub async fn plan_deployment(
        &self,
        key: &DeploymentKey,
        job: JobId,
        record: &str,
    ) -> Result<(), CircuitStoreError> {
        let values = key.values().into_iter().chain([job.to_string().into(), record.into()]);
        let mut session = self.database.session(Durability::Write).await?;
        session.row(deployments::PLAN, values).await?;
        Ok(())
    }

    /// Begins or continues a deployment by this job, and returns its record; `None` if it is complete. Earlier jobs can no
    /// longer store anything.
    pub async fn begin_deployment(
        &self,
        key: &DeploymentKey,
        job: JobId,
    ) -> Result<Option<String>, CircuitStoreError> {
        let values = key.values().into_iter().chain([job.to_string().into()]);
        let mut session = self.database.session(Durability::Write).await?;
        let row = session.row(deployments::BEGIN, values).await?;
        drop(session);
        self.database.sync().await?;
        row.as_ref().map(|row| text(row, "record")).transpose()
    }

    /// Stores what is known of a deployment, and returns whether this job may still store it. When this returns, it is
    /// durable.
    pub async fn store_deployment(
        &self,
        key: &DeploymentKey,
        job: JobId,
        record: &str,
        is_complete: bool,
    ) -> Result<bool, CircuitStoreError> {
        let completed_at: Value = Value::Int(is_complete.then(|| host_now().0));
        let values = key.values().into_iter().chain([job.to_string().into(), record.into(), completed_at]);
        let mut session = self.database.session(Durability::Write).await?;
        let is_stored = session.row(deployments::STORE, values).await?.is_some();
        drop(session);
        self.database.sync().await?;
        Ok(is_stored)
    }

    /// Notes that a deployment, which was completed at this time, is incomplete after all: its chain has lost the contracts.
    pub async fn reopen_deployment(
        &self,
        key: &DeploymentKey,
        completed_at: UnixMillis,
    ) -> Result<(), CircuitStoreError> {
        let values = key.values().into_iter().chain([Value::Int(Some(completed_at.0))]);
        let mut session = self.database.session(Durability::Write).await?;
        session.row(deployments::REOPEN, values).await?;
        Ok(())
    }

    /// Finds a deployment.
    pub async fn deployment(
        &self,
        key: &DeploymentKey,
    ) -> Result<Option<StoredDeployment>, CircuitStoreError> {
        let mut session = self.database.session(Durability::Read).await?;
        let row = session.row(deployments::FIND, key.values()).await?;
        row.as_ref().map(stored).transpose()
    }

    /// Lists the deployments of a circuit in its version, by chain: at most `limit`.
    pub async fn deployments(
        &self,
        of: &StoredCircuit,
        limit: u32,
    ) -> Result<Vec<StoredDeployment>, CircuitStoreError> {
        let values: [Value; 3] =
            [of.circuit.id.as_str().into(), of.circuit.version.as_str().into(), limit.into()];
        let mut session = self.database.session(Durability::Read).await?;
        let rows = session.rows(deployments::LIST, values).await?;
        rows.iter().map(stored).collect()
    }
}

fn stored(row: &AnyRow) -> Result<StoredDeployment, CircuitStoreError> {
    let completed_at: Option<i64> = row.try_get("completed_at").map_err(StoreError::from)?;
    Ok(StoredDeployment {
        chain_id: crate::number(row, "chain_id")?,
        deployer: text(row, "deployer")?,
        record: text(row, "record")?,
        completed_at: completed_at.map(UnixMillis),
    })
}
