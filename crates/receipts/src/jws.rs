//! The compact form of a JWS (RFC 7515): three parts in base64url, with dots between them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{ED25519, UnparsedPublicKey};

/// Bytes of a public key of Ed25519.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes of a signature of Ed25519.
const SIGNATURE_BYTES: usize = 64;

/// A text that has the compact form. Its signature is not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactJws<'a> {
    /// The bytes of the header.
    pub header: Vec<u8>,
    /// The bytes of the payload.
    pub payload: Vec<u8>,
    signature: Vec<u8>,
    /// The header and the payload as they were signed.
    signed: &'a str,
}

impl<'a> CompactJws<'a> {
    /// Reads the form. `None`: it is not three parts in base64url without padding, or the signature is not one of Ed25519.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        // A further dot is no character of base64url.
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let signature = decode(signature).filter(|signature| signature.len() == SIGNATURE_BYTES)?;
        Some(Self { header: decode(header)?, payload: decode(payload)?, signature, signed })
    }

    /// Whether the owner of this key of Ed25519 signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &[u8; PUBLIC_KEY_BYTES]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, key);
        key.verify(self.signed.as_bytes(), &self.signature).is_ok()
    }
}

/// The compact form of this header and this payload. `sign` returns the signature over the bytes that it gets.
#[must_use]
pub fn compact<S: AsRef<[u8]>>(header: &[u8], payload: &[u8], sign: impl FnOnce(&[u8]) -> S) -> String {
    let mut text = URL_SAFE_NO_PAD.encode(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut text);
    let signature = sign(text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    text
}
