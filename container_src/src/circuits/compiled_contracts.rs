//! The compiled contracts of a built circuit: the file `verifier.json` of its package.

use edgeprove_builder::contract::COMPILED;
use edgeprove_chain::{Contracts, InvalidContracts};
use edgeprove_circuit_store::{CircuitStore, CircuitStoreError, StoredCircuit, package::InvalidPackage};
use edgeprove_protocol::{HasProblemType, ProblemType};

/// The largest file, in bytes. The code of each of a few contracts has at most 96 KiB of digits.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Why a circuit cannot be deployed.
#[derive(Debug, thiserror::Error)]
pub enum ContractsError {
    /// Its files cannot be read.
    #[error(transparent)]
    Store(#[from] CircuitStoreError),
    /// It has no such file.
    #[error(
        "the circuit has no compiled contracts ({COMPILED}): only circuits that were built from templates have them, and \
         `verifier` of GET /v1/circuits/NAME shows why one of these has none"
    )]
    Missing,
    /// The file is too large.
    #[error("the compiled contracts of the circuit are too large")]
    TooLarge,
    /// The file is damaged.
    #[error(transparent)]
    Invalid(#[from] InvalidContracts),
}

impl HasProblemType for ContractsError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Store(error) => error.kind(),
            Self::Missing => ProblemType::CircuitNotDeployable,
            Self::TooLarge | Self::Invalid(_) => ProblemType::StoredDataDamaged,
        }
    }
}

/// Reads the compiled contracts of a circuit.
pub async fn read(store: &CircuitStore, circuit: &StoredCircuit) -> Result<Contracts, ContractsError> {
    Ok(Contracts::parse(&bytes(store, circuit).await?)?)
}

/// Reads the file with the compiled contracts of a circuit.
pub async fn bytes(store: &CircuitStore, circuit: &StoredCircuit) -> Result<Vec<u8>, ContractsError> {
    let found = store.files(circuit).await?.find(COMPILED).await;
    let (mut files, bytes) = found.map_err(|error| match error {
        CircuitStoreError::Package(InvalidPackage::NoSuchFile) => ContractsError::Missing,
        error => error.into(),
    })?;
    if bytes > FILE_MAX_BYTES {
        return Err(ContractsError::TooLarge);
    }
    let mut content = Vec::new();
    while let Some(piece) = files.next_piece().await? {
        content.extend_from_slice(&piece);
    }
    Ok(content)
}
