//! Contracts of circuits on chains: each once for a circuit in its version, a chain, and the account that deploys.
//!
//! What is known of a deployment is written before anything is sent to a chain, and again with each step, so that whoever
//! continues knows what was sent. One job at a time may write: the one that began last. A row outlives its circuit, because
//! a contract stays on its chain.

use super::Statement;

/// Notes that a deployment was requested, so that it is listed.
///
/// Binds 1 circuit, 2 version of the circuit, 3 chain id, 4 address of the deployer, 5 id of the job, 6 empty record. Returns
/// `circuit`. No row: the deployment is known.
pub const PLAN: Statement = statement! {
    "INSERT INTO deployments (circuit, version, chain_id, deployer, job_id, record) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (circuit, version, chain_id, deployer) DO NOTHING RETURNING circuit"
};

/// Begins or continues a deployment by this job. Earlier jobs can no longer write.
///
/// Binds 1 circuit, 2 version, 3 chain id, 4 deployer, 5 id of the job. Returns `record`. No row: the deployment is not known,
/// or complete.
pub const BEGIN: Statement = statement! {
    "UPDATE deployments SET job_id = $5 \
     WHERE circuit = $1 AND version = $2 AND chain_id = $3 AND deployer = $4 AND completed_at IS NULL RETURNING record"
};

/// Stores what is known of a deployment.
///
/// Binds 1 circuit, 2 version, 3 chain id, 4 deployer, 5 id of the job, 6 record, 7 time when it was completed or NULL. Returns
/// `circuit`. No row: another job continues the deployment, or it is complete.
pub const STORE: Statement = statement! {
    "UPDATE deployments SET record = $6, completed_at = $7 \
     WHERE circuit = $1 AND version = $2 AND chain_id = $3 AND deployer = $4 AND job_id = $5 AND completed_at IS NULL \
     RETURNING circuit"
};

/// Notes that a completed deployment is incomplete after all. Its record is retained, because it has what was sent.
///
/// Binds 1 circuit, 2 version, 3 chain id, 4 deployer, 5 time when it was completed. Returns `circuit`. No row: it was not
/// completed at this time.
pub const REOPEN: Statement = statement! {
    "UPDATE deployments SET completed_at = NULL \
     WHERE circuit = $1 AND version = $2 AND chain_id = $3 AND deployer = $4 AND completed_at = $5 RETURNING circuit"
};

/// Reads a deployment.
///
/// Binds 1 circuit, 2 version, 3 chain id, 4 deployer. Returns `chain_id`, `deployer`, `record`, `completed_at`.
pub const FIND: Statement = statement! {
    "SELECT chain_id, deployer, record, completed_at FROM deployments \
     WHERE circuit = $1 AND version = $2 AND chain_id = $3 AND deployer = $4"
};

/// Reads the deployments of a circuit.
///
/// Binds 1 circuit, 2 version, 3 maximum number. Returns the same columns.
pub const LIST: Statement = statement! {
    "SELECT chain_id, deployer, record, completed_at FROM deployments \
     WHERE circuit = $1 AND version = $2 ORDER BY chain_id, deployer LIMIT $3"
};
