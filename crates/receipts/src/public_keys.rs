//! The public keys of a verifier.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{jws::PUBLIC_KEY_BYTES, keys::thumbprint};

/// The most keys that are read.
const KEYS_MAX: usize = 1000;

/// A public key, and the time for which it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its id: its thumbprint, whatever its document names it.
    pub id: String,
    pub(crate) bytes: [u8; PUBLIC_KEY_BYTES],
    /// The time from which it signs, in milliseconds; `None`: from ever.
    pub(crate) not_before_ms: Option<i64>,
    /// The time from which it signs no more; `None`: for ever.
    pub(crate) expires_at_ms: Option<i64>,
}

/// Public keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicKeys(Vec<PublicKey>);

/// A text has no public key of receipts.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeys {
    /// It is no JSON.
    #[error("it is not JSON")]
    NotJson(#[from] serde_json::Error),
    /// It has no key, or none of Ed25519.
    #[error(
        "it has no public key of Ed25519: neither a JWK, nor a JWK Set, nor the document of /.well-known/edgeprove"
    )]
    NoKey,
    /// It has a private key.
    #[error("it has a private key (the member `d`), which nobody but its server may have")]
    Private,
    /// A key is damaged.
    #[error("the member `{0}` of a key is invalid")]
    Member(&'static str),
}

impl PublicKeys {
    /// Reads a JWK, a JWK Set, or the document of a service, whose member `receipts` is a JWK Set. Keys of other kinds are
    /// left out.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidKeys> {
        let mut document: Map<String, Value> = serde_json::from_slice(json)?;
        if let Some(Value::Object(receipts)) = document.remove("receipts") {
            document = receipts;
        }
        let keys = match document.remove("keys") {
            Some(Value::Array(keys)) => keys,
            Some(_) => return Err(InvalidKeys::Member("keys")),
            None => vec![Value::Object(document)],
        };
        let mut read = Vec::new();
        for key in keys.iter().take(KEYS_MAX) {
            if key["kty"] == "OKP" && key["crv"] == "Ed25519" {
                read.push(PublicKey::of(key)?);
            }
        }
        if read.is_empty() { Err(InvalidKeys::NoKey) } else { Ok(Self(read)) }
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter()
    }

    /// The key with this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&PublicKey> {
        self.0.iter().find(|key| key.id == id)
    }
}

impl PublicKey {
    fn of(key: &Value) -> Result<Self, InvalidKeys> {
        if !key["d"].is_null() {
            return Err(InvalidKeys::Private);
        }
        let x = key["x"].as_str().and_then(|x| URL_SAFE_NO_PAD.decode(x).ok());
        let bytes: [u8; PUBLIC_KEY_BYTES] =
            x.and_then(|x| x.try_into().ok()).ok_or(InvalidKeys::Member("x"))?;
        let time = |name: &'static str| match &key[name] {
            Value::Null => Ok(None),
            text => {
                let time = text.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
                time.map(|time| Some(time.as_millisecond())).ok_or(InvalidKeys::Member(name))
            }
        };
        Ok(Self {
            id: thumbprint(&bytes),
            bytes,
            not_before_ms: time("not_before")?,
            expires_at_ms: time("expires_at")?,
        })
    }

    /// Whether it signs at this time, in seconds since 1970.
    pub(crate) fn signs_at(&self, seconds: u64) -> bool {
        let at_ms = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1000));
        at_ms.is_some_and(|at_ms| {
            self.not_before_ms.is_none_or(|from| from <= at_ms)
                && self.expires_at_ms.is_none_or(|end| at_ms < end)
        })
    }
}
