//! Who may do what, and what is told of it afterwards.
//!
//! - [`access`]: keys, roles, rates and quotas.
//! - [`audit`]: the log that shows whether it was changed.

use std::{io, path::PathBuf, sync::Arc};

use edgeprove_job_rules::audit::{Action, Actor};

use crate::access::Access;
use crate::access::Role;
use crate::access::keys::KeyRing;
use crate::access::watch;
use crate::access::watch::Change;
use crate::access::watch::KeysFile;
use edgeprove_audit::Audit;
use edgeprove_audit::AuditError;
use edgeprove_audit::file::FileSink;
use edgeprove_audit::file::SyncPolicy;
use edgeprove_telemetry::supervisor::Supervisor;

/// Settings of access and of the audit log.
#[derive(Debug, Clone)]
pub struct TrustSettings {
    /// The keys as they are at the start.
    pub keys: KeyRing,
    /// Where they are read again.
    pub keys_file: Option<KeysFile>,
    /// The audit log.
    pub audit: Option<AuditSettings>,
}

/// Settings of the audit log.
#[derive(Debug, Clone)]
pub struct AuditSettings {
    /// The file.
    pub file: PathBuf,
    /// When it is synced.
    pub sync: SyncPolicy,
}

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// What is done cannot be put on record.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Changes of the keys would not be heard of.
    #[error("SIGHUP cannot be caught")]
    Hangups(#[source] io::Error),
}

/// Opens both rooms. `server` is what the audit log calls this server.
pub async fn open(
    settings: &TrustSettings,
    server: &str,
    supervisor: &Supervisor,
) -> Result<(Access, Audit), TrustError> {
    let audit = open_audit(settings.audit.as_ref(), server, supervisor).await?;
    let access = open_access(settings, &audit, supervisor)?;
    Ok((access, audit))
}

/// Opens the audit log, if there is to be one, and begins this server's part of it.
async fn open_audit(
    settings: Option<&AuditSettings>,
    server: &str,
    supervisor: &Supervisor,
) -> Result<Audit, AuditError> {
    let Some(AuditSettings { file, sync }) = settings else { return Ok(Audit::off()) };
    let sink = FileSink::open(file, *sync)?;
    let mended = sink.removed_bytes();
    let audit = Audit::new(Arc::new(sink), server.to_owned(), supervisor.clone());
    if mended > 0 {
        tracing::warn!(
            bytes = mended,
            "the audit log's last line was cut short by a crash; it was set aside"
        );
        audit.record(audit.entry(Actor::Server, Action::LogMended)).await?;
    }
    audit.record(audit.entry(Actor::Server, Action::ServerStarted)).await?;
    Ok(audit)
}

/// Lets in who has a key, and has an eye on the file of keys.
fn open_access(
    settings: &TrustSettings,
    audit: &Audit,
    supervisor: &Supervisor,
) -> Result<Access, TrustError> {
    let access = Access::new(settings.keys.clone());
    if let Some(file) = settings.keys_file.clone() {
        let hangups = watch::hangups().map_err(TrustError::Hangups)?;
        let (access, audit, stop) = (access.clone(), audit.clone(), supervisor.stop_token().clone());
        supervisor.spawn("keys", async move {
            let told = |change| {
                let action = match change {
                    Change::Taken => Action::KeysChanged,
                    Change::Rejected => Action::KeysRejected,
                };
                audit.note(audit.entry(Actor::Server, action));
            };
            watch::watch(access, file, hangups, stop, told).await;
        });
    }
    Ok(access)
}

/// Who sets no key may not know that one can be set.
pub fn warn_of_open_doors(access: &Access, is_out_of_reach: bool) {
    let keys = access.keys();
    if keys.are_set() {
        return;
    }
    if !is_out_of_reach {
        tracing::warn!("no API key is set: anybody who can reach this server may ask for proofs");
    }
    if keys.anonymous().role == Role::Operator {
        tracing::warn!("callers without a key may do what operators do");
    }
}
