//! Deploys the contracts of a circuit, one after the other.
//!
//! 1. The node is on the right chain.
//! 2. A deployment that started earlier is continued: what became of its transactions is found out first.
//! 3. Each contract has a nonce, and with it an address, so that all codes can be linked. Gas is estimated, and the account
//!    has enough for all of it.
//! 4. For each contract in turn: the transaction is signed, its hash is stored, it is sent, its receipt is awaited and
//!    compared with what was expected, and there is code at the address.
//!
//! The journal is written before a transaction is sent. A nonce is given up only if nothing was ever sent with it, or if the
//! chain has another transaction of this nonce, or a creation that failed, or has lost a contract and counts less far.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    account::{Address, Hash},
    contracts::Contracts,
    deploy_error::{DeployError, GAS_MAX, JournalError},
    node::{Counted, Node, NodeReceipt},
    transaction::{Creation, DeployerKey, Fees},
};

/// The highest priority fee and the highest price for a unit of gas that are paid, in wei. A node that asks for more lies.
const PRIORITY_FEE_MAX: u128 = 1_000_000_000_000;
const PRICE_MAX: u128 = 100_000_000_000_000;
/// How often a transaction is sent again to a node that broke off.
const SENDINGS: u32 = 3;
/// How often a node that does not know our transaction is asked again before the transaction counts as replaced: behind one
/// name may be several nodes, and one of them may be behind the others.
const CONFIRMATIONS: u32 = 3;

/// How long a deployment takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest wait for one transaction to be in a block.
    pub transaction: Duration,
    /// The first pause between two questions, and the longest.
    pub pauses: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        let pauses = (Duration::from_millis(200), Duration::from_secs(3));
        Self { transaction: Duration::from_mins(5), pauses }
    }
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentStage {
    /// Chain, account, fees and earlier transactions are looked at.
    Preparing,
    /// Transactions are sent and awaited.
    Deploying,
}

/// What is known of a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The contracts, in the order of deployment. Empty before the first nonce was chosen.
    pub contracts: Vec<ContractRecord>,
}

/// What is known of one contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractRecord {
    /// Its name.
    pub name: String,
    /// The nonce of the transaction that creates it.
    pub nonce: u64,
    /// The address that it has, or will have.
    pub address: Address,
    /// The transactions that were sent, or were about to be. At most one of them can be in a block.
    pub transactions: Vec<Hash>,
    /// The transaction that created it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created: Option<Created>,
}

/// How a contract was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The transaction.
    pub transaction: Hash,
    /// The number of its block.
    pub block: u64,
    /// The gas that was used.
    pub gas_used: u64,
}

impl Record {
    /// Whether all contracts are on the chain.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.contracts.is_empty() && self.contracts.iter().all(|contract| contract.created.is_some())
    }
}

/// Stores what is known of a deployment.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Stores the record. When this returns, it is durable.
    async fn store(&self, record: &Record) -> Result<(), JournalError>;
}

/// A deployment.
pub struct Deployment<'a> {
    /// The node.
    pub node: &'a Node,
    /// The chain.
    pub chain_id: u64,
    /// The key of the account that deploys.
    pub key: &'a DeployerKey,
    /// The contracts.
    pub contracts: &'a Contracts,
    /// Where progress is stored.
    pub journal: &'a dyn Journal,
    /// How long it may take.
    pub limits: Limits,
    /// Called when a stage begins.
    pub on_stage: &'a (dyn Fn(DeploymentStage) + Send + Sync),
}

/// What became of the transactions of a contract.
enum Fate {
    /// The contract is on the chain.
    Created(Created),
    /// The creation failed on the chain, and the nonce is used up.
    Reverted(Hash),
    /// A transaction waits for a block.
    Pending,
    /// Nothing waits, and the nonce is free.
    Free,
    /// Another transaction has the nonce, and ours can never be in a block.
    Taken,
}

impl Deployment<'_> {
    /// Deploys the contracts, or continues: `record` is what is known.
    pub async fn run(&self, record: Record) -> Result<Record, DeployError> {
        (self.on_stage)(DeploymentStage::Preparing);
        let found = self.node.chain_id().await?;
        if found != self.chain_id {
            return Err(DeployError::WrongChain { host: self.host(), expected: self.chain_id, found });
        }
        let (mut record, pending) = self.continued(record).await?;
        let codes = self.planned(&mut record).await?;
        let gas = self.affordable_gas(&record, &codes, pending).await?;
        (self.on_stage)(DeploymentStage::Deploying);
        for (index, code) in codes.iter().enumerate() {
            if record.contracts[index].created.is_some() {
                continue;
            }
            if pending != Some(index) {
                self.send(&mut record, index, code, gas[index]).await?;
            }
            let created = self.awaited(&record.contracts[index]).await?;
            let contract = &mut record.contracts[index];
            contract.created = Some(created);
            tracing::info!(contract = contract.name, address = %contract.address, transaction = %created.transaction, "contract deployed");
            self.journal.store(&record).await?;
        }
        Ok(record)
    }

    fn host(&self) -> String {
        self.node.host().to_owned()
    }

    fn account(&self) -> Address {
        self.key.address()
    }

    /// What is left of an earlier attempt: the contracts on the chain, and those whose nonces are still free. The second
    /// value is the contract whose transaction waits for a block.
    ///
    /// A chain may lose contracts: when it reorganises its blocks, or because it is a new one with the id of an old one.
    async fn continued(&self, mut record: Record) -> Result<(Record, Option<usize>), DeployError> {
        let names = self.contracts.names();
        let is_same = record.contracts.len() == names.len()
            && record.contracts.iter().zip(names).all(|(contract, name)| contract.name == name);
        if !is_same {
            return Ok((Record::default(), None));
        }
        let (mut is_stored, mut is_lost) = (false, false);
        for index in 0..record.contracts.len() {
            if record.contracts[index].created.is_some() {
                if self.code_appears(&record.contracts[index]).await? {
                    continue;
                }
                tracing::warn!(contract = record.contracts[index].name, address = %record.contracts[index].address, "the chain has lost a contract");
                is_lost = true;
                // A block that is gone takes all later transactions of the account with it.
                for contract in &mut record.contracts[index..] {
                    contract.created = None;
                }
                self.journal.store(&record).await?;
            }
            let contract = &record.contracts[index];
            match self.fate(contract).await? {
                Fate::Created(created) => {
                    self.check_code(contract).await?;
                    record.contracts[index].created = Some(created);
                    self.journal.store(&record).await?;
                    is_stored = true;
                }
                // The next ones were not sent before this one is in a block.
                Fate::Pending => return Ok((record, Some(index))),
                Fate::Free => {
                    // A new chain has not reached the nonces of the old one.
                    if is_lost
                        && self.node.transactions(self.account(), Counted::WithPending).await?
                            < contract.nonce
                    {
                        record.contracts.truncate(index);
                    }
                    break;
                }
                Fate::Reverted(_) | Fate::Taken => {
                    record.contracts.truncate(index);
                    break;
                }
            }
        }
        // The caller does not count the deployment as complete, or would not continue it.
        if record.is_complete() && record.contracts.len() == self.contracts.names().len() && !is_stored {
            self.journal.store(&record).await?;
        }
        Ok((record, None))
    }

    /// Chooses nonces for the contracts that have none. Returns the codes of all.
    async fn planned(&self, record: &mut Record) -> Result<Vec<Vec<u8>>, DeployError> {
        let account = self.account();
        let mut next = if record.contracts.len() == self.contracts.names().len() {
            0
        } else {
            self.node.transactions(account, Counted::WithPending).await?
        };
        if let Some(last) = record.contracts.last() {
            next = next.max(last.nonce.saturating_add(1));
        }
        for name in self.contracts.names().skip(record.contracts.len()) {
            let address = account.of_contract(next);
            let name = name.to_owned();
            record.contracts.push(ContractRecord {
                name,
                nonce: next,
                address,
                transactions: vec![],
                created: None,
            });
            next = next.saturating_add(1);
        }
        let addresses: Vec<_> = record.contracts.iter().map(|contract| contract.address).collect();
        let codes = (0..addresses.len()).map(|index| self.contracts.code(index, &addresses));
        Ok(codes.collect::<Result<_, _>>()?)
    }

    /// The gas limits of the contracts that are still to be sent, if the account has enough for them.
    async fn affordable_gas(
        &self,
        record: &Record,
        codes: &[Vec<u8>],
        pending: Option<usize>,
    ) -> Result<Vec<u64>, DeployError> {
        let mut limits = Vec::with_capacity(codes.len());
        for (index, (contract, code)) in record.contracts.iter().zip(codes).enumerate() {
            if contract.created.is_some() || pending == Some(index) {
                limits.push(0);
                continue;
            }
            let gas = self.node.creation_gas(self.account(), code).await?;
            if gas > GAS_MAX {
                return Err(DeployError::TooMuchGas { name: contract.name.clone(), gas });
            }
            // The estimate is exact at the moment; prices of single instructions may change with the state of the chain.
            limits.push((gas + gas / 4).min(GAS_MAX));
        }
        let gas: u64 = limits.iter().sum();
        if gas > 0 {
            let needed = self.fees().await?.max().saturating_mul(gas.into());
            let account = self.account();
            let balance = self.node.balance(account).await?;
            if balance < needed {
                return Err(DeployError::TooFewCoins { account, balance, needed });
            }
        }
        Ok(limits)
    }

    async fn fees(&self) -> Result<Fees, DeployError> {
        let fees = self.node.fees().await?;
        let priority = match fees {
            Fees::Dynamic { priority, .. } => priority,
            Fees::Legacy { .. } => 0,
        };
        let absurd = if priority > PRIORITY_FEE_MAX {
            Some(priority)
        } else {
            Some(fees.max()).filter(|fee| *fee > PRICE_MAX)
        };
        match absurd {
            Some(fee) => Err(DeployError::AbsurdFee { host: self.host(), fee }),
            None => Ok(fees),
        }
    }

    /// Signs the transaction of a contract, stores its hash, and sends it.
    async fn send(
        &self,
        record: &mut Record,
        index: usize,
        code: &[u8],
        gas_limit: u64,
    ) -> Result<(), DeployError> {
        let nonce = record.contracts[index].nonce;
        let creation = Creation { chain_id: self.chain_id, nonce, fees: self.fees().await?, gas_limit, code };
        let signed = creation.sign(self.key);
        let transactions = &mut record.contracts[index].transactions;
        if !transactions.contains(&signed.hash) {
            transactions.push(signed.hash);
        }
        self.journal.store(record).await?;
        let mut sending = 1;
        loop {
            let error = match self.node.send(&signed.bytes).await {
                Ok(hash) if hash == signed.hash => return Ok(()),
                Ok(_) => return Err(self.contradiction("it gave our transaction another hash")),
                Err(error) => error,
            };
            // The answer to an earlier sending may have been lost.
            if error.is_refusal() {
                let is_known = self.node.knows(signed.hash).await?;
                return if is_known { Ok(()) } else { Err(error.into()) };
            }
            if sending == SENDINGS {
                return Err(error.into());
            }
            sending += 1;
            tokio::time::sleep(self.limits.pauses.1).await;
        }
    }

    /// Waits until a contract is on the chain.
    async fn awaited(&self, contract: &ContractRecord) -> Result<Created, DeployError> {
        let give_up = Instant::now() + self.limits.transaction;
        let (mut pause, longest) = self.limits.pauses;
        let name = || contract.name.clone();
        loop {
            let fate = match self.fate(contract).await {
                Ok(fate) => Some(fate),
                // A node may fail for a moment.
                Err(DeployError::Node(error)) if !error.is_refusal() && Instant::now() < give_up => None,
                Err(error) => return Err(error),
            };
            match fate {
                Some(Fate::Created(created)) => {
                    self.check_code(contract).await?;
                    return Ok(created);
                }
                Some(Fate::Reverted(transaction)) => {
                    return Err(DeployError::Reverted { name: name(), transaction });
                }
                Some(Fate::Taken) => {
                    return Err(DeployError::NonceTaken { name: name(), nonce: contract.nonce });
                }
                Some(Fate::Pending | Fate::Free) | None => {}
            }
            if Instant::now() >= give_up {
                let transaction = contract.transactions.last().copied();
                let transaction =
                    transaction.ok_or_else(|| self.contradiction("it knows what was never sent"))?;
                return Err(DeployError::NotInBlock { name: name(), transaction });
            }
            tokio::time::sleep(pause).await;
            pause = pause.mul_f64(1.5).min(longest);
        }
    }

    /// Finds out what became of the transactions of a contract.
    async fn fate(&self, contract: &ContractRecord) -> Result<Fate, DeployError> {
        if let Some(fate) = self.receipt(contract).await? {
            return Ok(fate);
        }
        let (account, nonce) = (self.account(), contract.nonce);
        let was_sent = !contract.transactions.is_empty();
        if self.node.transactions(account, Counted::InBlocks).await? > nonce {
            if was_sent {
                for _ in 0..CONFIRMATIONS {
                    tokio::time::sleep(self.limits.pauses.1).await;
                    if let Some(fate) = self.receipt(contract).await? {
                        return Ok(fate);
                    }
                }
                if self.node.has_code(contract.address).await? {
                    let (name, address) = (contract.name.clone(), contract.address);
                    return Err(DeployError::UnknownContract { name, address, host: self.host() });
                }
            }
            return Ok(Fate::Taken);
        }
        let has_pending = self.node.transactions(account, Counted::WithPending).await? > nonce;
        if !was_sent {
            return Ok(if has_pending { Fate::Taken } else { Fate::Free });
        }
        if has_pending {
            // Ours, or one of the same nonce, which must not be replaced.
            return Ok(Fate::Pending);
        }
        for transaction in &contract.transactions {
            if self.node.knows(*transaction).await? {
                return Ok(Fate::Pending);
            }
        }
        Ok(Fate::Free)
    }

    /// What the chain has of the transactions of a contract.
    async fn receipt(&self, contract: &ContractRecord) -> Result<Option<Fate>, DeployError> {
        for transaction in &contract.transactions {
            let Some(receipt) = self.node.receipt(*transaction).await? else { continue };
            let NodeReceipt { contract_address, block_number: block, gas_used, status, .. } = receipt;
            if status != 1 {
                return Ok(Some(Fate::Reverted(*transaction)));
            }
            if contract_address != Some(contract.address) {
                return Err(
                    self.contradiction("the contract has another address than its creator and nonce give it")
                );
            }
            return Ok(Some(Fate::Created(Created { transaction: *transaction, block, gas_used })));
        }
        Ok(None)
    }

    /// Waits until the node has the code of a contract.
    async fn check_code(&self, contract: &ContractRecord) -> Result<(), DeployError> {
        if self.code_appears(contract).await? {
            Ok(())
        } else {
            Err(self.contradiction("it has a receipt of the creation, and no code at the address"))
        }
    }

    /// Whether the node has the code of a contract, or soon has it. Nodes behind one name do not learn of a block at the same
    /// moment.
    async fn code_appears(&self, contract: &ContractRecord) -> Result<bool, DeployError> {
        for _ in 0..CONFIRMATIONS {
            if self.node.has_code(contract.address).await? {
                return Ok(true);
            }
            tokio::time::sleep(self.limits.pauses.1).await;
        }
        Ok(false)
    }

    fn contradiction(&self, what: &'static str) -> DeployError {
        DeployError::Contradiction { host: self.host(), what }
    }
}
