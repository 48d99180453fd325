//! The bytes of a stored artifact: a head, then the content in chunks, each encrypted and authenticated.
//!
//! ```text
//! offset  bytes
//! 0       1      version of this format: 1 or 2
//! 1       8      key id
//! 9       32     salt, random for each artifact
//! 41             chunks: 64 KiB of content and 16 bytes of tag each; the last holds 0 to 64 KiB
//! ```
//!
//! Each artifact has a key of its own, HKDF-SHA-256 of the store's key, the salt and `edgeprove artifact v1` or `… v2`. Its
//! chunks are ChaCha20-Poly1305 in version 1 and AES-256-GCM in version 2, in the STREAM construction: the nonce is 7 zero
//! bytes, the chunk's number (big-endian, 4 bytes) and whether it is the last (1 or 0). The head, the artifact's kind and its
//! name are authenticated with each chunk. If bytes are changed, moved, cut off, added or exchanged with those of another
//! artifact, the first wrong chunk does not open.
//!
//! This crate writes version 1 and reads both. The edge writes version 2: its runtime has AES-256-GCM, which is some 40 times as fast
//! as ChaCha20-Poly1305 in WebAssembly. `vectors/v2.json` has artifacts of version 2 that a third program wrote.
//! [docs/decisions/0007](../../../docs/decisions/0007-artifacts-encrypted-in-chunks.md) has the reasons.

use aead_stream::{DecryptorBE32, EncryptorBE32, Nonce, StreamBE32};
use aes_gcm::Aes256Gcm;
use bytes::{Buf as _, Bytes, BytesMut};
use chacha20poly1305::ChaCha20Poly1305;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use zeroize::Zeroizing;

use crate::{
    encryption_keys::{ArtifactKey, KEY_BYTES, KEY_ID_BYTES, KeyId, KeyRing},
    error::ArtifactError,
    name::{ArtifactKind, ArtifactName},
};

/// The version that is written.
const VERSION: u8 = 1;
/// The version that the edge writes.
const VERSION_OF_EDGE: u8 = 2;
const SALT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Bytes of the head.
pub(super) const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + SALT_BYTES;
/// Content of a chunk that is not the last.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// The same, encrypted.
pub(super) const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

const KEY_INFO: &[u8] = b"edgeprove artifact v1";
const KEY_INFO_OF_EDGE: &[u8] = b"edgeprove artifact v2";

/// Encrypts content into the bytes of an artifact, one chunk at a time.
pub(super) struct Sealing<R> {
    source: R,
    head: Option<Bytes>,
    /// `None` after the last chunk.
    stream: Option<EncryptorBE32<ChaCha20Poly1305>>,
    associated: Vec<u8>,
    /// The first byte of the next chunk. It is read ahead to know whether this chunk is the last.
    ahead: Option<u8>,
}

impl<R: AsyncRead + Unpin> Sealing<R> {
    pub(super) fn new(
        key: &ArtifactKey,
        kind: ArtifactKind,
        name: ArtifactName,
        source: R,
    ) -> Result<Self, ArtifactError> {
        let mut head = [0; HEAD_BYTES];
        head[0] = VERSION;
        head[1..=KEY_ID_BYTES].copy_from_slice(key.id().as_bytes());
        getrandom::fill(&mut head[1 + KEY_ID_BYTES..]).map_err(ArtifactError::NoRandomness)?;
        let stream = EncryptorBE32::new((&*own_key(key, &head, KEY_INFO)).into(), &zero_nonce());
        let associated = associated(&head, kind, name);
        Ok(Self {
            source,
            head: Some(Bytes::copy_from_slice(&head)),
            stream: Some(stream),
            associated,
            ahead: None,
        })
    }

    /// The next bytes, at most [`SEALED_CHUNK_BYTES`]; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ArtifactError> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        let Some(mut stream) = self.stream.take() else { return Ok(None) };
        // Large enough never to grow: a growing buffer leaves copies that are not overwritten.
        let mut chunk = Zeroizing::new(Vec::with_capacity(CHUNK_BYTES + 1024));
        chunk.extend(self.ahead.take());
        let wanted = CHUNK_BYTES + 1 - chunk.len();
        let mut source = (&mut self.source).take(wanted as u64);
        source.read_to_end(&mut chunk).await.map_err(ArtifactError::Source)?;
        if chunk.len() > CHUNK_BYTES {
            self.ahead = chunk.pop();
        }
        let sealed = if self.ahead.is_some() {
            let sealed = stream.encrypt_next_in_place(&self.associated, &mut *chunk);
            self.stream = Some(stream);
            sealed
        } else {
            stream.encrypt_last_in_place(&self.associated, &mut *chunk)
        };
        sealed.map_err(|_| ArtifactError::TooLong)?;
        Ok(Some(std::mem::take(&mut *chunk).into()))
    }
}

/// The key that an artifact with this head is encrypted under; `None` if it is no head.
pub(super) fn key_of(head: &[u8]) -> Option<KeyId> {
    let is_known = matches!(head.first(), Some(&(VERSION | VERSION_OF_EDGE)));
    let id = head.get(1..=KEY_ID_BYTES).filter(|_| is_known)?;
    id.try_into().ok().map(KeyId::from_bytes)
}

/// Decrypts the chunks of one version.
enum Decryptor {
    ChaCha20Poly1305(DecryptorBE32<ChaCha20Poly1305>),
    // Its round keys and tables take over 600 bytes.
    Aes256Gcm(Box<DecryptorBE32<Aes256Gcm>>),
}

impl Decryptor {
    /// The decryptor of an artifact with this head; `None` for an unknown version.
    fn new(key: &ArtifactKey, head: &[u8; HEAD_BYTES]) -> Option<Self> {
        match head[0] {
            VERSION => {
                let key = own_key(key, head, KEY_INFO);
                Some(Self::ChaCha20Poly1305(DecryptorBE32::new((&*key).into(), &zero_nonce())))
            }
            VERSION_OF_EDGE => {
                let key = own_key(key, head, KEY_INFO_OF_EDGE);
                let nonce = Nonce::<Aes256Gcm, StreamBE32<Aes256Gcm>>::default();
                Some(Self::Aes256Gcm(Box::new(DecryptorBE32::new((&*key).into(), &nonce))))
            }
            _ => None,
        }
    }

    fn open_next(&mut self, associated: &[u8], chunk: &mut Vec<u8>) -> Result<(), aead_stream::aead::Error> {
        match self {
            Self::ChaCha20Poly1305(stream) => stream.decrypt_next_in_place(associated, chunk),
            Self::Aes256Gcm(stream) => stream.decrypt_next_in_place(associated, chunk),
        }
    }

    fn open_last(self, associated: &[u8], chunk: &mut Vec<u8>) -> Result<(), aead_stream::aead::Error> {
        match self {
            Self::ChaCha20Poly1305(stream) => stream.decrypt_last_in_place(associated, chunk),
            Self::Aes256Gcm(stream) => stream.decrypt_last_in_place(associated, chunk),
        }
    }
}

/// Decrypts the bytes of an artifact, one chunk at a time.
pub(super) struct Opening {
    name: ArtifactName,
    /// `None` after the last chunk, and after a chunk that did not open.
    stream: Option<Decryptor>,
    associated: Vec<u8>,
    /// Bytes that are not decrypted yet.
    pending: BytesMut,
    /// The number of the next chunk.
    chunk: u64,
    complete: bool,
}

impl Opening {
    /// Reads the head.
    pub(super) fn new(
        keys: &KeyRing,
        kind: ArtifactKind,
        name: ArtifactName,
        head: &[u8],
    ) -> Result<Self, ArtifactError> {
        if let Some(&version) = head.first()
            && ![VERSION, VERSION_OF_EDGE].contains(&version)
        {
            return Err(ArtifactError::UnknownFormat { name, version });
        }
        let head: &[u8; HEAD_BYTES] =
            head.try_into().map_err(|_| ArtifactError::Damaged { name, chunk: 0 })?;
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&head[1..=KEY_ID_BYTES]);
        let id = KeyId::from_bytes(id);
        let key = keys.find(id).ok_or(ArtifactError::UnknownKey { name, key: id })?;
        let stream =
            Decryptor::new(key, head).ok_or(ArtifactError::UnknownFormat { name, version: head[0] })?;
        let associated = associated(head, kind, name);
        Ok(Self {
            name,
            stream: Some(stream),
            associated,
            pending: BytesMut::new(),
            chunk: 0,
            complete: false,
        })
    }

    /// Appends bytes that were read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next chunk, if enough bytes were pushed to know that it is not the last.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, ArtifactError> {
        // One byte more than a chunk: without it this may be the last chunk, which opens differently.
        if self.pending.len() <= SEALED_CHUNK_BYTES {
            return Ok(None);
        }
        self.open(SEALED_CHUNK_BYTES, false).map(Some)
    }

    /// The last chunk, when all bytes were pushed and [`Self::next`] returns `None`. `None` if it was returned before.
    pub(super) fn last(&mut self) -> Result<Option<Bytes>, ArtifactError> {
        if self.complete {
            return Ok(None);
        }
        self.open(self.pending.len(), true).map(Some)
    }

    /// Makes every further call fail.
    pub(super) fn stop(&mut self) {
        self.stream = None;
    }

    fn open(&mut self, len: usize, last: bool) -> Result<Bytes, ArtifactError> {
        let damaged = ArtifactError::Damaged { name: self.name, chunk: self.chunk };
        // After a chunk that does not open, no other is opened.
        let Some(mut stream) = self.stream.take() else { return Err(damaged) };
        let mut chunk = Zeroizing::new(self.pending[..len].to_vec());
        self.pending.advance(len);
        let opened = if last {
            stream.open_last(&self.associated, &mut chunk)
        } else {
            let opened = stream.open_next(&self.associated, &mut chunk);
            self.stream = opened.is_ok().then_some(stream);
            opened
        };
        if opened.is_err() {
            return Err(damaged);
        }
        self.chunk += 1;
        self.complete = last;
        // The content is overwritten when its last owner drops it.
        Ok(Bytes::from_owner(chunk))
    }
}

/// The key of one artifact.
fn own_key(key: &ArtifactKey, head: &[u8; HEAD_BYTES], info: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    key.derive(&head[1 + KEY_ID_BYTES..], info)
}

/// The first bytes of every nonce, all zero: no two artifacts share a key, so nonces of different artifacts may repeat.
fn zero_nonce() -> Nonce<ChaCha20Poly1305, StreamBE32<ChaCha20Poly1305>> {
    Nonce::<ChaCha20Poly1305, StreamBE32<ChaCha20Poly1305>>::default()
}

/// The data that is authenticated with each chunk. It can be read in one way only: of its three parts only the second,
/// the kind's word, varies in length.
fn associated(head: &[u8; HEAD_BYTES], kind: ArtifactKind, name: ArtifactName) -> Vec<u8> {
    [head.as_slice(), kind.word().as_bytes(), name.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
