//! Short texts under the keys of the store, for a column of a database: in the format of an artifact, and of no folder or
//! bucket.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{
    ArtifactStore,
    error::ArtifactError,
    name::{ArtifactKind, ArtifactName},
    sealing::{HEAD_BYTES, Opening, Sealing},
};

/// Bytes of the name in front of a sealed text.
const NAME_BYTES: usize = 16;

impl ArtifactStore {
    /// Encrypts a text. It can only be opened as this kind.
    pub async fn seal_text(&self, kind: ArtifactKind, text: &str) -> Result<String, ArtifactError> {
        let name = ArtifactName::random();
        let mut sealed = name.as_bytes().to_vec();
        let mut sealing = Sealing::new(self.keys.current(), kind, name, text.as_bytes())?;
        while let Some(piece) = sealing.next().await? {
            sealed.extend_from_slice(&piece);
        }
        Ok(STANDARD.encode(sealed))
    }

    /// Decrypts a text that [`Self::seal_text`] encrypted.
    pub fn open_text(&self, kind: ArtifactKind, sealed: &str) -> Result<Zeroizing<String>, ArtifactError> {
        let bytes = STANDARD.decode(sealed).unwrap_or_default();
        let (name, rest) = bytes.split_at(NAME_BYTES.min(bytes.len()));
        let name = ArtifactName::from_bytes(name);
        let damaged = || ArtifactError::Damaged { name, chunk: 0 };
        let (head, rest) = rest.split_at(HEAD_BYTES.min(rest.len()));
        let mut opening = Opening::new(&self.keys, kind, name, head)?;
        opening.push(rest);
        let mut content = Zeroizing::new(String::new());
        loop {
            let (piece, is_last) = match opening.next()? {
                Some(piece) => (piece, false),
                None => (opening.last()?.ok_or_else(damaged)?, true),
            };
            content.push_str(std::str::from_utf8(&piece).map_err(|_| damaged())?);
            if is_last {
                return Ok(content);
            }
        }
    }
}
