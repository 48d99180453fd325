//! A file of a circuit.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// A file of a built circuit, with its digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Artifact {
    name: &'static str,
    bytes: Bytes,
    sha256: [u8; 32],
}

impl Artifact {
    /// Computes the digest.
    #[must_use]
    pub fn new(name: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let sha256 = Sha256::digest(&bytes).into();
        Self { name, bytes, sha256 }
    }

    /// Its name, such as `circuit.json`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its content.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// SHA-256 of the content.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact")
            .field("name", &self.name)
            .field("bytes", &self.bytes.len())
            .field("sha256", &hex::encode(self.sha256))
            .finish()
    }
}
