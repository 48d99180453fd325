//! Transactions that create contracts, and the key that signs them.

use std::{fmt, sync::Arc};

use k256::ecdsa::{RecoveryId, Signature, SigningKey};

use crate::{
    account::{Address, Hash, keccak},
    rlp::List,
};

/// The digits of a private key.
const KEY_DIGITS: usize = 64;
/// The first byte of a transaction with dynamic fees (EIP-1559).
const DYNAMIC_FEES: u8 = 2;

/// The private key of the account that deploys. It is in one place in memory, which is overwritten when the last clone is
/// dropped, and never shown.
#[derive(Clone)]
pub struct DeployerKey(Arc<SigningKey>);

/// A text that is no private key. It is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a private key is 64 hexadecimal digits, with or without `0x`, of a number from 1 to below the order of secp256k1"
)]
pub struct InvalidKey;

impl DeployerKey {
    /// Reads a key from hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() != KEY_DIGITS {
            return Err(InvalidKey);
        }
        let mut bytes = Secret([0; KEY_DIGITS / 2]);
        hex::decode_to_slice(digits, &mut bytes.0).map_err(|_| InvalidKey)?;
        SigningKey::from_slice(&bytes.0).map(|key| Self(Arc::new(key))).map_err(|_| InvalidKey)
    }

    /// The account.
    #[must_use]
    pub fn address(&self) -> Address {
        let point = self.0.verifying_key().to_sec1_point(false);
        // The first byte states that both coordinates follow.
        Address::end_of(keccak(&point.as_bytes()[1..]))
    }

    fn sign(&self, hash: &[u8; 32]) -> (Signature, RecoveryId) {
        self.0.sign_prehash_recoverable(hash)
    }
}

impl fmt::Debug for DeployerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeployerKey(…)")
    }
}

/// Bytes that are overwritten when they are dropped.
struct Secret([u8; KEY_DIGITS / 2]);

impl Drop for Secret {
    fn drop(&mut self) {
        use k256::elliptic_curve::zeroize::Zeroize as _;
        self.0.zeroize();
    }
}

/// What a transaction pays for each unit of gas, in wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fees {
    /// The chain's base fee and a priority fee (EIP-1559).
    Dynamic {
        /// The most for both.
        max: u128,
        /// The priority fee.
        priority: u128,
    },
    /// One price, on chains without base fee.
    Legacy {
        /// The price.
        price: u128,
    },
}

impl Fees {
    /// The most that a unit of gas may cost.
    #[must_use]
    pub const fn max(self) -> u128 {
        match self {
            Self::Dynamic { max, .. } => max,
            Self::Legacy { price } => price,
        }
    }
}

/// A transaction that creates a contract.
#[derive(Debug, Clone, Copy)]
pub struct Creation<'a> {
    /// The chain.
    pub chain_id: u64,
    /// The nonce of the account.
    pub nonce: u64,
    /// The fees.
    pub fees: Fees,
    /// The most gas that it may use.
    pub gas_limit: u64,
    /// The code that creates the contract.
    pub code: &'a [u8],
}

/// A signed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTransaction {
    /// Its hash.
    pub hash: Hash,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Creation<'_> {
    /// Signs it. The same transaction has the same signature each time.
    #[must_use]
    pub fn sign(&self, key: &DeployerKey) -> SignedTransaction {
        let bytes = match self.fees {
            Fees::Dynamic { .. } => {
                let with_type = |fields: List| [&[DYNAMIC_FEES], fields.finish().as_slice()].concat();
                let (signature, recovery) = key.sign(&keccak(&with_type(self.fields())));
                let mut fields = self.fields();
                fields.number(u128::from(recovery.is_y_odd()));
                write_signature(&mut fields, &signature);
                with_type(fields)
            }
            Fees::Legacy { .. } => {
                let mut unsigned = self.fields();
                // The chain (EIP-155).
                unsigned.number(self.chain_id.into());
                unsigned.number(0);
                unsigned.number(0);
                let (signature, recovery) = key.sign(&keccak(&unsigned.finish()));
                let mut fields = self.fields();
                fields.number(u128::from(self.chain_id) * 2 + 35 + u128::from(recovery.is_y_odd()));
                write_signature(&mut fields, &signature);
                fields.finish()
            }
        };
        SignedTransaction { hash: Hash(keccak(&bytes)), bytes }
    }

    /// The fields without a signature.
    fn fields(&self) -> List {
        let mut list = List::default();
        match self.fees {
            Fees::Dynamic { max, priority } => {
                list.number(self.chain_id.into());
                list.number(self.nonce.into());
                list.number(priority);
                list.number(max);
            }
            Fees::Legacy { price } => {
                list.number(self.nonce.into());
                list.number(price);
            }
        }
        list.number(self.gas_limit.into());
        // No receiver, which means that a contract is created, and no value.
        list.bytes(&[]);
        list.number(0);
        list.bytes(self.code);
        if matches!(self.fees, Fees::Dynamic { .. }) {
            // No access list.
            list.empty_list();
        }
        list
    }
}

fn write_signature(fields: &mut List, signature: &Signature) {
    let (r, s) = signature.split_bytes();
    fields.large_number(&r);
    fields.large_number(&s);
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::VerifyingKey;

    use super::*;

    /// The first account of every test chain of Foundry, whose key is public.
    const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn a_key_belongs_to_its_account() {
        for text in [KEY.to_owned(), format!("0x{KEY}"), KEY.to_uppercase()] {
            let key = DeployerKey::parse(&text).unwrap();
            assert_eq!(key.address().to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
            assert!(!format!("{key:?}").contains("ac09"));
        }
    }

    #[test]
    fn a_malformed_key_is_not_repeated() {
        let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        for text in [
            "",
            "0x",
            "hunter2",
            &KEY[1..],
            &format!("{KEY}0"),
            &KEY.replace('a', "g"),
            &"0".repeat(64),
            order,
        ] {
            let error = DeployerKey::parse(text).unwrap_err();
            assert!(text.len() < 7 || !error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_signature_names_the_account_of_its_key() {
        let key = DeployerKey::parse(KEY).unwrap();
        for nonce in 0..20 {
            let fees = Fees::Dynamic { max: 2_000_000_000, priority: 1 };
            let creation =
                Creation { chain_id: 31_337, nonce, fees, gas_limit: 100_000, code: &[0x60, 0x00] };
            let signed = creation.sign(&key);
            assert_eq!(creation.sign(&key), signed, "the same transaction has the same hash");
            let unsigned = [&[DYNAMIC_FEES], creation.fields().finish().as_slice()].concat();
            let (signature, recovery) = key.sign(&keccak(&unsigned));
            let found = VerifyingKey::recover_from_prehash(&keccak(&unsigned), &signature, recovery).unwrap();
            assert_eq!(found, *key.0.verifying_key());
            assert_eq!(signed.bytes[0], DYNAMIC_FEES);
        }
    }
}
