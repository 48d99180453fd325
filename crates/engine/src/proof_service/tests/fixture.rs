//! A prover without bb, and everything else that a proof needs, for unit tests.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use acir::{
    FieldElement,
    circuit::{Circuit as AcirCircuit, Program},
    parse_opcodes,
};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use edgeprove_protocol::{CircuitId, ProofSystem, Target};
use flate2::{Compression, write::GzEncoder};
use parking_lot::Mutex;

use crate::{
    circuits::{
        Registry,
        circuit::{KeyGenerator, MemoryBudget},
        family::CircuitFamily,
        key_cache::KeyCache,
        peak_cache::PeakCache,
        registry::CircuitSource,
    },
    proving::{Proving, ProvingOptions},
    scheduler::{Scheduler, SchedulerLimits, WidthPolicy},
    witness::{self, WitnessDigest, intake::SpooledWitness},
};
use edgeprove_prover::{
    Backend, CircuitKey, CircuitProgram, CircuitSize, GeneratedKey, IdleMemory, IdleProvers, LoadLimits,
    MemoryEstimate, ProofParts, ProverError, ProverPermit, RestartCounts, RestartReason, VerificationKey,
    WitnessSource,
    backend::{BackendIdentity, CapacityPermit},
    barretenberg::crs::Crs,
};
use edgeprove_spool::Spool;

/// How long the fake prover takes to prove.
pub(super) const PROVE: Duration = Duration::from_millis(40);
/// How long the fake prover takes to verify.
pub(super) const VERIFY: Duration = Duration::from_millis(10);

/// What the fake prover does with one proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Response {
    /// It proves.
    Proof,
    /// It proves, and the proof does not verify.
    InvalidProof,
    /// It misses its deadline.
    Timeout,
    /// It never responds.
    Silence,
    /// It is stopped with the server.
    Stopping,
}

/// A prover that responds as scripted, and with a proof once the script is at its end.
#[derive(Debug, Default)]
pub(super) struct FakeBackend {
    script: Arc<Mutex<VecDeque<Response>>>,
    has_other_keys: Arc<AtomicBool>,
}

impl FakeBackend {
    /// Generates other keys than before.
    pub(super) fn generate_other_keys(&self) {
        self.has_other_keys.store(true, Ordering::Relaxed);
    }

    /// Adds responses to the script.
    pub(super) fn respond(&self, responses: impl IntoIterator<Item = Response>) {
        self.script.lock().extend(responses);
    }
}

struct FakePermit {
    script: Arc<Mutex<VecDeque<Response>>>,
    has_other_keys: Arc<AtomicBool>,
    _capacity: CapacityPermit,
}

#[async_trait]
impl ProverPermit for FakePermit {
    fn width(&self) -> usize {
        1
    }

    async fn prove(
        &self,
        _circuit: &CircuitKey,
        _witness: &WitnessSource,
        _deadline: Instant,
    ) -> Result<ProofParts, ProverError> {
        tokio::time::sleep(PROVE).await;
        let response = self.script.lock().pop_front().unwrap_or(Response::Proof);
        let valid = match response {
            Response::Proof => 1,
            Response::InvalidProof => 0,
            Response::Timeout => return Err(ProverError::Timeout),
            Response::Silence => std::future::pending().await,
            Response::Stopping => return Err(ProverError::Stopping),
        };
        Ok(ProofParts { proof: vec![[valid; 32]], public_inputs: vec![[5; 32]] })
    }

    async fn verify(
        &self,
        _circuit: &CircuitKey,
        parts: &ProofParts,
        _deadline: Instant,
    ) -> Result<bool, ProverError> {
        tokio::time::sleep(VERIFY).await;
        Ok(parts.proof[0][0] == 1)
    }

    async fn measure(
        &self,
        _program: CircuitProgram,
        _target: Target,
        _limits: LoadLimits,
    ) -> Result<CircuitSize, ProverError> {
        Ok(CircuitSize { gates: 10, dyadic_size: 16 })
    }

    async fn make_key(
        &self,
        _program: CircuitProgram,
        target: Target,
        _limits: LoadLimits,
    ) -> Result<GeneratedKey, ProverError> {
        let vk_hash = [u8::from(target == Target::Evm); 32];
        let vk: &'static [u8] = if self.has_other_keys.load(Ordering::Relaxed) { b"other vk" } else { b"vk" };
        let key = VerificationKey { vk: Bytes::from_static(vk), vk_hash };
        Ok(GeneratedKey { key, proof_memory: None })
    }

    fn dyadic_size(&self, _key: &VerificationKey, _target: Target) -> Option<u64> {
        None
    }

    fn estimate_memory(&self, _size: CircuitSize, _target: Target) -> MemoryEstimate {
        MemoryEstimate::default()
    }

    async fn report_invalid_proof(&self) {}
}

impl IdleProvers for FakeBackend {
    fn idle_memory(&self, _system: ProofSystem, _width: usize) -> IdleMemory {
        IdleMemory::default()
    }

    fn reclaim_memory(&self, _capacity: CapacityPermit) {}
}

impl Backend for FakeBackend {
    fn identity(&self, _system: ProofSystem) -> BackendIdentity {
        BackendIdentity { program: "fake", version: "1", variant: "" }
    }

    fn permit(&self, _width: usize, capacity: CapacityPermit) -> Box<dyn ProverPermit> {
        Box::new(FakePermit {
            script: Arc::clone(&self.script),
            has_other_keys: Arc::clone(&self.has_other_keys),
            _capacity: capacity,
        })
    }

    fn mode(&self) -> &'static str {
        "fake"
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn restarts(&self) -> RestartCounts {
        [0; RestartReason::ALL.len()]
    }

    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// A proving core on a fake prover with one core, one place in its queue, and the circuits `large` and `small` of one
/// family, both loaded.
pub(super) struct Fixture {
    home: tempfile::TempDir,
    pub(super) backend: Arc<FakeBackend>,
    pub(super) proving: Arc<Proving>,
    pub(super) circuits: Arc<Registry>,
    pub(super) spool: Spool,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap()).await
    }

    /// The same after a restart: the keys come from the cache.
    pub(super) async fn restarted(self) -> Self {
        let Self { home, .. } = self;
        Self::at(home).await
    }

    async fn at(home: tempfile::TempDir) -> Self {
        let backend = Arc::new(FakeBackend::default());
        let limits = SchedulerLimits {
            cores: 1,
            memory_max_bytes: u64::MAX,
            waiting_max: 1,
            wait_max: Duration::from_mins(1),
            policy: WidthPolicy::Auto,
        };
        let scheduler = Scheduler::new(limits, Arc::clone(&backend) as Arc<dyn IdleProvers>);
        let keys = KeyGenerator {
            cache: KeyCache::new(&home.path().join("keys"), &backend.identity(ProofSystem::UltraHonk)),
            crs: Crs { dir: home.path().to_owned(), points: 1 << 20, checked_points: 1 << 20 },
            peaks: PeakCache::new(&home.path().join("keys"), |system| backend.identity(system)),
            budget: MemoryBudget { memory_max_bytes: u64::MAX, narrowest: 1 },
            held: scheduler.held_memory().clone(),
            proof_timeout: Duration::from_mins(1),
        };
        let options = ProvingOptions { timeout: Duration::from_mins(1), verify: true };
        let provers = Arc::clone(&backend) as Arc<dyn Backend>;
        let proving = Arc::new(Proving::new(scheduler, provers, keys, options));
        let sources = vec![
            circuit(home.path(), "large", "ASSERT w1 - w2 = 0"),
            circuit(home.path(), "small", "ASSERT w0 - w1 = 0"),
        ];
        let family = CircuitFamily::new(vec![id("large"), id("small")]).unwrap();
        let circuits = Arc::new(Registry::new(sources, Some(id("large")), vec![family]));
        let permit = proving.permit().await.unwrap();
        circuits.load_all(proving.keys(), permit.as_ref()).await;
        drop(permit);
        assert_eq!(circuits.loaded().count(), 2);
        let spool = Spool::open(&home.path().join("spool")).unwrap();
        Self { home, backend, proving, circuits, spool }
    }

    /// A spooled witness with these decompressed bytes, and its digest.
    pub(super) async fn witness(&self, decompressed: &[u8]) -> (SpooledWitness, WitnessDigest) {
        let mut file = self.spool.create().unwrap();
        file.append(gzip(decompressed).into()).await.unwrap();
        let (compressed_bytes, decompressed_bytes) = (file.len(), decompressed.len() as u64);
        witness::digest(SpooledWitness { file, compressed_bytes, decompressed_bytes }).await.unwrap()
    }
}

/// A circuit's id.
pub(super) fn id(name: &str) -> CircuitId {
    name.parse().unwrap()
}

/// The bytes as one gzip stream.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes a compiled circuit with these opcodes.
fn circuit(dir: &Path, name: &str, opcodes: &str) -> CircuitSource {
    let circuit = AcirCircuit { opcodes: parse_opcodes(opcodes).unwrap(), ..AcirCircuit::default() };
    let program: Program<FieldElement> =
        Program { functions: vec![circuit], unconstrained_functions: Vec::new() };
    let bytecode = STANDARD.encode(Program::serialize_program(&program));
    let file = BTreeMap::from([("noir_version", "test".to_owned()), ("bytecode", bytecode)]);
    let path = dir.join(format!("{name}.json"));
    std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    CircuitSource { id: id(name), path, target: Target::NoirRecursive }
}

/// A decompressed witness stack with these values of the witnesses 0, 1, 2 and so on.
pub(super) fn witness_stack(values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![3, 0x91, 0x91, 0x92, 0, 0x80 + u8::try_from(values.len()).unwrap()];
    for (index, &value) in (0..).zip(values) {
        bytes.extend([index, 0xc4, 32]);
        bytes.extend([0; 31]);
        bytes.push(value);
    }
    bytes
}
