//! Witnesses: streamed or computed into the spool, checked, and wiped when they are dropped.
//!
//! - [`computation`]: computes a witness from inputs.
//! - [`intake`]: receives an upload and refuses it at the first byte that shows it is not a witness. Start here.
//! - [`from_artifacts`]: copies a stored witness from the artifact store back into the spool.
//! - [`check`], [`digest`], [`public_values`]: read a spooled witness again, to check its shape, to compute its digest, or for the
//!   public inputs of its proof.

pub mod computation;
pub mod from_artifacts;
pub mod intake;

use std::{
    fmt,
    io::{self, Read},
    sync::Arc,
};

use edgeprove_protocol::{HasProblemType, ProblemType};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    circuits::Circuit,
    private_thread::{self, NoResult},
    proof_systems::{PublicValues, WitnessError},
};
use edgeprove_spool::{SpoolError, SpoolFile};
use intake::SpooledWitness;

/// Why a spooled witness was refused.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The content is not a witness of the circuit.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The file could not be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// No thread could be started for the check.
    #[error("no thread could be started for the check")]
    NoThread(#[source] io::Error),
    /// The server stopped during the check.
    #[error("the check was stopped")]
    Stopped,
}

impl HasProblemType for CheckError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Witness(error) => error.kind(),
            Self::Spool(_) | Self::NoThread(_) => ProblemType::WitnessPreparationFailed,
            Self::Stopped => ProblemType::NotReady,
        }
    }
}

/// SHA-256 of a decompressed witness.
///
/// Guesses of a witness could be tested against it, so `Debug` hides it, and it is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct WitnessDigest(Zeroizing<[u8; 32]>);

impl WitnessDigest {
    /// The bytes of the digest.
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

/// A reader that hashes the bytes it reads.
struct HashingReader<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> HashingReader<R> {
    fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    fn digest(self) -> WitnessDigest {
        WitnessDigest(Zeroizing::new(self.hash.finalize().into()))
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hash.update(&bytes[..read]);
        Ok(read)
    }
}

/// Checks the format and the shape of a spooled witness, and computes its digest, on a thread of its own.
pub async fn check(
    witness: SpooledWitness,
    circuit: &Arc<Circuit>,
) -> Result<(SpooledWitness, WitnessDigest), CheckError> {
    let circuit = Arc::clone(circuit);
    on_a_thread(move || {
        let mut decompressed = HashingReader::new(witness.file.decompressed()?);
        circuit.check_witness(&mut decompressed)?;
        Ok((witness, decompressed.digest()))
    })
    .await
}

/// Computes the digest of a witness that was checked before, on a thread of its own.
pub async fn digest(witness: SpooledWitness) -> Result<(SpooledWitness, WitnessDigest), CheckError> {
    on_a_thread(move || {
        let mut decompressed = HashingReader::new(witness.file.decompressed()?);
        io::copy(&mut decompressed, &mut io::sink())
            .map_err(|error| SpoolError::of("read", witness.file.path(), error))?;
        Ok((witness, decompressed.digest()))
    })
    .await
}

/// Reads the public inputs of a proof of a spooled witness that was checked before, on a thread of its own.
pub async fn public_values(witness: SpoolFile, circuit: &Arc<Circuit>) -> Result<PublicValues, CheckError> {
    let circuit = Arc::clone(circuit);
    on_a_thread(move || Ok(circuit.public_values(&mut witness.decompressed()?)?)).await
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CheckError> + Send + 'static,
) -> Result<T, CheckError> {
    match private_thread::run(work).await {
        Ok(result) => result,
        // Reading panics on no input; a runtime that shuts down drops the task.
        Err(NoResult::Stopped | NoResult::Panicked) => Err(CheckError::Stopped),
        Err(NoResult::NotStarted(source)) => Err(CheckError::NoThread(source)),
    }
}
