//! HMAC-SHA-256 under a 32-byte key.
//!
//! Digests of secrets are made with a key, so that nobody who sees a digest can test guesses of the secret.

use hmac::KeyInit as _;
pub use hmac::{Hmac, Mac};
pub use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of an HMAC block of SHA-256.
const BLOCK_BYTES: usize = 64;

/// Starts an HMAC-SHA-256 under this key.
///
/// ```
/// use edgeprove_telemetry::keyed_hash::{Mac, hmac_sha256, update_part};
///
/// let mut mac = hmac_sha256(&[7; 32]);
/// update_part(&mut mac, b"domain");
/// update_part(&mut mac, b"value");
/// let digest: [u8; 32] = mac.finalize().into_bytes().into();
/// assert_eq!(digest.len(), 32);
/// ```
#[must_use]
pub fn hmac_sha256(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC pads a key to a block with zeros. Given the whole block, it cannot fail for the key's length.
    let mut block = Zeroizing::new([0; BLOCK_BYTES]);
    block[..key.len()].copy_from_slice(key);
    Hmac::new((&*block).into())
}

/// Starts an HMAC-SHA-256 under a key of any length up to a block; `None` if it is longer.
#[must_use]
pub fn hmac_sha256_of(key: &[u8]) -> Option<Hmac<Sha256>> {
    let mut block = Zeroizing::new([0; BLOCK_BYTES]);
    block.get_mut(..key.len())?.copy_from_slice(key);
    Some(Hmac::new((&*block).into()))
}

/// Adds one part with its length in front, so that no two lists of parts give the same bytes.
pub fn update_part(mac: &mut Hmac<Sha256>, part: &[u8]) {
    mac.update(&(part.len() as u64).to_le_bytes());
    mac.update(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected digest comes from Python's `hmac`.
    #[test]
    fn digest_matches_another_implementation() {
        let mut mac = hmac_sha256(&[7; 32]);
        mac.update(b"edgeprove");
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        assert_eq!(
            digest.map(|byte| format!("{byte:02x}")).concat(),
            "b9041c6b401d90473b49bf2933981d5a702d8b294dd4fa5d4ba105fff5ff0c97"
        );
    }

    #[test]
    fn parts_do_not_run_together() {
        let digest = |parts: &[&[u8]]| {
            let mut mac = hmac_sha256(&[7; 32]);
            for part in parts {
                update_part(&mut mac, part);
            }
            <[u8; 32]>::from(mac.finalize().into_bytes())
        };
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }
}
