//! Proofs that were made a short while ago, for whoever asks for the same again.
//!
//! They are held in memory and named by an HMAC with the secret of whoever asked
//! ([`edgeprove_job_rules::cache_key`]): nobody learns from a hit that another proved the same, and a name tells nothing
//! of the witness. A circuit that changes has another verification key, so its proofs have other names. What is found is
//! held against a seal before it is handed out.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use edgeprove_job_rules::cache_key::{CacheKey, ProofSubject, TenantSecret};
use edgeprove_protocol::{Target, answer::Timings};
use hmac::{Hmac, KeyInit, Mac as _};
use lru::LruCache;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    circuits::{Circuit, circuit::Key},
    proving::ProofResult,
    witness::WitnessDigest,
};
use edgeprove_prover::ProofParts;
use edgeprove_telemetry::metrics::jobs::{self as metrics, CacheLookup};

/// Sets the secrets of tenants apart from whatever else is made of the same bytes.
const TENANT: &[u8] = b"edgeprove proof cache tenant v1";
/// Sets seals apart from names.
const SEAL: &[u8] = b"edgeprove proof cache seal v1";

/// What may be done with the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachePolicy {
    /// A proof that was made before will do.
    pub find: bool,
    /// The proof may be remembered.
    pub keep: bool,
}

impl CachePolicy {
    /// Nothing.
    pub const NOTHING: Self = Self { find: false, keep: false };
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct CacheQuery<'a> {
    /// For whom proofs are remembered.
    pub tenant: &'a str,
    /// The circuit.
    pub circuit: &'a Circuit,
    /// Who is to verify the proof.
    pub target: Target,
    /// The witness.
    pub witness: &'a WitnessDigest,
}

/// The latest proofs.
pub struct ProofCache {
    /// What all secrets are made of; new with each start.
    secret: Zeroizing<[u8; 32]>,
    /// `None` where nothing is kept.
    kept: Option<Mutex<LruCache<CacheKey, Kept>>>,
}

struct Kept {
    parts: ProofParts,
    verified: bool,
    seal: [u8; 32],
}

impl ProofCache {
    /// An empty cache for so many proofs.
    pub fn new(proofs: usize) -> Result<Self, getrandom::Error> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut_slice())?;
        Ok(Self { secret, kept: NonZeroUsize::new(proofs).map(|proofs| Mutex::new(LruCache::new(proofs))) })
    }

    /// The proof, if it was made before under the circuit's present key.
    pub fn find(&self, wanted: CacheQuery<'_>, wish: CachePolicy) -> Option<ProofResult> {
        let kept = self.kept.as_ref().filter(|_| wish.find)?;
        let found = self.look(kept, wanted);
        metrics::proof_cache(match &found {
            Some(Ok(_)) => CacheLookup::Hit,
            Some(Err(Tampered)) => CacheLookup::Tampered,
            None => CacheLookup::Miss,
        });
        found?.ok()
    }

    fn look(
        &self,
        kept: &Mutex<LruCache<CacheKey, Kept>>,
        wanted: CacheQuery<'_>,
    ) -> Option<Result<ProofResult, Tampered>> {
        let key = wanted.circuit.ready_key(wanted.target)?;
        let (name, mut seal) = self.name_and_seal(wanted, &key);
        let mut proofs = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = proofs.get(&name)?;
        feed(&mut seal, &kept.parts, kept.verified);
        if seal.verify_slice(&kept.seal).is_err() {
            proofs.pop(&name);
            tracing::error!(circuit = %wanted.circuit.id, "a kept proof is not what was put there; it is made anew");
            return Some(Err(Tampered));
        }
        let (parts, verified) = (kept.parts.clone(), kept.verified);
        Some(Ok(ProofResult { parts, key, verified, cached: true, timings: Timings::default() }))
    }

    /// Keeps a proof that was made now. The one that was asked for least lately goes.
    pub fn keep(&self, wanted: CacheQuery<'_>, wish: CachePolicy, proved: &ProofResult) {
        let Some(proofs) = self.kept.as_ref().filter(|_| wish.keep && !proved.cached) else { return };
        let (name, mut seal) = self.name_and_seal(wanted, &proved.key);
        let (parts, verified) = (proved.parts.clone(), proved.verified);
        feed(&mut seal, &parts, verified);
        let kept = Kept { parts, verified, seal: seal.finalize().into_bytes().into() };
        proofs.lock().unwrap_or_else(PoisonError::into_inner).put(name, kept);
    }

    /// A proof's name, and the seal of what stands under it, begun.
    fn name_and_seal(&self, wanted: CacheQuery<'_>, key: &Arc<Key>) -> (CacheKey, Hmac<Sha256>) {
        let mut tenant = mac(&self.secret, TENANT);
        tenant.update(wanted.tenant.as_bytes());
        let tenant = Zeroizing::new(<[u8; 32]>::from(tenant.finalize().into_bytes()));
        let name = TenantSecret::new(*tenant).cache_key(ProofSubject {
            circuit: &wanted.circuit.id,
            vk_hash: &key.vk_hash,
            target: wanted.target,
            witness_digest: wanted.witness.as_bytes(),
        });
        let mut seal = mac(&tenant, SEAL);
        seal.update(name.to_string().as_bytes());
        (name, seal)
    }
}

/// What was found is not what was put there.
struct Tampered;

fn mac(secret: &[u8; 32], purpose: &[u8]) -> Hmac<Sha256> {
    // HMAC fills a key up to a block with zeros. A whole block is a key that cannot be of the wrong length.
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(secret);
    let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
    mac.update(purpose);
    mac
}

fn feed(seal: &mut Hmac<Sha256>, parts: &ProofParts, verified: bool) {
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
