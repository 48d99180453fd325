//! The key of a cached proof: HMAC-SHA-256 with a tenant's secret.
//!
//! A plain hash would let anyone who sees the cache's keys test guesses of a witness, and would let one tenant learn
//! from a hit that another tenant proved the same. A secret per tenant prevents both.
//!
//! The hashed parts begin with a domain string, and each part carries its length, so that no two lists of parts give
//! the same bytes.

use std::fmt;

use edgeprove_protocol::{CircuitId, Target};
use edgeprove_telemetry::keyed_hash::{Hmac, Mac as _, Sha256, hmac_sha256, update_part};
use zeroize::Zeroizing;

/// Separates cache keys from every other digest under the same secret. The number changes when the parts do.
const DOMAIN: &[u8] = b"edgeprove proof cache v1";

/// The secret of one tenant's cache keys. `Debug` hides it, and it is wiped when dropped.
pub struct TenantSecret(Zeroizing<[u8; 32]>);

/// The key of a cached proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; 32]);

/// Everything that a proof depends on.
#[derive(Debug, Clone, Copy)]
pub struct ProofSubject<'a> {
    /// The circuit.
    pub circuit: &'a CircuitId,
    /// The prover's hash of the circuit's verification key: a circuit that changes under its id gets another one.
    pub vk_hash: &'a [u8; 32],
    /// The target of the proof.
    pub target: Target,
    /// SHA-256 of the decompressed witness.
    pub witness_digest: &'a [u8; 32],
}

impl TenantSecret {
    /// A secret of 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key of this proof in the tenant's part of the cache.
    #[must_use]
    pub fn cache_key(&self, subject: ProofSubject<'_>) -> CacheKey {
        let ProofSubject { circuit, vk_hash, target, witness_digest } = subject;
        let mut mac = self.start();
        for part in [
            DOMAIN,
            circuit.as_str().as_bytes(),
            vk_hash.as_slice(),
            target.as_str().as_bytes(),
            witness_digest.as_slice(),
        ] {
            update_part(&mut mac, part);
        }
        CacheKey(mac.finalize().into_bytes().into())
    }

    /// An HMAC under this secret, without any input yet.
    pub(super) fn start(&self) -> Hmac<Sha256> {
        hmac_sha256(&self.0)
    }
}

impl fmt::Debug for TenantSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantSecret(…)")
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_part_changes_the_key() {
        let circuits: [CircuitId; 2] = ["maze".parse().unwrap(), "mazes".parse().unwrap()];
        let hashes = [[0; 32], [1; 32]];
        let mut keys = HashSet::new();
        for secret in hashes {
            for circuit in &circuits {
                for vk_hash in &hashes {
                    for target in Target::ALL {
                        for witness_digest in &hashes {
                            let subject = ProofSubject { circuit, vk_hash, target, witness_digest };
                            let key = TenantSecret::new(secret).cache_key(subject);
                            assert_eq!(key, TenantSecret::new(secret).cache_key(subject));
                            keys.insert(key);
                        }
                    }
                }
            }
        }
        assert_eq!(keys.len(), 2 * 2 * 2 * Target::ALL.len() * 2);
    }

    /// The expected key was computed with Python's `hmac`, from the description above.
    #[test]
    fn key_matches_another_implementation() {
        let key = TenantSecret::new([7; 32]).cache_key(ProofSubject {
            circuit: &"range_check".parse().unwrap(),
            vk_hash: &[1; 32],
            target: Target::Evm,
            witness_digest: &[2; 32],
        });
        assert_eq!(key.to_string(), "02fb87f1b3b85184e8715b03a8c4162c6f735ec51842ca7c4674dbdc4f4d56af");
    }

    #[test]
    fn debug_hides_the_secret() {
        assert_eq!(format!("{:?}", TenantSecret::new([7; 32])), "TenantSecret(…)");
    }
}
