//! Seals a body, for clients in Rust.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::service::{HpkeSuite, SealingKeyDocument};
use hpke::{
    Deserializable as _, HpkeError, Kem, OpModeS, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::X25519HkdfSha256, setup_sender,
};

use crate::{
    binding::Binding,
    format::{CHUNK_BYTES, ChunkLength, Head, associated_data},
};

/// Why nothing can be sealed for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key belongs to algorithms that this program does not have.
    #[error("the key belongs to a suite that this program does not have")]
    Suite,
    /// The id or the bytes of the key are not valid.
    #[error("the key is not valid")]
    Key,
    /// HPKE failed: the key is of small order, such as one of zeros.
    #[error("nothing can be sealed for this key")]
    Hpke(#[source] HpkeError),
}

/// Seals a body for a key, at a time in milliseconds since 1970.
pub fn seal(
    key: &SealingKeyDocument,
    binding: &Binding,
    time_ms: u64,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    if key.suite != HpkeSuite::X25519_SHA256_AES256GCM {
        return Err(SealError::Suite);
    }
    let mut head = Head { key: [0; 8], time_ms, encapsulated: [0; 32] };
    hex::decode_to_slice(&key.id, &mut head.key).map_err(|_| SealError::Key)?;
    let public = STANDARD.decode(&key.public_key).map_err(|_| SealError::Key)?;
    let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&public).map_err(|_| SealError::Key)?;
    let bound = head.bound();
    let (encapsulated, mut context) = setup_sender::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &public,
        &binding.info(&bound),
    )
    .map_err(SealError::Hpke)?;
    let mut sealed = [bound.as_slice(), encapsulated.to_bytes().as_slice()].concat();
    let count = plaintext.len().div_ceil(CHUNK_BYTES).max(1);
    for index in 0..count {
        let from = index * CHUNK_BYTES;
        let chunk = &plaintext[from..plaintext.len().min(from + CHUNK_BYTES)];
        let is_last = index + 1 == count;
        let data = associated_data(index as u64, is_last);
        sealed.extend(ChunkLength::of(chunk.len(), is_last).bytes());
        sealed.extend(context.seal(chunk, &data).map_err(SealError::Hpke)?);
    }
    Ok(sealed)
}
