//! Runs a command, prints its error on standard error, and returns its exit status.

use std::{error::Error, process::ExitCode};

use crate::{app::StartError, config::ConfigError};

/// A setting cannot be used (`EX_USAGE` of sysexits.h). An invalid command line has clap's status 2.
const CONFIG: u8 = 64;
/// An input file has the wrong content (`EX_DATAERR`).
const DATA: u8 = 65;
/// An input file cannot be read (`EX_NOINPUT`).
const NO_INPUT: u8 = 66;
/// A command whose status 1 has another meaning could not do its work (`EX_SOFTWARE`).
const SOFTWARE: u8 = 70;

/// Most threads for blocking work: waiting for disks, and reading witnesses. Each needs some 80 KiB, and tokio's
/// default would start one for each upload; hundreds of threads do not make a disk faster.
const BLOCKING_THREADS: usize = 32;

/// Why a command failed. The kind decides the exit status.
#[derive(Debug)]
pub enum Failure {
    /// A setting cannot be used: 64.
    Config(ConfigError),
    /// An input file has the wrong content: 65.
    Data(Box<dyn Error>),
    /// The command could not do its work, and its status 1 has another meaning: 70.
    Software(Box<dyn Error>),
    /// An input file cannot be read: 66.
    NoInput(Box<dyn Error>),
    /// Anything else: 1.
    Other(Box<dyn Error>),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        if error.is_of_a_setting() {
            Self::Config(ConfigError::new(edgeprove_telemetry::chain(&error)))
        } else {
            other(error)
        }
    }
}

impl<E: Error + 'static> From<Box<E>> for Failure {
    fn from(error: Box<E>) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    /// The error with its causes, in one line.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Config(error) => error.to_string(),
            Self::Data(error) | Self::NoInput(error) | Self::Software(error) | Self::Other(error) => {
                edgeprove_telemetry::chain(error.as_ref())
            }
        }
    }
}

/// A failure with status 1.
pub fn other(error: impl Error + 'static) -> Failure {
    Failure::Other(Box::new(error))
}

/// Runs a command on a new runtime.
pub fn run<F>(command: F) -> ExitCode
where
    F: Future<Output = Result<ExitCode, Failure>>,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return report(&other(error)),
    };
    let code = runtime.block_on(command).unwrap_or_else(|failure| report(&failure));
    // A blocking read, such as one of standard input, must not delay the end.
    runtime.shutdown_background();
    code
}

/// Prints the error and returns the exit status.
#[expect(clippy::print_stderr, reason = "the log may not be set up yet")]
#[must_use]
pub fn report(failure: &Failure) -> ExitCode {
    let (error, code) = match failure {
        Failure::Config(error) => {
            eprintln!("edgeprove: {error}");
            return ExitCode::from(CONFIG);
        }
        Failure::Data(error) => (error, ExitCode::from(DATA)),
        Failure::NoInput(error) => (error, ExitCode::from(NO_INPUT)),
        Failure::Software(error) => (error, ExitCode::from(SOFTWARE)),
        Failure::Other(error) => (error, ExitCode::FAILURE),
    };
    eprintln!("edgeprove: {}", edgeprove_telemetry::chain(error.as_ref()));
    code
}
