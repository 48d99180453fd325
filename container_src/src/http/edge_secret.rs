//! The secret that edge and server share.

use std::fmt;

use edgeprove_protocol::headers;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The secret that edge and server share, as its digest: nothing that is printed can show it, and comparing digests of
/// one length takes the same time whatever is presented.
#[derive(Clone, PartialEq, Eq)]
pub struct EdgeSecret([u8; 32]);

impl EdgeSecret {
    /// `None` for a text that edge and server may not share; see [`headers::is_acceptable_edge_secret`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        headers::is_acceptable_edge_secret(text.as_bytes()).then(|| Self::of(text.as_bytes()))
    }

    fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Whether this is it.
    #[must_use]
    pub fn is(&self, presented: &[u8]) -> bool {
        self.0.ct_eq(&Self::of(presented).0).into()
    }
}

impl fmt::Debug for EdgeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeSecret(…)")
    }
}
