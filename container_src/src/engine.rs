//! Builds everything that proves, from the settings: spool, provers, scheduler, circuits. `edgeprove serve` and the
//! command line start the same parts.

pub mod settings;

use std::{path::PathBuf, sync::Arc, time::Duration};

use edgeprove_engine::{
    circuits::{
        Registry,
        circuit::{KeyGenerator, MemoryBudget},
        key_cache::KeyCache,
        peak_cache::PeakCache,
    },
    proving::Proving,
    scheduler::Scheduler,
};
use edgeprove_protocol::ProofSystem;
use edgeprove_prover::{
    Backend, IdleProvers,
    backends::Backends,
    barretenberg::{ProcessBackend, WarmBackend, version},
};
use edgeprove_spool::{Spool, SpoolError};
use edgeprove_telemetry::Supervisor;

use settings::{CircuitSettings, EngineSettings, ProverMode};

/// How long the last witness files may take to be wiped at the end.
const WIPE_TIMEOUT: Duration = Duration::from_secs(5);

/// The prover program, as found at the start.
#[derive(Debug, Clone)]
pub struct ProverProgram {
    /// The executable.
    pub path: PathBuf,
    /// What `bb --version` prints.
    pub version: String,
    /// The architecture of the executable, such as `ELF x86_64`.
    pub binary_arch: String,
}

/// Why nothing can be proved.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Everything that proves.
pub struct Engine {
    /// The circuits. None is loaded before [`Self::load`].
    pub circuits: Arc<Registry>,
    /// Makes proofs.
    pub proving: Arc<Proving>,
    /// Private files for witnesses.
    pub spool: Spool,
    /// The prover program.
    pub program: ProverProgram,
    /// The owner of every background task.
    pub supervisor: Supervisor,
}

impl Engine {
    /// Opens the spool and starts the provers. It must run within a runtime.
    pub fn start(settings: &EngineSettings, circuits: CircuitSettings) -> Result<Self, EngineError> {
        let EngineSettings { proving: settings, program } = settings;
        let supervisor = Supervisor::default();
        let version = program.version.clone();
        let path = program.bb.path.clone();
        let prover = ProverProgram { version, binary_arch: version::binary_arch(&path), path };
        let spool = Spool::open_bounded(&program.spool_dir, program.spool_max_bytes.unwrap_or(u64::MAX))?;
        if spool.swept() > 0 {
            tracing::warn!(files = spool.swept(), "wiped witness files of a server that died");
        }
        let cores = settings.scheduler.cores;
        let bb: Arc<dyn Backend> = match settings.mode {
            ProverMode::Warm => {
                let widths = settings.scheduler.widths();
                Arc::new(WarmBackend::start(&program.bb, cores, &widths, settings.recycle, &supervisor))
            }
            ProverMode::Process => {
                Arc::new(ProcessBackend::new(program.bb.clone(), spool.clone(), supervisor.clone()))
            }
        };
        let backend: Arc<dyn Backend> = Arc::new(Backends::new(bb));
        let provers = Arc::clone(&backend) as Arc<dyn IdleProvers>;
        let scheduler = Scheduler::new(settings.scheduler.clone(), provers);
        let keys = KeyGenerator {
            // The keys of Groth16 are in the files of the circuits.
            cache: KeyCache::new(&program.cache_dir, &backend.identity(ProofSystem::UltraHonk)),
            crs: program.crs.clone(),
            peaks: PeakCache::new(&program.cache_dir, |system| backend.identity(system)),
            budget: MemoryBudget {
                memory_max_bytes: settings.scheduler.memory_max_bytes,
                narrowest: settings.scheduler.widths().first().copied().unwrap_or(1),
            },
            held: scheduler.held_memory().clone(),
            proof_timeout: settings.options.timeout,
        };
        let proving = Arc::new(Proving::new(scheduler, backend, keys, settings.options.clone()));
        let circuits = Arc::new(Registry::new(circuits.sources, circuits.default, circuits.families));
        Ok(Self { circuits, proving, spool, program: prover, supervisor })
    }

    /// Loads every circuit. One that fails is logged and stays failed.
    pub async fn load(&self) {
        // No proof is admitted before the circuits are loaded, so a permit is free.
        let Ok(permit) = self.proving.permit().await else { return };
        self.circuits.load_all(self.proving.keys(), permit.as_ref()).await;
    }

    /// Stores the measured memory peaks for the next start.
    pub fn store_memory_peaks(&self) {
        self.circuits.store_memory(&self.proving.keys().peaks);
    }

    /// Ends every background task, the provers among them, and waits until every witness file is wiped.
    pub async fn stop(&self) {
        self.supervisor.stop().await;
        if tokio::time::timeout(WIPE_TIMEOUT, self.spool.drained()).await.is_err() {
            let files = self.spool.len();
            tracing::error!(files, "witness files remain in the spool; the next start wipes them");
        }
        self.store_memory_peaks();
    }
}
