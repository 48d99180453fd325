//! The settings of everything that proves. The module `config` reads them from flags and environment.

use std::{collections::BTreeMap, path::PathBuf};

use edgeprove_engine::{
    circuits::{family::CircuitFamily, registry::CircuitSource},
    proving::ProvingOptions,
    scheduler::SchedulerLimits,
};
use edgeprove_protocol::CircuitId;
use edgeprove_prover::{
    RecyclePolicy,
    barretenberg::{BbProgram, Msm, crs::Crs},
};
use serde_json::{Map, Value};

/// Settings of the engine.
#[derive(Debug)]
pub struct EngineSettings {
    /// Provers, queue and verification.
    pub proving: ProvingSettings,
    /// bb, the CRS and folders.
    pub program: ProgramSettings,
}

/// Settings of provers, queue and verification.
#[derive(Debug, Clone)]
pub struct ProvingSettings {
    /// How bb processes are used.
    pub mode: ProverMode,
    /// Cores, memory and queue of the scheduler.
    pub scheduler: SchedulerLimits,
    /// Time limit and verification.
    pub options: ProvingOptions,
    /// When a healthy bb process is replaced.
    pub recycle: RecyclePolicy,
}

/// How bb processes are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProverMode {
    /// Processes that are always ready.
    Warm,
    /// One process for each proof.
    Process,
}

/// bb, the CRS and folders.
#[derive(Debug, Clone)]
pub struct ProgramSettings {
    /// bb.
    pub bb: BbProgram,
    /// What `bb --version` prints.
    pub version: String,
    /// The CRS.
    pub crs: Crs,
    /// The folder of the cache of verification keys.
    pub cache_dir: PathBuf,
    /// The folder of witnesses.
    pub spool_dir: PathBuf,
    /// Most bytes of all unfinished uploads and witnesses; `None` without a limit.
    pub spool_max_bytes: Option<u64>,
}

/// What the verification of a proof needs. bb gets its part of the CRS from a folder in the spool.
#[derive(Debug, Clone)]
pub struct VerifierSettings {
    /// The bb executable.
    pub bb: PathBuf,
    /// How bb multiplies curve points.
    pub msm: Msm,
    /// The most resident memory that bb may take, in bytes.
    pub memory_max_bytes: u64,
    /// The folder of the spool.
    pub spool_dir: PathBuf,
}

/// The circuits.
#[derive(Debug, Clone)]
pub struct CircuitSettings {
    /// All of them.
    pub sources: Vec<CircuitSource>,
    /// The circuit of requests that name none.
    pub default: Option<CircuitId>,
    /// Circuits that can replace each other.
    pub families: Vec<CircuitFamily>,
    /// Sample inputs, where a circuit has some.
    pub samples: BTreeMap<CircuitId, Map<String, Value>>,
}
