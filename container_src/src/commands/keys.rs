//! `edgeprove keys`: makes API keys, and the secrets that go with them.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use edgeprove_protocol::headers;
use sha2::{Digest as _, Sha256};

use super::exit_status::{self, Failure, other};
use crate::{
    access::{Role, owner_of_key},
    config::{
        Faults, RawSetting, raw_setting,
        setting::{Setting, flag},
        webhooks::WebhookSecretArgs,
    },
};

/// Random bytes of a key: nobody can guess it, and its digest does not reveal it.
const KEY_BYTES: usize = 32;

/// Flags of `edgeprove keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a random key. Prints the key, which is stored nowhere, and the lines for the keys file and for `--api-keys`.
    New(NewArgs),
    /// Print the secret with which the holder of a key verifies webhooks of the holder's jobs, and no others. Receives the
    /// secrets of `serve`, and prints one for each.
    WebhookSecret(WebhookSecretOfArgs),
}

#[derive(Debug, Args)]
struct WebhookSecretOfArgs {
    /// Name of the key's holder.
    #[arg(value_name = "NAME", value_parser = raw_setting::<HolderName>)]
    name: RawSetting<HolderName>,

    #[command(flatten)]
    secrets: WebhookSecretArgs,
}

#[derive(Debug, Args)]
struct NewArgs {
    /// Name of the key's holder: 1 to 64 characters of `A-Z a-z 0-9 - _ .`
    #[arg(value_name = "NAME", value_parser = raw_setting::<HolderName>)]
    name: RawSetting<HolderName>,

    /// Role of the holder: `user`, `priority` or `operator`.
    #[arg(long, value_name = "ROLE", default_value = "user", value_parser = raw_setting::<Role>)]
    role: RawSetting<Role>,
}

/// The name of a key's holder.
#[derive(Debug, Clone)]
struct HolderName(String);

impl Setting for HolderName {
    fn read(text: &str) -> Result<Self, String> {
        if headers::is_acceptable_user(text.as_bytes()) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("a name of 1 to {} characters of A-Z a-z 0-9 - _ .", headers::USER_MAX_BYTES))
    }
}

/// Runs `edgeprove keys`.
#[must_use]
pub fn run(args: KeysArgs) -> ExitCode {
    exit_status::run(async {
        match args.command {
            KeysCommand::New(args) => args.run(),
            KeysCommand::WebhookSecret(args) => args.run(),
        }
    })
}

impl NewArgs {
    fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let name = faults.take_named("NAME", self.name);
        let role = faults.take_named("--role", self.role);
        let (HolderName(name), role) = faults.finish(name.zip(role))?;
        let mut random = [0; KEY_BYTES];
        getrandom::fill(&mut random).map_err(other)?;
        print(&mut io::stdout().lock(), &name, role, &hex::encode(random)).map_err(other)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl WebhookSecretOfArgs {
    fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let name = faults.take_named("NAME", self.name);
        let secrets = self.secrets.read(&mut faults);
        if secrets.as_ref().is_some_and(Vec::is_empty) {
            faults.add(format!(
                "{} is missing: the secret of a key is derived from it",
                flag("webhook-secret")
            ));
        }
        let (HolderName(name), secrets) = faults.finish(name.zip(secrets))?;
        let mut out = io::stdout().lock();
        for secret in secrets.iter().filter_map(|secret| secret.of_owner(&owner_of_key(&name))) {
            writeln!(out, "{}", *secret.expose()).map_err(other)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(out: &mut impl Write, name: &str, role: Role, key: &str) -> io::Result<()> {
    let digest = hex::encode(Sha256::digest(key));
    // A name may have dots, which need quotes.
    writeln!(
        out,
        "# The key of {name}. It is shown only here:\n{key}\n\n\
         # For the keys file (--keys-file) or EDGEPROVE_KEYS:\n\
         [keys.\"{name}\"]\nsha256 = [\"{digest}\"]\nrole = \"{}\"\n\n\
         # For --api-keys, or API_KEYS of the edge, whose holders have the role `user`:\n{name}:{digest}",
        role.as_str()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::api_keys::{KeyDigest, KeyRing};

    #[test]
    fn the_printed_table_accepts_the_printed_key() {
        let mut out = Vec::new();
        print(&mut out, "web.shop", Role::Operator, "a key").unwrap();
        let text = String::from_utf8(out).unwrap();
        let table = text.split("EDGEPROVE_KEYS:\n").nth(1).and_then(|rest| rest.split("\n#").next()).unwrap();
        let ring = KeyRing::default().with_file(table).unwrap();
        let (name, profile) = ring.holder(&KeyDigest::of(b"a key")).unwrap();
        assert_eq!((name, profile.role), ("web.shop", Role::Operator));
        let listed = edgeprove_protocol::caller::parse_keys(text.lines().last().unwrap()).unwrap();
        assert_eq!(listed[0].name, "web.shop");
    }
}
