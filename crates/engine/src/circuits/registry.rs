//! Every circuit the server was given, loaded or not. One that fails to load does not stop the others.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use edgeprove_protocol::{CircuitId, HasProblemType, ProblemType, Target};

use super::{
    artifact::Artifact,
    circuit::{Circuit, KeyGenerator, LoadError},
    family::CircuitFamily,
    peak_cache::PeakCache,
};
use edgeprove_prover::ProverPermit;

/// A circuit the server was told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitSource {
    /// Its name.
    pub id: CircuitId,
    /// Its file.
    pub path: PathBuf,
    /// The target of its proofs where a request names none.
    pub target: Target,
}

/// The circuits by name.
#[derive(Debug)]
pub struct Registry {
    entries: BTreeMap<CircuitId, Entry>,
    default: Option<CircuitId>,
    families: Vec<CircuitFamily>,
}

/// One circuit of the registry.
#[derive(Debug)]
pub struct Entry {
    /// Where it comes from.
    pub source: CircuitSource,
    outcome: OnceLock<Result<Arc<Circuit>, Failure>>,
}

/// Why a circuit could not be loaded.
#[derive(Debug)]
struct Failure {
    /// For operators: the error and its causes in one line.
    error: String,
    /// For callers.
    told: Option<String>,
}

/// Why a circuit cannot be proved now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The server was not told of it.
    #[error("no circuit is named {id}; there are: {known}")]
    Unknown {
        /// The name asked for.
        id: CircuitId,
        /// The names there are.
        known: String,
    },
    /// No name was given and there are several circuits.
    #[error("name the circuit in the path, /api/prove/NAME; there are: {known}")]
    Unnamed {
        /// The names there are.
        known: String,
    },
    /// It is still being loaded.
    #[error("the circuit {id} is still being loaded")]
    Loading {
        /// Its name.
        id: CircuitId,
    },
    /// It could not be loaded.
    #[error("the circuit {id} could not be loaded{}", why(told.as_ref()))]
    Failed {
        /// Its name.
        id: CircuitId,
        /// Why, as far as callers may know.
        told: Option<String>,
    },
}

fn why(told: Option<&String>) -> String {
    told.map_or_else(|| "; GET /api/health says why".to_owned(), |told| format!(": {told}"))
}

impl Registry {
    /// A registry in which nothing is loaded yet. `default` is what a request means that names no circuit; without
    /// it a lone circuit is meant.
    #[must_use]
    pub fn new(
        sources: Vec<CircuitSource>,
        default: Option<CircuitId>,
        families: Vec<CircuitFamily>,
    ) -> Self {
        let lone = match sources.as_slice() {
            [lone] => Some(lone.id.clone()),
            _ => None,
        };
        let entry = |source: CircuitSource| (source.id.clone(), Entry { source, outcome: OnceLock::new() });
        Self { entries: sources.into_iter().map(entry).collect(), default: default.or(lone), families }
    }

    /// Loads every circuit, one after the other, with the default key of each.
    pub async fn load_all(&self, maker: &KeyGenerator, seat: &dyn ProverPermit) {
        for entry in self.entries.values() {
            let outcome = load(&entry.source, maker, seat).await.map(Arc::new).map_err(|error| {
                let failure = Failure { told: error.told(), error: edgeprove_telemetry::chain(&error) };
                tracing::error!(circuit = %entry.source.id, error = failure.error, "a circuit could not be loaded");
                failure
            });
            // Loading happens once; a second call would find the same.
            let _ = entry.outcome.set(outcome);
        }
    }

    /// A circuit by name, or the default one.
    pub fn find(&self, id: Option<&CircuitId>) -> Result<Arc<Circuit>, LookupError> {
        let id = id.or(self.default.as_ref());
        let Some(id) = id else { return Err(LookupError::Unnamed { known: self.known() }) };
        let Some(entry) = self.entries.get(id) else {
            return Err(LookupError::Unknown { id: id.clone(), known: self.known() });
        };
        match entry.outcome.get() {
            None => Err(LookupError::Loading { id: id.clone() }),
            Some(Ok(circuit)) => Ok(Arc::clone(circuit)),
            Some(Err(failure)) => Err(LookupError::Failed { id: id.clone(), told: failure.told.clone() }),
        }
    }

    /// Whether any circuit may stand in for another.
    #[must_use]
    pub fn has_families(&self) -> bool {
        !self.families.is_empty()
    }

    /// The next smaller circuit of the family, where a problem says that the machine had too little for this one.
    #[must_use]
    pub fn fallback(&self, tried: &CircuitId, problem: ProblemType) -> Option<&CircuitId> {
        self.families.iter().find_map(|family| family.next_after(tried, problem))
    }

    /// Whether one circuit may stand in for another.
    #[must_use]
    pub fn stands_in(&self, smaller: &CircuitId, larger: &CircuitId) -> bool {
        self.families.iter().any(|family| {
            let place = |wanted: &CircuitId| family.members().iter().position(|id| id == wanted);
            matches!((place(larger), place(smaller)), (Some(larger), Some(smaller)) if larger < smaller)
        })
    }

    /// Whether there are circuits and every one of them failed to load.
    #[must_use]
    pub fn none_is_left(&self) -> bool {
        !self.entries.is_empty() && self.entries.values().all(|entry| matches!(entry.outcome(), Some(Err(_))))
    }

    /// Keeps what proofs took for the next start.
    pub fn keep_memory(&self, peaks: &PeakCache) {
        for circuit in self.loaded() {
            circuit.keep_memory(peaks);
        }
    }

    /// Every circuit, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Every circuit that can be proved at this moment.
    pub fn loaded(&self) -> impl Iterator<Item = &Arc<Circuit>> {
        self.entries.values().filter_map(|entry| entry.outcome()?.ok())
    }

    fn known(&self) -> String {
        let names: Vec<&str> = self.entries.keys().map(CircuitId::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

impl Entry {
    /// `None` while it is being loaded; an error is told as a whole line.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<&Arc<Circuit>, &str>> {
        self.outcome.get().map(|outcome| outcome.as_ref().map_err(|failure| failure.error.as_str()))
    }
}

async fn load(
    source: &CircuitSource,
    maker: &KeyGenerator,
    seat: &dyn ProverPermit,
) -> Result<Circuit, LoadError> {
    let CircuitSource { id, path, target } = source.clone();
    let peaks = maker.peaks.clone();
    let read = move || Circuit::read(id, target, Artifact::read(&path)?, &peaks);
    // A read that panics is a fault of ours; it stops the server as any other.
    let circuit = match tokio::task::spawn_blocking(read).await {
        Ok(circuit) => circuit?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    circuit.key(target, maker, seat).await?;
    Ok(circuit)
}

impl HasProblemType for LookupError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Unknown { .. } => ProblemType::CircuitNotFound,
            Self::Unnamed { .. } => ProblemType::InvalidRequest,
            Self::Loading { .. } => ProblemType::NotReady,
            Self::Failed { .. } => ProblemType::CircuitUnavailable,
        }
    }
}
