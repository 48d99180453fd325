//! Why a deployment did not end.

use std::{error::Error, fmt};

use crate::{
    account::{Address, Hash},
    contracts::InvalidContracts,
    json_rpc::NodeError,
};

/// The most gas of a transaction (EIP-7825).
pub(crate) const GAS_MAX: u64 = 1 << 24;

/// A record could not be stored.
#[derive(Debug, thiserror::Error)]
#[error("the progress of the deployment could not be stored, so nothing more was sent")]
pub struct JournalError(#[source] pub Box<dyn Error + Send + Sync>);

/// Why a deployment did not end.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The node has no answer.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The code cannot be used.
    #[error(transparent)]
    Contracts(#[from] InvalidContracts),
    /// The progress could not be stored.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The node is on another chain.
    #[error("the node {host} is on the chain {found}, not on {expected}")]
    WrongChain {
        /// The host of the node.
        host: String,
        /// The chain that was requested.
        expected: u64,
        /// The chain that the node reports.
        found: u64,
    },
    /// The account has too few coins.
    #[error("the account {account} has {}, and the deployment may cost up to {}", Coins(*balance), Coins(*needed))]
    TooFewCoins {
        /// The account.
        account: Address,
        /// What it has, in wei.
        balance: u128,
        /// What it may need, in wei.
        needed: u128,
    },
    /// A contract needs more gas than a transaction may use.
    #[error("the contract {name} would need {gas} units of gas; a transaction may use {GAS_MAX}")]
    TooMuchGas {
        /// The contract.
        name: String,
        /// The estimate.
        gas: u64,
    },
    /// The node asks for fees that no chain has.
    #[error(
        "the node {host} asks for a fee of {fee} wei for a unit of gas, which is more than this server pays"
    )]
    AbsurdFee {
        /// The host of the node.
        host: String,
        /// The fee.
        fee: u128,
    },
    /// The creation failed on the chain.
    #[error("the transaction {transaction}, which creates {name}, failed on the chain")]
    Reverted {
        /// The contract.
        name: String,
        /// The transaction.
        transaction: Hash,
    },
    /// No block has the transaction yet.
    #[error(
        "the transaction {transaction}, which creates {name}, is in no block yet: send the same request again to wait for it"
    )]
    NotInBlock {
        /// The contract.
        name: String,
        /// The transaction.
        transaction: Hash,
    },
    /// Another transaction of the account has the nonce.
    #[error(
        "the account sent another transaction with the nonce {nonce} of {name}: send the same request again, while nothing \
         else uses the account"
    )]
    NonceTaken {
        /// The contract.
        name: String,
        /// The nonce.
        nonce: u64,
    },
    /// There is a contract, and the node does not know our transaction.
    #[error(
        "there is a contract at {address}, where {name} would be, and the node {host} has no receipt of our transaction: ask \
         another node, or deploy with another account"
    )]
    UnknownContract {
        /// The contract.
        name: String,
        /// Its address.
        address: Address,
        /// The host of the node.
        host: String,
    },
    /// The node contradicts itself.
    #[error("the node {host} contradicts itself: {what}")]
    Contradiction {
        /// The host of the node.
        host: String,
        /// What does not fit.
        what: &'static str,
    },
}

/// An amount in wei, shown in coins.
struct Coins(u128);

impl fmt::Display for Coins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WEI: u128 = 1_000_000_000_000_000_000;
        let fraction = format!("{:018}", self.0 % WEI);
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        write!(f, "{}{dot}{fraction} coins", self.0 / WEI)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_in_coins() {
        for (wei, shown) in [
            (0, "0 coins"),
            (1, "0.000000000000000001 coins"),
            (1_500_000_000_000_000_000, "1.5 coins"),
            (10_000_000_000_000_000_000_000, "10000 coins"),
        ] {
            assert_eq!(Coins(wei).to_string(), shown);
        }
    }
}
