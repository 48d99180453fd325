//! Settings of access and of the audit log.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::Args;
use edgeprove_protocol::{
    caller::{NamedDigest, parse_keys},
    voucher::{SECRET_MAX_BYTES, SECRET_MIN_BYTES, VoucherSecret},
};

use super::setting::{Faults, RawSetting, Setting, flag, raw_setting, words};
use crate::access::{
    AccessSettings, Role, api_keys::KeyRing, api_keys_reload::KeysFile, vouchers::VoucherSettings,
};
use edgeprove_audit::{AuditSettings, file::SyncPolicy};

/// Bounds of `--voucher-validity`.
const VALIDITY_BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// Highest value of `--voucher-uses` and `--vouchers-per-minute`.
const VOUCHERS_MAX: u32 = 1_000_000;

words!(Role, "prover" => Role::Prover, "observer" => Role::Observer, "user" => Role::User, "priority" => Role::Priority, "operator" => Role::Operator);
words!(SyncPolicy, "always" => SyncPolicy::Always, "never" => SyncPolicy::Never);

/// A list of keys, in the form that the edge uses too.
#[derive(Debug, Clone)]
struct KeyList(Vec<NamedDigest>);

impl Setting for KeyList {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        let keys = parse_keys(text).map_err(|fault| format!("a list of keys: {fault}"))?;
        // With an empty list every caller would be allowed, which its author cannot have meant.
        if keys.is_empty() { Err("a list of keys: it is empty".to_owned()) } else { Ok(Self(keys)) }
    }
}

/// The text of a keys file.
#[derive(Debug, Clone)]
struct KeysText(String);

impl Setting for KeysText {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

impl Setting for VoucherSecret {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        let wanted = || {
            format!(
                "a secret of {SECRET_MIN_BYTES} to {SECRET_MAX_BYTES} printable ASCII characters without spaces"
            )
        };
        Self::new(text.trim()).ok_or_else(wanted)
    }
}

/// Flags of access and of the audit log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access and audit")]
pub struct AccessAndAuditArgs {
    /// File of API keys with roles, rates and quotas: docs/ACCESS.md. It is read again when it changes and at SIGHUP.
    /// Without this file, `--keys-toml` and `--api-keys`, callers need no key.
    #[arg(long, visible_alias = "keys", env = "EDGEPROVE_KEYS_FILE", value_name = "FILE")]
    keys_file: Option<PathBuf>,

    /// The text of such a file, for platforms that give a server secrets and no files. It excludes `--keys-file`.
    #[arg(long, env = "EDGEPROVE_KEYS", hide_env_values = true, value_name = "TOML", allow_hyphen_values = true, value_parser = raw_setting::<KeysText>)]
    keys_toml: Option<RawSetting<KeysText>>,

    /// API keys as names and SHA-256 digests, in the form that the edge uses: `NAME:SHA256`, several separated by
    /// commas. Their holders have the role `user` without limits.
    #[arg(long, env = "EDGEPROVE_API_KEYS", hide_env_values = true, value_name = "NAME:SHA256", allow_hyphen_values = true, value_parser = raw_setting::<KeyList>)]
    api_keys: Option<RawSetting<KeyList>>,

    /// Role of callers without an entry in the keys file: `observer`, `user`, `priority` or `operator`. They are callers without a
    /// key, where those are accepted, and callers that the edge names. The file's `[anonymous]` overrides it.
    #[arg(long, env = "EDGEPROVE_ANONYMOUS_ROLE", value_name = "ROLE", default_value = "user", value_parser = raw_setting::<Role>)]
    anonymous_role: RawSetting<Role>,

    /// Secret that signs vouchers, the tokens with which pages prove: docs/ACCESS.md. Servers and the edge must have the same,
    /// for example from `openssl rand -hex 32`. Default: it follows from the key of the artifacts, or is new with each start where
    /// there are no jobs; and behind an edge there are no vouchers. Use the environment variable, because other users of the
    /// machine can read a command line.
    #[arg(long, env = "EDGEPROVE_VOUCHER_SECRET", hide_env_values = true, value_name = "SECRET", allow_hyphen_values = true, value_parser = raw_setting::<VoucherSecret>)]
    voucher_secret: Option<RawSetting<VoucherSecret>>,

    /// Longest validity of a voucher.
    #[arg(long, env = "EDGEPROVE_VOUCHER_VALIDITY", value_name = "TIME", default_value = "1h", value_parser = raw_setting::<Duration>)]
    voucher_validity: RawSetting<Duration>,

    /// Most proofs of one voucher.
    #[arg(long, env = "EDGEPROVE_VOUCHER_USES", value_name = "N", default_value = "100", value_parser = raw_setting::<u32>)]
    voucher_uses: RawSetting<u32>,

    /// Most vouchers that one API key mints in a minute; a tenth of them at once.
    #[arg(long, env = "EDGEPROVE_VOUCHERS_PER_MINUTE", value_name = "N", default_value = "600", value_parser = raw_setting::<u32>)]
    vouchers_per_minute: RawSetting<u32>,

    /// File of the audit log, JSON lines that only this server writes: docs/AUDIT.md. While it cannot be written, or is
    /// not the file that was written before, work is refused with 503. At SIGHUP the server continues the chain in a new
    /// file if this one was moved away. Default: no audit log.
    #[arg(long, env = "EDGEPROVE_AUDIT", value_name = "FILE")]
    audit: Option<PathBuf>,

    /// When audit entries are flushed to the disk, where they survive a power cut: `always` before the request is
    /// answered, or `never`, when the operating system decides. With both, entries survive the end of the process.
    #[arg(long, env = "EDGEPROVE_AUDIT_SYNC", value_name = "WHEN", default_value = "always", value_parser = raw_setting::<SyncPolicy>)]
    audit_sync: RawSetting<SyncPolicy>,
}

impl AccessAndAuditArgs {
    /// Reads the flags and the keys file.
    pub fn read(self, faults: &mut Faults) -> Option<(AccessSettings, Option<AuditSettings>)> {
        let anonymous = faults.take("anonymous-role", self.anonymous_role);
        if anonymous == Some(Role::Prover) {
            faults.add(format!("{} must not be prover: {}", flag("anonymous-role"), Role::PROVERS_NEED_KEYS));
        }
        let listed = match self.api_keys {
            Some(keys) => faults.take("api-keys", keys).map(|keys| keys.0),
            None => Some(Vec::new()),
        };
        let sync = faults.take("audit-sync", self.audit_sync);
        let secret = self.voucher_secret.map(|secret| faults.take("voucher-secret", secret));
        let validity_max = faults.take_within("voucher-validity", self.voucher_validity, VALIDITY_BOUNDS);
        let uses_max = faults.take_within("voucher-uses", self.voucher_uses, 1..=VOUCHERS_MAX);
        let per_minute =
            faults.take_within("vouchers-per-minute", self.vouchers_per_minute, 1..=VOUCHERS_MAX);
        // Read in any case, so that its errors are reported together with all others.
        let base = KeyRing::new(listed.clone().unwrap_or_default(), anonymous.unwrap_or_default());
        let keys_file = self.keys_file.map(|path| KeysFile { path, base: base.clone() });
        let text = self.keys_toml.and_then(|text| faults.take("keys-toml", text));
        let keys = match (&keys_file, text) {
            (Some(_), Some(_)) => {
                let (file, text) = (flag("keys-file"), flag("keys-toml"));
                faults.add(format!("{file} and {text} are both set: keep one of them"));
                None
            }
            (Some(file), None) => faults.ok(file.read()),
            (None, Some(KeysText(text))) => base
                .with_file(&text)
                .map_err(|errors| {
                    let name = flag("keys-toml");
                    faults.add(format!("{name}: the text of a keys file is invalid: {}", errors.join("; ")));
                })
                .ok(),
            (None, None) => Some(base),
        };
        anonymous.and(listed)?;
        let sync = sync?;
        let secret = match secret {
            Some(secret) => Some(secret?),
            None => None,
        };
        let vouchers = VoucherSettings {
            secret,
            validity_max: validity_max?,
            uses_max: uses_max?,
            per_minute: per_minute?,
        };
        let access = AccessSettings { keys: keys?, keys_file, vouchers };
        Some((access, self.audit.map(|file| AuditSettings { file, sync })))
    }
}
