//! Verifies a receipt.

use edgeprove_protocol::receipt::{RECEIPT_ALGORITHM, RECEIPT_MAX_BYTES, RECEIPT_TYPE, Receipt};
use serde::Deserialize;

use crate::{jws::CompactJws, public_keys::PublicKeys};

/// Why a receipt is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReceipt {
    /// It is too large.
    #[error("it has more than {RECEIPT_MAX_BYTES} bytes")]
    TooLarge,
    /// It is no JWS.
    #[error("it is not a compact JWS: three parts in base64url, with dots between them")]
    NotAJws,
    /// Its header is not that of a receipt.
    #[error("its header is not that of a receipt: {0}")]
    Header(String),
    /// It is signed with another algorithm, or with none.
    #[error("its algorithm is `{0}`, and receipts are signed with {RECEIPT_ALGORITHM} only")]
    Algorithm(String),
    /// It is another kind of token.
    #[error("its type is `{0}`, and that of a receipt is {RECEIPT_TYPE}")]
    Type(String),
    /// None of the keys has its id.
    #[error("it is signed with the key `{0}`, which is none of the given keys")]
    UnknownKey(String),
    /// The signature is not that of the key.
    #[error("the signature is wrong: the receipt was changed, or another key signed it")]
    Signature,
    /// The key does not sign at the time of the receipt.
    #[error("it was signed at a time at which its key does not sign")]
    KeyNotValid,
    /// What it states is not understood.
    #[error("what it states was not understood: {0}")]
    Statements(String),
}

/// The header of a receipt. Other members, such as `crit` or a key, would change how it must be verified.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// Verifies a receipt with one of these keys, and returns what it states. White space around it is ignored.
pub fn verify(text: &str, keys: &PublicKeys) -> Result<Receipt, InvalidReceipt> {
    let text = text.trim();
    if text.len() > RECEIPT_MAX_BYTES {
        return Err(InvalidReceipt::TooLarge);
    }
    let jws = CompactJws::parse(text).ok_or(InvalidReceipt::NotAJws)?;
    let header: Header =
        serde_json::from_slice(&jws.header).map_err(|error| InvalidReceipt::Header(error.to_string()))?;
    if header.alg != RECEIPT_ALGORITHM {
        return Err(InvalidReceipt::Algorithm(header.alg));
    }
    if header.typ != RECEIPT_TYPE {
        return Err(InvalidReceipt::Type(header.typ));
    }
    let key = keys.find(&header.kid).ok_or(InvalidReceipt::UnknownKey(header.kid))?;
    if !jws.is_signed_by(&key.bytes) {
        return Err(InvalidReceipt::Signature);
    }
    let receipt: Receipt = serde_json::from_slice(&jws.payload)
        .map_err(|error| InvalidReceipt::Statements(error.to_string()))?;
    if !key.signs_at(receipt.iat) {
        return Err(InvalidReceipt::KeyNotValid);
    }
    Ok(receipt)
}
