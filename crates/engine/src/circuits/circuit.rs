//! One loaded circuit and its keys.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use edgeprove_protocol::{CircuitId, HasProblemType, ProblemType, ProofSystem, Target};
use parking_lot::RwLock;
use tokio::sync::{Mutex, OnceCell};

use super::{
    key_cache::{KeyCache, KeyMaterial},
    peak_cache::PeakCache,
};
use crate::{
    proof_systems::{
        CircuitCounts, CircuitFileError, CircuitInput, CompiledCircuit, ComputationError, ComputationLimits,
        ComputedWitness, JudgeError, PublicValues, ReadLimits, Verdict, WitnessError, inputs::InputDocument,
    },
    scheduler::{HeldMemory, MemoryHold, beyond_budget},
};
use edgeprove_prover::{
    CircuitKey, CircuitSize, GeneratedKey, LoadLimits, MemoryPeaks, ProverError, ProverPermit,
    VerificationKey, barretenberg::crs::Crs,
};
use edgeprove_telemetry::metrics;

/// The least time that a prover has to load a circuit, however short the time of a proof is.
const LOAD_TIMEOUT_MIN: Duration = Duration::from_mins(1);
/// Most witnesses, and most opcodes, for each point of the CRS. A row has four values, and witnesses of unconstrained code
/// have none.
const COUNT_PER_POINT: u64 = 16;
/// Witnesses and opcodes that are allowed with any CRS. bb reserves some 110 bytes for each witness.
const COUNT_FLOOR: u64 = 1 << 21;

/// Why a circuit cannot be proved.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The circuit's file cannot be used.
    #[error(transparent)]
    File(#[from] CircuitFileError),
    /// The circuit's proof system has no such target.
    #[error("its proofs cannot have the target {target}")]
    UnsupportedTarget {
        /// The requested target.
        target: Target,
    },
    /// The prover did not generate the verification key.
    #[error("the prover could not generate its verification key")]
    Key(#[source] ProverError),
    /// The circuit is larger than the CRS.
    #[error(
        "it needs more CRS points: {needed} for its size of {dyadic_size}, and there are {points}: \
         point CRS_PATH to a larger CRS (`cargo xtask setup --crs-points {needed}` in a checkout installs one)"
    )]
    CrsTooSmall {
        /// The circuit size.
        dyadic_size: u64,
        /// The points that the circuit needs.
        needed: u64,
        /// The points of the CRS.
        points: u64,
    },
    /// The circuit has more witnesses or opcodes than a circuit that the CRS can prove.
    #[error(
        "it has {count} {what}, and at most {max} are allowed with {points} CRS points: compile it for this size, \
         or point CRS_PATH to a larger CRS"
    )]
    TooMany {
        /// `witnesses`, counted by the largest index, or `opcodes`.
        what: &'static str,
        /// Their number.
        count: u64,
        /// The limit.
        max: u64,
        /// The points of the CRS.
        points: u64,
    },
    /// A proof of the circuit needs more memory than the budget.
    #[error(
        "{}: raise --memory-max on a machine that has more",
        proof_beyond_memory(*needed_bytes, *max_bytes, *is_measured)
    )]
    BeyondMemory {
        /// The memory that a proof needs at least, in bytes.
        needed_bytes: u64,
        /// The memory budget, in bytes.
        max_bytes: u64,
        /// Whether earlier proofs showed it; otherwise it is an estimate.
        is_measured: bool,
    },
}

fn proof_beyond_memory(needed_bytes: u64, max_bytes: u64, is_measured: bool) -> String {
    let takes = if is_measured { "takes" } else { "would take about" };
    format!("a proof of it {takes} {}", beyond_budget(needed_bytes, max_bytes))
}

impl HasProblemType for LoadError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::UnsupportedTarget { .. } => ProblemType::InvalidRequest,
            Self::File(CircuitFileError::Circom(error)) => error.kind(),
            Self::File(CircuitFileError::Noir(_) | CircuitFileError::DecoderFailed)
            | Self::Key(ProverError::Refused { .. } | ProverError::UnexpectedResponse(_)) => {
                ProblemType::CircuitCompilationFailed
            }
            Self::File(CircuitFileError::Unreadable { .. } | CircuitFileError::TooLarge)
            | Self::Key(
                ProverError::Timeout
                | ProverError::Crashed(_)
                | ProverError::Unavailable(_)
                | ProverError::Spool(_)
                | ProverError::Stopping,
            )
            | Self::CrsTooSmall { .. }
            | Self::TooMany { .. }
            | Self::BeyondMemory { .. } => ProblemType::CircuitUnavailable,
        }
    }
}

impl LoadError {
    /// The kind of the fault, as callers may see it: it names neither folders nor flags of the server.
    #[must_use]
    pub fn public_reason(&self) -> String {
        match self {
            Self::UnsupportedTarget { .. } => self.to_string(),
            Self::BeyondMemory { needed_bytes, max_bytes, is_measured } => {
                proof_beyond_memory(*needed_bytes, *max_bytes, *is_measured)
            }
            Self::File(CircuitFileError::Unreadable { .. }) => "its file cannot be read".to_owned(),
            Self::File(CircuitFileError::TooLarge) => "its file is too large".to_owned(),
            Self::File(CircuitFileError::DecoderFailed) => "its file could not be decoded".to_owned(),
            Self::File(CircuitFileError::Circom(error)) => error.public_reason().to_owned(),
            Self::File(CircuitFileError::Noir(_)) => {
                "its file is not a circuit that this server can prove".to_owned()
            }
            Self::Key(_) => "the prover could not generate its verification key".to_owned(),
            Self::CrsTooSmall { dyadic_size, points, .. } => {
                format!("its size is {dyadic_size}, which needs more CRS points than the server's {points}")
            }
            Self::TooMany { what, count, max, .. } => {
                format!("it has {count} {what}, and at most {max} are allowed with the server's CRS")
            }
        }
    }
}

/// A circuit that can be proved.
#[derive(Debug)]
pub struct Circuit {
    /// Its name.
    pub id: CircuitId,
    /// The target of its proofs if a request names none.
    pub target: Target,
    compiled: Box<dyn CompiledCircuit>,
    memory: Arc<MemoryPeaks>,
    /// One key per target, in the order of [`Target::ALL`].
    keys: [OnceCell<RwLock<Arc<Key>>>; Target::ALL.len()],
    /// Held while a key of the cache is compared with a generated one.
    comparison: Mutex<()>,
    /// The memory of the compiled circuit.
    _memory_hold: MemoryHold,
}

/// A circuit's key for one target.
#[derive(Debug)]
pub struct Key {
    /// The circuit and its verification key, as the prover takes them with each proof.
    pub circuit: CircuitKey,
    /// The prover's hash of the verification key.
    pub vk_hash: [u8; 32],
    /// The circuit's size for this target.
    pub size: CircuitSize,
    /// It comes from the cache or from a file, and no proof has verified under it yet.
    is_doubtful: AtomicBool,
}

impl Key {
    /// Whether the key comes from the cache or from a file of the circuit, and no proof has verified under it yet.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.is_doubtful.load(Ordering::Relaxed)
    }

    /// A proof has verified under the key.
    pub fn confirm(&self) {
        self.is_doubtful.store(false, Ordering::Relaxed);
    }
}

/// Generates circuits' keys, given a prover permit.
#[derive(Debug, Clone)]
pub struct KeyGenerator {
    /// Keys of earlier starts.
    pub cache: KeyCache,
    /// The CRS, which bounds the size of a circuit.
    pub crs: Crs,
    /// Memory peaks of earlier starts.
    pub peaks: PeakCache,
    /// The memory budget of one proof. The prover may take as much to load a circuit.
    pub budget: MemoryBudget,
    /// The memory of loaded circuits, by which the budget is lower.
    pub held: HeldMemory,
    /// Longest time for one proof. The prover may take as long to load a circuit, and at least a minute.
    pub proof_timeout: Duration,
}

impl KeyGenerator {
    fn limits(&self) -> LoadLimits {
        LoadLimits {
            deadline: Instant::now() + self.proof_timeout.max(LOAD_TIMEOUT_MIN),
            memory_max_bytes: self.memory_left_bytes(),
        }
    }

    /// The limits for the reading of a circuit's files, on so many threads.
    #[must_use]
    pub fn read_limits(&self, width: usize) -> ReadLimits {
        ReadLimits { crs_points: self.crs.points, memory_max_bytes: self.memory_left_bytes(), width }
    }

    fn memory_left_bytes(&self) -> u64 {
        self.budget.memory_max_bytes.saturating_sub(self.held.bytes())
    }
}

/// The memory budget of one proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// The largest memory of a proof, in bytes.
    pub memory_max_bytes: u64,
    /// The smallest number of threads of a proof.
    pub narrowest: usize,
}

impl Circuit {
    /// Makes a circuit without keys; [`Self::key`] generates them.
    #[must_use]
    pub fn new(id: CircuitId, target: Target, compiled: Box<dyn CompiledCircuit>, peaks: &PeakCache) -> Self {
        let memory = Arc::new(peaks.get(compiled.program().proof_system(), compiled.program_sha256()));
        Self {
            id,
            target,
            compiled,
            memory,
            keys: Default::default(),
            comparison: Mutex::default(),
            _memory_hold: MemoryHold::default(),
        }
    }

    /// Counts the memory of the compiled circuit for as long as there is the circuit.
    #[must_use]
    pub fn held_by(self, held: &HeldMemory) -> Self {
        Self { _memory_hold: held.hold(self.compiled.memory_bytes()), ..self }
    }

    /// The proof system of the circuit.
    #[must_use]
    pub fn proof_system(&self) -> ProofSystem {
        self.compiled.program().proof_system()
    }

    /// Returns the key for a target. The first call takes it from the cache or generates it.
    pub async fn key(
        &self,
        target: Target,
        generator: &KeyGenerator,
        permit: &dyn ProverPermit,
    ) -> Result<Arc<Key>, LoadError> {
        if !self.targets().contains(&target) {
            return Err(LoadError::UnsupportedTarget { target });
        }
        let load = || async {
            let started = Instant::now();
            let cached = if self.compiled.program().contains_key() {
                None
            } else {
                let cached = generator.cache.get(self.compiled.program_sha256(), target);
                metrics::key_looked_up(cached.is_some());
                cached
            };
            let is_cached = cached.is_some();
            let material = if let Some(mut material) = cached {
                // Files of earlier versions may have another size.
                if let Some(dyadic_size) = permit.dyadic_size(&material.key, target) {
                    material.size.dyadic_size = dyadic_size;
                }
                self.check_size(material.size, target, generator, permit)?;
                material
            } else {
                let material = self.generate_key(target, generator, permit).await?;
                self.store_key(target, &material, &generator.cache);
                material
            };
            tracing::info!(
                circuit = %self.id,
                %target,
                gates = material.size.gates,
                circuit_size = material.size.dyadic_size,
                memory_bytes = self.memory.expected(generator.budget.narrowest),
                vk_hash = format_args!("0x{}", hex::encode(material.key.vk_hash)),
                vk_from = if is_cached { "cache" } else { "prover" },
                took_ms = edgeprove_telemetry::millis(started.elapsed()),
                compiler = self.compiled.compiler(),
                "verification key loaded"
            );
            Ok(RwLock::new(Arc::new(self.key_of(material, target, is_cached))))
        };
        self.cell(target).get_or_try_init(load).await.map(|key| Arc::clone(&key.read()))
    }

    /// Generates the key again after a proof with a key of the cache failed. Returns it if it is another one. It may be
    /// wrong as well, such as with a damaged CRS, so it is used only once a proof has verified under it:
    /// [`Self::replace_key`].
    pub async fn other_key(
        &self,
        target: Target,
        used: &Arc<Key>,
        generator: &KeyGenerator,
        permit: &dyn ProverPermit,
    ) -> Option<Arc<Key>> {
        let _turn = self.comparison.lock().await;
        let present = self.ready_key(target)?;
        // Another proof may have replaced it meanwhile.
        if !Arc::ptr_eq(&present, used) {
            return Some(present);
        }
        // A key that is a part of the program would only be read from it again.
        if !used.is_doubtful() || self.compiled.program().contains_key() {
            return None;
        }
        let generated = self.generate_key(target, generator, permit).await.inspect_err(|error| {
            let error = edgeprove_telemetry::chain(error);
            tracing::warn!(circuit = %self.id, error, "a cached verification key could not be compared");
        });
        // Doubtful, so that its first proof is verified in any case.
        let key = self.key_of(generated.ok()?, target, true);
        if key.circuit.vk == used.circuit.vk && key.vk_hash == used.vk_hash {
            used.confirm();
            return None;
        }
        Some(Arc::new(key))
    }

    /// Uses this key from now on, under which a proof has verified, and stores it for the next start.
    pub fn replace_key(&self, target: Target, right: &Arc<Key>, cache: &KeyCache) {
        let Some(cell) = self.cell(target).get() else { return };
        let wrong = std::mem::replace(&mut *cell.write(), Arc::clone(right));
        if Arc::ptr_eq(&wrong, right) {
            return;
        }
        tracing::error!(
            circuit = %self.id,
            %target,
            cached_vk_hash = hex::encode(wrong.vk_hash),
            vk_hash = hex::encode(right.vk_hash),
            "the cached verification key was not the circuit's; it was replaced"
        );
        let key = VerificationKey { vk: right.circuit.vk.clone(), vk_hash: right.vk_hash };
        self.store_key(target, &KeyMaterial { key, size: right.size }, cache);
    }

    fn store_key(&self, target: Target, material: &KeyMaterial, cache: &KeyCache) {
        if self.compiled.program().contains_key() {
            return;
        }
        if let Err(error) = cache.put(self.compiled.program_sha256(), target, material) {
            tracing::warn!(circuit = %self.id, %error, "the verification key was not stored for the next start");
        }
    }

    async fn generate_key(
        &self,
        target: Target,
        generator: &KeyGenerator,
        permit: &dyn ProverPermit,
    ) -> Result<KeyMaterial, LoadError> {
        let program = self.compiled.program();
        let measured = permit.measure(program.clone(), target, generator.limits()).await;
        let mut size = measured.map_err(LoadError::Key)?;
        // bb would download the points that it lacks for a key.
        self.check_size(size, target, generator, permit)?;
        let generated = permit.make_key(program, target, generator.limits()).await;
        let GeneratedKey { key, proof_memory } = generated.map_err(LoadError::Key)?;
        if let Some(dyadic_size) = permit.dyadic_size(&key, target) {
            size.dyadic_size = dyadic_size;
            self.check_size(size, target, generator, permit)?;
        }
        if let Some(estimate) = proof_memory {
            self.memory.set_estimate(estimate);
            self.check_memory(generator)?;
        }
        Ok(KeyMaterial { key, size })
    }

    /// The targets that proofs of the circuit can have.
    #[must_use]
    pub fn targets(&self) -> &'static [Target] {
        self.compiled.targets()
    }

    /// The key for a target, if it is loaded already.
    #[must_use]
    pub fn ready_key(&self, target: Target) -> Option<Arc<Key>> {
        self.cell(target).get().map(|key| Arc::clone(&key.read()))
    }

    /// The version of the circuit: the SHA-256 of its program, 64 hexadecimal digits. Circuits of the same id differ in
    /// it.
    #[must_use]
    pub fn version(&self) -> String {
        hex::encode(self.compiled.program_sha256())
    }

    /// The memory that proofs of the circuit need.
    #[must_use]
    pub fn memory(&self) -> &Arc<MemoryPeaks> {
        &self.memory
    }

    /// Stores the measured memory peaks for the next start.
    pub fn store_memory(&self, peaks: &PeakCache) {
        if let Err(error) = peaks.put(self.proof_system(), self.compiled.program_sha256(), &self.memory) {
            tracing::warn!(circuit = %self.id, %error, "memory peaks were not stored for the next start");
        }
    }

    /// The largest size of a decompressed witness of the circuit, in bytes.
    #[must_use]
    pub fn witness_max_bytes(&self) -> u64 {
        self.compiled.witness_max_bytes()
    }

    /// The inputs from which witnesses can be computed; `None` if that is not possible.
    #[must_use]
    pub fn inputs(&self) -> Option<&[CircuitInput]> {
        self.compiled.inputs()
    }

    /// Checks inputs and computes their witness. Blocking.
    pub fn compute_witness(
        &self,
        inputs: &InputDocument,
        limits: &ComputationLimits,
    ) -> Result<ComputedWitness, ComputationError> {
        self.compiled.compute_witness(inputs, limits)
    }

    /// Reads a decompressed witness to its end and checks its format and its shape. Blocking.
    pub fn check_witness(&self, decompressed: &mut dyn Read) -> Result<(), WitnessError> {
        self.compiled.check_witness(decompressed)
    }

    /// Reads the public inputs of a proof of a decompressed witness that was checked. Blocking.
    pub fn public_values(&self, decompressed: &mut dyn Read) -> Result<PublicValues, WitnessError> {
        self.compiled.public_values(decompressed)
    }

    /// Evaluates every constraint over a decompressed witness, independently of the prover. Blocking.
    pub fn judge_witness(&self, decompressed: &mut dyn Read) -> Result<Verdict, JudgeError> {
        self.compiled.judge_witness(decompressed)
    }

    /// Checks that the file's counts are those of a circuit that the CRS can prove, before the prover reserves memory by them.
    pub(super) fn check_counts(&self, points: u64) -> Result<(), LoadError> {
        let max = points.saturating_mul(COUNT_PER_POINT).max(COUNT_FLOOR);
        let CircuitCounts { witnesses, opcodes } = self.compiled.counts();
        for (what, count) in [("witnesses", witnesses), ("opcodes", opcodes)] {
            if count > max {
                return Err(LoadError::TooMany { what, count, max, points });
            }
        }
        Ok(())
    }

    /// Checks that the CRS has enough points and that the budget has enough memory.
    fn check_size(
        &self,
        size: CircuitSize,
        target: Target,
        generator: &KeyGenerator,
        permit: &dyn ProverPermit,
    ) -> Result<(), LoadError> {
        let (needed, points) = (self.compiled.crs_points(size), generator.crs.points);
        if needed > points {
            return Err(LoadError::CrsTooSmall { dyadic_size: size.dyadic_size, needed, points });
        }
        self.memory.set_estimate(permit.estimate_memory(size, target));
        self.check_memory(generator)
    }

    fn check_memory(&self, generator: &KeyGenerator) -> Result<(), LoadError> {
        let (max_bytes, narrowest) = (generator.memory_left_bytes(), generator.budget.narrowest);
        let needed_bytes = self.memory.expected(narrowest);
        if needed_bytes > max_bytes {
            let is_measured = self.memory.is_measured();
            return Err(LoadError::BeyondMemory { needed_bytes, max_bytes, is_measured });
        }
        Ok(())
    }

    fn cell(&self, target: Target) -> &OnceCell<RwLock<Arc<Key>>> {
        &self.keys[target as usize]
    }

    fn key_of(&self, material: KeyMaterial, target: Target, is_cached: bool) -> Key {
        let KeyMaterial { key, size } = material;
        // A file with a key may be one of another circuit, and a key of the cache as well: only a proof shows it.
        let is_doubtful = is_cached || self.compiled.program().contains_key();
        let circuit = CircuitKey {
            program: self.compiled.program(),
            vk: key.vk,
            target,
            memory: Arc::clone(&self.memory),
        };
        Key { circuit, vk_hash: key.vk_hash, size, is_doubtful: is_doubtful.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_order_of_all_targets() {
        for (index, target) in Target::ALL.into_iter().enumerate() {
            assert_eq!(target as usize, index);
        }
    }
}
