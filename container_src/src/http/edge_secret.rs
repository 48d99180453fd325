//! The secret that edge and server share.

use std::fmt;

use edgeprove_protocol::headers;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The secret that edge and server share. Only its digest is stored, so no output can reveal it, and a comparison takes the
/// same time for every candidate.
#[derive(Clone, PartialEq, Eq)]
pub struct EdgeSecret([u8; 32]);

impl EdgeSecret {
    /// `None` for a text that cannot be a secret; see [`headers::is_acceptable_edge_secret`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        headers::is_acceptable_edge_secret(text.as_bytes()).then(|| Self::digest(text.as_bytes()))
    }

    fn digest(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Whether `candidate` is the secret.
    #[must_use]
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.ct_eq(&Self::digest(candidate).0).into()
    }
}

impl fmt::Debug for EdgeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeSecret(…)")
    }
}
