//! Sealed bodies: whether they are accepted, and where their keys come from.

use std::path::PathBuf;

use clap::Args;
use edgeprove_sealing::{KeySource, SealingSecret};

use super::{
    setting::{Faults, RawSetting, raw_setting},
    shared_secrets::GivenSecrets,
};

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
        let secrets = GivenSecrets {
            secret_flag: "sealing-secret",
            secrets: self.sealing_secret,
            file_flag: "sealing-secret-file",
            file: self.sealing_secret_file,
        };
        let source = secrets.read(faults)?;
        Some(is_on?.then_some(source))
    }
}
