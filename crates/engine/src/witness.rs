//! Uploads: streamed to disk while they are checked, and gone without a trace afterwards.
//!
//! - [`intake`]: takes an upload in, refusing at the first byte that shows it is no witness. Start here.
//! - [`stack`]: holds the inflated bytes against Noir's format and the circuit's shape.
//! - [`spool`]: the files it all lives in, which wipe themselves.
//! - [`from_artifacts`]: back into the spool from the artefacts.

pub mod from_artifacts;
pub mod intake;
pub mod stack;

use edgeprove_protocol::{HasProblemType, ProblemType};
use std::{
    fmt,
    io::{self, Read},
};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use edgeprove_spool::SpoolError;
use intake::SpooledWitness;
use stack::{StackError, WitnessShape};

/// A complete upload is no witness of the circuit it was sent for.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Its content is not right.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// It could not be read back.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The check broke off, because the server stops.
    #[error("the check was given up")]
    GivenUp,
}

/// SHA-256 of an inflated witness. Guesses of a witness could be tested with it, so it is shown nowhere, and wiped when
/// dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct WitnessDigest(Zeroizing<[u8; 32]>);

impl WitnessDigest {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for WitnessDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WitnessDigest(…)")
    }
}

/// Reads, and hashes what it reads.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    fn digest(self) -> WitnessDigest {
        WitnessDigest(Zeroizing::new(self.hash.finalize().into()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hash.update(&bytes[..read]);
        Ok(read)
    }
}

/// Holds a complete upload against Noir's format and a circuit's shape, off the async threads.
pub async fn checked(
    upload: SpooledWitness,
    shape: WitnessShape,
) -> Result<(SpooledWitness, WitnessDigest), CheckError> {
    off_the_async_threads(move || {
        let mut inflated = Hashing::new(upload.file.inflated()?);
        stack::check(&mut inflated, &shape)?;
        Ok((upload, inflated.digest()))
    })
    .await
}

/// The digest of a witness that was checked before.
pub async fn digested(upload: SpooledWitness) -> Result<(SpooledWitness, WitnessDigest), CheckError> {
    off_the_async_threads(move || {
        let mut inflated = Hashing::new(upload.file.inflated()?);
        io::copy(&mut inflated, &mut io::sink())
            .map_err(|error| SpoolError::of("read", upload.file.path(), error))?;
        Ok((upload, inflated.digest()))
    })
    .await
}

async fn off_the_async_threads<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CheckError> + Send + 'static,
) -> Result<T, CheckError> {
    // Reading panics on no input; a runtime that shuts down drops the task.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(CheckError::GivenUp))
}

impl HasProblemType for CheckError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Stack(error) => error.kind(),
            Self::Spool(error) => error.kind(),
            Self::GivenUp => ProblemType::NotReady,
        }
    }
}
