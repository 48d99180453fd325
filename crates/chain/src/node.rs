//! What is asked of a node.

use edgeprove_outbound::{RemoteUrl, Timeouts};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::json;

use crate::{
    account::{Address, Hash},
    json_rpc::{Connection, NodeError},
    transaction::Fees,
};

/// How many blocks the priority fees are taken from.
const FEE_BLOCKS: &str = "0x5";

/// A node of a chain.
#[derive(Debug)]
pub struct Node(Connection);

/// What a node reports of a transaction that is in a block.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReceipt {
    /// The transaction.
    pub transaction_hash: Hash,
    /// The contract that it created.
    pub contract_address: Option<Address>,
    /// The number of the block.
    #[serde(deserialize_with = "quantity")]
    pub block_number: u64,
    /// The gas that was used.
    #[serde(deserialize_with = "quantity")]
    pub gas_used: u64,
    /// 1 where it succeeded.
    #[serde(deserialize_with = "quantity")]
    pub status: u64,
}

/// The transactions of an account that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Those in blocks.
    InBlocks,
    /// Those that wait for a block too.
    WithPending,
}

/// A number as nodes write it: `0x` and hexadecimal digits.
struct Quantity(u128);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits =
            text.strip_prefix("0x").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let digits = digits.filter(|digits| (1..=64).contains(&digits.len()));
        let digits = digits.ok_or_else(|| D::Error::custom("it is no number"))?;
        // More coins than fit into the number exist on test chains only.
        Ok(Self(u128::from_str_radix(digits, 16).unwrap_or(u128::MAX)))
    }
}

fn quantity<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let Quantity(number) = Quantity::deserialize(from)?;
    u64::try_from(number).map_err(|_| D::Error::custom("it is too large"))
}

#[derive(Deserialize)]
struct Number(#[serde(deserialize_with = "quantity")] u64);

/// Recent fees.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FeeHistory {
    #[serde(default)]
    base_fee_per_gas: Vec<Quantity>,
    #[serde(default)]
    reward: Option<Vec<Vec<Quantity>>>,
}

/// The part of a transaction that is read.
#[derive(Deserialize)]
struct KnownTransaction {
    hash: Hash,
}

impl Node {
    /// Sets up the client of a node. It sends no request.
    pub fn new(url: RemoteUrl, timeouts: Timeouts) -> Result<Self, NodeError> {
        Connection::new(url, timeouts).map(Self)
    }

    /// Its host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.url().host()
    }

    /// The chain.
    pub async fn chain_id(&self) -> Result<u64, NodeError> {
        self.0.ask("eth_chainId", &json!([])).await.map(|Number(id)| id)
    }

    /// The coins of an account, in wei.
    pub async fn balance(&self, account: Address) -> Result<u128, NodeError> {
        self.0.ask("eth_getBalance", &json!([account, "latest"])).await.map(|Quantity(wei)| wei)
    }

    /// The number of transactions of an account, which is the nonce of the next one.
    pub async fn transactions(&self, account: Address, counted: Counted) -> Result<u64, NodeError> {
        let block = match counted {
            Counted::InBlocks => "latest",
            Counted::WithPending => "pending",
        };
        self.0.ask("eth_getTransactionCount", &json!([account, block])).await.map(|Number(count)| count)
    }

    /// The gas that this account needs to create a contract with this code.
    pub async fn creation_gas(&self, creator: Address, code: &[u8]) -> Result<u64, NodeError> {
        let call = json!({ "from": creator, "data": format!("0x{}", hex::encode(code)) });
        self.0.ask("eth_estimateGas", &json!([call])).await.map(|Number(gas)| gas)
    }

    /// The fees of a transaction that should be in one of the next blocks.
    pub async fn fees(&self) -> Result<Fees, NodeError> {
        let history: Result<FeeHistory, _> =
            self.0.ask("eth_feeHistory", &json!([FEE_BLOCKS, "latest", [50.0]])).await;
        let history = match history {
            Ok(history) => Some(history),
            Err(error) if error.is_refusal() => None,
            Err(error) => return Err(error),
        };
        if let Some(FeeHistory { base_fee_per_gas, reward }) = history
            && let Some(Quantity(base)) = base_fee_per_gas.last()
        {
            let recent =
                reward.iter().flatten().flatten().map(|Quantity(fee)| *fee).max().unwrap_or_default();
            let asked: Result<Quantity, _> = self.0.ask("eth_maxPriorityFeePerGas", &json!([])).await;
            let asked = match asked {
                Ok(Quantity(fee)) => fee,
                Err(error) if error.is_refusal() => 0,
                Err(error) => return Err(error),
            };
            let priority = recent.max(asked).max(1);
            // The base fee rises by an eighth with each full block.
            return Ok(Fees::Dynamic { max: base.saturating_mul(2).saturating_add(priority), priority });
        }
        let Quantity(price) = self.0.ask("eth_gasPrice", &json!([])).await?;
        Ok(Fees::Legacy { price: price.saturating_add(price / 4) })
    }

    /// Sends a signed transaction, and returns the hash by which the node knows it.
    pub async fn send(&self, transaction: &[u8]) -> Result<Hash, NodeError> {
        self.0.ask("eth_sendRawTransaction", &json!([format!("0x{}", hex::encode(transaction))])).await
    }

    /// What became of a transaction; `None` while it is in no block.
    pub async fn receipt(&self, transaction: Hash) -> Result<Option<NodeReceipt>, NodeError> {
        let receipt: Option<NodeReceipt> =
            self.0.ask("eth_getTransactionReceipt", &json!([transaction])).await?;
        match receipt {
            Some(receipt) if receipt.transaction_hash != transaction => {
                Err(self.improper("eth_getTransactionReceipt"))
            }
            receipt => Ok(receipt),
        }
    }

    /// Whether the node has a transaction, in a block or waiting for one.
    pub async fn knows(&self, transaction: Hash) -> Result<bool, NodeError> {
        let known: Option<KnownTransaction> =
            self.0.ask("eth_getTransactionByHash", &json!([transaction])).await?;
        match known {
            Some(known) if known.hash != transaction => Err(self.improper("eth_getTransactionByHash")),
            known => Ok(known.is_some()),
        }
    }

    /// Whether there is a contract at this address.
    pub async fn has_code(&self, address: Address) -> Result<bool, NodeError> {
        let code: String = self.0.ask("eth_getCode", &json!([address, "latest"])).await?;
        let digits = code.strip_prefix("0x").ok_or_else(|| self.improper("eth_getCode"))?;
        Ok(!digits.is_empty())
    }

    fn improper(&self, method: &'static str) -> NodeError {
        NodeError::Improper { host: self.host().to_owned(), method }
    }
}
