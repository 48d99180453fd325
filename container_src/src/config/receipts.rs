//! Receipts: whether they are signed, and where their keys come from.

use std::path::PathBuf;

use clap::Args;
use edgeprove_sealing::{KeySource, SealingSecret};

use super::{
    setting::{Faults, RawSetting, raw_setting},
    shared_secrets::GivenSecrets,
};

/// Flags of receipts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Receipts")]
pub struct ReceiptArgs {
    /// Whether each proof has a receipt, which the server signs: docs/RECEIPTS.md.
    #[arg(long, env = "EDGEPROVE_RECEIPTS", value_name = "BOOL", default_value = "true", value_parser = raw_setting::<bool>)]
    receipts: RawSetting<bool>,

    /// Secret from which the keys of receipts are derived: 32 random bytes in hex or base64, as from `openssl rand -hex 32`.
    /// Servers behind one address need the same. With several, separated by commas, keys of the first sign, and those of all
    /// are published. Use the environment variable, because other users of the machine can read a command line. Default: the
    /// server makes keys of its own, which nobody can fetch any more after it has stopped.
    #[arg(long, env = "EDGEPROVE_RECEIPT_SECRET", hide_env_values = true, value_name = "SECRET,...", value_delimiter = ',', value_parser = raw_setting::<SealingSecret>)]
    receipt_secret: Vec<RawSetting<SealingSecret>>,

    /// File with such secrets, one a line, in place of `--receipt-secret`.
    #[arg(long, env = "EDGEPROVE_RECEIPT_SECRET_FILE", value_name = "FILE")]
    receipt_secret_file: Option<PathBuf>,
}

impl ReceiptArgs {
    /// Reads the flags and the file: the source of the keys, or `Some(None)` where no receipts are signed.
    #[expect(
        clippy::option_option,
        reason = "the outer option is about errors, the inner one about the setting"
    )]
    pub(super) fn read(self, faults: &mut Faults) -> Option<Option<KeySource>> {
        let is_on = faults.take("receipts", self.receipts);
        let secrets = GivenSecrets {
            secret_flag: "receipt-secret",
            secrets: self.receipt_secret,
            file_flag: "receipt-secret-file",
            file: self.receipt_secret_file,
        };
        let source = secrets.read(faults)?;
        Some(is_on?.then_some(source))
    }
}
