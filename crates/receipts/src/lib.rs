//! Receipts: what a server states of one proof, signed with Ed25519, as a compact JWS (RFC 7515, RFC 8037) that every JOSE
//! library verifies. docs/RECEIPTS.md describes them; [`edgeprove_protocol::receipt`] has what they state.
//!
//! In scope: keys, signatures, verification. Out of scope: HTTP, files, and how the statements come about. The present is
//! an argument everywhere, in milliseconds since 1970.
//!
//! Imports run down this list only:
//! - [`verification`]: verifies a receipt.
//! - [`public_keys`]: the keys of a verifier, as JWK, JWK Set or the document of a service.
//! - [`keys`]: the keys of a server, how they follow each other, and signing.
//! - [`jws`]: the compact form of a JWS.

pub mod jws;
pub mod keys;
pub mod public_keys;
pub mod verification;

pub use keys::{ReceiptKeys, SignError};
pub use public_keys::{InvalidKeys, PublicKey, PublicKeys};
pub use verification::{InvalidReceipt, verify};

#[cfg(test)]
mod tests;
