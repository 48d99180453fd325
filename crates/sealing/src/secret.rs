//! The secret from which servers derive their keys.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of a secret.
const SECRET_BYTES: usize = 32;

/// A secret of 32 bytes. They are overwritten on drop and never printed.
///
/// It must be random: whoever has a public key can try guesses.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl SealingSecret {
    /// Reads a secret from 64 hexadecimal digits or from base64, as `openssl rand -hex 32` and `openssl rand -base64 32`
    /// write it. `None` if the text is something else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (text, mut bytes) = (text.trim(), Zeroizing::new([0; SECRET_BYTES]));
        if text.len() == 2 * SECRET_BYTES {
            hex::decode_to_slice(text, bytes.as_mut_slice()).ok()?;
        } else {
            let decoded = Zeroizing::new(STANDARD.decode(text).ok()?);
            *bytes = decoded.as_slice().try_into().ok()?;
        }
        Some(Self(bytes))
    }

    /// The seed of the key of a period, by HKDF-SHA256. `info` makes it differ from every other one.
    #[must_use]
    pub fn seed(&self, info: &[u8], period: u64) -> Zeroizing<[u8; 32]> {
        let mut seed = Zeroizing::new([0; 32]);
        expand(self.0.as_slice(), &[info, &period.to_be_bytes()[..]].concat(), &mut seed);
        seed
    }
}

/// HKDF-SHA256 without a salt.
fn expand(secret: &[u8], info: &[u8], seed: &mut [u8; 32]) {
    #[expect(
        clippy::expect_used,
        reason = "the length is constant and far below HKDF's limit of 8160 bytes"
    )]
    Hkdf::<Sha256>::new(None, secret).expand(info, seed).expect("the length is below HKDF's limit");
}

impl fmt::Debug for SealingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_from_hex_and_base64_and_not_shown() {
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
        let secret = SealingSecret::read(hex).unwrap();
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=\n";
        assert_eq!(SealingSecret::read(base64), Some(secret.clone()));
        assert_eq!(format!("{secret:?}"), "SealingSecret(…)");
        for wrong in ["", "a secret", &hex[2..], &hex.replace('0', "g"), &base64[4..]] {
            assert_eq!(SealingSecret::read(wrong), None, "{wrong}");
        }
    }
}
