//! The keys of a server. Each has a period of a day, and is accepted for an hour longer, so that a client that has just
//! fetched it can use it.
//!
//! Servers with one secret derive the same keys from it. A server without a secret makes its own at random: when the period
//! of such a key has passed, nobody can open what was sealed for it.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::service::{Attestation, HpkeSuite, SealingKeyDocument};
use hpke::{Kem, Serializable as _, kem::X25519HkdfSha256};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    error::TIME_WINDOW,
    format::{KEY_ID_BYTES, KeyId},
    secret::SealingSecret,
};

/// How long a key is the one that clients use.
const PERIOD_MS: u64 = 24 * 60 * 60 * 1000;
/// How much longer a key is accepted.
const OVERLAP_MS: u64 = 60 * 60 * 1000;
/// How much the clocks of servers may differ.
const CLOCKS_DIFFER_MS: u64 = 1000 * TIME_WINDOW.as_secs();
/// Makes what is derived from a secret differ from every other use of it.
const INFO: &[u8] = b"edgeprove sealing key v1";

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;

/// Where keys come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Keys derived from secrets. Clients use those of the first, and those of all are accepted.
    Shared(Vec<SealingSecret>),
    /// Keys at random, which no other server has.
    OfThisServer,
}

/// A key pair. Its private key is overwritten on drop.
pub(crate) struct SealingKey {
    id: KeyId,
    public: [u8; 32],
    pub(crate) private: PrivateKey,
    period: u64,
    /// The index of its secret.
    secret: usize,
}

impl SealingKey {
    fn derive(period: u64, secret: usize, seed: &[u8; 32]) -> Self {
        let (private, public) = X25519HkdfSha256::derive_keypair(seed);
        let public: [u8; 32] = public.to_bytes().into();
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&Sha256::digest(public)[..KEY_ID_BYTES]);
        Self { id, public, private, period, secret }
    }

    fn not_before_ms(&self) -> u64 {
        self.period.saturating_mul(PERIOD_MS)
    }

    fn expires_at_ms(&self) -> u64 {
        self.not_before_ms().saturating_add(PERIOD_MS + OVERLAP_MS)
    }

    /// Whether it opens at this time. Clocks of servers differ, so it does so shortly before its period.
    fn opens_at(&self, now_ms: u64) -> bool {
        now_ms.saturating_add(CLOCKS_DIFFER_MS) >= self.not_before_ms() && now_ms < self.expires_at_ms()
    }
}

/// The keys of a server.
pub struct SealingKeys {
    source: KeySource,
    made: Mutex<Vec<Arc<SealingKey>>>,
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKeys(…)")
    }
}

impl SealingKeys {
    /// Keys from this source.
    #[must_use]
    pub fn new(source: KeySource) -> Self {
        Self { source, made: Mutex::default() }
    }

    /// What clients get to know: the key that they use now. `timestamp` writes a time. Fails if the system gives no random
    /// bytes.
    pub fn document(
        &self,
        now_ms: u64,
        timestamp: impl Fn(u64) -> String,
    ) -> Result<Vec<SealingKeyDocument>, getrandom::Error> {
        let period = now_ms / PERIOD_MS;
        let keys = self.at(now_ms)?;
        let current = keys.iter().filter(|key| key.period == period && key.secret == 0);
        Ok(current
            .map(|key| SealingKeyDocument {
                id: hex::encode(key.id),
                suite: HpkeSuite::X25519_SHA256_AES256GCM,
                public_key: STANDARD.encode(key.public),
                not_before: timestamp(key.not_before_ms()),
                expires_at: timestamp(key.expires_at_ms()),
                attestation: Attestation::None,
            })
            .collect())
    }

    /// The key with this id, if it opens now.
    pub(crate) fn find(&self, id: KeyId, now_ms: u64) -> Option<Arc<SealingKey>> {
        // Without random bytes there may still be the key that a client asks for.
        let keys = self.at(now_ms).unwrap_or_else(|_| self.made.lock().clone());
        keys.into_iter().find(|key| key.id == id && key.opens_at(now_ms))
    }

    /// The keys that open now. Those that are needed and missing are made, and those that have expired are dropped.
    fn at(&self, now_ms: u64) -> Result<Vec<Arc<SealingKey>>, getrandom::Error> {
        let mut made = self.made.lock();
        made.retain(|key| key.opens_at(now_ms));
        let current = now_ms / PERIOD_MS;
        match &self.source {
            KeySource::OfThisServer => {
                if !made.iter().any(|key| key.period == current) {
                    let mut seed = Zeroizing::new([0; 32]);
                    getrandom::fill(seed.as_mut_slice())?;
                    made.push(Arc::new(SealingKey::derive(current, 0, &seed)));
                }
            }
            KeySource::Shared(secrets) => {
                for (index, secret) in secrets.iter().enumerate() {
                    for period in [current.saturating_sub(1), current, current + 1] {
                        if made.iter().any(|key| key.period == period && key.secret == index) {
                            continue;
                        }
                        let starts_ms = period.saturating_mul(PERIOD_MS);
                        let is_past = now_ms >= starts_ms.saturating_add(PERIOD_MS + OVERLAP_MS);
                        if !is_past && now_ms.saturating_add(CLOCKS_DIFFER_MS) >= starts_ms {
                            made.push(Arc::new(SealingKey::derive(
                                period,
                                index,
                                &secret.seed(INFO, period),
                            )));
                        }
                    }
                }
            }
        }
        Ok(made.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 20_000 * PERIOD_MS + PERIOD_MS / 2;

    fn id_at(keys: &SealingKeys, now_ms: u64) -> KeyId {
        let document = keys.document(now_ms, |ms| ms.to_string()).unwrap();
        assert_eq!(document.len(), 1);
        let mut id = [0; 8];
        hex::decode_to_slice(&document[0].id, &mut id).unwrap();
        id
    }

    fn shared(bytes: &[u8]) -> SealingKeys {
        let secret = |byte: &u8| SealingSecret::read(&format!("{byte:02x}").repeat(32)).unwrap();
        SealingKeys::new(KeySource::Shared(bytes.iter().map(secret).collect()))
    }

    #[test]
    fn servers_with_one_secret_have_the_same_keys() {
        let (ours, other) = (shared(&[1]), shared(&[1]));
        assert_eq!(id_at(&ours, NOON), id_at(&other, NOON));
        assert_ne!(id_at(&ours, NOON), id_at(&shared(&[2]), NOON));
        assert_ne!(id_at(&ours, NOON), id_at(&ours, NOON + PERIOD_MS));
        // A server whose clock is behind accepts the next key.
        let midnight = 20_001 * PERIOD_MS;
        let next = id_at(&ours, midnight);
        assert!(other.find(next, midnight - 1000).is_some());
        assert!(other.find(next, midnight - 2 * CLOCKS_DIFFER_MS).is_none());
    }

    #[test]
    fn a_key_is_accepted_for_an_hour_after_its_day() {
        let midnight = 20_001 * PERIOD_MS;
        for keys in [shared(&[1]), SealingKeys::new(KeySource::OfThisServer)] {
            let old = id_at(&keys, NOON);
            assert_ne!(id_at(&keys, midnight), old);
            assert!(keys.find(old, midnight + OVERLAP_MS - 1).is_some());
            assert!(keys.find(old, midnight + OVERLAP_MS).is_none());
            assert!(keys.made.lock().iter().all(|key| key.id != old), "an expired key is dropped");
        }
    }

    #[test]
    fn a_replaced_secret_opens_until_it_is_removed() {
        let (old, both) = (shared(&[1]), shared(&[2, 1]));
        assert_eq!(id_at(&both, NOON), id_at(&shared(&[2]), NOON));
        assert!(both.find(id_at(&old, NOON), NOON).is_some());
        assert!(shared(&[2]).find(id_at(&old, NOON), NOON).is_none());
    }

    #[test]
    fn servers_without_a_secret_have_keys_of_their_own() {
        let [one, two] = [(); 2].map(|()| SealingKeys::new(KeySource::OfThisServer));
        assert_eq!(id_at(&one, NOON), id_at(&one, NOON + 1));
        assert_ne!(id_at(&one, NOON), id_at(&two, NOON));
        assert!(two.find(id_at(&one, NOON), NOON).is_none());
        assert_eq!(format!("{one:?}"), "SealingKeys(…)");
    }
}
