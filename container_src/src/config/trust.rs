//! Settings of access and of the audit log.

use std::path::PathBuf;

use clap::Args;
use edgeprove_protocol::caller::{NamedDigest, parse_keys};

use super::faults::{Faults, RawSetting, Setting, raw_setting, words};
use crate::{
    access::{Role, keys::KeyRing, watch::KeysFile},
    trust::{AuditSettings, TrustSettings},
};
use edgeprove_audit::file::SyncPolicy;

words!(Role, "user" => Role::User, "priority" => Role::Priority, "operator" => Role::Operator);
words!(SyncPolicy, "always" => SyncPolicy::Always, "never" => SyncPolicy::Never);

/// A list of keys as the edge has it, too.
#[derive(Debug, Clone)]
struct KeyList(Vec<NamedDigest>);

impl Setting for KeyList {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        let keys = parse_keys(text).map_err(|fault| format!("a list of keys: {fault}"))?;
        // An empty list would let anybody in whom its author meant to keep out.
        if keys.is_empty() { Err("a list of keys: it is empty".to_owned()) } else { Ok(Self(keys)) }
    }
}

/// Flags of access and of the audit log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access and audit")]
pub struct TrustArgs {
    /// A file of API keys with roles, rates and quotas: docs/ACCESS.md. It is read again when it changes, and at SIGHUP.
    /// With neither this nor a list of keys anybody may call.
    #[arg(long, visible_alias = "keys", env = "EDGEPROVE_KEYS_FILE", value_name = "FILE")]
    keys_file: Option<PathBuf>,

    /// API keys by name and SHA-256, as the edge takes them: `NAME:SHA256`, several separated by commas. Their holders have
    /// the role `user`, without limits.
    #[arg(long, env = "EDGEPROVE_API_KEYS", hide_env_values = true, value_name = "NAME:SHA256", allow_hyphen_values = true, value_parser = raw_setting::<KeyList>)]
    api_keys: Option<RawSetting<KeyList>>,

    /// What callers may do who have no key where none is set, or whom the edge names and the file does not: `user`,
    /// `priority` or `operator`. The file's own word goes before this.
    #[arg(long, env = "EDGEPROVE_ANONYMOUS_ROLE", value_name = "ROLE", default_value = "user", value_parser = raw_setting::<Role>)]
    anonymous_role: RawSetting<Role>,

    /// The audit log, a file of JSON lines that only this server writes: docs/AUDIT.md. While it cannot be written, work
    /// is refused by 503. Without it there is none.
    #[arg(long, env = "EDGEPROVE_AUDIT", value_name = "FILE")]
    audit: Option<PathBuf>,

    /// When entries of the audit log are made to survive a loss of power: `always` before the request is answered, or
    /// `never`, which leaves it to the system. The end of the process alone loses none.
    #[arg(long, env = "EDGEPROVE_AUDIT_SYNC", value_name = "WHEN", default_value = "always", value_parser = raw_setting::<SyncPolicy>)]
    audit_sync: RawSetting<SyncPolicy>,
}

impl TrustArgs {
    /// Reads the flags and the file of keys.
    pub fn read(self, faults: &mut Faults) -> Option<TrustSettings> {
        let anonymous = faults.take("anonymous-role", self.anonymous_role);
        let listed = match self.api_keys {
            Some(keys) => faults.take("api-keys", keys).map(|keys| keys.0),
            None => Some(Vec::new()),
        };
        let sync = faults.take("audit-sync", self.audit_sync);
        // Read in any case, so that what is wrong with it is told with all the rest.
        let besides = KeyRing::new(listed.clone().unwrap_or_default(), anonymous.unwrap_or_default());
        let keys_file = self.keys_file.map(|path| KeysFile { path, besides: besides.clone() });
        let keys = match &keys_file {
            Some(file) => faults.keep(file.read()),
            None => Some(besides),
        };
        anonymous.and(listed)?;
        let sync = sync?;
        Some(TrustSettings {
            keys: keys?,
            keys_file,
            audit: self.audit.map(|file| AuditSettings { file, sync }),
        })
    }
}
