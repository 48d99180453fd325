//! The keys of a server. Each signs for 90 days, and is published for a year longer, so that receipts can be verified.
//!
//! Servers with one secret derive the same keys from it. A server without a secret makes its own at random: once it has
//! stopped, nobody can fetch them any more.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use edgeprove_protocol::{
    receipt::{RECEIPT_ALGORITHM, RECEIPT_TYPE, Receipt},
    service::{ReceiptKeyDocument, ReceiptsDocument},
};
use edgeprove_sealing::KeySource;
use parking_lot::Mutex;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::jws::{PUBLIC_KEY_BYTES, compact};

/// How long a key signs.
pub(crate) const PERIOD_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// How many earlier periods have their keys published: a year.
pub(crate) const PUBLISHED_PERIODS: u64 = 4;
/// How long before its period a key that servers share is published: a server whose clock is ahead signs with it already.
const EARLY_MS: u64 = 60 * 60 * 1000;
/// Makes what is derived from a secret differ from every other use of it.
const INFO: &[u8] = b"edgeprove receipt key v1";

/// Why a receipt cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[from] getrandom::Error),
    /// The seed is no key.
    #[error("the seed of a key was refused")]
    Key(#[from] ring::error::KeyRejected),
    /// The statements cannot be written as JSON.
    #[error("the statements cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// There is no key for this time.
    #[error("there is no key for this time")]
    NoKey,
}

/// A key pair.
struct SigningKey {
    id: String,
    pair: Ed25519KeyPair,
    period: u64,
    /// The index of its secret.
    secret: usize,
}

impl SigningKey {
    fn new(period: u64, secret: usize, seed: &[u8; 32]) -> Result<Self, ring::error::KeyRejected> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed)?;
        Ok(Self { id: thumbprint(pair.public_key().as_ref()), pair, period, secret })
    }

    fn not_before_ms(&self) -> u64 {
        self.period.saturating_mul(PERIOD_MS)
    }

    fn expires_at_ms(&self) -> u64 {
        self.not_before_ms().saturating_add(PERIOD_MS)
    }
}

/// The id of a public key: the thumbprint of its JWK (RFC 7638, RFC 8037).
#[must_use]
pub fn thumbprint(public: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)))
}

/// The keys of a server.
pub struct ReceiptKeys {
    source: KeySource,
    made: Mutex<Vec<Arc<SigningKey>>>,
}

impl fmt::Debug for ReceiptKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptKeys(…)")
    }
}

impl ReceiptKeys {
    /// Keys from this source. Those of the first secret sign, and those of all are published.
    #[must_use]
    pub fn new(source: KeySource) -> Self {
        Self { source, made: Mutex::default() }
    }

    /// Signs a receipt with the key of this time, which becomes its `iat`.
    pub fn sign(&self, receipt: &mut Receipt, now_ms: u64) -> Result<String, SignError> {
        let keys = self.at(now_ms)?;
        let key = keys.iter().find(|key| is_current(key, now_ms)).ok_or(SignError::NoKey)?;
        receipt.iat = now_ms / 1000;
        let header = serde_json::json!({ "alg": RECEIPT_ALGORITHM, "kid": key.id, "typ": RECEIPT_TYPE });
        let payload = serde_json::to_vec(receipt)?;
        Ok(compact(header.to_string().as_bytes(), &payload, |signed| key.pair.sign(signed)))
    }

    /// What verifiers get to know. `timestamp` writes a time.
    pub fn document(
        &self,
        now_ms: u64,
        timestamp: impl Fn(u64) -> String,
    ) -> Result<ReceiptsDocument, SignError> {
        let mut keys = self.at(now_ms)?;
        // The one that signs now, then the latest ones.
        keys.sort_by_key(|key| (!is_current(key, now_ms), u64::MAX - key.period, key.secret));
        let document = |key: &Arc<SigningKey>| ReceiptKeyDocument {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            x: URL_SAFE_NO_PAD.encode(key.pair.public_key()),
            kid: key.id.clone(),
            alg: RECEIPT_ALGORITHM.to_owned(),
            usage: "sig".to_owned(),
            not_before: timestamp(key.not_before_ms()),
            expires_at: timestamp(key.expires_at_ms()),
        };
        let lasting = matches!(self.source, KeySource::Shared(_));
        Ok(ReceiptsDocument { keys: keys.iter().map(document).collect(), lasting })
    }

    /// The keys that are published now. Those that are missing are made, and those that are too old are dropped.
    fn at(&self, now_ms: u64) -> Result<Vec<Arc<SigningKey>>, SignError> {
        let mut made = self.made.lock();
        let current = now_ms / PERIOD_MS;
        let (first, last) = (current.saturating_sub(PUBLISHED_PERIODS), (now_ms + EARLY_MS) / PERIOD_MS);
        made.retain(|key| (first..=last).contains(&key.period));
        let is_made = |made: &[Arc<SigningKey>], period: u64, index: usize| {
            made.iter().any(|key| key.period == period && key.secret == index)
        };
        match &self.source {
            KeySource::OfThisServer => {
                if !is_made(&made, current, 0) {
                    let mut seed = Zeroizing::new([0; PUBLIC_KEY_BYTES]);
                    getrandom::fill(seed.as_mut_slice())?;
                    made.push(Arc::new(SigningKey::new(current, 0, &seed)?));
                }
            }
            KeySource::Shared(secrets) => {
                for (index, secret) in secrets.iter().enumerate() {
                    for period in first..=last {
                        if !is_made(&made, period, index) {
                            made.push(Arc::new(SigningKey::new(period, index, &secret.seed(INFO, period))?));
                        }
                    }
                }
            }
        }
        Ok(made.clone())
    }
}

/// Whether a key signs at this time.
fn is_current(key: &SigningKey, now_ms: u64) -> bool {
    key.secret == 0 && key.period == now_ms / PERIOD_MS
}
