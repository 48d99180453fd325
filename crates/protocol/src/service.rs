//! Body of `GET /.well-known/edgeprove`: what a client needs to know of a service before its first request.

use serde::{Deserialize, Serialize};

/// The media type of a sealed body. Its parameter `content` has the media type of what is sealed.
pub const SEALED_MEDIA_TYPE: &str = "application/vnd.edgeprove.sealed";

/// `GET /.well-known/edgeprove`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServiceDocument {
    /// Versions of the programs.
    pub versions: Versions,
    /// Limits of requests.
    pub limits: ServiceLimits,
    /// Encryption of witnesses and inputs for the server alone.
    #[serde(default)]
    pub sealing: SealingDocument,
    /// Signatures of what the server states of its proofs.
    #[serde(default)]
    pub receipts: ReceiptsDocument,
    /// The time at the server.
    pub timestamp: String,
}

/// Versions of the programs that make and verify proofs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Versions {
    /// The server.
    pub edgeprove: String,
    /// bb.
    pub bb: String,
    /// Noir, whose witnesses the server accepts.
    pub noir: String,
}

/// Limits of requests. A proxy in front of the server may have lower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServiceLimits {
    /// Largest upload, in bytes.
    pub upload_max_bytes: u64,
    /// Largest decompressed witness, in bytes.
    pub decompressed_max_bytes: u64,
    /// Largest document with inputs, in bytes.
    pub inputs_max_bytes: u64,
    /// Longest time for one proof, in milliseconds.
    pub prove_timeout_ms: u64,
    /// Longest time for a request that proves, in milliseconds.
    pub request_timeout_ms: u64,
    /// Maximum number of attempts at a job.
    pub job_attempts_max: u32,
}

/// The keys for which a client may seal what it sends: docs/SEALING.md.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SealingDocument {
    /// The keys, the best one first. Empty where the server opens nothing sealed.
    pub keys: Vec<SealingKeyDocument>,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SealingKeyDocument {
    /// Its id: 16 hexadecimal digits.
    pub id: String,
    /// The suite of algorithms that it belongs to.
    pub suite: HpkeSuite,
    /// Its bytes in base64 with padding.
    pub public_key: String,
    /// The time from which a client may use it.
    pub not_before: String,
    /// The time from which the server refuses it.
    pub expires_at: String,
    /// Evidence of the program that has the private key.
    pub attestation: Attestation,
}

/// A suite of HPKE (RFC 9180), by the numbers that IANA assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HpkeSuite {
    /// The key encapsulation mechanism.
    pub kem: u16,
    /// The key derivation function.
    pub kdf: u16,
    /// The cipher.
    pub aead: u16,
}

impl HpkeSuite {
    /// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
    pub const X25519_SHA256_AES256GCM: Self = Self { kem: 0x0020, kdf: 0x0001, aead: 0x0002 };
}

/// The keys with which receipts are verified: docs/RECEIPTS.md. It is a JWK Set (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptsDocument {
    /// The keys: the one that signs now first, then earlier ones. Empty where the server signs no receipts.
    pub keys: Vec<ReceiptKeyDocument>,
    /// Whether the keys outlive the server. Otherwise nobody can fetch them any more once it has stopped.
    #[serde(default)]
    pub lasting: bool,
}

/// A public key of receipts: a JWK of Ed25519 (RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptKeyDocument {
    /// Always `OKP`.
    pub kty: String,
    /// Always `Ed25519`.
    pub crv: String,
    /// Its 32 bytes in base64url without padding.
    pub x: String,
    /// Its id: its thumbprint (RFC 7638).
    pub kid: String,
    /// Always `EdDSA`.
    pub alg: String,
    /// Always `sig`.
    #[serde(rename = "use")]
    pub usage: String,
    /// The time from which it signs.
    pub not_before: String,
    /// The time from which it signs no more. What it signed before remains valid.
    pub expires_at: String,
}

/// Evidence of the program that has a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Attestation {
    /// There is none: clients trust the operator of the server.
    #[default]
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_slot_for_evidence() {
        let key = SealingKeyDocument {
            id: "00112233445566ff".to_owned(),
            suite: HpkeSuite::X25519_SHA256_AES256GCM,
            public_key: "AA==".to_owned(),
            not_before: "2026-11-30T00:00:00.000Z".to_owned(),
            expires_at: "2026-12-01T01:00:00.000Z".to_owned(),
            attestation: Attestation::None,
        };
        let json = serde_json::to_value(&key).unwrap();
        assert_eq!(json["attestation"], serde_json::json!({ "kind": "none" }));
        assert_eq!(json["suite"], serde_json::json!({ "kem": 32, "kdf": 1, "aead": 2 }));
        assert_eq!(serde_json::from_value::<SealingKeyDocument>(json).unwrap(), key);
    }
}
