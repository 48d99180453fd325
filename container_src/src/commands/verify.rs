//! `edgeprove verify`: verifies one proof.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use edgeprove_protocol::Target;

use super::exit_status::{self, Failure, other};
use crate::{
    config::{Faults, RawSetting, engine::EngineArgs, environment::Environment, raw_setting},
    engine::{Engine, settings::CircuitSettings},
};
use edgeprove_engine::scheduler::WidthPolicy;
use edgeprove_prover::{CircuitKey, ProofParts, backend::FIELD_BYTES};

/// Longest time for one verification.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Largest file that is read. Proofs and keys have a few kilobytes.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// The files of the proof.
#[derive(Debug, Args)]
struct FileArgs {
    /// Folder with the files `proof`, `public_inputs` and `vk`, as `edgeprove prove` and `bb prove` write them.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,

    /// File of the proof. Default: `proof` in the folder.
    #[arg(long, short, value_name = "FILE")]
    proof: Option<PathBuf>,

    /// File of the public inputs. Default: `public_inputs` in the folder.
    #[arg(long, short = 'i', value_name = "FILE")]
    public_inputs: Option<PathBuf>,

    /// File of the verification key. Default: `vk` in the folder.
    #[arg(long, short = 'k', value_name = "FILE")]
    vk: Option<PathBuf>,

    /// Target of the proof: `noir-recursive` or `evm`.
    #[arg(long, short, value_name = "TARGET", default_value = "noir-recursive", value_parser = raw_setting::<Target>)]
    target: RawSetting<Target>,
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
    #[error("{} is larger than any proof or key", path.display())]
    TooLarge { path: PathBuf },
    #[error("the {0} file is missing: give DIR, or the file itself")]
    NotGiven(&'static str),
}

/// Prints `valid` and returns status 0, or `invalid` and status 1.
#[must_use]
pub fn run(args: VerifyArgs, environment: &Environment) -> ExitCode {
    exit_status::run(async {
        let mut faults = Faults::default();
        let engine = args.engine.read(environment, &mut faults);
        let target = faults.take_named("--target", args.files.target.clone());
        let ((mut engine, log), target) = faults.finish(engine.zip(target))?;
        edgeprove_telemetry::start(log.format, &log.filter);
        let (circuit, parts) = args.files.read(target).map_err(other)?;

        engine.proving.scheduler.policy = WidthPolicy::Wide;
        let none = CircuitSettings { sources: Vec::new(), default: None, families: Vec::new() };
        let engine = Engine::start(&engine, none).await.map_err(other)?;
        let verdict = verify(&engine, &circuit, &parts).await;
        engine.stop().await;
        verdict.map(print_verdict)
    })
}

async fn verify(engine: &Engine, circuit: &CircuitKey, parts: &ProofParts) -> Result<bool, Failure> {
    let permit = engine.proving.permit().await.map_err(other)?;
    permit.verify(circuit, parts, Instant::now() + TIMEOUT).await.map_err(other)
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print_verdict(is_valid: bool) -> ExitCode {
    println!("{}", if is_valid { "valid" } else { "invalid" });
    if is_valid { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl FileArgs {
    fn read(&self, target: Target) -> Result<(CircuitKey, ProofParts), Unusable> {
        let find = |named: &Option<PathBuf>, name: &'static str| {
            let in_dir = || self.dir.as_ref().map(|dir| dir.join(name));
            named.clone().or_else(in_dir).ok_or(Unusable::NotGiven(name))
        };
        let proof = fields(&find(&self.proof, "proof")?)?;
        let public_inputs = fields(&find(&self.public_inputs, "public_inputs")?)?;
        let vk = read(&find(&self.vk, "vk")?)?;
        let circuit =
            CircuitKey { bytecode: bytes::Bytes::new(), vk: vk.into(), target, memory: Arc::default() };
        Ok((circuit, ProofParts { proof, public_inputs }))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let unreadable = |source| Unusable::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_MAX_BYTES {
        return Err(Unusable::TooLarge { path: path.to_owned() });
    }
    std::fs::read(path).map_err(unreadable)
}

fn fields(path: &Path) -> Result<Vec<[u8; FIELD_BYTES]>, Unusable> {
    let bytes = read(path)?;
    let (fields, rest) = bytes.as_chunks::<FIELD_BYTES>();
    if rest.is_empty() {
        return Ok(fields.to_vec());
    }
    Err(Unusable::NoFields { path: path.to_owned(), bytes: bytes.len() })
}
