//! The backend that keeps daemons of every width ready, so that no proof waits for a process to start.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use barretenberg_rs::generated_types::Response;
use edgeprove_protocol::{ProofSystem, Target};
use edgeprove_telemetry::supervisor::Supervisor;
use parking_lot::Mutex;

use super::{
    daemon::{self, Daemon, SingleResponse},
    key_facts::KeyFacts,
    memory_estimate::{self, FRESH_BYTES},
    program::BbProgram,
    wire,
};
use crate::{
    Backend, BackendIdentity, CapacityPermit, CircuitKey, CircuitProgram, CircuitSize, GeneratedKey,
    IdleMemory, IdleProvers, LoadLimits, MemoryEstimate, MemoryPeaks, ProofParts, ProverError, ProverPermit,
    RecyclePolicy, RestartCounts, VerificationKey, WitnessSource,
};

/// Warm daemons. For each width there are as many as the cores allow at once.
pub struct WarmBackend {
    program: BbProgram,
    supervisor: Supervisor,
    lanes: Vec<Lane>,
    /// Held while a lane is chosen, because the choice compares all lanes.
    choosing: Mutex<()>,
}

/// A daemon that one permit uses at a time.
#[derive(Clone)]
struct Lane {
    width: usize,
    daemon: Arc<Daemon>,
    is_busy: Arc<AtomicBool>,
}

/// Frees a lane when the last part of the work drops it, and releases the caller's capacity only then.
struct OccupiedLane {
    is_busy: Arc<AtomicBool>,
    _capacity: CapacityPermit,
}

impl Drop for OccupiedLane {
    fn drop(&mut self) {
        self.is_busy.store(false, Ordering::Release);
    }
}

impl WarmBackend {
    /// Starts `cores / width` daemons for each of the widths.
    #[must_use]
    pub fn start(
        program: &BbProgram,
        cores: usize,
        widths: &[usize],
        recycle: RecyclePolicy,
        supervisor: &Supervisor,
    ) -> Self {
        let lane = |width| Lane {
            width,
            daemon: Arc::new(Daemon::start(program.clone(), width, recycle, supervisor)),
            is_busy: Arc::default(),
        };
        let lanes = widths
            .iter()
            .rev()
            .flat_map(|&width| std::iter::repeat_n(width, (cores / width).max(1)))
            .map(lane)
            .collect();
        let (program, supervisor) = (program.clone(), supervisor.clone());
        Self { program, supervisor, lanes, choosing: Mutex::default() }
    }

    /// Returns the lane for the next permit. Of the free lanes that fit it is the one with the most memory, so that the
    /// others need not grow.
    fn next(&self, width: usize) -> Option<&Lane> {
        let free = || self.lanes.iter().filter(|lane| lane.is_free());
        let fitting = free().filter(|lane| lane.width == width);
        fitting
            .max_by_key(|lane| (lane.daemon.is_up(), lane.daemon.resident_bytes()))
            .or_else(|| free().next())
    }
}

impl Lane {
    fn is_free(&self) -> bool {
        !self.is_busy.load(Ordering::Acquire)
    }

    /// Occupies the lane until the result is dropped.
    fn occupy(&self, capacity: CapacityPermit) -> CapacityPermit {
        self.is_busy.store(true, Ordering::Release);
        Arc::new(OccupiedLane { is_busy: Arc::clone(&self.is_busy), _capacity: capacity })
    }

    /// The memory that a restart of bb would free, in bytes. A small amount is not worth a restart and counts as 0.
    fn reclaimable_bytes(&self) -> u64 {
        let beyond_fresh = self.daemon.resident_bytes().saturating_sub(FRESH_BYTES);
        if beyond_fresh > FRESH_BYTES / 2 { beyond_fresh } else { 0 }
    }
}

impl IdleProvers for WarmBackend {
    fn idle_memory(&self, _system: ProofSystem, width: usize) -> IdleMemory {
        let _choosing = self.choosing.lock();
        let free = || self.lanes.iter().filter(|lane| lane.is_free());
        let next = self.next(width);
        let next_bytes = next.map_or(0, |lane| lane.daemon.resident_bytes());
        let next_reclaimable_bytes = next.map_or(0, Lane::reclaimable_bytes);
        let all: u64 = free().map(|lane| lane.daemon.resident_bytes()).sum();
        let reclaimable: u64 = free().map(Lane::reclaimable_bytes).sum();
        IdleMemory {
            next_bytes,
            others_bytes: all.saturating_sub(next_bytes),
            next_reclaimable_bytes,
            others_reclaimable_bytes: reclaimable.saturating_sub(next_reclaimable_bytes),
        }
    }

    fn reclaim_memory(&self, capacity: CapacityPermit) {
        let _choosing = self.choosing.lock();
        for lane in self.lanes.iter().filter(|lane| lane.is_free() && lane.reclaimable_bytes() > 0) {
            lane.daemon.reclaim_memory(lane.occupy(Arc::clone(&capacity)));
        }
    }
}

impl Backend for WarmBackend {
    fn identity(&self, _system: ProofSystem) -> BackendIdentity {
        super::identity(true, self.program.msm)
    }

    fn permit(&self, width: usize, capacity: CapacityPermit) -> Box<dyn ProverPermit> {
        let _choosing = self.choosing.lock();
        // A lane of the width is free as long as slots and lanes agree. If they did not, sharing a busy lane would only
        // cost time: its owner answers one call after the other.
        let lane = self.next(width).unwrap_or(&self.lanes[0]);
        Box::new(DaemonPermit {
            daemon: Arc::clone(&lane.daemon),
            width,
            program: self.program.clone(),
            supervisor: self.supervisor.clone(),
            proved: Mutex::default(),
            capacity: lane.occupy(capacity),
        })
    }

    fn mode(&self) -> &'static str {
        "warm"
    }

    fn is_ready(&self) -> bool {
        self.lanes.iter().any(|lane| lane.daemon.is_up())
    }

    fn restarts(&self) -> RestartCounts {
        let mut sum = RestartCounts::default();
        for lane in &self.lanes {
            for (sum, count) in sum.iter_mut().zip(lane.daemon.restarts()) {
                *sum += count;
            }
        }
        sum
    }

    fn processes(&self) -> Vec<u32> {
        self.lanes.iter().filter_map(|lane| lane.daemon.pid()).collect()
    }
}

struct DaemonPermit {
    daemon: Arc<Daemon>,
    width: usize,
    program: BbProgram,
    supervisor: Supervisor,
    /// The circuit that was proved last.
    proved: Mutex<Option<Arc<MemoryPeaks>>>,
    capacity: CapacityPermit,
}

impl DaemonPermit {
    async fn call(&self, message: wire::Message, deadline: Instant) -> Result<Response, ProverError> {
        self.daemon.call(message, deadline, Arc::clone(&self.capacity)).await
    }

    /// Calls another child, whose memory belongs to this call alone.
    async fn call_once(
        &self,
        message: wire::Message,
        limits: LoadLimits,
    ) -> Result<SingleResponse, ProverError> {
        let capacity = Arc::clone(&self.capacity);
        daemon::call_once(&self.program, self.width, &self.supervisor, message, limits, capacity).await
    }
}

impl Drop for DaemonPermit {
    fn drop(&mut self) {
        // Sent before the capacity is released, and so received before the next permit's calls.
        self.daemon.finish(self.proved.get_mut().take());
    }
}

#[async_trait]
impl ProverPermit for DaemonPermit {
    fn width(&self) -> usize {
        self.width
    }

    async fn prove(
        &self,
        circuit: &CircuitKey,
        witness: &WitnessSource,
        deadline: Instant,
    ) -> Result<ProofParts, ProverError> {
        let proof = wire::proof(self.call(wire::prove(circuit, witness)?, deadline).await?)?;
        *self.proved.lock() = Some(Arc::clone(&circuit.memory));
        Ok(proof)
    }

    async fn verify(
        &self,
        circuit: &CircuitKey,
        parts: &ProofParts,
        deadline: Instant,
    ) -> Result<bool, ProverError> {
        Ok(wire::verdict(self.call(wire::verify(circuit, parts)?, deadline).await?)?)
    }

    async fn measure(
        &self,
        program: CircuitProgram,
        target: Target,
        limits: LoadLimits,
    ) -> Result<CircuitSize, ProverError> {
        Ok(wire::circuit_size(self.call_once(wire::stats(program.acir()?, target)?, limits).await?.response)?)
    }

    async fn make_key(
        &self,
        program: CircuitProgram,
        target: Target,
        limits: LoadLimits,
    ) -> Result<GeneratedKey, ProverError> {
        self.call_once(wire::compute_vk(program.acir()?, target)?, limits).await?.generated_key()
    }

    fn dyadic_size(&self, key: &VerificationKey, _target: Target) -> Option<u64> {
        KeyFacts::read(&key.vk).ok().map(KeyFacts::dyadic_size)
    }

    fn estimate_memory(&self, size: CircuitSize, _target: Target) -> MemoryEstimate {
        memory_estimate::by_size(size)
    }

    async fn report_invalid_proof(&self) {
        self.daemon.replace_invalid(Arc::clone(&self.capacity)).await;
    }
}
