//! The bytes of an artefact at rest: a head, then the content in chunks, each encrypted and authenticated.
//!
//! ```text
//! offset  bytes
//! 0       1      version of this format: 1
//! 1       8      key id
//! 9       32     salt, random for each artefact
//! 41             chunks: 64 KiB of content and 16 bytes of tag each; the last holds 0 to 64 KiB
//! ```
//!
//! Each artefact has a key of its own, HKDF-SHA-256 of the store's key and the salt. Its chunks are ChaCha20-Poly1305 in
//! the STREAM construction, whose nonce is the chunk's number and whether it is the last. With each chunk the head,
//! the artefact's kind and its name are authenticated. So nothing can be changed, moved, cut off, added or put in the
//! place of another artefact without the first chunk concerned failing to open.
//! [docs/decisions/0007](../../../docs/decisions/0007-artefacts-encrypted-in-chunks.md) argues the choice.

use aead_stream::{DecryptorBE32, EncryptorBE32, Nonce, StreamBE32};
use bytes::{Buf as _, Bytes, BytesMut};
use chacha20poly1305::ChaCha20Poly1305;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use zeroize::Zeroizing;

use super::{
    ArtifactError, ArtifactKind, ArtifactName,
    keys::{ArtifactKey, KEY_BYTES, KEY_ID_BYTES, KeyId, KeyRing},
};

const VERSION: u8 = 1;
const SALT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Bytes of the head.
pub(super) const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + SALT_BYTES;
/// Content of a chunk that is not the last.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// The same, encrypted.
pub(super) const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

const KEY_INFO: &[u8] = b"edgeprove artifact v1";

/// Turns content into the bytes of an artefact, a chunk at a time.
pub(super) struct Sealing<R> {
    source: R,
    head: Option<Bytes>,
    /// `None` once the last chunk is made.
    stream: Option<EncryptorBE32<ChaCha20Poly1305>>,
    associated: Vec<u8>,
    /// The first byte of the next chunk: whether there is one tells whether this chunk is the last.
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
        let stream = EncryptorBE32::new((&*own_key(key, &head)).into(), &no_nonce());
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
        // Large enough never to grow: what a growing buffer leaves behind is not overwritten.
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
        let too_long = |_| {
            let why = "it has more than 256 TiB, the most that can be kept";
            ArtifactError::Source(std::io::Error::other(why))
        };
        sealed.map_err(too_long)?;
        Ok(Some(std::mem::take(&mut *chunk).into()))
    }
}

/// Turns the bytes of an artefact back into its content, a chunk at a time.
pub(super) struct Opening {
    name: ArtifactName,
    /// `None` once the last chunk is open, and after one that did not open.
    stream: Option<DecryptorBE32<ChaCha20Poly1305>>,
    associated: Vec<u8>,
    /// Encrypted bytes that are not opened yet.
    pending: BytesMut,
    /// The next chunk's number.
    chunk: u64,
    complete: bool,
}

impl Opening {
    /// From the head.
    pub(super) fn new(
        keys: &KeyRing,
        kind: ArtifactKind,
        name: ArtifactName,
        head: &[u8],
    ) -> Result<Self, ArtifactError> {
        if let Some(&version) = head.first()
            && version != VERSION
        {
            return Err(ArtifactError::UnknownFormat { name, version });
        }
        let head: &[u8; HEAD_BYTES] =
            head.try_into().map_err(|_| ArtifactError::Damaged { name, chunk: 0 })?;
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&head[1..=KEY_ID_BYTES]);
        let id = KeyId::from_bytes(id);
        let key = keys.find(id).ok_or(ArtifactError::UnknownKey { name, key: id })?;
        let stream = DecryptorBE32::new((&*own_key(key, head)).into(), &no_nonce());
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

    /// Takes bytes that come next.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next chunk that surely is not the last, if enough bytes are there.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, ArtifactError> {
        // One byte more: otherwise this chunk may be the last, which opens differently.
        if self.pending.len() <= SEALED_CHUNK_BYTES {
            return Ok(None);
        }
        self.open(SEALED_CHUNK_BYTES, false).map(Some)
    }

    /// The last chunk, once nothing comes any more and [`Self::next`] has nothing left. `None` if it was given out
    /// already.
    pub(super) fn last(&mut self) -> Result<Option<Bytes>, ArtifactError> {
        if self.complete {
            return Ok(None);
        }
        self.open(self.pending.len(), true).map(Some)
    }

    /// Opens nothing more.
    pub(super) fn give_up(&mut self) {
        self.stream = None;
    }

    fn open(&mut self, len: usize, last: bool) -> Result<Bytes, ArtifactError> {
        let damaged = ArtifactError::Damaged { name: self.name, chunk: self.chunk };
        // After a chunk that does not open none does.
        let Some(mut stream) = self.stream.take() else { return Err(damaged) };
        let mut chunk = Zeroizing::new(self.pending[..len].to_vec());
        self.pending.advance(len);
        let opened = if last {
            stream.decrypt_last_in_place(&self.associated, &mut *chunk)
        } else {
            let opened = stream.decrypt_next_in_place(&self.associated, &mut *chunk);
            self.stream = opened.is_ok().then_some(stream);
            opened
        };
        if opened.is_err() {
            return Err(damaged);
        }
        self.chunk += 1;
        self.complete = last;
        // Whoever lets go of the content last overwrites it.
        Ok(Bytes::from_owner(chunk))
    }
}

/// The artefact's own key.
fn own_key(key: &ArtifactKey, head: &[u8; HEAD_BYTES]) -> Zeroizing<[u8; KEY_BYTES]> {
    key.derive(&head[1 + KEY_ID_BYTES..], KEY_INFO)
}

/// What nonces begin with. No two artefacts share a key, so it need not tell them apart.
fn no_nonce() -> Nonce<ChaCha20Poly1305, StreamBE32<ChaCha20Poly1305>> {
    Nonce::<ChaCha20Poly1305, StreamBE32<ChaCha20Poly1305>>::default()
}

/// What is authenticated with each chunk. Every part has its place by length: only the kind's word varies, between
/// two parts that do not.
fn associated(head: &[u8; HEAD_BYTES], kind: ArtifactKind, name: ArtifactName) -> Vec<u8> {
    [head.as_slice(), kind.word().as_bytes(), name.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
