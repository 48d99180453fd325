//! `edgeprove receipt`: verifies receipts, the signed statements of a server about its proofs. docs/RECEIPTS.md describes them.
//!
//! The exit status is 0 for a receipt that is valid and fits the files, and 1 for one that is not or does not. It is 64 where
//! a flag is invalid or no key is named, 65 where a file has no receipt or no key, 66 where a file cannot be read, and 70
//! where the keys cannot be fetched.

use std::{
    fmt::Write as _,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use edgeprove_groth16::{JsonError, Proof, PublicSignals};
use edgeprove_protocol::{ProofSystem, receipt::Receipt};
use edgeprove_receipts::{InvalidKeys, InvalidReceipt, PublicKeys, verify};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    circuit::{print, print_json},
    exit_status::{self, Failure},
    remote_server::{ClientKeyArgs, RemoteServer, ServerUrl},
};
use crate::{
    config::{ConfigError, Faults, RawSetting, raw_setting},
    proof_files::{FILE_MAX_BYTES, FileFormat, ProofFiles, read_bounded},
};

/// Flags of `edgeprove receipt`.
#[derive(Debug, Args)]
pub struct ReceiptArgs {
    #[command(subcommand)]
    command: ReceiptCommand,
}

#[derive(Debug, Subcommand)]
enum ReceiptCommand {
    /// Verify a receipt, and print what it states.
    ///
    /// Exit status: 0 valid, 1 invalid or of other files, 64 a flag is invalid, 65 there is no receipt or no key in a file,
    /// 66 a file cannot be read, 70 the keys cannot be fetched.
    Verify(Box<VerifyArgs>),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The receipt, or JSON with the member `receipt`: the answer of a server with a proof, or a job. `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// File with the public key: a JWK, a JWK Set, or what a server answers at `/.well-known/edgeprove`. Nothing is fetched.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    public_key: Option<PathBuf>,

    /// URL of the server or the edge whose keys are fetched.
    #[arg(long, value_name = "URL", value_parser = raw_setting::<ServerUrl>)]
    url: Option<RawSetting<ServerUrl>>,

    /// The proof must be this one: the bytes, or `proof.json` of snarkjs.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,

    /// The public inputs must be these: 32-byte fields as bb writes them, or `public.json` of snarkjs.
    #[arg(long, value_name = "FILE")]
    public_inputs: Option<PathBuf>,

    /// The verification key must be this one, byte for byte as the server has it.
    #[arg(long, value_name = "FILE")]
    vk: Option<PathBuf>,

    /// Print the verdict and what the receipt states as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    key: ClientKeyArgs,
}

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} has more than {FILE_MAX_BYTES} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{} has no receipt: {reason}", path.display())]
    NoReceipt { path: PathBuf, reason: String },
    #[error("{} has no key", path.display())]
    NoKey {
        path: PathBuf,
        #[source]
        source: InvalidKeys,
    },
    #[error("{} is not a file of snarkjs for Groth16", path.display())]
    NotOfSnarkjs {
        path: PathBuf,
        #[source]
        source: JsonError,
    },
}

impl From<Unusable> for Failure {
    fn from(error: Unusable) -> Self {
        match error {
            Unusable::Unreadable { .. } => Self::NoInput(Box::new(error)),
            Unusable::TooLarge { .. }
            | Unusable::NoReceipt { .. }
            | Unusable::NoKey { .. }
            | Unusable::NotOfSnarkjs { .. } => Self::Data(Box::new(error)),
        }
    }
}

/// Runs the command.
#[must_use]
pub fn run(args: ReceiptArgs) -> ExitCode {
    let ReceiptCommand::Verify(args) = args.command;
    exit_status::run(args.run())
}

impl VerifyArgs {
    async fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let url = self.url.map(|url| faults.take_named("--url", url));
        let key = self.key.read(&mut faults);
        if url.is_none() && self.public_key.is_none() {
            faults
                .add("give --public-key FILE, or --url URL of the server whose keys are fetched".to_owned());
        }
        let (url, key) = faults.finish(url.map_or(Some(None), |url| url.map(Some)).zip(key))?;
        let text = receipt_in(&self.file, &read_input(&self.file)?)?;
        let keys = match (&self.public_key, url) {
            (Some(path), _) => {
                let json = read(path)?;
                PublicKeys::from_json(&json)
                    .map_err(|source| Unusable::NoKey { path: path.clone(), source })?
            }
            (None, Some(url)) => fetch_keys(RemoteServer::new(url, key)).await?,
            (None, None) => return Err(ConfigError::new("no key is named".to_owned()).into()),
        };
        let verified = match verify(&text, &keys) {
            Err(error @ (InvalidReceipt::NotAJws | InvalidReceipt::TooLarge)) => {
                let (path, reason) = (self.file, error.to_string());
                return Err(Unusable::NoReceipt { path, reason }.into());
            }
            verified => verified,
        };
        let (receipt, reason) = match verified {
            Ok(receipt) => {
                let misfit = misfit_of_files(&receipt, [&self.proof, &self.public_inputs, &self.vk])?;
                (Some(receipt), misfit)
            }
            Err(error) => (None, Some(error.to_string())),
        };
        print_verdict(receipt.as_ref(), reason.as_deref(), self.json)
    }
}

/// The receipt in a text: the whole text, or the member of a JSON document.
fn receipt_in(path: &Path, bytes: &[u8]) -> Result<String, Unusable> {
    let none = |reason: &str| Unusable::NoReceipt { path: path.to_owned(), reason: reason.to_owned() };
    let text = std::str::from_utf8(bytes).map_err(|_| none("it is not text"))?.trim();
    if !text.starts_with('{') {
        return Ok(text.to_owned());
    }
    let document: Value = serde_json::from_str(text).map_err(|error| none(&error.to_string()))?;
    let receipt = document["receipt"].as_str();
    receipt.map(ToOwned::to_owned).ok_or_else(|| none("the JSON has no member `receipt`"))
}

async fn fetch_keys(
    server: Result<RemoteServer, super::remote_server::ServerError>,
) -> Result<PublicKeys, Failure> {
    let software = |error: Box<dyn std::error::Error>| Failure::Software(error);
    let server = server.map_err(|error| software(error.into()))?;
    let document = server.json(Method::GET, "/.well-known/edgeprove", None).await;
    let document = document.map_err(|error| software(error.into()))?;
    // The document has other keys as well.
    let receipts = json!({ "receipts": document["receipts"] });
    PublicKeys::from_json(receipts.to_string().as_bytes()).map_err(|error| software(error.into()))
}

/// What of these files does not fit the receipt: the proof, the public inputs and the verification key.
fn misfit_of_files(
    receipt: &Receipt,
    [proof, public_inputs, vk]: [&Option<PathBuf>; 3],
) -> Result<Option<String>, Failure> {
    let is_groth16 = receipt.proof_system == ProofSystem::Groth16.as_str();
    let digest = |path: &Option<PathBuf>, of: fn(&[u8], bool) -> Result<String, JsonError>| {
        let Some(path) = path else { return Ok(None) };
        let digest = of(&read(path)?, is_groth16);
        digest.map(Some).map_err(|source| Unusable::NotOfSnarkjs { path: path.clone(), source })
    };
    let files = FileDigests {
        proof: digest(proof, proof_digest)?,
        public_inputs: digest(public_inputs, public_inputs_digest)?,
        vk: digest(vk, |bytes, _| Ok(sha256(bytes)))?,
    };
    Ok(files.misfit(receipt))
}

/// Digests of what belongs to a proof, as a receipt has them. `None`: it is not compared.
#[derive(Debug, Clone)]
pub(super) struct FileDigests {
    /// Of the proof.
    proof: Option<String>,
    /// Of the public inputs.
    public_inputs: Option<String>,
    /// Of the verification key.
    vk: Option<String>,
}

impl FileDigests {
    /// The digests of a proof with its files.
    pub(super) fn of(files: &ProofFiles) -> Result<Self, JsonError> {
        let is_groth16 = files.format == FileFormat::Snarkjs;
        Ok(Self {
            proof: Some(proof_digest(&files.proof, is_groth16)?),
            public_inputs: Some(public_inputs_digest(&files.public_inputs, is_groth16)?),
            vk: Some(sha256(&files.vk)),
        })
    }

    /// What of this does not fit a receipt.
    pub(super) fn misfit(&self, receipt: &Receipt) -> Option<String> {
        let pairs = [
            ("the proof", &self.proof, &receipt.proof_hash),
            ("the public inputs", &self.public_inputs, &receipt.public_inputs_hash),
            ("the verification key", &self.vk, &receipt.vk_sha256),
        ];
        pairs.into_iter().find_map(|(what, found, stated)| {
            let found = found.as_ref().filter(|found| *found != stated)?;
            Some(format!("the receipt is of another proof: {what} has the SHA-256 {found}, and the receipt has {stated}"))
        })
    }
}

/// The digest of a file with a proof, as bb writes it, or snarkjs for Groth16.
fn proof_digest(bytes: &[u8], is_groth16: bool) -> Result<String, JsonError> {
    Ok(if is_groth16 { sha256(Proof::from_json(bytes)?.words().as_flattened()) } else { sha256(bytes) })
}

/// The digest of a file with public inputs, as bb writes it, or snarkjs for Groth16.
fn public_inputs_digest(bytes: &[u8], is_groth16: bool) -> Result<String, JsonError> {
    Ok(if is_groth16 {
        sha256(PublicSignals::from_json(bytes)?.words().as_flattened())
    } else {
        sha256(bytes)
    })
}

/// A digest, as a receipt has it.
fn sha256(bytes: impl AsRef<[u8]>) -> String {
    format!("0x{}", hex::encode(Sha256::digest(bytes)))
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let read = read_bounded(path).map_err(|source| Unusable::Unreadable { path: path.to_owned(), source })?;
    read.ok_or_else(|| Unusable::TooLarge { path: path.to_owned() })
}

/// As [`read`]; `-` is standard input.
fn read_input(path: &Path) -> Result<Vec<u8>, Unusable> {
    if path != Path::new("-") {
        return read(path);
    }
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|source| Unusable::Unreadable { path: path.to_owned(), source })?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(Unusable::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

fn print_verdict(
    receipt: Option<&Receipt>,
    reason: Option<&str>,
    is_json: bool,
) -> Result<ExitCode, Failure> {
    let code = if reason.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if is_json {
        let mut verdict = json!({ "valid": reason.is_none() });
        if let Some(reason) = reason {
            verdict["reason"] = reason.into();
        }
        if let Some(receipt) = receipt {
            verdict["receipt"] = serde_json::to_value(receipt).map_err(exit_status::other)?;
        }
        return print_json(&verdict).map(|_| code);
    }
    let text = match (reason, receipt) {
        (Some(reason), _) => format!("invalid: {}\n", edgeprove_telemetry::one_line(reason)),
        (None, Some(receipt)) => format!("valid\n{}", described(receipt)),
        (None, None) => "valid\n".to_owned(),
    };
    print(&text).map(|_| code)
}

/// What a receipt states, for people.
fn described(receipt: &Receipt) -> String {
    let yes = |is_so: bool| if is_so { "yes" } else { "no" };
    let backend = format!("{} {}", receipt.backend.name, receipt.backend.version);
    let server = format!("{}, Edgeprove {}", receipt.server.id, receipt.server.version);
    let lines: [(&str, &str); 16] = [
        ("circuit", receipt.circuit.as_str()),
        ("target", receipt.target.as_str()),
        ("vk hash", &receipt.vk_hash),
        ("made by", &backend),
        ("proof hash", &receipt.proof_hash),
        ("public inputs hash", &receipt.public_inputs_hash),
        ("verified by the server", yes(receipt.verified)),
        ("from its cache", yes(receipt.cached)),
        ("accepted", &receipt.accepted_at),
        ("started", &receipt.started_at),
        ("finished", &receipt.finished_at),
        ("witness came sealed", yes(receipt.sealed)),
        ("spool wiped", yes(receipt.spool_wiped)),
        ("audit head", receipt.audit_head.as_deref().unwrap_or("no audit log")),
        ("request", &receipt.request_id),
        ("server", &server),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "  {name}: {}", edgeprove_telemetry::one_line(value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_the_text_or_a_member_of_it() {
        let of = |text: &[u8]| receipt_in(Path::new("file"), text);
        assert_eq!(of(b" a.b.c\n").unwrap(), "a.b.c");
        assert_eq!(of(br#"{"receipt": "a.b.c", "proof": "x"}"#).unwrap(), "a.b.c");
        for none in [&b"{}"[..], b"{\"receipt\": 7}", b"{", b"\xff"] {
            assert!(matches!(of(none), Err(Unusable::NoReceipt { .. })), "{none:?}");
        }
    }
}
