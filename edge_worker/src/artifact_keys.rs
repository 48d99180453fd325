//! The keys that encrypt objects: the first one encrypts, all of them decrypt.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, general_purpose::NO_PAD},
};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::artifact_format::{Head, KEY_ID_BYTES};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

const KEY_ID_INFO: &[u8] = b"edgeprove artifact key id";
const KEY_INFO: &[u8] = b"edgeprove artifact v2";
const FINGERPRINT_INFO: &[u8] = b"edgeprove edge fingerprint";

/// The text is not a list of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not a key of 32 bytes, such as `openssl rand -hex 32` writes, or several with commas between them"
)]
pub struct NotKeys;

/// One key. It is overwritten on drop and never printed.
#[derive(Clone, PartialEq, Eq)]
struct ArtifactKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    id: [u8; KEY_ID_BYTES],
}

/// The keys of a deployment.
#[derive(Clone, PartialEq, Eq)]
pub struct ArtifactKeys(Vec<ArtifactKey>);

impl ArtifactKey {
    /// Reads 64 hexadecimal digits, or base64 of either alphabet, as a server does.
    fn read(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        let text = text.trim();
        if text.len() == 2 * KEY_BYTES {
            hex::decode_to_slice(text, bytes.as_mut_slice()).ok()?;
        } else {
            let padded_or_not = NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
            let decoded = [alphabet::STANDARD, alphabet::URL_SAFE]
                .iter()
                .find_map(|alphabet| GeneralPurpose::new(alphabet, padded_or_not).decode(text).ok())
                .map(Zeroizing::new)?;
            *bytes = decoded.as_slice().try_into().ok()?;
        }
        let mut id = [0; KEY_ID_BYTES];
        derive(&[], bytes.as_slice(), KEY_ID_INFO, &mut id);
        Some(Self { bytes, id })
    }
}

impl ArtifactKeys {
    /// Reads keys separated by commas.
    pub fn read(text: &str) -> Result<Self, NotKeys> {
        let keys: Option<Vec<_>> = text.split(',').map(ArtifactKey::read).collect();
        keys.map(Self).ok_or(NotKeys)
    }

    /// The id of the key that encrypts.
    #[must_use]
    pub fn current_id(&self) -> [u8; KEY_ID_BYTES] {
        self.0.first().map(|key| key.id).unwrap_or_default()
    }

    /// The key of one object, by its head; `None` if its store's key is not among these.
    #[must_use]
    pub fn own_key(&self, head: &Head) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
        let key = self.0.iter().find(|key| key.id.as_slice() == head.key_id())?;
        let mut own = Zeroizing::new([0; KEY_BYTES]);
        derive(head.salt(), key.bytes.as_slice(), KEY_INFO, own.as_mut_slice());
        Some(own)
    }

    /// A keyed digest of these parts in this order, as hexadecimal digits. Nobody without the key can test guesses of a part
    /// with it. It stays the same when a new key is added before the old one.
    #[must_use]
    pub fn fingerprint(&self, parts: &[&[u8]]) -> String {
        // HMAC pads a key to a block with zeros. Given the whole block, it cannot fail for the key's length.
        let mut block = Zeroizing::new([0; 64]);
        if let Some(oldest) = self.0.last() {
            derive(&[], oldest.bytes.as_slice(), FINGERPRINT_INFO, &mut block[..KEY_BYTES]);
        }
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        hex::encode(mac.finalize().into_bytes())
    }
}

impl fmt::Debug for ArtifactKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| hex::encode(key.id))).finish()
    }
}

fn derive(salt: &[u8], key: &[u8], info: &[u8], out: &mut [u8]) {
    let expanded = Hkdf::<Sha256>::new(Some(salt), key).expand(info, out);
    debug_assert!(expanded.is_ok(), "the length is constant and below HKDF's limit");
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const OTHER: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn keys_are_read_as_a_server_reads_them() {
        let key = ArtifactKeys::read(HEX).unwrap();
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        for text in [base64, &format!("{base64}="), &HEX.to_uppercase(), &format!(" {HEX}\n")] {
            assert_eq!(ArtifactKeys::read(text).unwrap(), key, "{text}");
        }
        for wrong in
            ["", "secret", &HEX[2..], &format!("{HEX}00"), &format!("{HEX},"), &HEX.replace('0', "g")]
        {
            assert_eq!(ArtifactKeys::read(wrong), Err(NotKeys), "{wrong}");
        }
        assert!(!format!("{key:?}").contains("0001020304") && !format!("{key:?}").contains("1, 2, 3"));
    }

    /// The same vectors as those of `crates/artifacts`.
    #[test]
    fn ids_and_heads_are_those_of_the_shared_vectors() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../crates/artifacts/vectors/v2.json")).unwrap();
        let keys = ArtifactKeys::read(vectors["key"].as_str().unwrap()).unwrap();
        assert_eq!(hex::encode(keys.current_id()), vectors["key_id"]);
        let salt = hex::decode(vectors["salt"].as_str().unwrap()).unwrap().try_into().unwrap();
        let head = Head::new(keys.current_id(), salt);
        let sealed = vectors["vectors"][0]["sealed"].as_str().unwrap();
        assert!(sealed.starts_with(&hex::encode(head.0)));
        for vector in vectors["vectors"].as_array().unwrap() {
            let content = &vector["content"];
            let plain = content["pattern"].as_u64().or_else(|| Some(content["text"].as_str()?.len() as u64));
            assert_eq!(crate::artifact_format::sealed_bytes(plain.unwrap()), vector["sealed_bytes"].as_u64());
        }
    }

    #[test]
    fn the_first_of_several_encrypts_and_all_decrypt() {
        let (old, both) =
            (ArtifactKeys::read(HEX).unwrap(), ArtifactKeys::read(&format!("{OTHER}, {HEX}")).unwrap());
        let head = Head::new(old.current_id(), [7; 32]);
        assert_eq!(both.own_key(&head), old.own_key(&head));
        assert_ne!(both.current_id(), old.current_id());
        assert_eq!(old.own_key(&Head::new(both.current_id(), [7; 32])), None);
        assert_ne!(old.own_key(&head), old.own_key(&Head::new(old.current_id(), [8; 32])));
        assert_eq!(both.fingerprint(&[b"a", b"b"]), old.fingerprint(&[b"a", b"b"]));
        assert_ne!(old.fingerprint(&[b"ab", b""]), old.fingerprint(&[b"a", b"b"]));
    }
}
