//! How a command ends: its exit status, and its error on standard error.

use std::{error::Error, process::ExitCode};

use crate::config::ConfigError;

/// The settings cannot be used (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;
/// What is to be read cannot be (`EX_NOINPUT`).
const NO_INPUT: u8 = 66;

/// Most threads that wait for disks and read witnesses. Each costs some 80 KiB once it has run, and tokio would start
/// one for every upload at work; a disk is not faster for being asked by hundreds.
const BLOCKING_THREADS: usize = 32;

/// Why a command failed, with what its exit status says.
#[derive(Debug)]
pub enum Failure {
    /// The settings cannot be used: 64.
    Config(ConfigError),
    /// What is to be read cannot be: 66.
    NoInput(Box<dyn Error>),
    /// Anything else: 1.
    Other(Box<dyn Error>),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl<E: Error + 'static> From<Box<E>> for Failure {
    fn from(error: Box<E>) -> Self {
        Self::Other(error)
    }
}

/// Turns any error into a failure with status 1.
pub fn other(error: impl Error + 'static) -> Failure {
    Failure::Other(Box::new(error))
}

/// Runs a command's future to its end on a runtime of its own.
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
        Err(error) => return told(&other(error)),
    };
    let code = runtime.block_on(command).unwrap_or_else(|failure| told(&failure));
    // A blocking read of standard input, say, must not hold up the end.
    runtime.shutdown_background();
    code
}

#[expect(clippy::print_stderr, reason = "the error may be that logs cannot be set up")]
fn told(failure: &Failure) -> ExitCode {
    match failure {
        Failure::Config(error) => {
            eprintln!("edgeprove: {error}");
            ExitCode::from(USAGE)
        }
        Failure::NoInput(error) => {
            eprintln!("edgeprove: {}", edgeprove_telemetry::chain(error.as_ref()));
            ExitCode::from(NO_INPUT)
        }
        Failure::Other(error) => {
            eprintln!("edgeprove: {}", edgeprove_telemetry::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
