//! Deploys verifier contracts on Ethereum chains, by the JSON-RPC of a node.
//!
//! A node is somebody else's server. It is reached only if the operator allows it, and only at an address that it may
//! have; what it answers is bounded and checked. A private key is never written or shown, and never sent to a node.
//!
//! Nothing is deployed twice: the nonce of every contract, and the hash of every transaction, is stored before the
//! transaction is sent. A chain accepts one transaction for each nonce of an account, so whoever continues a deployment uses
//! the same nonces again.
//!
//! docs/decisions/0016-private-keys-in-memory.md has the reasons. Reading order: [`deployment`] first.
//!
//! Imports run down this list only.
//!
//! - [`deployment`]: deploys the contracts of a circuit, one after the other.
//! - [`deploy_error`]: why a deployment did not end.
//! - [`contracts`]: the compiled contracts of a circuit, and how they are linked.
//! - [`node`]: what is asked of a node.
//! - [`json_rpc`]: one request to a node and its answer.
//! - [`transaction`]: transactions that create contracts, and the key that signs them.
//! - [`account`]: addresses and hashes.
//! - [`rlp`]: the encoding of transactions and addresses.

pub mod account;
pub mod contracts;
mod deploy_error;
pub mod deployment;
pub mod json_rpc;
pub mod node;
mod rlp;
pub mod transaction;

pub use account::{Address, Hash};
pub use contracts::{Contracts, InvalidContracts};
pub use deploy_error::{DeployError, JournalError};
pub use deployment::{Deployment, DeploymentStage, Journal, Record};
pub use json_rpc::NodeError;
pub use node::Node;
pub use transaction::{DeployerKey, InvalidKey};
