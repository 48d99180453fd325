//! `edgeprove prove`: proves one witness without a server, in the same way as the server does.

use std::{
    fs,
    io::{self, IsTerminal, Write as _},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use edgeprove_job_rules::estimator::DurationEstimator;
use edgeprove_protocol::{Priority, limits::COMPRESSION_RATIO_FLOOR_BYTES};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{fs::File, io::AsyncRead};
use tokio_util::io::ReaderStream;

use super::{
    exit_status::{self, Failure, other},
    input_file, stop_signals,
};
use crate::{
    config::{
        ConfigError, Faults, Purpose, circuits::CircuitArgs, engine::EngineArgs, environment::Environment,
    },
    engine::Engine,
    proof_files::{FileFormat, ProofFiles},
};
use edgeprove_audit::Audit;
use edgeprove_engine::{
    circuits::{
        Circuit,
        registry::{LoadState, LookupError},
    },
    proof_cache::{CachePolicy, ProofCache},
    proof_service::{Candidate, Candidates, Parts, ProofRequest, ProofService, WhenBusy},
    proof_systems::inputs::InputDocument,
    proving::{ProofResult, Urgency, milliseconds},
    scheduler::WidthPolicy,
    witness::{
        self,
        computation::{self, ComputeError},
        intake::{self, IntakeLimits, SpooledWitness},
    },
};
use edgeprove_files::Draft;
use edgeprove_prover::barretenberg::redaction::without_values;

/// Flags of `edgeprove prove`.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// Gzipped witness, as `nargo execute` and `noir_js` write it; for a circom circuit the gzipped .wtns file. `-` reads
    /// standard input.
    #[arg(long, short, value_name = "FILE", required_unless_present = "inputs", conflicts_with = "inputs")]
    witness: Option<PathBuf>,

    /// Inputs as JSON instead of a witness, as `edgeprove witness` takes them. `-` reads standard input.
    #[arg(long, short, value_name = "FILE")]
    inputs: Option<PathBuf>,

    /// Folder for the files `proof`, `public_inputs`, `vk` and `vk_hash`, in the formats of bb. For a circom circuit:
    /// `proof.json`, `public.json` and `verification_key.json`, in the formats of snarkjs. Files of an earlier proof are
    /// replaced; a folder with files of the other format is refused.
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,

    #[command(flatten)]
    circuits: CircuitArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// The circuit could not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("the circuit cannot be proved: {0}")]
struct NotLoaded(String);

/// There are several circuits, and none is the default one.
#[derive(Debug, thiserror::Error)]
#[error("there are several circuits: name the one to prove with --circuit FILE")]
struct Unnamed;

/// The witness cannot be proved.
#[derive(Debug, thiserror::Error)]
#[error("the witness {} cannot be used", path.display())]
struct UnusableWitness<E: std::error::Error + 'static> {
    path: PathBuf,
    #[source]
    source: E,
}

/// The inputs cannot be proved.
#[derive(Debug, thiserror::Error)]
#[error("the inputs {} cannot be used", path.display())]
struct UnusableInputs {
    path: PathBuf,
    #[source]
    source: ComputeError,
}

/// The witness cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the witness {} cannot be read", path.display())]
struct UnreadableWitness {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The folder has files of the other format.
#[derive(Debug, thiserror::Error)]
#[error(
    "--out {} has files of another proof in the formats of {of}: choose another folder, or remove them",
    path.display()
)]
struct OtherFormat {
    path: PathBuf,
    of: &'static str,
}

/// A signal stopped the command.
#[derive(Debug, thiserror::Error)]
#[error("interrupted by {0}")]
struct Interrupted(&'static str);

/// A file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be written", path.display())]
struct FileFailed {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Proves, and prints one line of JSON about the proof.
#[must_use]
pub fn run(args: ProveArgs, environment: &Environment) -> ExitCode {
    exit_status::run(async {
        // First of all: to read the settings runs bb, and a wrong name is the most likely mistake.
        let witness = match (&args.witness, &args.inputs) {
            (Some(witness), _) => Source::Witness(WitnessFile::open(witness).await?),
            (None, inputs) => {
                let path = inputs.clone().unwrap_or_else(|| PathBuf::from("-"));
                Source::Inputs(input_file::read(&path)?, path)
            }
        };
        let mut faults = Faults::default();
        let circuits = args.circuits.read(&mut faults);
        let engine = args.engine.read(environment, Purpose::Use, &mut faults).await;
        if circuits.as_ref().is_some_and(|circuits| circuits.sources.is_empty()) {
            faults.add("--circuit (EDGEPROVE_CIRCUIT) is missing: give the compiled circuit");
        }
        let (circuits, (mut engine, log)) = faults.finish(circuits.zip(engine))?;
        edgeprove_telemetry::start(log.format, &log.filter);
        edgeprove_telemetry::process::disable_core_dumps();
        edgeprove_telemetry::log_panics(without_values);
        // Signals are caught from here on, so that an interrupted command leaves no witness in the spool.
        let signal = stop_signals::stop_or_hangup().map_err(other)?;
        // There is only one proof.
        engine.proving.scheduler.policy = WidthPolicy::Wide;
        engine.program.spool_max_bytes = None;

        let engine = Engine::start(&engine, circuits).map_err(other)?;
        let outcome = tokio::select! {
            outcome = prove(&engine, witness, &args.out) => outcome,
            signal = signal => Err(other(Interrupted(signal))),
        };
        engine.stop().await;
        outcome.map(|()| ExitCode::SUCCESS)
    })
}

async fn prove(engine: &Engine, source: Source, out: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    let progress = Progress::new();
    progress.stage("loading the circuit");
    engine.load().await;
    let circuit = match engine.circuits.find(None) {
        Ok(circuit) => circuit,
        Err(LookupError::Failed { .. }) => {
            let errors = engine.circuits.entries().filter_map(|entry| match entry.state() {
                LoadState::Failed(failure) => Some(failure.error.as_str()),
                LoadState::Loading | LoadState::Ready(_) => None,
            });
            return Err(other(NotLoaded(errors.collect::<Vec<_>>().join("; "))));
        }
        Err(_) => return Err(other(Unnamed)),
    };
    check_out(out, FileFormat::of(circuit.target))?;

    progress.stage(source.stage());
    let (path, witness) = source.spool(engine, &circuit).await?;
    let checked = witness::check(witness, &circuit).await;
    let (witness, digest) = checked.map_err(|source| other(UnusableWitness { path, source }))?;
    let read = started.elapsed();

    progress.stage("proving");
    let service = ProofService::new(Parts {
        proving: Arc::clone(&engine.proving),
        circuits: Arc::clone(&engine.circuits),
        cache: ProofCache::disabled(),
        estimator: Arc::new(DurationEstimator::new(NonZeroUsize::MIN)),
        audit: Audit::off(),
    });
    let target = circuit.target;
    let open = service.open(&circuit, target, Priority::default(), None);
    let first = Candidate { circuit, target, witness, digest };
    let request = ProofRequest {
        tenant: None,
        cache: CachePolicy::OFF,
        urgency: Urgency::default(),
        timeout: None,
        when_busy: WhenBusy::Refuse,
    };
    let candidates = Candidates { first, smaller: Vec::new() };
    let mut proved =
        open.prove(candidates, request, &|_| ()).await.map_err(|failure| other(failure.error))?.result;
    proved.timings.upload_ms = milliseconds(read);
    proved.timings.total_ms = milliseconds(started.elapsed());
    progress.stage("writing the proof");
    write(out, &proved).map_err(other)?;
    progress.finish();
    print_result(out, &proved);
    Ok(())
}

/// Where the witness comes from.
enum Source {
    Witness(WitnessFile),
    Inputs(InputDocument, PathBuf),
}

impl Source {
    fn stage(&self) -> &'static str {
        match self {
            Self::Witness(_) => "reading the witness",
            Self::Inputs(..) => "computing the witness",
        }
    }

    /// Puts the witness into the spool. Returns the file that it comes from as well.
    async fn spool(
        self,
        engine: &Engine,
        circuit: &Arc<Circuit>,
    ) -> Result<(PathBuf, SpooledWitness), Failure> {
        match self {
            Self::Witness(WitnessFile { path, content }) => {
                let limits = IntakeLimits {
                    upload_max_bytes: u64::MAX,
                    decompressed_max_bytes: u64::MAX,
                    ratio_max: u64::MAX,
                    ratio_floor_bytes: COMPRESSION_RATIO_FLOOR_BYTES,
                    idle: Duration::from_hours(1),
                };
                let bound = Some(circuit.witness_max_bytes());
                let content = ReaderStream::new(content);
                match intake::receive(&engine.spool, &limits, None, bound, content).await {
                    Ok(witness) => Ok((path, witness)),
                    Err(source) => Err(other(UnusableWitness { path, source })),
                }
            }
            Self::Inputs(inputs, path) => {
                let time_limit = engine.proving.options().timeout;
                match computation::compute(inputs, circuit, "", &engine.spool, time_limit).await {
                    Ok(witness) => Ok((path, witness)),
                    Err(source) => Err(Failure::Data(Box::new(UnusableInputs { path, source }))),
                }
            }
        }
    }
}

/// The file of the witness, which is open.
struct WitnessFile {
    path: PathBuf,
    content: Box<dyn AsyncRead + Unpin + Send>,
}

impl WitnessFile {
    /// Opens the file; `-` is standard input. A FIFO is opened too, so that another program can write the witness.
    async fn open(path: &Path) -> Result<Self, Failure> {
        let path = path.to_owned();
        if path == Path::new("-") {
            return Ok(Self { path, content: Box::new(tokio::io::stdin()) });
        }
        let opened = async {
            let file = File::open(&path).await?;
            if file.metadata().await?.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok(file)
        };
        match opened.await {
            Ok(file) => Ok(Self { path, content: Box::new(file) }),
            Err(source) => Err(Failure::NoInput(Box::new(UnreadableWitness { path, source }))),
        }
    }
}

/// Refuses a folder with files of the other format: nothing would show which of the two proofs is meant.
fn check_out(out: &Path, format: FileFormat) -> Result<(), Failure> {
    let others = FileFormat::found_in(out);
    let Some(other) = others.into_iter().find(|found| *found != format) else { return Ok(()) };
    let of = match other {
        FileFormat::Bb => "bb",
        FileFormat::Snarkjs => "snarkjs",
    };
    let error = OtherFormat { path: out.to_owned(), of };
    Err(Failure::Config(ConfigError::new(error.to_string())))
}

/// Writes the files, all of them or none unless a rename fails. A symbolic link with one of the names is replaced, and its
/// target stays as it is.
fn write(out: &Path, proved: &ProofResult) -> Result<(), FileFailed> {
    fs::create_dir_all(out).map_err(failed(out))?;
    let circuit = &proved.key.circuit;
    let no_proof = || failed(out)(io::Error::other("the fields are not those of a proof"));
    let files = ProofFiles::of(circuit.target, &proved.parts, &circuit.vk).ok_or_else(no_proof)?;
    let mut named = files.named().to_vec();
    if files.format == FileFormat::Bb {
        named.push(("vk_hash", &proved.key.vk_hash));
    }
    let drafts = named.into_iter().map(|(name, bytes)| {
        let target = out.join(name);
        let mut draft = Draft::create(&target, 0o666).map_err(failed(&target))?;
        draft.write_all(bytes).map_err(failed(&target))?;
        Ok((target, draft))
    });
    let drafts: Vec<_> = drafts.collect::<Result<_, _>>()?;
    drafts.into_iter().try_for_each(|(target, draft)| draft.rename().map_err(failed(&target)))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> FileFailed {
    let path = path.to_owned();
    move |source| FileFailed { path, source }
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print_result(out: &Path, proved: &ProofResult) {
    let line = serde_json::json!({
        "out": out,
        "target": proved.key.circuit.target,
        "verified": proved.verified,
        "vk_hash": format!("0x{}", proved.vk_hash()),
        "timings": proved.timings,
    });
    println!("{line}");
}

/// Progress on a terminal. Nothing is printed where standard error is not a terminal.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new() -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(4);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        let shown = bar.clone();
        edgeprove_telemetry::pause_for_lines(move |write| {
            // To suspend a finished bar would draw it once more.
            if shown.is_finished() { write() } else { shown.suspend(write) }
        });
        Self(Some(bar))
    }

    fn stage(&self, name: &'static str) {
        if let Some(bar) = &self.0 {
            // A message draws the bar, and a step does not.
            bar.inc(1);
            bar.set_message(name);
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_with_message("proved");
            end_line();
        }
    }
}

/// Ends the line of the bar: the result or an error follows.
#[expect(clippy::print_stderr, reason = "the bar is on standard error")]
fn end_line() {
    eprintln!();
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0
            && !bar.is_finished()
        {
            bar.abandon();
            end_line();
        }
    }
}
