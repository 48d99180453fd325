//! Webhooks: who may be called, and how the requests are signed.

use std::path::{Path, PathBuf};

use clap::Args;
use edgeprove_files::regular_file;
use edgeprove_outbound::{AllowedHost, AllowedHosts};
use edgeprove_webhooks::{InvalidSecret, WebhookSecret};

use super::setting::{Faults, RawSetting, Setting, flag, raw_setting};
use crate::jobs::webhooks::WebhookSettings;

/// The most secrets: one, and those that it replaces.
const SECRETS_MAX: usize = 4;
/// The largest file of secrets.
const FILE_MAX_BYTES: u64 = 4 << 10;

impl Setting for WebhookSecret {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|error: InvalidSecret| error.to_string())
    }
}

/// Flags of webhooks.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Webhooks")]
pub struct WebhookArgs {
    /// Hosts to which the server sends a request when a job has finished whose caller sent `X-Callback-Url`, such as
    /// `hooks.example` (port 443) or `10.0.0.7:8080`; several are separated by commas. A listed host may be internal, and
    /// called without HTTPS. `*` is every host with a public address, over HTTPS. Default: none, and such requests are
    /// refused.
    #[arg(long, env = "EDGEPROVE_WEBHOOK_HOSTS", value_name = "HOST[:PORT],...", value_delimiter = ',', value_parser = raw_setting::<AllowedHost>)]
    webhook_hosts: Vec<RawSetting<AllowedHost>>,

    #[command(flatten)]
    secrets: WebhookSecretArgs,
}

/// The secrets with which webhooks are signed.
#[derive(Debug, Clone, Args)]
pub struct WebhookSecretArgs {
    /// Secret with which webhooks are signed: `whsec_` and 24 to 64 random bytes in base64, as from `echo whsec_$(openssl rand
    /// -base64 32)`. With several, separated by commas, each webhook has a signature with each, so that receivers can
    /// change from one to the next. Use the environment variable, because other users of the machine can read a command
    /// line.
    #[arg(long, env = "EDGEPROVE_WEBHOOK_SECRET", hide_env_values = true, value_name = "SECRET,...", value_delimiter = ',', value_parser = raw_setting::<WebhookSecret>)]
    webhook_secret: Vec<RawSetting<WebhookSecret>>,

    /// File with such secrets, one a line, in place of `--webhook-secret`.
    #[arg(long, env = "EDGEPROVE_WEBHOOK_SECRET_FILE", value_name = "FILE")]
    webhook_secret_file: Option<PathBuf>,
}

impl WebhookArgs {
    /// Reads the flags and the file.
    pub(super) fn read(self, faults: &mut Faults) -> Option<WebhookSettings> {
        let hosts = AllowedHosts(faults.take_all("webhook-hosts", self.webhook_hosts));
        let secrets = self.secrets.read(faults)?;
        if !hosts.is_empty() && secrets.is_empty() {
            let (hosts, secret) = (flag("webhook-hosts"), flag("webhook-secret"));
            faults.add(format!("{hosts} needs {secret}: webhooks are signed"));
        }
        Some(WebhookSettings { hosts, secrets })
    }
}

impl WebhookSecretArgs {
    /// Reads the flags and the file: the current secret, and those that it replaces.
    pub fn read(self, faults: &mut Faults) -> Option<Vec<WebhookSecret>> {
        let are_given = !self.webhook_secret.is_empty();
        let given = self.webhook_secret.into_iter().map(|secret| faults.take("webhook-secret", secret));
        let given: Vec<_> = given.collect();
        let secrets: Vec<WebhookSecret> = match &self.webhook_secret_file {
            Some(_) if are_given => {
                let (file, secret) = (flag("webhook-secret-file"), flag("webhook-secret"));
                faults.add(format!("{file} and {secret} are both set: keep one of them"));
                return None;
            }
            Some(file) => from_file(file, faults)?,
            None => given.into_iter().collect::<Option<_>>()?,
        };
        if secrets.len() > SECRETS_MAX {
            faults.add(format!("{} must have at most {SECRETS_MAX} secrets", flag("webhook-secret")));
        }
        Some(secrets)
    }
}

fn from_file(file: &Path, faults: &mut Faults) -> Option<Vec<WebhookSecret>> {
    let name = flag("webhook-secret-file");
    let text = match regular_file::read_to_string(file, FILE_MAX_BYTES) {
        Ok(text) => text,
        Err(error) => {
            faults.add(format!("{name}: cannot read {}: {error}", file.display()));
            return None;
        }
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(index, line): (usize, &str)| {
        let secret = WebhookSecret::read(line);
        secret.map_err(|wanted| format!("{name}: line {} of {} is not {wanted}", index + 1, file.display()))
    };
    match lines.map(read).collect::<Result<Vec<_>, String>>() {
        Ok(secrets) => Some(secrets),
        Err(fault) => {
            faults.add(fault);
            None
        }
    }
}
