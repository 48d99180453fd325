//! `edgeprove verify`: verifies one proof, and reports what does not fit.
//!
//! A Groth16 proof in the files of snarkjs is verified in this process ([`snarkjs_files`]), and needs nothing else. Any other
//! needs bb and no CRS: the one point that bb takes from there to verify is a constant, and is written to the spool.
//!
//! The exit status is 0 for a proof that verifies and 1 for one that does not. It is 64 where a file is not named, 65
//! where a file has the wrong content, 66 where a file cannot be read, and 70 where bb could not verify.

mod snarkjs_files;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use edgeprove_groth16::JsonError;
use edgeprove_protocol::Target;

use super::exit_status::{self, Failure};
use crate::{
    config::{ConfigError, Faults, RawSetting, engine::EngineArgs, environment::Environment, raw_setting},
    engine::settings::VerifierSettings,
    proof_files::{FILE_MAX_BYTES, FileFormat, ProofFiles, TarError, is_tar, read_bounded},
};
use edgeprove_prover::{
    Backend as _, CircuitKey, CircuitProgram, ProofParts, ProverError, RecyclePolicy,
    backend::FIELD_BYTES,
    barretenberg::{
        BbProgram, WarmBackend, crs,
        key_facts::{KeyFacts, NotAKey},
    },
};
use edgeprove_spool::{Spool, SpoolError};
use edgeprove_telemetry::Supervisor;

/// Longest time for one verification.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The files of the proof.
#[derive(Debug, Args)]
struct FileArgs {
    /// Folder with the files `proof`, `public_inputs` and `vk`, as `edgeprove prove` and `bb prove` write them, or with
    /// `proof.json`, `public.json` and `verification_key.json`, as `edgeprove prove` and snarkjs write them; or a tar file
    /// with them, as a server returns it for `Accept: application/x-tar`.
    #[arg(value_name = "DIR|TAR")]
    path: Option<PathBuf>,

    /// File of the proof. Default: `proof` or `proof.json` in the folder or tar file.
    #[arg(long, short, value_name = "FILE")]
    proof: Option<PathBuf>,

    /// File of the public inputs. Default: `public_inputs` or `public.json` in the folder or tar
    /// file.
    #[arg(long, short = 'i', value_name = "FILE")]
    public_inputs: Option<PathBuf>,

    /// File of the verification key. Default: `vk` or `verification_key.json` in the folder or tar file.
    #[arg(long, short = 'k', value_name = "FILE")]
    vk: Option<PathBuf>,

    /// Target of the proof: `noir-recursive`, `evm` or `groth16`. Default: the target of the verification key.
    #[arg(long, short, value_name = "TARGET", value_parser = raw_setting::<Target>)]
    target: Option<RawSetting<Target>>,
}

/// Flags of `edgeprove verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// The files cannot be verified.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} has {bytes} bytes, which is not a multiple of {FIELD_BYTES}", path.display())]
    NoFields { path: PathBuf, bytes: usize },
    #[error("{} is larger than any proof or key, which have at most {FILE_MAX_BYTES} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{} has no proof with its files", path.display())]
    BadTar {
        path: PathBuf,
        #[source]
        source: TarError,
    },
    #[error(
        "{} has files of bb and files of snarkjs, and one of them may be of another proof: name the three files by \
         --proof, --public-inputs and --vk",
        path.display()
    )]
    TwoFormats { path: PathBuf },
    #[error("{} is neither a folder nor a tar file: give DIR, TAR, or each file by its flag", path.display())]
    NotTar { path: PathBuf },
    #[error("{} is not a verification key of bb", path.display())]
    NotAKey {
        path: PathBuf,
        #[source]
        source: NotAKey,
    },
    #[error("{} is not a file of snarkjs for Groth16", path.display())]
    NotOfSnarkjs {
        path: PathBuf,
        #[source]
        source: JsonError,
    },
    #[error("the proof could not be verified")]
    NotVerified(#[source] Box<dyn std::error::Error>),
    #[error("bb refused the files: {reason}")]
    Refused { reason: String },
    #[error("the {0} file is missing: give DIR or TAR, or the file itself")]
    NotGiven(&'static str),
}

impl From<Unusable> for Failure {
    fn from(error: Unusable) -> Self {
        match error {
            Unusable::NotGiven(_) => Self::Config(ConfigError::new(error.to_string())),
            Unusable::NotVerified(_) => Self::Software(Box::new(error)),
            Unusable::Unreadable { .. } => Self::NoInput(Box::new(error)),
            Unusable::NoFields { .. }
            | Unusable::TooLarge { .. }
            | Unusable::BadTar { .. }
            | Unusable::TwoFormats { .. }
            | Unusable::NotTar { .. }
            | Unusable::NotAKey { .. }
            | Unusable::NotOfSnarkjs { .. }
            | Unusable::Refused { .. } => Self::Data(Box::new(error)),
        }
    }
}

/// A proof to verify.
struct Subject {
    facts: KeyFacts,
    vk: Vec<u8>,
    parts: ProofParts,
}

/// Why a proof does not verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Misfit {
    #[error("the verification key is for the target {key}, and --target is {asked}")]
    Target { key: Target, asked: Target },
    #[error(
        "the verification key is for {key} public inputs, and there are {given}: \
         the key is that of another circuit, or the public inputs are not those of the proof"
    )]
    PublicInputs { key: u64, given: usize },
    #[error(
        "a proof of {given} fields cannot belong to this verification key, whose proofs have {key}: \
         the proof was cut, is for another target, or is of another circuit"
    )]
    ProofLength { key: usize, given: usize },
    #[error(
        "the proof does not verify, although the lengths fit: the proof or a public input was changed, \
         or the verification key is that of another circuit"
    )]
    Changed,
}

/// Prints `valid` and returns status 0, or `invalid` with the reason and status 1.
#[must_use]
pub fn run(args: VerifyArgs, environment: &Environment) -> ExitCode {
    exit_status::run(async {
        let mut faults = Faults::default();
        let target = match args.files.target.clone() {
            Some(target) => faults.take_named("--target", target).map(Some),
            None => Some(None),
        };
        if args.files.format()? == FileFormat::Snarkjs {
            let target = faults.finish(target)?;
            let misfit = snarkjs_files::misfit(&args.files.contents(FileFormat::Snarkjs)?, target)?;
            return Ok(print_verdict(misfit.as_ref()));
        }
        let verifier = args.engine.read_for_verification(environment, &mut faults).await;
        let ((verifier, log), target) = faults.finish(verifier.zip(target))?;
        edgeprove_telemetry::start(log.format, &log.filter);
        edgeprove_telemetry::process::disable_core_dumps();
        let subject = args.files.read()?;
        if let Some(misfit) = subject.misfit(target) {
            return Ok(print_verdict(Some(&misfit)));
        }
        let is_valid = verify(verifier, subject).await?;
        Ok(print_verdict((!is_valid).then_some(&Misfit::Changed)))
    })
}

/// What does not fit of a proof with its files; `None`: it verifies. Files of bb need the settings of bb.
pub(super) async fn misfit_of(
    files: ProofFiles,
    verifier: Option<VerifierSettings>,
) -> Result<Option<String>, Failure> {
    let named = |name: &str, bytes| (PathBuf::from(name), bytes);
    let ([proof, public_inputs, vk], format) = (files.format.names(), files.format);
    let contents =
        [named(proof, files.proof), named(public_inputs, files.public_inputs), named(vk, files.vk)];
    let Some(verifier) = verifier.filter(|_| format == FileFormat::Bb) else {
        return Ok(snarkjs_files::misfit(&contents, None)?.map(|misfit| misfit.to_string()));
    };
    let subject = Subject::of(contents)?;
    if let Some(misfit) = subject.misfit(None) {
        return Ok(Some(misfit.to_string()));
    }
    let is_valid = verify(verifier, subject).await?;
    Ok((!is_valid).then(|| Misfit::Changed.to_string()))
}

fn software(error: impl std::error::Error + 'static) -> Failure {
    Failure::Software(Box::new(error))
}

async fn verify(settings: VerifierSettings, subject: Subject) -> Result<bool, Failure> {
    let VerifierSettings { bb, msm, memory_max_bytes, spool_dir } = settings;
    let spool = Spool::open(&spool_dir).map_err(software)?;
    let crs = spool.create_dir().map_err(software)?;
    crs::write_for_verification(crs.path())
        .map_err(|error| software(SpoolError::of("write to", crs.path(), error)))?;
    let program = BbProgram { path: bb, crs_dir: crs.path().to_owned(), msm, memory_max_bytes };
    let supervisor = Supervisor::default();
    let backend = WarmBackend::start(&program, 1, &[1], RecyclePolicy::NEVER, &supervisor);
    let verdict = verify_with(&backend, subject).await;
    supervisor.stop().await;
    verdict
}

async fn verify_with(backend: &WarmBackend, subject: Subject) -> Result<bool, Failure> {
    let Subject { facts, vk, parts } = subject;
    let circuit = CircuitKey {
        program: CircuitProgram::Acir(bytes::Bytes::new()),
        vk: vk.into(),
        target: facts.target,
        memory: Arc::default(),
    };
    let permit = backend.permit(1, Arc::new(()));
    permit.verify(&circuit, &parts, Instant::now() + TIMEOUT).await.map_err(|error| match error {
        ProverError::Refused { reason } => Unusable::Refused { reason }.into(),
        error => software(error),
    })
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print_verdict(misfit: Option<&Misfit>) -> ExitCode {
    match misfit {
        None => {
            println!("valid");
            ExitCode::SUCCESS
        }
        Some(misfit) => {
            println!("invalid: {misfit}");
            ExitCode::FAILURE
        }
    }
}

impl Subject {
    /// The proof in files of bb: proof, public inputs and verification key.
    fn of([proof, public_inputs, (path, vk)]: [(PathBuf, Vec<u8>); 3]) -> Result<Self, Unusable> {
        let facts = KeyFacts::read(&vk).map_err(|source| Unusable::NotAKey { path, source })?;
        let parts = ProofParts { proof: fields(proof)?, public_inputs: fields(public_inputs)? };
        Ok(Self { facts, vk, parts })
    }

    /// What shows without bb that the proof does not verify.
    fn misfit(&self, target: Option<Target>) -> Option<Misfit> {
        let key = self.facts.target;
        if let Some(asked) = target.filter(|asked| *asked != key) {
            return Some(Misfit::Target { key, asked });
        }
        let (public_inputs, given) = (self.facts.public_inputs, self.parts.public_inputs.len());
        if public_inputs != given as u64 {
            return Some(Misfit::PublicInputs { key: public_inputs, given });
        }
        let (fields, given) = (self.facts.proof_fields(), self.parts.proof.len());
        (fields != given).then_some(Misfit::ProofLength { key: fields, given })
    }
}

impl FileArgs {
    /// Whose files they are: by the verification key that a flag names, else by the names in the folder or tar file. Files
    /// that cannot be read count as those of bb.
    fn format(&self) -> Result<FileFormat, Unusable> {
        let is_json = |bytes: Vec<u8>| bytes.trim_ascii_start().starts_with(b"{");
        let is_of_snarkjs = match (&self.vk, &self.path) {
            (Some(path), _) => read(path).is_ok_and(is_json),
            (None, Some(path)) if path.is_dir() => match FileFormat::found_in(path).as_slice() {
                [_, _, ..] => return Err(Unusable::TwoFormats { path: path.clone() }),
                [only] => *only == FileFormat::Snarkjs,
                [] => false,
            },
            (None, Some(path)) => read_tar(path).is_ok_and(|files| files.format == FileFormat::Snarkjs),
            (None, None) => false,
        };
        Ok(if is_of_snarkjs { FileFormat::Snarkjs } else { FileFormat::Bb })
    }

    /// The contents of the files with the proof, the public inputs and the verification key, each with its path.
    fn contents(&self, format: FileFormat) -> Result<[(PathBuf, Vec<u8>); 3], Unusable> {
        let tar = match &self.path {
            Some(path) if !path.is_dir() => Some((path, read_tar(path)?)),
            Some(_) | None => None,
        };
        // The file that a flag names, else the one of the tar file or of the folder.
        let find = |flag: &Option<PathBuf>, name: &'static str, of: fn(&ProofFiles) -> &Vec<u8>| match (
            flag, &tar, &self.path,
        ) {
            (Some(path), _, _) => Ok((path.clone(), read(path)?)),
            (None, Some((path, files)), _) => Ok((path.join(name), of(files).clone())),
            (None, None, Some(dir)) => Ok((dir.join(name), read(&dir.join(name))?)),
            (None, None, None) => Err(Unusable::NotGiven(name)),
        };
        let [proof, public_inputs, vk] = format.names();
        Ok([
            find(&self.proof, proof, |files| &files.proof)?,
            find(&self.public_inputs, public_inputs, |files| &files.public_inputs)?,
            find(&self.vk, vk, |files| &files.vk)?,
        ])
    }

    fn read(&self) -> Result<Subject, Unusable> {
        Subject::of(self.contents(FileFormat::Bb)?)
    }
}

fn read_tar(path: &Path) -> Result<ProofFiles, Unusable> {
    let bytes = read(path)?;
    if !is_tar(&bytes) {
        return Err(Unusable::NotTar { path: path.to_owned() });
    }
    ProofFiles::from_tar(&bytes).map_err(|source| Unusable::BadTar { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let read = read_bounded(path).map_err(|source| Unusable::Unreadable { path: path.to_owned(), source })?;
    read.ok_or_else(|| Unusable::TooLarge { path: path.to_owned() })
}

fn fields((path, bytes): (PathBuf, Vec<u8>)) -> Result<Vec<[u8; FIELD_BYTES]>, Unusable> {
    let (fields, rest) = bytes.as_chunks::<FIELD_BYTES>();
    if rest.is_empty() { Ok(fields.to_vec()) } else { Err(Unusable::NoFields { path, bytes: bytes.len() }) }
}
