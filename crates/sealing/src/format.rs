//! The bytes of a sealed body: a head, then chunks. Numbers are big-endian.
//!
//! | bytes | head |
//! |---|---|
//! | 4 | `EPSB` |
//! | 1 | version: 1 |
//! | 6 | the suite: KEM, KDF and AEAD, each as 2 bytes |
//! | 8 | the id of the key |
//! | 8 | the time at which the client sealed, in milliseconds since 1970 |
//! | 32 | the encapsulated key, as long as the KEM makes it |
//!
//! Each chunk is 4 bytes and its ciphertext. The 4 bytes have the length of the ciphertext, and the highest bit in the last
//! chunk. All chunks but the last have [`CHUNK_BYTES`] of plaintext. The chunk's number (8 bytes) and a byte that is 1 for
//! the last chunk are its associated data.

use edgeprove_protocol::service::HpkeSuite;

use crate::error::UnsealError;

/// The plaintext of every chunk but the last, in bytes.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// What encryption adds to a chunk.
pub const TAG_BYTES: usize = 16;
/// The length in front of a chunk.
pub const LENGTH_BYTES: usize = 4;
/// The head.
pub const HEAD_BYTES: usize = BOUND_BYTES + ENCAPSULATED_BYTES;
/// The head without the encapsulated key, which HPKE itself binds.
pub const BOUND_BYTES: usize = 27;
/// The encapsulated key of DHKEM(X25519).
pub const ENCAPSULATED_BYTES: usize = 32;
/// Bytes of a key's id.
pub const KEY_ID_BYTES: usize = 8;

const MAGIC: [u8; 4] = *b"EPSB";
const VERSION: u8 = 1;
/// Marks the last chunk, in its length.
const LAST: u32 = 1 << 31;

/// The id of a key.
pub type KeyId = [u8; KEY_ID_BYTES];

/// The head of a sealed body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The key that it is sealed for.
    pub key: KeyId,
    /// When the client sealed, in milliseconds since 1970.
    pub time_ms: u64,
    /// The encapsulated key.
    pub encapsulated: [u8; ENCAPSULATED_BYTES],
}

impl Head {
    /// Reads a head.
    pub fn read(bytes: &[u8; HEAD_BYTES]) -> Result<Self, UnsealError> {
        let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        if bytes[..4] != MAGIC {
            return Err(UnsealError::NotSealed);
        }
        if bytes[4] != VERSION {
            return Err(UnsealError::Version { found: bytes[4] });
        }
        let suite = HpkeSuite { kem: number(5), kdf: number(7), aead: number(9) };
        if suite != HpkeSuite::X25519_SHA256_AES256GCM {
            return Err(UnsealError::Suite { found: suite });
        }
        let (mut key, mut time, mut encapsulated) = ([0; 8], [0; 8], [0; ENCAPSULATED_BYTES]);
        key.copy_from_slice(&bytes[11..19]);
        time.copy_from_slice(&bytes[19..BOUND_BYTES]);
        encapsulated.copy_from_slice(&bytes[BOUND_BYTES..]);
        Ok(Self { key, time_ms: u64::from_be_bytes(time), encapsulated })
    }

    /// The head without the encapsulated key.
    #[must_use]
    pub fn bound(&self) -> [u8; BOUND_BYTES] {
        let suite = HpkeSuite::X25519_SHA256_AES256GCM;
        let mut bytes = [0; BOUND_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        for (at, number) in [(5, suite.kem), (7, suite.kdf), (9, suite.aead)] {
            bytes[at..at + 2].copy_from_slice(&number.to_be_bytes());
        }
        bytes[11..19].copy_from_slice(&self.key);
        bytes[19..].copy_from_slice(&self.time_ms.to_be_bytes());
        bytes
    }
}

/// The length in front of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLength {
    /// Bytes of the ciphertext.
    pub ciphertext: usize,
    /// Whether it is the last chunk.
    pub is_last: bool,
}

impl ChunkLength {
    /// The length in front of a chunk with this plaintext.
    #[must_use]
    pub fn of(plaintext: usize, is_last: bool) -> Self {
        Self { ciphertext: plaintext + TAG_BYTES, is_last }
    }

    /// Reads it. Only the last chunk may be shorter than the others.
    pub fn read(bytes: [u8; LENGTH_BYTES]) -> Result<Self, UnsealError> {
        let number = u32::from_be_bytes(bytes);
        let (ciphertext, is_last) = ((number & !LAST) as usize, number & LAST != 0);
        let full = CHUNK_BYTES + TAG_BYTES;
        let fits = if is_last { (TAG_BYTES..=full).contains(&ciphertext) } else { ciphertext == full };
        if fits { Ok(Self { ciphertext, is_last }) } else { Err(UnsealError::ChunkLength) }
    }

    /// Its bytes. No chunk is so long that they cannot hold it.
    #[must_use]
    pub fn bytes(self) -> [u8; LENGTH_BYTES] {
        let length = u32::try_from(self.ciphertext).unwrap_or(!LAST);
        (length | if self.is_last { LAST } else { 0 }).to_be_bytes()
    }
}

/// The associated data of a chunk.
#[must_use]
pub fn associated_data(index: u64, is_last: bool) -> [u8; 9] {
    let mut data = [0; 9];
    data[..8].copy_from_slice(&index.to_be_bytes());
    data[8] = is_last.into();
    data
}

/// The plaintext of a sealed body of this many bytes; `None` if no sealed body is that short.
#[must_use]
pub fn plaintext_bytes(sealed: u64) -> Option<u64> {
    const OVERHEAD: u64 = (LENGTH_BYTES + TAG_BYTES) as u64;
    let chunks = sealed.checked_sub(HEAD_BYTES as u64)?;
    let count = chunks.div_ceil(CHUNK_BYTES as u64 + OVERHEAD);
    chunks.checked_sub(count.max(1) * OVERHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let head = Head { key: [7; 8], time_ms: 1_764_547_200_123, encapsulated: [9; 32] };
        let mut bytes = [0; HEAD_BYTES];
        bytes[..BOUND_BYTES].copy_from_slice(&head.bound());
        bytes[BOUND_BYTES..].copy_from_slice(&head.encapsulated);
        assert_eq!(Head::read(&bytes).unwrap(), head);
        let changed = |at: usize| {
            let mut bytes = bytes;
            bytes[at] ^= 0x40;
            Head::read(&bytes)
        };
        assert!(matches!(changed(0), Err(UnsealError::NotSealed)));
        assert!(matches!(changed(4), Err(UnsealError::Version { found: 0x41 })));
        for at in 5..11 {
            assert!(matches!(changed(at), Err(UnsealError::Suite { .. })), "{at}");
        }
    }

    #[test]
    fn only_the_last_chunk_may_be_short() {
        for (plaintext, is_last, is_valid) in [
            (CHUNK_BYTES, false, true),
            (CHUNK_BYTES - 1, false, false),
            (0, false, false),
            (CHUNK_BYTES, true, true),
            (1, true, true),
            (0, true, true),
            (CHUNK_BYTES + 1, true, false),
        ] {
            let length = ChunkLength::of(plaintext, is_last);
            assert_eq!(ChunkLength::read(length.bytes()).ok(), is_valid.then_some(length), "{plaintext}");
        }
        assert!(ChunkLength::read([0x80, 0, 0, 15]).is_err(), "a chunk has its tag");
    }

    #[test]
    fn the_length_of_the_plaintext_follows_from_that_of_the_body() {
        let sealed = |plain: u64| {
            let chunks = plain.div_ceil(CHUNK_BYTES as u64).max(1);
            HEAD_BYTES as u64 + plain + chunks * 20
        };
        let chunk = CHUNK_BYTES as u64;
        for plain in [0, 1, chunk - 1, chunk, chunk + 1, 5 * chunk, 5 * chunk + 7] {
            assert_eq!(plaintext_bytes(sealed(plain)), Some(plain), "{plain}");
        }
        assert_eq!(plaintext_bytes(sealed(0) - 1), None);
        assert_eq!(plaintext_bytes(0), None);
    }
}
