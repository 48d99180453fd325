//! One loaded circuit and its keys.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use acir::{FieldElement, circuit::Program};
use edgeprove_protocol::{CircuitId, VerifierTarget};
use tokio::sync::OnceCell;

use super::{
    artifact::{Artifact, ArtifactError},
    shape,
    vk_cache::{KeyMaterial, VkCache},
};
use crate::{
    crs::Crs,
    prover::{CircuitKey, CircuitSize, ProverError, Seat},
    witness::stack::WitnessShape,
};

/// How long bb may take to make one key.
const KEY_TIMEOUT: Duration = Duration::from_mins(10);

/// Why a circuit cannot be proved.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its file is not right.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// bb did not take it.
    #[error("bb could not make its verification key")]
    Key(#[source] ProverError),
    /// It is larger than the CRS.
    #[error(
        "it has {rows} rows and needs {needed} CRS points, but there are {points}: \
         run `cargo xtask setup --crs-points {needed}` where there is internet, or point CRS_PATH to a larger CRS"
    )]
    CrsTooSmall {
        /// Rows of the circuit.
        rows: u64,
        /// Points it needs.
        needed: u64,
        /// Points there are.
        points: u64,
    },
}

/// A circuit that can be proved.
#[derive(Debug)]
pub struct Circuit {
    /// Its name.
    pub id: CircuitId,
    /// The target of its proofs where a request names none.
    pub target: VerifierTarget,
    /// What a witness of it looks like.
    pub shape: WitnessShape,
    artifact: Artifact,
    keys: [OnceCell<Arc<Key>>; VerifierTarget::ALL.len()],
}

/// A circuit's key for one verifier.
#[derive(Debug)]
pub struct Key {
    /// What bb is given with each proof.
    pub circuit: CircuitKey,
    /// bb's hash of the verification key.
    pub vk_hash: [u8; 32],
    /// The circuit's size under this key's verifier.
    pub size: CircuitSize,
}

/// What is needed to make a circuit's keys, besides a seat at a prover.
#[derive(Debug, Clone)]
pub struct KeyMaker {
    /// Keys of earlier starts.
    pub cache: VkCache,
    /// The CRS the circuit must fit.
    pub crs: Crs,
}

impl Circuit {
    /// Takes in a circuit's file. Its keys are made by [`Self::key`].
    pub fn read(id: CircuitId, target: VerifierTarget, mut artifact: Artifact) -> Result<Self, LoadError> {
        let mut program = artifact.program()?;
        if shape::name_unused_parameters(&mut program.functions[0]) > 0 {
            artifact.replace_program(&program)?;
        }
        let shape = WitnessShape { max_index: shape::max_witness_index(&program.functions[0]) };
        Ok(Self { id, target, shape, artifact, keys: Default::default() })
    }

    /// The key for a verifier: made at the first call, from the cache if it is there.
    pub async fn key(
        &self,
        target: VerifierTarget,
        maker: &KeyMaker,
        seat: &dyn Seat,
    ) -> Result<Arc<Key>, LoadError> {
        let make = || async {
            let started = Instant::now();
            let (material, source) = match maker.cache.get(&self.artifact.bytecode_sha256, target) {
                Some(material) => (material, "cache"),
                None => (self.make_key(target, maker, seat).await?, "bb"),
            };
            maker.fits(material.size)?;
            tracing::info!(
                circuit = %self.id,
                verifier = %target,
                gates = material.size.gates,
                rows = material.size.rows,
                vk_hash = hex::encode(material.key.vk_hash),
                vk_from = source,
                took_ms = crate::telemetry::millis(started.elapsed()),
                noir = self.artifact.noir_version,
                "circuit has its verification key"
            );
            Ok(Arc::new(self.with(material, target)))
        };
        self.cell(target).get_or_try_init(make).await.cloned()
    }

    async fn make_key(
        &self,
        target: VerifierTarget,
        maker: &KeyMaker,
        seat: &dyn Seat,
    ) -> Result<KeyMaterial, LoadError> {
        let deadline = Instant::now() + KEY_TIMEOUT;
        let bytecode = &self.artifact.bytecode;
        let size = seat.measure(bytecode.clone(), target, deadline).await.map_err(LoadError::Key)?;
        // Asked for the key of a circuit it has no points for, bb would go to the network.
        maker.fits(size)?;
        let key = seat.make_key(bytecode.clone(), target, deadline).await.map_err(LoadError::Key)?;
        let material = KeyMaterial { key, size };
        if let Err(error) = maker.cache.put(&self.artifact.bytecode_sha256, target, &material) {
            tracing::warn!(circuit = %self.id, %error, "the verification key is not kept for the next start");
        }
        Ok(material)
    }

    /// The key for a verifier if it was made already.
    #[must_use]
    pub fn made_key(&self, target: VerifierTarget) -> Option<Arc<Key>> {
        self.cell(target).get().cloned()
    }

    /// The circuit's constraints, decoded anew.
    pub fn program(&self) -> Result<Program<FieldElement>, ArtifactError> {
        self.artifact.program()
    }

    fn cell(&self, target: VerifierTarget) -> &OnceCell<Arc<Key>> {
        match target {
            VerifierTarget::NoirRecursive => &self.keys[0],
            VerifierTarget::Evm => &self.keys[1],
        }
    }

    fn with(&self, material: KeyMaterial, target: VerifierTarget) -> Key {
        let KeyMaterial { key, size } = material;
        let circuit = CircuitKey { bytecode: self.artifact.bytecode.clone(), vk: key.vk, target };
        Key { circuit, vk_hash: key.vk_hash, size }
    }
}

impl KeyMaker {
    fn fits(&self, size: CircuitSize) -> Result<(), LoadError> {
        if self.crs.reaches(size.rows) {
            return Ok(());
        }
        Err(LoadError::CrsTooSmall { rows: size.rows, needed: size.rows + 1, points: self.crs.points })
    }
}
