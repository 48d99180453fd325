//! `GET /.well-known/edgeprove`: what a client needs to know before its first request: versions, limits, keys for which it
//! can seal what it sends, and keys of receipts.
//!
//! It is for anybody, and reveals nothing about callers or circuits.

use axum::{Json, extract::State};
use edgeprove_protocol::{
    limits::INPUTS_MAX_BYTES,
    service::{SealingDocument, SealingKeyDocument, ServiceDocument, ServiceLimits, Versions},
};
use edgeprove_prover::barretenberg::version::NOIR_VERSION;
use http::{HeaderValue, header};

use crate::http::{
    sealed_body::unix_ms,
    state::{AppState, HttpOptions},
};

/// Keys change and containers end, so no cache may answer in place of the server.
const CACHE_CONTROL: (header::HeaderName, HeaderValue) =
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// 200 with the document.
pub async fn service(
    State(app): State<AppState>,
) -> ([(header::HeaderName, HeaderValue); 1], Json<ServiceDocument>) {
    let HttpOptions { intake, prove_request_timeout, .. } = &app.options;
    let milliseconds =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let document = ServiceDocument {
        versions: Versions {
            edgeprove: env!("CARGO_PKG_VERSION").to_owned(),
            bb: app.engine.program.version.clone(),
            noir: NOIR_VERSION.to_owned(),
        },
        limits: ServiceLimits {
            upload_max_bytes: intake.upload_max_bytes,
            decompressed_max_bytes: intake.decompressed_max_bytes,
            inputs_max_bytes: intake.upload_max_bytes.min(INPUTS_MAX_BYTES),
            prove_timeout_ms: milliseconds(app.engine.proving.options().timeout),
            request_timeout_ms: milliseconds(*prove_request_timeout),
            job_attempts_max: app.job_attempts_max,
        },
        sealing: SealingDocument { keys: sealing_keys(&app) },
        receipts: app.receipts.document(),
        timestamp: edgeprove_telemetry::timestamp_now(),
    };
    ([CACHE_CONTROL], Json(document))
}

/// The keys that a client may use now. None where the system gives no random bytes.
fn sealing_keys(app: &AppState) -> Vec<SealingKeyDocument> {
    let timestamp = |ms| edgeprove_telemetry::timestamp(i64::try_from(ms).unwrap_or_default());
    let keys = app.unsealing.as_ref().map(|unsealing| unsealing.keys.document(unix_ms(), timestamp));
    match keys {
        Some(Ok(keys)) => keys,
        Some(Err(error)) => {
            tracing::error!(%error, "no key could be made");
            Vec::new()
        }
        None => Vec::new(),
    }
}
