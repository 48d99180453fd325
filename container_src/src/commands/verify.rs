//! `edgeprove verify`: whether a proof is right.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use edgeprove_protocol::Target;

use super::outcome::{self, Failure, other};
use crate::{
    config::{Faults, circuits::CircuitSettings, engine::EngineArgs, program::Environment},
    engine::Engine,
};
use edgeprove_engine::scheduler::WidthPolicy;
use edgeprove_prover::{CircuitKey, ProofParts, backend::FIELD_BYTES};

/// Longest time for one verification.
const PATIENCE: Duration = Duration::from_mins(1);
/// Largest file that is read. Proofs and keys have some kilobytes.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// What is to be verified.
#[derive(Debug, Args)]
struct FileArgs {
    /// The folder with `proof`, `public_inputs` and `vk`, as `edgeprove prove` and `bb prove` write it.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The proof's file, where it is elsewhere.
    #[arg(long, short, value_name = "FILE")]
    proof: Option<PathBuf>,

    /// The public inputs' file, where it is elsewhere.
    #[arg(long, short = 'i', value_name = "FILE")]
    public_inputs: Option<PathBuf>,

    /// The verification key's file, where it is elsewhere.
    #[arg(long, short = 'k', value_name = "FILE")]
    vk: Option<PathBuf>,

    /// The verifier the proof was made for: `noir-recursive` or `evm`.
    #[arg(long, short, value_name = "TARGET", default_value = "noir-recursive")]
    target: Target,
}

/// Flags of `edgeprove verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What cannot be verified, and why.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} has {bytes} bytes, which is no number of {FIELD_BYTES}-byte fields", path.display())]
    NoFields { path: PathBuf, bytes: usize },
    #[error("{} is larger than any proof or key", path.display())]
    TooLarge { path: PathBuf },
    #[error("name the {0} file, or the folder it is in")]
    Unnamed(&'static str),
}

/// Exit status 0 and `valid` when the proof is right, 1 and `invalid` when not.
#[must_use]
pub fn run(args: VerifyArgs) -> ExitCode {
    outcome::run(async {
        let mut faults = Faults::default();
        let engine = args.engine.read(&Environment::of_this_process(), &mut faults);
        let mut engine = faults.finish(engine)?;
        edgeprove_telemetry::start(engine.log.format, &engine.log.filter);
        let (circuit, parts) = args.files.read().map_err(other)?;

        engine.proving.scheduler.policy = WidthPolicy::Wide;
        let none = CircuitSettings { sources: Vec::new(), default: None, families: Vec::new() };
        let engine = Engine::start(&engine, none).await.map_err(other)?;
        let verdict = verify(&engine, &circuit, &parts).await;
        engine.stop().await;
        verdict.map(told)
    })
}

async fn verify(engine: &Engine, circuit: &CircuitKey, parts: &ProofParts) -> Result<bool, Failure> {
    let seat = engine.proving.permit().await.map_err(other)?;
    seat.verify(circuit, parts, Instant::now() + PATIENCE).await.map_err(other)
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn told(valid: bool) -> ExitCode {
    println!("{}", if valid { "valid" } else { "invalid" });
    if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl FileArgs {
    fn read(&self) -> Result<(CircuitKey, ProofParts), Unusable> {
        let find = |named: &Option<PathBuf>, name: &'static str| {
            let in_dir = || self.dir.as_ref().map(|dir| dir.join(name));
            named.clone().or_else(in_dir).ok_or(Unusable::Unnamed(name))
        };
        let proof = fields(&find(&self.proof, "proof")?)?;
        let public_inputs = fields(&find(&self.public_inputs, "public_inputs")?)?;
        let vk = read(&find(&self.vk, "vk")?)?;
        let circuit = CircuitKey {
            bytecode: bytes::Bytes::new(),
            vk: vk.into(),
            target: self.target,
            memory: Arc::default(),
        };
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
