//! Sealed bodies: whether they are accepted, and where their keys come from.

use std::path::{Path, PathBuf};

use clap::Args;
use edgeprove_files::regular_file;
use edgeprove_sealing::{KeySource, SealingSecret};
use zeroize::Zeroizing;

use super::setting::{Faults, RawSetting, Setting, flag, raw_setting};

/// The most secrets: one, and those that it replaces.
const SECRETS_MAX: usize = 4;
/// The largest file of secrets.
const FILE_MAX_BYTES: u64 = 4 << 10;

impl Setting for SealingSecret {
    const SECRET: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        let wanted = || "32 random bytes in hex or base64, such as from: openssl rand -hex 32".to_owned();
        Self::read(text).ok_or_else(wanted)
    }
}

/// Flags of sealed bodies.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sealing")]
pub struct SealingArgs {
    /// Whether the server has keys for which clients can seal what they send: docs/SEALING.md.
    #[arg(long, env = "EDGEPROVE_SEALING", value_name = "BOOL", default_value = "true", value_parser = raw_setting::<bool>)]
    sealing: RawSetting<bool>,

    /// Secret from which these keys are derived: 32 random bytes in hex or base64, as from `openssl rand -hex 32`. Servers
    /// behind one address need the same. With several, separated by commas, clients use keys of the first, and those of all
    /// are accepted. Use the environment variable, because other users of the machine can read a command line. Default: the
    /// server makes keys of its own, which end with it.
    #[arg(long, env = "EDGEPROVE_SEALING_SECRET", hide_env_values = true, value_name = "SECRET,...", value_delimiter = ',', value_parser = raw_setting::<SealingSecret>)]
    sealing_secret: Vec<RawSetting<SealingSecret>>,

    /// File with such secrets, one a line, in place of `--sealing-secret`.
    #[arg(long, env = "EDGEPROVE_SEALING_SECRET_FILE", value_name = "FILE")]
    sealing_secret_file: Option<PathBuf>,
}

impl SealingArgs {
    /// Reads the flags and the file: the source of the keys, or `Some(None)` where nothing sealed is accepted.
    #[expect(
        clippy::option_option,
        reason = "the outer option is about errors, the inner one about the setting"
    )]
    pub(super) fn read(self, faults: &mut Faults) -> Option<Option<KeySource>> {
        let is_on = faults.take("sealing", self.sealing);
        let is_given = !self.sealing_secret.is_empty();
        let given: Vec<_> =
            self.sealing_secret.into_iter().map(|secret| faults.take("sealing-secret", secret)).collect();
        let secrets: Vec<SealingSecret> = match &self.sealing_secret_file {
            Some(_) if is_given => {
                let (file, secret) = (flag("sealing-secret-file"), flag("sealing-secret"));
                faults.add(format!("{file} and {secret} are both set: keep one of them"));
                return None;
            }
            Some(file) => from_file(file, faults)?,
            None => given.into_iter().collect::<Option<_>>()?,
        };
        if secrets.len() > SECRETS_MAX {
            faults.add(format!("{} must have at most {SECRETS_MAX} secrets", flag("sealing-secret")));
        }
        let source = if secrets.is_empty() { KeySource::OfThisServer } else { KeySource::Shared(secrets) };
        Some(is_on?.then_some(source))
    }
}

fn from_file(file: &Path, faults: &mut Faults) -> Option<Vec<SealingSecret>> {
    let name = flag("sealing-secret-file");
    let text = match regular_file::read_to_string(file, FILE_MAX_BYTES) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => {
            faults.add(format!("{name}: cannot read {}: {error}", file.display()));
            return None;
        }
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(index, line): (usize, &str)| {
        let secret = <SealingSecret as Setting>::read(line);
        secret.map_err(|wanted| format!("{name}: line {} of {} is not {wanted}", index + 1, file.display()))
    };
    match lines.map(read).collect::<Result<Vec<_>, String>>() {
        Ok(secrets) if secrets.is_empty() => {
            faults.add(format!("{name}: {} has no secret", file.display()));
            None
        }
        Ok(secrets) => Some(secrets),
        Err(fault) => {
            faults.add(fault);
            None
        }
    }
}
