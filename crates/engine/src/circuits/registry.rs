//! Every configured circuit, loaded or not, and circuits that were added while the server runs. A circuit that fails to
//! load does not stop the others.
//!
//! Added circuits take memory, so there is a bound: the one that was not used for the longest time is removed for the next.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use edgeprove_protocol::{CircuitId, HasProblemType, ProblemType, Target};
use parking_lot::RwLock;

use super::{
    circuit::{Circuit, KeyGenerator, LoadError},
    family::CircuitFamily,
    peak_cache::PeakCache,
};
use crate::proof_systems;
use edgeprove_prover::ProverPermit;

/// A configured circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitSource {
    /// Its name.
    pub id: CircuitId,
    /// Its file.
    pub path: PathBuf,
    /// The target of its proofs if a request names none.
    pub target: Target,
}

/// The configured circuits by name.
#[derive(Debug)]
pub struct Registry {
    entries: BTreeMap<CircuitId, Entry>,
    default: Option<CircuitId>,
    families: Vec<CircuitFamily>,
    added: AddedCircuits,
}

/// Circuits that were added while the server runs.
#[derive(Debug, Default)]
struct AddedCircuits {
    circuits: RwLock<BTreeMap<CircuitId, Added>>,
    /// Families of circuits that can be added, whether they are at this moment or not.
    families: RwLock<Vec<CircuitFamily>>,
    /// Counts uses, so that the circuit that was not used for the longest time is known.
    uses: AtomicU64,
}

#[derive(Debug)]
struct Added {
    circuit: Arc<Circuit>,
    /// The size of its files. In memory a circuit takes about as much.
    bytes: u64,
    last_use: AtomicU64,
}

/// One circuit of the registry.
#[derive(Debug)]
pub struct Entry {
    /// Its name, file and target.
    pub source: CircuitSource,
    loaded: OnceLock<Result<Arc<Circuit>, LoadFailure>>,
}

/// Why a circuit could not be loaded.
#[derive(Debug)]
pub struct LoadFailure {
    /// The type of problem of requests for the circuit.
    pub kind: ProblemType,
    /// For operators: the error and its causes in one line.
    pub error: String,
    /// For callers: the kind of fault, without folders and settings of the server.
    pub public_reason: String,
}

/// The state of a circuit.
#[derive(Debug, Clone, Copy)]
pub enum LoadState<'a> {
    /// It is being loaded.
    Loading,
    /// It can be proved.
    Ready(&'a Arc<Circuit>),
    /// It could not be loaded.
    Failed(&'a LoadFailure),
}

/// Why a circuit cannot be proved now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No circuit has this name.
    #[error("no circuit is named {id}; there are: {known}")]
    Unknown {
        /// The requested name.
        id: CircuitId,
        /// The names of all circuits.
        known: String,
    },
    /// No name was given, and there are several circuits.
    #[error("name the circuit by ?circuit=NAME, or in the path of /api/prove/NAME; there are: {known}")]
    Unnamed {
        /// The names of all circuits.
        known: String,
    },
    /// It is still being loaded.
    #[error("the circuit {id} is still being loaded")]
    Loading {
        /// Its name.
        id: CircuitId,
    },
    /// It could not be loaded.
    #[error(
        "the circuit {id} could not be loaded: {public_reason}; GET /api/health shows operators the details"
    )]
    Failed {
        /// Its name.
        id: CircuitId,
        /// The type of problem.
        kind: ProblemType,
        /// The reason, as callers may see it.
        public_reason: String,
    },
}

impl HasProblemType for LookupError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Unknown { .. } => ProblemType::CircuitNotFound,
            Self::Unnamed { .. } => ProblemType::InvalidRequest,
            Self::Loading { .. } => ProblemType::NotReady,
            Self::Failed { kind, .. } => *kind,
        }
    }
}

impl Registry {
    /// A registry in which nothing is loaded yet. A request without a circuit means `default` or, without a default, the
    /// only circuit.
    #[must_use]
    pub fn new(
        sources: Vec<CircuitSource>,
        default: Option<CircuitId>,
        families: Vec<CircuitFamily>,
    ) -> Self {
        let only = match sources.as_slice() {
            [only] => Some(only.id.clone()),
            [] | [_, _, ..] => None,
        };
        let entry = |source: CircuitSource| (source.id.clone(), Entry { source, loaded: OnceLock::new() });
        Self {
            entries: sources.into_iter().map(entry).collect(),
            default: default.or(only),
            families,
            added: AddedCircuits::default(),
        }
    }

    /// Loads every circuit, one after the other, with the key for its own target.
    pub async fn load_all(&self, generator: &KeyGenerator, permit: &dyn ProverPermit) {
        for entry in self.entries.values() {
            let loaded = load(&entry.source, generator, permit).await.map(Arc::new).map_err(|error| {
                let error_chain = edgeprove_telemetry::chain(&error);
                tracing::error!(circuit = %entry.source.id, error = error_chain, "a circuit could not be loaded");
                LoadFailure { kind: error.kind(), public_reason: error.public_reason(), error: error_chain }
            });
            // Circuits are loaded once; a second call would give the same result.
            let _ = entry.loaded.set(loaded);
        }
    }

    /// Finds a circuit by name; `None` means the default one.
    pub fn find(&self, id: Option<&CircuitId>) -> Result<Arc<Circuit>, LookupError> {
        let id = id.or(self.default.as_ref());
        let Some(id) = id else { return Err(LookupError::Unnamed { known: self.known() }) };
        let Some(entry) = self.entries.get(id) else {
            return self
                .added
                .find(id)
                .ok_or_else(|| LookupError::Unknown { id: id.clone(), known: self.known() });
        };
        match entry.loaded.get() {
            None => Err(LookupError::Loading { id: id.clone() }),
            Some(Ok(circuit)) => Ok(Arc::clone(circuit)),
            Some(Err(failure)) => {
                let LoadFailure { kind, public_reason, .. } = failure;
                Err(LookupError::Failed { id: id.clone(), kind: *kind, public_reason: public_reason.clone() })
            }
        }
    }

    /// Adds a loaded circuit with files of this size, or replaces one that was added. Others are removed until all that were
    /// added have at most `bytes_max` together.
    pub fn add(&self, circuit: Arc<Circuit>, bytes: u64, bytes_max: u64) {
        self.added.add(circuit, bytes, bytes_max);
    }

    /// Removes a circuit that was added. Proofs of it that run already are not affected.
    pub fn remove_added(&self, id: &CircuitId) {
        self.added.circuits.write().remove(id);
    }

    /// The circuits that were added and are still there, by name.
    #[must_use]
    pub fn added(&self) -> Vec<Arc<Circuit>> {
        self.added.circuits.read().values().map(|added| Arc::clone(&added.circuit)).collect()
    }

    /// Sets the families of circuits that can be added.
    pub fn set_added_families(&self, families: Vec<CircuitFamily>) {
        *self.added.families.write() = families;
    }

    /// Whether there are families of circuits.
    #[must_use]
    pub fn has_families(&self) -> bool {
        !self.families.is_empty() || !self.added.families.read().is_empty()
    }

    /// The next smaller circuit of the family, if `problem` means that the machine had too little for this one.
    #[must_use]
    pub fn fallback(&self, tried: &CircuitId, problem: ProblemType) -> Option<CircuitId> {
        self.find_in_families(|family| family.next_after(tried, problem).cloned())
    }

    /// The circuits of the family that are smaller than this one, the largest first.
    #[must_use]
    pub fn smaller(&self, larger: &CircuitId) -> Vec<CircuitId> {
        let smaller = self.find_in_families(|family| {
            let at = family.members().iter().position(|id| id == larger)?;
            Some(family.members()[at + 1..].to_vec())
        });
        smaller.unwrap_or_default()
    }

    /// Whether `smaller` may be proved instead of `larger`.
    #[must_use]
    pub fn is_smaller(&self, smaller: &CircuitId, larger: &CircuitId) -> bool {
        self.find_in_families(|family| family.is_smaller(smaller, larger).then_some(())).is_some()
    }

    fn find_in_families<T>(&self, look: impl FnMut(&CircuitFamily) -> Option<T> + Copy) -> Option<T> {
        self.families.iter().find_map(look).or_else(|| self.added.families.read().iter().find_map(look))
    }

    /// Whether no circuit is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether circuits are configured and all of them failed to load.
    #[must_use]
    pub fn has_only_failures(&self) -> bool {
        let has_failed = |entry: &Entry| matches!(entry.state(), LoadState::Failed(_));
        !self.entries.is_empty() && self.entries.values().all(has_failed)
    }

    /// Stores the measured memory peaks for the next start.
    pub fn store_memory(&self, peaks: &PeakCache) {
        for circuit in self.loaded().cloned().chain(self.added()) {
            circuit.store_memory(peaks);
        }
    }

    /// Every configured circuit, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Every configured circuit that is loaded at this moment.
    pub fn loaded(&self) -> impl Iterator<Item = &Arc<Circuit>> {
        self.entries.values().filter_map(|entry| entry.loaded.get()?.as_ref().ok())
    }

    fn known(&self) -> String {
        let names: Vec<&str> = self.entries.keys().map(CircuitId::as_str).collect();
        if names.is_empty() {
            "none, so the server must be started with --circuit FILE or --circuits DIR".to_owned()
        } else {
            names.join(", ")
        }
    }
}

impl AddedCircuits {
    fn find(&self, id: &CircuitId) -> Option<Arc<Circuit>> {
        let circuits = self.circuits.read();
        let found = circuits.get(id)?;
        found.last_use.store(self.next_use(), Ordering::Relaxed);
        Some(Arc::clone(&found.circuit))
    }

    fn add(&self, circuit: Arc<Circuit>, bytes: u64, bytes_max: u64) {
        let last_use = self.next_use().into();
        let mut circuits = self.circuits.write();
        circuits.remove(&circuit.id);
        // The new circuit stays, whatever its size: its caller needs it now.
        while circuits.values().map(|added| added.bytes).sum::<u64>().saturating_add(bytes) > bytes_max {
            let oldest = circuits.iter().min_by_key(|(_, added)| added.last_use.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
            tracing::info!(circuit = %oldest, "unloaded for another circuit");
            circuits.remove(&oldest);
        }
        circuits.insert(circuit.id.clone(), Added { circuit, bytes, last_use });
    }

    fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }
}

impl Entry {
    /// The state of the circuit at this moment.
    #[must_use]
    pub fn state(&self) -> LoadState<'_> {
        match self.loaded.get() {
            None => LoadState::Loading,
            Some(Ok(circuit)) => LoadState::Ready(circuit),
            Some(Err(failure)) => LoadState::Failed(failure),
        }
    }
}

async fn load(
    source: &CircuitSource,
    generator: &KeyGenerator,
    permit: &dyn ProverPermit,
) -> Result<Circuit, LoadError> {
    let CircuitSource { id, path, target } = source;
    load_circuit(id, path, *target, generator, permit).await
}

/// Reads a circuit from its files, and makes its key for this target or takes it from the cache.
pub async fn load_circuit(
    id: &CircuitId,
    path: &Path,
    target: Target,
    generator: &KeyGenerator,
    permit: &dyn ProverPermit,
) -> Result<Circuit, LoadError> {
    let (id, path) = (id.clone(), path.to_owned());
    let peaks = generator.peaks.clone();
    let (limits, held) = (generator.read_limits(permit.width()), generator.held.clone());
    let read = move || {
        let compiled = proof_systems::read_circuit(&path, limits)?;
        Ok::<_, LoadError>(Circuit::new(id, target, compiled, &peaks).held_by(&held))
    };
    // A panic while reading is a bug; it stops the server like any other panic.
    let circuit = match tokio::task::spawn_blocking(read).await {
        Ok(circuit) => circuit?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    circuit.check_counts(generator.crs.points)?;
    circuit.key(target, generator, permit).await?;
    Ok(circuit)
}
