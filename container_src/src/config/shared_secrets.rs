//! Secrets of 32 bytes that servers share, from which they derive keys: of sealed bodies, and of receipts.

use std::path::{Path, PathBuf};

use edgeprove_files::regular_file;
use edgeprove_sealing::{KeySource, SealingSecret};
use zeroize::Zeroizing;

use super::setting::{Faults, RawSetting, Setting, flag};

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

/// Secrets as they are given: by a flag, or in a file.
pub(super) struct GivenSecrets {
    /// The name of the flag.
    pub(super) secret_flag: &'static str,
    /// Its values.
    pub(super) secrets: Vec<RawSetting<SealingSecret>>,
    /// The name of the flag of the file.
    pub(super) file_flag: &'static str,
    /// The file.
    pub(super) file: Option<PathBuf>,
}

impl GivenSecrets {
    /// Reads the flag or the file. Without a secret, the server makes keys of its own.
    pub(super) fn read(self, faults: &mut Faults) -> Option<KeySource> {
        let Self { secret_flag, secrets, file_flag, file } = self;
        let is_given = !secrets.is_empty();
        let given: Vec<_> = secrets.into_iter().map(|secret| faults.take(secret_flag, secret)).collect();
        let secrets: Vec<SealingSecret> = match &file {
            Some(_) if is_given => {
                let (file, secret) = (flag(file_flag), flag(secret_flag));
                faults.add(format!("{file} and {secret} are both set: keep one of them"));
                return None;
            }
            Some(file) => from_file(file_flag, file, faults)?,
            None => given.into_iter().collect::<Option<_>>()?,
        };
        if secrets.len() > SECRETS_MAX {
            faults.add(format!("{} must have at most {SECRETS_MAX} secrets", flag(secret_flag)));
        }
        Some(if secrets.is_empty() { KeySource::OfThisServer } else { KeySource::Shared(secrets) })
    }
}

fn from_file(file_flag: &'static str, file: &Path, faults: &mut Faults) -> Option<Vec<SealingSecret>> {
    let name = flag(file_flag);
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
