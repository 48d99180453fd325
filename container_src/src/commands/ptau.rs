//! `edgeprove ptau`: powers of tau, from which the keys of circom circuits are made.
//!
//! The exit status is 64 where a setting is invalid, 65 where a file is no powers of tau or has another digest, 66 where it
//! cannot be read, and 1 where a file cannot be written or the command was stopped.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use clap::{Args, Subcommand};
use edgeprove_files::{Draft, regular_file};
use edgeprove_groth16::{
    PowersDigest, PowersError, PowersFile, Threads, ThreadsError,
    powers::{MAX_NEW_POWER, memory_of_check, memory_of_new, write_new},
};
use indicatif::ProgressBar;

use super::{
    exit_status::{self, Failure, other},
    stop_signals,
};
use crate::config::{ConfigError, Faults, RawSetting, memory, raw_setting, setting::Setting};

/// Everybody may read powers of tau.
const MODE: u32 = 0o644;
/// The name of a contribution of this program.
const CONTRIBUTOR: &str = "edgeprove ptau new";
/// The stack of a thread that knows the secret: more than the C library stores for later threads, so that it goes back to
/// the system when its thread ends.
const STACK_BYTES: usize = 64 << 20;
/// How often the progress is drawn.
const TICK: Duration = Duration::from_millis(200);

/// Flags of `edgeprove ptau`.
#[derive(Debug, Args)]
pub struct PtauArgs {
    #[command(subcommand)]
    command: PtauCommand,
}

#[derive(Debug, Subcommand)]
enum PtauCommand {
    /// Make powers of tau on this machine alone. Whoever uses them must trust that it forgot the secret, which it
    /// overwrites.
    ///
    /// Takes 1,152 bytes of disk for each constraint: 38 MB for the power 15, and 1.2 GB for 20.
    New(NewArgs),
    /// Check a file of another party, and copy it. Nothing is copied unless all of it is right.
    Import(ImportArgs),
    /// Check a file: all points, and that they are the powers of one number.
    Verify(VerifyArgs),
    /// Describe a file, without a check of its points.
    Info(InfoArgs),
}

#[derive(Debug, Args)]
struct NewArgs {
    /// Power of two of the constraints and public signals that a circuit may have: 1 to 20.
    #[arg(long, value_name = "N", value_parser = raw_setting::<u32>)]
    power: RawSetting<u32>,

    #[command(flatten)]
    out: OutArgs,
}

/// Where a file is written.
#[derive(Debug, Args)]
struct OutArgs {
    /// File to write. It gets its name when it is complete.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,

    /// Replace an existing file. The keys of circuits cannot be checked any more without the powers that they were made from.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// The file, prepared for keys (`snarkjs powersoftau prepare phase2`).
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    out: OutArgs,

    /// BLAKE2b-512 that the file must have, as `b2sum` prints it. The digests of the Hermez ceremony are known.
    #[arg(long, value_name = "HEX", value_parser = raw_setting::<PowersDigest>)]
    digest: Option<RawSetting<PowersDigest>>,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// BLAKE2b-512 that the file must have, as `b2sum` prints it.
    #[arg(long, value_name = "HEX", value_parser = raw_setting::<PowersDigest>)]
    digest: Option<RawSetting<PowersDigest>>,
}

#[derive(Debug, Args)]
struct InfoArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Setting for PowersDigest {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: edgeprove_groth16::powers::InvalidDigest| error.to_string())
    }
}

/// The command has no result.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be used", path.display())]
    Invalid {
        path: PathBuf,
        #[source]
        source: PowersError,
    },
    #[error("{} has the digest {found}, and not {expected}", path.display())]
    OtherDigest { path: PathBuf, found: Box<PowersDigest>, expected: Box<PowersDigest> },
    #[error("{} cannot be written", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} exists: choose another name with --out, or replace it with --force", path.display())]
    Exists { path: PathBuf },
    #[error("{} cannot be written", path.display())]
    NotMade {
        path: PathBuf,
        #[source]
        source: PowersError,
    },
    #[error("this takes {} MiB of memory, and {} MiB can be used", needed >> 20, usable >> 20)]
    TooLittleMemory { needed: u64, usable: u64 },
    #[error(transparent)]
    Threads(#[from] ThreadsError),
    #[error("stopped by {0}")]
    Stopped(&'static str),
    #[error("the computation failed")]
    Panicked,
}

impl From<Unusable> for Failure {
    fn from(error: Unusable) -> Self {
        match error {
            Unusable::Unreadable { .. } | Unusable::Invalid { source: PowersError::Io(_), .. } => {
                Self::NoInput(Box::new(error))
            }
            Unusable::Invalid { .. } | Unusable::OtherDigest { .. } => Self::Data(Box::new(error)),
            Unusable::Unwritable { .. }
            | Unusable::Exists { .. }
            | Unusable::NotMade { .. }
            | Unusable::TooLittleMemory { .. }
            | Unusable::Threads(_)
            | Unusable::Stopped(_)
            | Unusable::Panicked => other(error),
        }
    }
}

/// Runs one of the commands.
#[must_use]
pub fn run(args: PtauArgs) -> ExitCode {
    exit_status::run(async {
        edgeprove_telemetry::process::disable_core_dumps();
        match args.command {
            PtauCommand::New(args) => args.run().await,
            PtauCommand::Import(args) => args.run().await,
            PtauCommand::Verify(args) => args.run().await,
            PtauCommand::Info(args) => args.run().await,
        }
    })
}

impl NewArgs {
    async fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let power = faults.take_named("--power", self.power);
        let power = faults.finish(power)?;
        if !(1..=MAX_NEW_POWER).contains(&power) {
            let fault = format!("--power must be 1 to {MAX_NEW_POWER} (got {power})");
            return Err(ConfigError::new(fault).into());
        }
        let out = self.out;
        let report = blocking("making the powers of tau", move |work| {
            Work::check_memory(memory_of_new(power))?;
            let unwritable = |source| out.unwritable(source);
            let not_made = |source| Unusable::NotMade { path: out.out.clone(), source };
            let draft = out.draft()?;
            let write =
                |threads: &Threads| write_new(draft.file(), power, CONTRIBUTOR, threads, &work.is_cancelled);
            Threads::with_new(width(), "powers-of-tau", STACK_BYTES, write)?.map_err(not_made)?;
            let file = draft.file().try_clone().map_err(unwritable)?;
            let report = work.report(&PowersFile::open(file).map_err(not_made)?).map_err(not_made)?;
            out.finish(draft)?;
            Ok(report)
        });
        print(&report.await?)
    }
}

impl OutArgs {
    /// An empty file. Fails at once where the name is taken, because what is written takes a while.
    fn draft(&self) -> Result<Draft, Unusable> {
        if !self.force && self.out.symlink_metadata().is_ok() {
            return Err(Unusable::Exists { path: self.out.clone() });
        }
        Draft::create(&self.out, MODE).map_err(|source| self.unwritable(source))
    }

    /// Gives the file its name.
    fn finish(&self, draft: Draft) -> Result<(), Unusable> {
        let named = if self.force { draft.rename_durably() } else { draft.link_durably() };
        named.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Unusable::Exists { path: self.out.clone() },
            _ => self.unwritable(source),
        })
    }

    fn unwritable(&self, source: io::Error) -> Unusable {
        Unusable::Unwritable { path: self.out.clone(), source }
    }
}

impl ImportArgs {
    async fn run(self) -> Result<ExitCode, Failure> {
        let expected = expected(self.digest)?;
        let (path, out) = (self.file, self.out);
        let report = blocking("reading the file", move |work| {
            let unwritable = |source| out.unwritable(source);
            let original = open_file(&path)?;
            // Its sections have the right lengths, so that no more is copied than powers of tau have.
            let checked = original.try_clone().map_err(unwritable)?;
            drop(open(checked, &path)?);
            let bytes = original.metadata().map_err(unwritable)?.len();
            let mut draft = out.draft()?;
            work.copy(original, bytes, &mut draft, &path, unwritable)?;
            // What is checked is what is stored.
            let copy = draft.file().try_clone().map_err(unwritable)?;
            let report = work.check(&open(copy, &path)?, &path, expected)?;
            out.finish(draft)?;
            Ok(report)
        });
        print(&report.await?)
    }
}

impl VerifyArgs {
    async fn run(self) -> Result<ExitCode, Failure> {
        let expected = expected(self.digest)?;
        let path = self.file;
        let report = blocking("reading the file", move |work| {
            work.check(&open(open_file(&path)?, &path)?, &path, expected)
        });
        print(&report.await?)
    }
}

impl InfoArgs {
    async fn run(self) -> Result<ExitCode, Failure> {
        let path = self.file;
        let report = blocking("reading the file", move |work| {
            let powers = open(open_file(&path)?, &path)?;
            work.report(&powers).map_err(|source| Unusable::Invalid { path, source })
        });
        print(&report.await?)
    }
}

fn expected(digest: Option<RawSetting<PowersDigest>>) -> Result<Option<PowersDigest>, ConfigError> {
    let mut faults = Faults::default();
    let digest = digest.map(|digest| faults.take_named("--digest", digest));
    faults.finish(Some(digest.flatten()))
}

fn open_file(path: &Path) -> Result<File, Unusable> {
    regular_file::open(path).map_err(|source| Unusable::Unreadable { path: path.to_owned(), source })
}

fn open(file: File, path: &Path) -> Result<PowersFile, Unusable> {
    PowersFile::open(file).map_err(|source| Unusable::Invalid { path: path.to_owned(), source })
}

fn width() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn print(report: &str) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    out.write_all(report.as_bytes()).and_then(|()| out.flush()).map_err(other)?;
    Ok(ExitCode::SUCCESS)
}

/// The state of a command that computes.
struct Work {
    is_cancelled: Arc<AtomicBool>,
    bar: ProgressBar,
}

/// Runs a computation on a thread of its own, with its progress on a terminal. A signal ends it at its next step, so that no
/// part of a file is left.
async fn blocking<T: Send + 'static>(
    message: &'static str,
    compute: impl FnOnce(&Work) -> Result<T, Unusable> + Send + 'static,
) -> Result<T, Failure> {
    let signal = stop_signals::stop_or_hangup().map_err(other)?;
    let bar = ProgressBar::new_spinner().with_message(message);
    bar.enable_steady_tick(TICK);
    let is_cancelled = Arc::new(AtomicBool::new(false));
    let work = Work { is_cancelled: Arc::clone(&is_cancelled), bar: bar.clone() };
    let mut computing = tokio::task::spawn_blocking(move || compute(&work));
    let result = tokio::select! {
        result = &mut computing => result,
        name = signal => {
            is_cancelled.store(true, Ordering::Relaxed);
            // It ends in any case, and removes what it wrote.
            let _ = computing.await;
            bar.finish_and_clear();
            return Err(Unusable::Stopped(name).into());
        }
    };
    bar.finish_and_clear();
    Ok(result.map_err(|_| Unusable::Panicked)??)
}

impl Work {
    /// Fails where a computation takes more memory than this machine has, or this container.
    fn check_memory(needed: u64) -> Result<(), Unusable> {
        let usable = memory::for_provers();
        if needed > usable { Err(Unusable::TooLittleMemory { needed, usable }) } else { Ok(()) }
    }

    fn copy(
        &self,
        original: File,
        bytes: u64,
        draft: &mut Draft,
        path: &Path,
        unwritable: impl Fn(io::Error) -> Unusable,
    ) -> Result<(), Unusable> {
        let mut rest = original.take(bytes);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let cancelled = || Unusable::Invalid { path: path.to_owned(), source: PowersError::Cancelled };
            if self.is_cancelled.load(Ordering::Relaxed) {
                return Err(cancelled());
            }
            let read = rest.read(&mut buffer);
            match read.map_err(|source| Unusable::Unreadable { path: path.to_owned(), source })? {
                0 => return Ok(()),
                read => draft.write_all(&buffer[..read]).map_err(&unwritable)?,
            }
        }
    }

    /// Checks the digest first, because it takes the least time.
    fn check(
        &self,
        powers: &PowersFile,
        path: &Path,
        expected: Option<PowersDigest>,
    ) -> Result<String, Unusable> {
        let invalid = |source| Unusable::Invalid { path: path.to_owned(), source };
        Self::check_memory(memory_of_check(powers.info().power))?;
        let found = powers.digest(&self.is_cancelled).map_err(invalid)?;
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let (found, expected) = (Box::new(found), Box::new(expected));
            return Err(Unusable::OtherDigest { path: path.to_owned(), found, expected });
        }
        let threads = Threads::of_width(width())?;
        let on_section = |name| self.bar.set_message(format!("checking {name}"));
        powers.check(&threads, &self.is_cancelled, &on_section).map_err(invalid)?;
        self.report(powers).map_err(invalid)
    }

    fn report(&self, powers: &PowersFile) -> Result<String, PowersError> {
        let (info, digest) = (powers.info(), powers.digest(&self.is_cancelled)?);
        Ok(format!(
            "power:          {} (constraints and public signals of a circuit: at most {})\n\
             ceremony power: {}\n\
             contributions:  {}\n\
             origin:         {}\n\
             digest:         {digest}\n",
            info.power,
            info.domain_size() - 1,
            info.ceremony_power,
            info.contributions,
            digest.origin().as_str(),
        ))
    }
}
