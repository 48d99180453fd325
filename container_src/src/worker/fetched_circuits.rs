//! Circuits that the server stores, because they were built from templates or uploaded: fetched when a job needs one, and unloaded
//! when others need its memory.
//!
//! Each file is compared with the digest in the circuit's description, and the loaded circuit with the version that the job names,
//! which is a digest too. The files are in the spool while the circuit is loaded.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_engine::circuits::{
    Circuit,
    registry::{LookupError, load_circuit},
};
use edgeprove_protocol::{
    CircuitId, HasProblemType as _, ProblemType,
    answer::{CircuitEntry, CircuitFile},
    work::WorkWitness,
};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::{fs::File, io::AsyncWriteExt as _};

use super::server::{RequestError, Server};
use crate::{
    circuits::{CircuitError, CircuitSource, LOADED_MAX_BYTES, main_file},
    engine::Engine,
};

/// How long no job of a circuit that could not be loaded is taken.
const FAILED_FOR: Duration = Duration::from_mins(1);
/// The most circuits that are remembered as failed.
const FAILED_MAX: usize = 256;

/// The circuits of the server.
pub struct FetchedCircuits {
    server: Arc<Server>,
    engine: Arc<Engine>,
    failed: Mutex<BTreeMap<CircuitId, Instant>>,
    /// Held while a circuit is loaded: one at a time, because it takes memory and a prover.
    loading: tokio::sync::Mutex<()>,
}

/// Why a circuit could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// The server did not return it.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A file is not the one that the description names, or the description names none.
    #[error("the server returned {0}")]
    Wrong(&'static str),
    /// A file cannot be written.
    #[error("a file of the circuit cannot be written")]
    Write(#[from] io::Error),
    /// The circuit cannot be loaded.
    #[error(transparent)]
    Load(#[from] CircuitError),
}

impl FetchedCircuits {
    /// Circuits of this server for this engine.
    #[must_use]
    pub fn new(server: &Arc<Server>, engine: &Arc<Engine>) -> Self {
        Self {
            server: Arc::clone(server),
            engine: Arc::clone(engine),
            failed: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
        }
    }

    /// The circuits of which no jobs are taken for now.
    #[must_use]
    pub fn failed(&self) -> Vec<CircuitId> {
        let mut failed = self.failed.lock();
        failed.retain(|_, at| at.elapsed() < FAILED_FOR);
        failed.keys().cloned().collect()
    }

    /// Takes no jobs of this circuit for a while.
    pub fn avoid(&self, circuit: CircuitId) {
        let mut failed = self.failed.lock();
        if failed.len() < FAILED_MAX {
            failed.insert(circuit, Instant::now());
        }
    }

    /// Unloads other versions of the circuits of a job.
    pub fn forget_others(&self, witnesses: &[WorkWitness]) {
        for circuit in self.engine.circuits.added() {
            let is_other = |of: &WorkWitness| of.circuit == circuit.id && of.version != circuit.version();
            if witnesses.iter().any(is_other) {
                self.engine.circuits.remove_added(&circuit.id);
            }
        }
    }

    async fn fetch(&self, id: &CircuitId) -> Result<Arc<Circuit>, FetchError> {
        let entry = self.server.circuit(id).await?;
        let files = files_of(&entry).ok_or(FetchError::Wrong("a circuit without files"))?;
        let bytes = files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
        if bytes > LOADED_MAX_BYTES {
            return Err(FetchError::Wrong("a circuit with more bytes than may be loaded"));
        }
        let folder = self.engine.spool.create_dir().map_err(CircuitError::from)?;
        for file in files {
            self.fetch_file(id, file, folder.path()).await?;
        }
        let proving = &self.engine.proving;
        let permit = proving.permit().await.map_err(CircuitError::from)?;
        let file = folder.path().join(main_file(entry.target));
        let loaded = load_circuit(id, &file, entry.target, proving.keys(), permit.as_ref()).await;
        let circuit = loaded.map(Arc::new).map_err(|error| {
            tracing::error!(circuit = %id, error = %edgeprove_telemetry::chain(&error), "a circuit of the server could not be loaded");
            let (kind, public_reason) = (error.kind(), error.public_reason());
            CircuitError::from(LookupError::Failed { id: id.clone(), kind, public_reason })
        })?;
        self.engine.circuits.add(Arc::clone(&circuit), bytes, LOADED_MAX_BYTES);
        tracing::info!(circuit = %id, bytes, "circuit of the server loaded");
        Ok(circuit)
    }

    async fn fetch_file(&self, id: &CircuitId, file: &CircuitFile, folder: &Path) -> Result<(), FetchError> {
        // The server chooses the name, and the file must be in the folder.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if file.name.starts_with('.') || !file.name.bytes().all(is_name) {
            return Err(FetchError::Wrong("a file with a name that none has"));
        }
        let mut body = self.server.circuit_file(id, &file.name).await?;
        let mut written = File::create_new(folder.join(&file.name)).await?;
        let (mut hash, mut length) = (Sha256::new(), 0_u64);
        while let Some(piece) = body.next().await? {
            length += piece.len() as u64;
            if length > file.bytes {
                return Err(FetchError::Wrong("a file that is longer than described"));
            }
            hash.update(&piece);
            written.write_all(&piece).await?;
        }
        written.flush().await?;
        if length != file.bytes || hex::encode(hash.finalize()) != file.sha256 {
            return Err(FetchError::Wrong("a file that is not the described one"));
        }
        Ok(())
    }
}

#[async_trait]
impl CircuitSource for FetchedCircuits {
    async fn find(&self, id: &CircuitId) -> Result<Arc<Circuit>, CircuitError> {
        let _turn = self.loading.lock().await;
        if let Ok(circuit) = self.engine.circuits.find(Some(id)) {
            return Ok(circuit);
        }
        self.fetch(id).await.map_err(|error| match error {
            FetchError::Load(error) => error,
            error => {
                tracing::warn!(circuit = %id, error = %edgeprove_telemetry::chain(&error), "a circuit of the server could not be fetched");
                let (id, kind) = (id.clone(), ProblemType::CircuitUnavailable);
                let public_reason = "the prover could not fetch it from the server".to_owned();
                LookupError::Failed { id, kind, public_reason }.into()
            }
        })
    }
}

/// The files of a stored circuit that a prover needs.
fn files_of(entry: &CircuitEntry) -> Option<Vec<&CircuitFile>> {
    let built = entry.built.as_ref().map(|built| &built.artifacts);
    let files = built.or_else(|| entry.uploaded.as_ref().map(|uploaded| &uploaded.artifacts))?;
    let main = Path::new(main_file(entry.target));
    let is_needed = |file: &&CircuitFile| {
        let name = Path::new(&file.name);
        // The program and the constraints of a circom circuit are beside its key.
        name == main
            || (name.file_stem() == main.file_stem()
                && name.extension().is_some_and(|of| of == "wasm" || of == "r1cs"))
    };
    let needed: Vec<_> = files.iter().filter(is_needed).collect();
    needed.iter().any(|file| Path::new(&file.name) == main).then_some(needed)
}
