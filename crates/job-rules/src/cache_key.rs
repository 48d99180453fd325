//! The name under which a proof is remembered: HMAC-SHA-256 with a tenant's secret.
//!
//! A plain hash would let whoever sees the cache's keys test guesses of a witness, and one tenant learn from a hit that
//! another proved the same. With a secret for each tenant neither is possible, and a key tells nothing by itself.
//!
//! What is hashed begins with a name of its own and carries each part's length before it, so that no two lists of parts
//! give the same bytes.

use std::fmt;

use edgeprove_protocol::{CircuitId, Target};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Sets this use of the secret apart from all others. The number changes when the parts do.
const DOMAIN: &[u8] = b"edgeprove proof cache v1";

/// The secret that a tenant's cache keys are made with. It shows itself to nobody and is wiped when dropped.
pub struct TenantSecret(Zeroizing<[u8; 32]>);

/// The name under which a proof is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; 32]);

/// What a proof depends on.
#[derive(Debug, Clone, Copy)]
pub struct ProofSubject<'a> {
    /// The circuit.
    pub circuit: &'a CircuitId,
    /// bb's hash of its verification key: a circuit that changes under its name has another.
    pub vk_hash: &'a [u8; 32],
    /// Who is to verify the proof.
    pub target: Target,
    /// SHA-256 of the inflated witness.
    pub witness_digest: &'a [u8; 32],
}

impl TenantSecret {
    /// A secret of 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The name of this proof in the tenant's cache.
    #[must_use]
    pub fn cache_key(&self, subject: ProofSubject<'_>) -> CacheKey {
        let ProofSubject { circuit, vk_hash, target, witness_digest } = subject;
        // HMAC fills a key up to a block with zeros. A whole block is a key that cannot be of the wrong length.
        let mut block = Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(&*self.0);
        let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
        for part in [
            DOMAIN,
            circuit.as_str().as_bytes(),
            vk_hash.as_slice(),
            target.as_str().as_bytes(),
            witness_digest.as_slice(),
        ] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        CacheKey(mac.finalize().into_bytes().into())
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
    fn every_part_makes_a_difference() {
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
        assert_eq!(keys.len(), 32);
    }

    /// ProofResponse with Python's `hmac`, from the description above.
    #[test]
    fn it_is_what_others_compute() {
        let key = TenantSecret::new([7; 32]).cache_key(ProofSubject {
            circuit: &"range_check".parse().unwrap(),
            vk_hash: &[1; 32],
            target: Target::Evm,
            witness_digest: &[2; 32],
        });
        assert_eq!(key.to_string(), "02fb87f1b3b85184e8715b03a8c4162c6f735ec51842ca7c4674dbdc4f4d56af");
    }

    #[test]
    fn the_secret_shows_itself_to_nobody() {
        assert_eq!(format!("{:?}", TenantSecret::new([7; 32])), "TenantSecret(…)");
    }
}
