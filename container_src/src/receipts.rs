//! The receipts of this server: it signs what it observed of a proof. docs/RECEIPTS.md describes them.

use std::{sync::Arc, time::Duration};

use edgeprove_audit::Audit;
use edgeprove_engine::{proof_service::CompletedProof, proving::Proving};
use edgeprove_job_rules::time::UnixMillis;
use edgeprove_protocol::{
    receipt::{Receipt, ReceiptProgram, ReceiptServer},
    service::ReceiptsDocument,
};
use edgeprove_receipts::ReceiptKeys;
use edgeprove_sealing::KeySource;
use edgeprove_spool::WipeObserver;
use sha2::{Digest as _, Sha256};

/// The longest wait for the wipe of a witness. A receipt that is signed after it does not state that the spool was wiped.
const WIPE_WAIT: Duration = Duration::from_secs(1);

/// What a receipt states beside the proof.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The id of the request.
    pub request_id: &'a str,
    /// When the request arrived, or the job was accepted.
    pub accepted_at: UnixMillis,
    /// Whether the body came sealed.
    pub sealed: bool,
}

/// The receipts of this server.
pub struct Receipts {
    /// `None` where no receipts are signed.
    keys: Option<ReceiptKeys>,
    server: ReceiptServer,
    audit: Audit,
    proving: Arc<Proving>,
}

impl Receipts {
    /// Receipts with keys from this source; without one, no receipts are signed. `server` is the name of this server in
    /// leases and in the audit log. Only its random part is published: receipts go to third parties, who need no name of a
    /// machine.
    #[must_use]
    pub fn new(source: Option<KeySource>, server: &str, audit: Audit, proving: Arc<Proving>) -> Self {
        let id = server.rsplit('-').next().unwrap_or_default().to_owned();
        let server = ReceiptServer { id, version: env!("CARGO_PKG_VERSION").to_owned() };
        Self { keys: source.map(ReceiptKeys::new), server, audit, proving }
    }

    /// What verifiers need to know.
    #[must_use]
    pub fn document(&self) -> ReceiptsDocument {
        let timestamp = |ms| edgeprove_telemetry::timestamp(i64::try_from(ms).unwrap_or_default());
        match self.keys.as_ref().map(|keys| keys.document(unix_ms(), timestamp)) {
            Some(Ok(document)) => document,
            Some(Err(error)) => {
                tracing::error!(error = %edgeprove_telemetry::chain(&error), "no key of receipts could be made");
                ReceiptsDocument::default()
            }
            None => ReceiptsDocument::default(),
        }
    }

    /// Signs a receipt of this proof, after the wait for the wipe of its witness. `None` where no receipts are signed.
    pub async fn sign(&self, proof: &mut CompletedProof, subject: Subject<'_>) -> Option<String> {
        let keys = self.keys.as_ref()?;
        let spool_wiped = are_wiped(std::mem::take(&mut proof.wipes)).await;
        let mut receipt = self.statements(proof, subject, spool_wiped);
        match keys.sign(&mut receipt, unix_ms()) {
            Ok(signed) => Some(signed),
            Err(error) => {
                tracing::error!(error = %edgeprove_telemetry::chain(&error), "a receipt could not be signed");
                None
            }
        }
    }

    fn statements(&self, proof: &CompletedProof, subject: Subject<'_>, spool_wiped: bool) -> Receipt {
        let CompletedProof { circuit, target, fallback_from, result, started_at, finished_at, .. } = proof;
        let system = target.proof_system();
        let program = self.proving.backend().identity(system);
        let sha256 = |bytes: &[u8]| format!("0x{}", hex::encode(Sha256::digest(bytes)));
        let timestamp = |at: UnixMillis| edgeprove_telemetry::timestamp(at.0);
        Receipt {
            // Set when it is signed.
            iat: 0,
            request_id: subject.request_id.to_owned(),
            circuit: circuit.id.clone(),
            fallback_from: fallback_from.clone(),
            proof_system: system.as_str().to_owned(),
            target: *target,
            vk_hash: format!("0x{}", result.vk_hash()),
            vk_sha256: sha256(&result.key.circuit.vk),
            backend: ReceiptProgram { name: program.program.to_owned(), version: program.version.to_owned() },
            proof_hash: sha256(result.parts.proof.as_flattened()),
            public_inputs_hash: sha256(result.parts.public_inputs.as_flattened()),
            verified: result.verified,
            cached: result.cached,
            accepted_at: timestamp(subject.accepted_at),
            started_at: timestamp(*started_at),
            finished_at: timestamp(*finished_at),
            sealed: subject.sealed,
            spool_wiped,
            audit_head: self.audit.head().map(|head| head.to_string()),
            server: self.server.clone(),
        }
    }
}

/// Whether all these files are observed to be wiped within [`WIPE_WAIT`].
async fn are_wiped(wipes: Vec<WipeObserver>) -> bool {
    let all = async {
        for wipe in wipes {
            if !wipe.is_wiped().await {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(WIPE_WAIT, all).await.unwrap_or(false)
}

/// The present, by the machine's clock, in milliseconds since 1970.
fn unix_ms() -> u64 {
    u64::try_from(now().0).unwrap_or_default()
}

/// The present, by the machine's clock.
#[must_use]
pub fn now() -> UnixMillis {
    UnixMillis(jiff::Timestamp::now().as_millisecond())
}
