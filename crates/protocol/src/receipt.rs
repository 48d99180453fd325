//! A receipt: what a server states of one proof, signed by it. docs/RECEIPTS.md describes it.
//!
//! On the wire it is a compact JWS (RFC 7515) with the algorithm `EdDSA` (RFC 8037). Its payload is a [`Receipt`] as JSON.

use serde::{Deserialize, Serialize};

use crate::{CircuitId, Target};

/// `typ` in the header of the JWS, so that no other token of another issuer can be taken for a receipt.
pub const RECEIPT_TYPE: &str = "edgeprove-receipt+jwt";
/// `alg` in the header of the JWS.
pub const RECEIPT_ALGORITHM: &str = "EdDSA";
/// The largest receipt. Ours have some 1,200 bytes.
pub const RECEIPT_MAX_BYTES: usize = 8 << 10;

/// What a server states of one proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::struct_excessive_bools, reason = "each is a statement of its own on the wire")]
pub struct Receipt {
    /// When it was signed, in seconds since 1970.
    pub iat: u64,
    /// The request that brought the witness or the inputs, as in the server's log.
    pub request_id: String,
    /// The circuit that was proved.
    pub circuit: CircuitId,
    /// The circuit that the request named, where a smaller circuit of its family was proved instead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback_from: Option<CircuitId>,
    /// The proof system: `ultra-honk` or `groth16`.
    pub proof_system: String,
    /// The verifier that the proof is for.
    pub target: Target,
    /// Hash of the verification key, as in `X-Vk-Hash`.
    pub vk_hash: String,
    /// SHA-256 of the verification key's bytes: `0x` and 64 hexadecimal digits.
    pub vk_sha256: String,
    /// The program that made the proof.
    pub backend: ReceiptProgram,
    /// SHA-256 of the proof's bytes: `0x` and 64 hexadecimal digits, as in `X-Proof-Hash`.
    pub proof_hash: String,
    /// SHA-256 of the public inputs as 32-byte big-endian fields one after the other: `0x` and 64 hexadecimal digits.
    pub public_inputs_hash: String,
    /// Whether the server verified the proof before it answered.
    pub verified: bool,
    /// Whether the proof came from the proof cache.
    pub cached: bool,
    /// When the request arrived, or the job was accepted: RFC 3339, UTC, milliseconds.
    pub accepted_at: String,
    /// When the prover started. A proof from the cache has the time at which it was found.
    pub started_at: String,
    /// When the proof was verified, or found in the cache.
    pub finished_at: String,
    /// Whether the witness or the inputs came sealed for the server.
    pub sealed: bool,
    /// Whether the server observed, before it signed, that each file with the witness in its spool was overwritten and
    /// removed. It does not cover a job's encrypted artifact, which is deleted later.
    pub spool_wiped: bool,
    /// The last entry of the audit log when the receipt was signed: its number, a colon and its hash. `None` without a log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub audit_head: Option<String>,
    /// The server.
    pub server: ReceiptServer,
}

/// The program that made a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptProgram {
    /// Its name: `bb` or `groth16`.
    pub name: String,
    /// Its version. `groth16` is a part of Edgeprove.
    pub version: String,
}

/// The server that signed a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptServer {
    /// A random id, new with each start: the end of the server's name in its audit log.
    pub id: String,
    /// The version of Edgeprove.
    pub version: String,
}
