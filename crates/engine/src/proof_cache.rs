//! Proofs of the recent past, for callers who ask for the same proof again.
//!
//! Proofs are held in memory under an HMAC with the tenant's secret ([`key`]): a hit does not reveal that another
//! tenant proved the same, and a key reveals nothing of the witness. A circuit that changes has another verification
//! key, so its proofs have other cache keys. A seal over each entry is checked before the entry is used.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use edgeprove_protocol::{
    Target,
    answer::{Cost, Timings},
};
use edgeprove_telemetry::keyed_hash::{Hmac, Mac as _, Sha256, hmac_sha256};
use lru::LruCache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    circuits::{Circuit, circuit::Key},
    proving::ProofResult,
    witness::WitnessDigest,
};
use edgeprove_prover::ProofParts;
use edgeprove_telemetry::metrics::jobs::{self as metrics, CacheLookup};
use key::{CacheKey, ProofSubject, TenantSecret};

pub mod key;

/// Separates the tenants' secrets from every other digest under the cache's secret.
const TENANT_DOMAIN: &[u8] = b"edgeprove proof cache tenant v1";
/// Separates seals from cache keys.
const SEAL_DOMAIN: &[u8] = b"edgeprove proof cache seal v1";

/// How a caller lets the proof cache be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachePolicy {
    /// A cached proof may be returned.
    pub read: bool,
    /// The proof may be stored.
    pub write: bool,
}

impl CachePolicy {
    /// The cache is neither read nor written.
    pub const OFF: Self = Self { read: false, write: false };
}

/// A proof as the cache knows it.
#[derive(Debug, Clone, Copy)]
pub struct CacheQuery<'a> {
    /// The tenant whose proofs are searched.
    pub tenant: &'a str,
    /// The circuit.
    pub circuit: &'a Circuit,
    /// The target of the proof.
    pub target: Target,
    /// The digest of the witness.
    pub witness: &'a WitnessDigest,
}

/// The most recently used proofs.
pub struct ProofCache {
    /// All tenants' secrets derive from this one. It is new at each start.
    secret: Zeroizing<[u8; 32]>,
    /// `None` if the cache is disabled.
    proofs: Option<Mutex<LruCache<CacheKey, CachedProof>>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How the cache is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// Stored proofs.
    pub proofs: usize,
    /// Most stored proofs; 0 if the cache is disabled.
    pub proofs_max: usize,
    /// Lookups that found a proof, since the start.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
}

struct CachedProof {
    parts: ProofParts,
    verified: bool,
    seal: [u8; 32],
}

/// The outcome of one look into the cache.
enum Lookup {
    Hit(Box<ProofResult>),
    Miss,
    /// The entry differs from the one that was stored.
    Tampered,
}

impl ProofCache {
    /// An empty cache for so many proofs; 0 disables it. Fails if the system has no random bytes.
    pub fn new(proofs: usize) -> Result<Self, getrandom::Error> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut_slice())?;
        let proofs = NonZeroUsize::new(proofs).map(|proofs| Mutex::new(LruCache::new(proofs)));
        Ok(Self { secret, proofs, hits: AtomicU64::new(0), misses: AtomicU64::new(0) })
    }

    /// A cache that stores nothing.
    #[must_use]
    pub fn disabled() -> Self {
        let (hits, misses) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { secret: Zeroizing::new([0; 32]), proofs: None, hits, misses }
    }

    /// How it is used.
    pub fn usage(&self) -> CacheUse {
        let (proofs, proofs_max) = self.proofs.as_ref().map_or((0, 0), |proofs| {
            let proofs = proofs.lock();
            (proofs.len(), proofs.cap().get())
        });
        let (hits, misses) = (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        CacheUse { proofs, proofs_max, hits, misses }
    }

    /// Returns the proof if it is cached under the circuit's present key, and counts the lookup.
    pub fn get(&self, query: CacheQuery<'_>, policy: CachePolicy) -> Option<ProofResult> {
        let proofs = self.proofs.as_ref().filter(|_| policy.read)?;
        match self.look_up(proofs, query) {
            Lookup::Hit(proof) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                metrics::proof_cache(CacheLookup::Hit);
                Some(*proof)
            }
            Lookup::Miss => {
                self.misses.fetch_add(1, Ordering::Relaxed);
                metrics::proof_cache(CacheLookup::Miss);
                None
            }
            Lookup::Tampered => {
                self.misses.fetch_add(1, Ordering::Relaxed);
                metrics::proof_cache(CacheLookup::Tampered);
                None
            }
        }
    }

    fn look_up(&self, proofs: &Mutex<LruCache<CacheKey, CachedProof>>, query: CacheQuery<'_>) -> Lookup {
        let Some(key) = query.circuit.ready_key(query.target) else { return Lookup::Miss };
        let (cache_key, mut seal) = self.key_and_seal(query, &key);
        let mut proofs = proofs.lock();
        let Some(cached) = proofs.get(&cache_key) else { return Lookup::Miss };
        seal_proof(&mut seal, &cached.parts, cached.verified);
        if seal.verify_slice(&cached.seal).is_err() {
            proofs.pop(&cache_key);
            tracing::error!(circuit = %query.circuit.id, "a cached proof was altered in memory; it is proved again");
            return Lookup::Tampered;
        }
        let (parts, verified) = (cached.parts.clone(), cached.verified);
        let (timings, cost) = (Timings::default(), Cost::default());
        Lookup::Hit(Box::new(ProofResult { parts, key, verified, cached: true, timings, cost }))
    }

    /// Stores a new proof in place of the least recently used one. A proof that came from the cache is not stored again.
    pub fn put(&self, query: CacheQuery<'_>, policy: CachePolicy, proof: &ProofResult) {
        let Some(proofs) = self.proofs.as_ref().filter(|_| policy.write && !proof.cached) else { return };
        let (cache_key, mut seal) = self.key_and_seal(query, &proof.key);
        let (parts, verified) = (proof.parts.clone(), proof.verified);
        seal_proof(&mut seal, &parts, verified);
        let cached = CachedProof { parts, verified, seal: seal.finalize().into_bytes().into() };
        proofs.lock().put(cache_key, cached);
    }

    /// A proof's cache key, and the beginning of its seal.
    fn key_and_seal(&self, query: CacheQuery<'_>, key: &Arc<Key>) -> (CacheKey, Hmac<Sha256>) {
        let mut tenant = hmac_sha256(&self.secret);
        tenant.update(TENANT_DOMAIN);
        tenant.update(query.tenant.as_bytes());
        let tenant = TenantSecret::new(tenant.finalize().into_bytes().into());
        let cache_key = tenant.cache_key(ProofSubject {
            circuit: &query.circuit.id,
            vk_hash: &key.vk_hash,
            target: query.target,
            witness_digest: query.witness.as_bytes(),
        });
        let mut seal = tenant.start();
        seal.update(SEAL_DOMAIN);
        seal.update(cache_key.to_string().as_bytes());
        (cache_key, seal)
    }
}

fn seal_proof(seal: &mut Hmac<Sha256>, parts: &ProofParts, verified: bool) {
    seal.update(&[u8::from(verified)]);
    for fields in [&parts.proof, &parts.public_inputs] {
        seal.update(&(fields.len() as u64).to_le_bytes());
        seal.update(fields.as_flattened());
    }
}

impl fmt::Debug for ProofCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofCache(…)")
    }
}
