//! The bytes of an encrypted object: version 2 of the format that `crates/artifacts/src/sealing.rs` specifies, so that a server with
//! the same key can read what the edge wrote.

use edgeprove_protocol::JobId;

/// Bytes of the head.
pub const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + SALT_BYTES;
/// The same, as streams count.
pub const HEAD_LENGTH: u32 = 41;
const _: () = assert!(HEAD_LENGTH as usize == HEAD_BYTES);
/// Bytes of a key's public id.
pub const KEY_ID_BYTES: usize = 8;
/// Bytes of the random salt.
pub const SALT_BYTES: usize = 32;
/// Content of a chunk that is not the last.
pub const CHUNK_BYTES: u32 = 64 * 1024;
/// The tag of each chunk.
pub const TAG_BYTES: u32 = 16;

const VERSION: u8 = 2;
const SEALED_CHUNK_BYTES: u64 = CHUNK_BYTES as u64 + TAG_BYTES as u64;

/// The prefix of the names of witnesses and inputs.
pub const WITNESS_PREFIX: &str = "jobs/witness/";
/// The prefix of the names of proofs.
pub const PROOF_PREFIX: &str = "jobs/proof/";

/// The head of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head(pub [u8; HEAD_BYTES]);

impl Head {
    /// The head of a new object.
    #[must_use]
    pub fn new(key: [u8; KEY_ID_BYTES], salt: [u8; SALT_BYTES]) -> Self {
        let mut head = [0; HEAD_BYTES];
        head[0] = VERSION;
        head[1..=KEY_ID_BYTES].copy_from_slice(&key);
        head[1 + KEY_ID_BYTES..].copy_from_slice(&salt);
        Self(head)
    }

    /// Reads a head; `None` if it has another version.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head: [u8; HEAD_BYTES] = bytes.try_into().ok()?;
        (head[0] == VERSION).then_some(Self(head))
    }

    /// The id of the key.
    #[must_use]
    pub fn key_id(&self) -> &[u8] {
        &self.0[1..=KEY_ID_BYTES]
    }

    /// The salt of the object's own key.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.0[1 + KEY_ID_BYTES..]
    }
}

/// The name of an object: its kind, and a random UUID. Both are authenticated with each chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectName {
    kind: &'static str,
    random: [u8; 16],
}

impl ObjectName {
    /// Reads `jobs/witness/UUID` or `jobs/proof/UUID`; `None` if it is something else.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        let (kind, random) = match name.strip_prefix(WITNESS_PREFIX) {
            Some(random) => ("witness", random),
            None => ("proof", name.strip_prefix(PROOF_PREFIX)?),
        };
        // A job id without the number of a container is a random UUID in its one spelling.
        let is_random = random.parse::<JobId>().is_ok_and(|id| id.instance().is_none());
        let random = uuid::Uuid::try_parse(random).ok().filter(|_| is_random)?.into_bytes();
        Some(Self { kind, random })
    }

    /// The data that is authenticated with each chunk.
    #[must_use]
    pub fn associated(&self, head: &Head) -> Vec<u8> {
        [head.0.as_slice(), self.kind.as_bytes(), &self.random].concat()
    }
}

/// The nonce of a chunk. No key is used for two objects.
#[must_use]
pub fn nonce(chunk: u32, is_last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&chunk.to_be_bytes());
    nonce[11] = u8::from(is_last);
    nonce
}

/// The number of chunks of a content of this length; `None` if it is too long for the format.
#[must_use]
pub fn chunks(plain: u64) -> Option<u32> {
    u32::try_from(plain.div_ceil(CHUNK_BYTES.into()).max(1)).ok()
}

/// The length of a chunk's content.
#[must_use]
pub fn chunk_bytes(plain: u64, chunk: u32) -> u32 {
    let left = plain.saturating_sub(u64::from(chunk) * u64::from(CHUNK_BYTES));
    u32::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES)
}

/// The length of an object with a content of this length; `None` if it is too long for the format.
#[must_use]
pub fn sealed_bytes(plain: u64) -> Option<u64> {
    Some(HEAD_BYTES as u64 + plain + u64::from(chunks(plain)?) * u64::from(TAG_BYTES))
}

/// The length of the content of an object of this length; `None` if no object has it.
#[must_use]
pub fn plain_bytes(sealed: u64) -> Option<u64> {
    let body = sealed.checked_sub(HEAD_BYTES as u64)?;
    let tags = body.div_ceil(SEALED_CHUNK_BYTES).checked_mul(TAG_BYTES.into())?;
    let plain = body.checked_sub(tags)?;
    (sealed_bytes(plain) == Some(sealed)).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0d9f3c1e-7b64-4f0a-9a53-2f1d6c8e5b70";

    #[test]
    fn lengths_go_both_ways() {
        let chunk = u64::from(CHUNK_BYTES);
        for plain in
            [0, 1, 100, chunk - 1, chunk, chunk + 1, 3 * chunk - 1, 3 * chunk, 3 * chunk + 1, 1 << 36]
        {
            let sealed = sealed_bytes(plain).unwrap();
            assert_eq!(plain_bytes(sealed), Some(plain), "{plain}");
            let count = chunks(plain).unwrap();
            let sum: u64 = (0..count.min(10)).map(|at| u64::from(chunk_bytes(plain, at))).sum();
            assert_eq!(sum, plain.min(10 * chunk), "{plain}");
        }
        // A head without a chunk, half a tag, and a last chunk without content after others.
        let one = HEAD_BYTES as u64 + SEALED_CHUNK_BYTES;
        for sealed in [0, 40, 41, 56, one + 1, one + 16] {
            assert_eq!(plain_bytes(sealed), None, "{sealed}");
        }
        assert_eq!((chunks(1 << 50), sealed_bytes(u64::MAX / 2)), (None, None));
    }

    #[test]
    fn a_name_has_one_spelling_and_its_kind() {
        let (witness, proof) = (format!("{WITNESS_PREFIX}{ID}"), format!("{PROOF_PREFIX}{ID}"));
        let head = Head::new([1; 8], [2; 32]);
        let [witness, proof] =
            [witness, proof].map(|name| ObjectName::read(&name).unwrap().associated(&head));
        assert_ne!(witness, proof);
        assert_eq!(witness[HEAD_BYTES..HEAD_BYTES + 7], *b"witness");
        for other in [
            ID.to_owned(),
            format!("jobs/other/{ID}"),
            format!("{WITNESS_PREFIX}c1-{ID}"),
            format!("{WITNESS_PREFIX}{}", ID.to_uppercase()),
            format!("{WITNESS_PREFIX}{ID}/"),
            format!("{WITNESS_PREFIX}../proof/{ID}"),
            WITNESS_PREFIX.to_owned(),
        ] {
            assert_eq!(ObjectName::read(&other), None, "{other}");
        }
    }

    #[test]
    fn a_head_of_another_version_is_none() {
        let head = Head::new([1; 8], [2; 32]);
        assert_eq!(Head::read(&head.0), Some(head));
        assert_eq!((head.key_id(), head.salt()), (&[1; 8][..], &[2; 32][..]));
        let mut other = head.0;
        other[0] = 1;
        assert_eq!(Head::read(&other), None);
        assert_eq!(Head::read(&head.0[1..]), None);
    }
}
