//! The keys that encrypt artifacts: one for writing and any number for reading, so that a key can be replaced.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, general_purpose::NO_PAD},
};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// Bytes of a key's public id.
pub(super) const KEY_ID_BYTES: usize = 8;

const KEY_ID_INFO: &[u8] = b"edgeprove artifact key id";

/// The public id of a key, in every artifact's head and in log messages. Nobody can compute the key from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl KeyId {
    pub(super) fn from_bytes(bytes: [u8; KEY_ID_BYTES]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; KEY_ID_BYTES] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A key of 32 bytes. They are overwritten on drop and never printed.
#[derive(Clone)]
pub struct ArtifactKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    id: KeyId,
}

impl ArtifactKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let mut id = [0; KEY_ID_BYTES];
        derive(&[], bytes.as_slice(), KEY_ID_INFO, &mut id);
        Self { bytes, id: KeyId(id) }
    }

    /// A new key, from the system's source of randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(bytes.as_mut_slice())?;
        Ok(Self::new(bytes))
    }

    /// Reads a key from 64 hexadecimal digits or from base64 of either alphabet, padded or not, as
    /// `openssl rand -hex 32` and `openssl rand -base64 32` write it. `None` if the text is something else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        let text = text.trim();
        if text.len() == 2 * KEY_BYTES {
            hex::decode_to_slice(text, bytes.as_mut_slice()).ok()?;
            return Some(Self::new(bytes));
        }
        let padded_or_not = NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let decoded = [alphabet::STANDARD, alphabet::URL_SAFE]
            .iter()
            .find_map(|alphabet| GeneralPurpose::new(alphabet, padded_or_not).decode(text).ok())
            .map(Zeroizing::new)?;
        *bytes = decoded.as_slice().try_into().ok()?;
        Some(Self::new(bytes))
    }

    /// The key as 64 hexadecimal digits, for its file.
    pub(super) fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.bytes.as_slice()))
    }

    /// The key's public id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Derives the key of one artifact.
    pub(super) fn derive(&self, salt: &[u8], info: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        derive(salt, self.bytes.as_slice(), info, key.as_mut_slice());
        key
    }
}

impl fmt::Debug for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArtifactKey({})", self.id)
    }
}

/// The key that encrypts new artifacts, and earlier keys that older artifacts may need.
#[derive(Debug, Clone)]
pub struct KeyRing {
    current: ArtifactKey,
    former: Vec<ArtifactKey>,
}

impl KeyRing {
    /// A ring with one key.
    #[must_use]
    pub fn new(current: ArtifactKey) -> Self {
        Self { current, former: Vec::new() }
    }

    /// Reads keys separated by commas: the first encrypts, all decrypt. `None` if one of them is not a key.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut keys = text.split(',').map(ArtifactKey::read);
        let mut ring = Self::new(keys.next()??);
        for key in keys {
            ring.add_former(key?);
        }
        Some(ring)
    }

    /// Adds a key that only decrypts.
    pub fn add_former(&mut self, key: ArtifactKey) {
        if self.find(key.id).is_none() {
            self.former.push(key);
        }
    }

    /// The key that encrypts.
    #[must_use]
    pub fn current(&self) -> &ArtifactKey {
        &self.current
    }

    /// The last key of the list. It stays the same when a new key is added in front.
    pub(super) fn oldest(&self) -> &ArtifactKey {
        self.former.last().unwrap_or(&self.current)
    }

    /// The key with this id.
    #[must_use]
    pub fn find(&self, id: KeyId) -> Option<&ArtifactKey> {
        std::iter::once(&self.current).chain(&self.former).find(|key| key.id == id)
    }
}

fn derive(salt: &[u8], key: &[u8], info: &[u8], out: &mut [u8]) {
    #[expect(
        clippy::expect_used,
        reason = "the length is constant and far below HKDF's limit of 8160 bytes"
    )]
    Hkdf::<Sha256>::new(Some(salt), key).expand(info, out).expect("the length is below HKDF's limit");
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=";
    const BASE64_URL: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8";

    #[test]
    fn keys_are_read_from_hex_and_base64() {
        let key = ArtifactKey::read(HEX).unwrap();
        assert_eq!(key.to_hex().as_str(), HEX);
        for text in [BASE64, BASE64_URL, &HEX.to_uppercase(), &format!(" {HEX}\n")] {
            assert_eq!(ArtifactKey::read(text).unwrap().id(), key.id(), "{text}");
        }
        let (standard, for_urls) = (format!("{}8", "+/".repeat(21)), format!("{}8", "-_".repeat(21)));
        assert_eq!(ArtifactKey::read(&standard).unwrap().id(), ArtifactKey::read(&for_urls).unwrap().id());
        for wrong in ["", "secret", &HEX[2..], &format!("{HEX}00"), &BASE64[4..], &HEX.replace('0', "g")] {
            assert!(ArtifactKey::read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn debug_output_of_a_key_has_only_its_id() {
        let ring =
            KeyRing::read(&format!("{HEX},{}", ArtifactKey::random().unwrap().to_hex().as_str())).unwrap();
        let shown = format!("{ring:?}");
        assert!(shown.contains(&ring.current().id().to_string()));
        assert!(!shown.contains("0001020304") && !shown.contains("1, 2, 3"), "{shown}");
        assert_ne!(&HEX[..16], ring.current().id().to_string());
    }

    #[test]
    fn the_first_of_several_encrypts_and_all_decrypt() {
        let (new, old) = (ArtifactKey::random().unwrap(), ArtifactKey::random().unwrap());
        let ring = KeyRing::read(&format!("{}, {},", new.to_hex().as_str(), old.to_hex().as_str()));
        assert!(ring.is_none(), "an empty entry may be a forgotten key");
        let mut ring =
            KeyRing::read(&format!("{}, {}", new.to_hex().as_str(), old.to_hex().as_str())).unwrap();
        assert_eq!(ring.current().id(), new.id());
        assert!(ring.find(new.id()).is_some() && ring.find(old.id()).is_some());
        let other = ArtifactKey::random().unwrap();
        assert!(ring.find(other.id()).is_none());
        ring.add_former(other.clone());
        assert_eq!(ring.find(other.id()).unwrap().id(), other.id());
    }
}
