//! The keys that a service publishes at `/.well-known/edgeprove`: for sealed bodies, and of receipts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeprove_protocol::service::{HpkeSuite, SealingKeyDocument, ServiceDocument};
use edgeprove_receipts::{PublicKeys, verify};
use edgeprove_telemetry::chain;
use http::Method;
use jiff::{SignedDuration, Timestamp};

use super::finding::Report;
use crate::{
    commands::{receipt::FileDigests, remote_server::RemoteServer},
    proof_files::ProofFiles,
};

/// The longest time that a document may be on its way. An older one comes from a cache.
const AGE_MAX: SignedDuration = SignedDuration::from_mins(2);
/// How much the clocks of service and machine may differ.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(2);
/// The length of a public key of X25519.
const PUBLIC_KEY_BYTES: usize = 32;

/// The remedy for answers that were changed.
const CHANGED: &str =
    "something between this machine and the service changes its answers, or answers in its place";

/// What a service published of its receipts.
pub(super) enum ReceiptKeys {
    /// It signs receipts with these keys.
    Signs(PublicKeys),
    /// It signs none, or it is unknown.
    None,
}

/// Examines the document of the service. Returns the keys of its receipts.
pub(super) async fn examine(server: &RemoteServer, is_local: bool, report: &mut Report) -> ReceiptKeys {
    let document = server.json(Method::GET, "/.well-known/edgeprove", None).await;
    let document = document.map_err(|error| chain(&error)).and_then(|document| {
        let read = serde_json::from_value::<ServiceDocument>(document.clone());
        read.map(|read| (read, document)).map_err(|error| format!("its members are invalid: {error}"))
    });
    let (read, document) = match document {
        Ok(document) => document,
        Err(error) => {
            report.fault("service", format!("/.well-known/edgeprove cannot be read: {error}"), CHANGED);
            return ReceiptKeys::None;
        }
    };
    let now = Timestamp::now();
    let is_fresh = age(&read, now, report);
    sealing(&read.sealing.keys, now, is_fresh, report);
    receipts(&read, &document, now, (is_fresh, is_local), report)
}

/// Whether the document is from now. Clients would take keys that are no longer valid from an old one.
fn age(document: &ServiceDocument, now: Timestamp, report: &mut Report) -> bool {
    let Ok(then) = document.timestamp.parse::<Timestamp>() else {
        report.fault("service", "the time in /.well-known/edgeprove is not a time", CHANGED);
        return false;
    };
    let age = now.duration_since(then);
    if age <= AGE_MAX {
        report.ok("service", "/.well-known/edgeprove is answered, and is from now");
        return true;
    }
    report.fault(
        "service",
        format!("/.well-known/edgeprove is {} s old: its keys may be invalid by now", age.as_secs()),
        "let no proxy store it (its Cache-Control is no-store); or the clock of a machine is wrong: see `clock`",
    );
    false
}

fn sealing(keys: &[SealingKeyDocument], now: Timestamp, is_fresh: bool, report: &mut Report) {
    const CHECK: &str = "sealing";
    if keys.is_empty() {
        report.warning(
            CHECK,
            "the service has no key for sealed witnesses: proxies on the way can read them",
            "start it without `--sealing off`; several servers behind one address need EDGEPROVE_SEALING_SECRET",
        );
        return;
    }
    for key in keys {
        let id = &key.id;
        let length = base64_length(&key.public_key);
        if key.suite != HpkeSuite::X25519_SHA256_AES256GCM {
            report.warning(
                CHECK,
                format!("the key {id} is for algorithms that this version does not know"),
                "use the version of this program that the service has",
            );
        } else if length != Some(PUBLIC_KEY_BYTES) {
            report.fault(CHECK, format!("the key {id} is damaged: nothing can be sealed for it"), CHANGED);
        } else if let Some(reason) = invalid_now(&key.not_before, &key.expires_at, now) {
            let fix = if is_fresh {
                "synchronise the clocks of both machines by NTP; let no proxy change the answer"
            } else {
                "let no proxy store /.well-known/edgeprove"
            };
            report.fault(
                CHECK,
                format!("the key {id} {reason}: what is sealed for it is refused with sealing_key_unknown"),
                fix,
            );
        } else {
            report.ok(CHECK, format!("the key {id} is valid until {}", key.expires_at));
        }
    }
}

fn base64_length(text: &str) -> Option<usize> {
    STANDARD.decode(text).ok().map(|bytes| bytes.len())
}

/// Why a key is not valid now.
fn invalid_now(not_before: &str, expires_at: &str, now: Timestamp) -> Option<String> {
    let (Ok(from), Ok(end)) = (not_before.parse::<Timestamp>(), expires_at.parse::<Timestamp>()) else {
        return Some("has a validity that is not two times".to_owned());
    };
    if from.duration_since(now) > CLOCKS_DIFFER {
        Some(format!("is not valid before {not_before}"))
    } else if end <= now {
        Some(format!("has expired at {expires_at}"))
    } else {
        None
    }
}

fn receipts(
    read: &ServiceDocument,
    document: &serde_json::Value,
    now: Timestamp,
    (is_fresh, is_local): (bool, bool),
    report: &mut Report,
) -> ReceiptKeys {
    const CHECK: &str = "receipts";
    let Some(first) = read.receipts.keys.first() else {
        report.warning(
            CHECK,
            "the service signs no receipts of its proofs",
            "start it without `--receipts off`; several servers behind one address need EDGEPROVE_RECEIPT_SECRET",
        );
        return ReceiptKeys::None;
    };
    let keys = match PublicKeys::from_json(document.to_string().as_bytes()) {
        Ok(keys) => keys,
        Err(error) => {
            report.fault(CHECK, format!("the keys cannot be used: {}", chain(&error)), CHANGED);
            return ReceiptKeys::None;
        }
    };
    if let Some(key) = read.receipts.keys.iter().find(|key| keys.find(&key.kid).is_none()) {
        report.fault(CHECK, format!("the key {} is not the one of its id", key.kid), CHANGED);
    }
    // The first one signs now.
    if let Some(reason) = invalid_now(&first.not_before, &first.expires_at, now) {
        let fix = if is_fresh {
            "synchronise the clocks of both machines by NTP; let no proxy change the answer"
        } else {
            "let no proxy store /.well-known/edgeprove"
        };
        report.fault(CHECK, format!("the key {} {reason}: receipts cannot be verified", first.kid), fix);
    } else if read.receipts.lasting || is_local {
        report.ok(CHECK, format!("signed with the key {} until {}", first.kid, first.expires_at));
    } else {
        report.warning(
            CHECK,
            "the keys end with the server: its receipts cannot be verified any more after that",
            "set EDGEPROVE_RECEIPT_SECRET (openssl rand -hex 32), or store the keys with the receipts",
        );
    }
    ReceiptKeys::Signs(keys)
}

/// Examines the receipt of a proof that came with these files.
pub(super) fn examine_receipt(
    keys: &ReceiptKeys,
    receipt: Option<&str>,
    files: &ProofFiles,
    report: &mut Report,
) {
    const CHECK: &str = "receipt";
    let ReceiptKeys::Signs(keys) = keys else { return };
    let Some(text) = receipt else {
        return report.fault(
            CHECK,
            "the proof came without a receipt, although the service publishes keys for them",
            "let no proxy remove the header X-Receipt; servers behind one address need the same settings",
        );
    };
    let receipt = match verify(text, keys) {
        Ok(receipt) => receipt,
        Err(error) => {
            return report.fault(
                CHECK,
                format!("the receipt of the proof is not valid: {error}"),
                "servers behind one address need the same EDGEPROVE_RECEIPT_SECRET; otherwise something changes answers",
            );
        }
    };
    // Files that are none of snarkjs are found by the verification.
    let misfit = FileDigests::of(files).ok().and_then(|digests| digests.misfit(&receipt));
    if let Some(misfit) = misfit {
        return report.fault(CHECK, misfit, CHANGED);
    }
    if !receipt.spool_wiped {
        return report.warning(
            CHECK,
            "the receipt is valid, and the server did not observe that it wiped the witness within a second",
            "put the spool on a tmpfs (--spool-dir), and look at the log for files that could not be wiped",
        );
    }
    report.ok(CHECK, "the receipt of the proof is valid, and states that the witness was wiped");
}
