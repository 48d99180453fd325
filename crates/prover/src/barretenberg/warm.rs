//! The backend that keeps daemons of every width ready, so that no proof waits for a process to start.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use barretenberg_rs::generated_types::Response;
use bytes::Bytes;
use edgeprove_protocol::Target;

use super::{
    daemon::{self, Daemon, RecyclePolicy},
    wire,
};
use crate::{
    Backend, BackendIdentity, CircuitKey, CircuitSize, GeneratedKey, IdleMemory, IdleProvers, MemoryPeaks,
    ProofParts, ProverError, ProverPermit, WitnessSource,
    backend::{CapacityPermit, Restarts},
    child::BbProgram,
    memory::FRESH_BYTES,
};
use edgeprove_telemetry::supervisor::Supervisor;

/// Warm daemons. For each width there are as many as fit side by side.
pub struct WarmBackend {
    program: BbProgram,
    supervisor: Supervisor,
    lanes: Vec<Lane>,
    /// Taking a lane looks at all of them.
    taking: Mutex<()>,
}

#[derive(Clone)]
struct Lane {
    width: usize,
    daemon: Arc<Daemon>,
    busy: Arc<AtomicBool>,
}

/// Marks a lane as free when the last part of the work lets go of it, and only then lets go of the caller's hold.
struct Occupied {
    busy: Arc<AtomicBool>,
    _hold: CapacityPermit,
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.busy.store(false, Ordering::Release);
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
            busy: Arc::default(),
        };
        let lanes = widths
            .iter()
            .rev()
            .flat_map(|&width| std::iter::repeat_n(width, (cores / width).max(1)))
            .map(lane)
            .collect();
        let (program, supervisor) = (program.clone(), supervisor.clone());
        Self { program, supervisor, lanes, taking: Mutex::default() }
    }
}

impl Lane {
    fn is_free(&self) -> bool {
        !self.busy.load(Ordering::Acquire)
    }

    /// Takes the lane, until the last part of the work lets go of what this gives back.
    fn occupy(&self, hold: CapacityPermit) -> CapacityPermit {
        self.busy.store(true, Ordering::Release);
        Arc::new(Occupied { busy: Arc::clone(&self.busy), _hold: hold })
    }

    /// What it would give back if its bb were replaced. Not worth the trouble for little.
    fn reclaimable_bytes(&self) -> u64 {
        let more = self.daemon.resident_bytes().saturating_sub(FRESH_BYTES);
        if more > FRESH_BYTES / 2 { more } else { 0 }
    }
}

impl WarmBackend {
    /// The lane that would be taken next: of those that fit, the one that holds most already, so that the others need
    /// not grow.
    fn next(&self, width: usize) -> Option<&Lane> {
        let free = || self.lanes.iter().filter(|lane| lane.is_free());
        let fitting = free().filter(|lane| lane.width == width);
        fitting.max_by_key(|lane| (lane.daemon.up(), lane.daemon.resident_bytes())).or_else(|| free().next())
    }
}

impl IdleProvers for WarmBackend {
    fn idle_memory(&self, width: usize) -> IdleMemory {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let free = || self.lanes.iter().filter(|lane| lane.is_free());
        let seat = self.next(width);
        let seat_bytes = seat.map_or(0, |lane| lane.daemon.resident_bytes());
        let seat_reclaimable_bytes = seat.map_or(0, Lane::reclaimable_bytes);
        let all: u64 = free().map(|lane| lane.daemon.resident_bytes()).sum();
        let reclaimable: u64 = free().map(Lane::reclaimable_bytes).sum();
        IdleMemory {
            seat_bytes,
            others_bytes: all.saturating_sub(seat_bytes),
            seat_reclaimable_bytes,
            others_reclaimable_bytes: reclaimable.saturating_sub(seat_reclaimable_bytes),
        }
    }

    fn shed(&self, hold: CapacityPermit) {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in self.lanes.iter().filter(|lane| lane.is_free() && lane.reclaimable_bytes() > 0) {
            lane.daemon.shed(lane.occupy(Arc::clone(&hold)));
        }
    }
}

impl Backend for WarmBackend {
    fn identity(&self) -> BackendIdentity {
        super::identity(true, self.program.msm)
    }

    fn seat(&self, width: usize, hold: CapacityPermit) -> Box<dyn ProverPermit> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        // There is a free lane of the width for as long as slots and lanes agree. Were it not so, sharing a busy lane
        // costs time and nothing else: its owner answers one call after the other.
        let lane = self.next(width).unwrap_or(&self.lanes[0]);
        Box::new(WarmSeat {
            daemon: Arc::clone(&lane.daemon),
            width,
            program: self.program.clone(),
            supervisor: self.supervisor.clone(),
            proved: Mutex::default(),
            hold: lane.occupy(hold),
        })
    }

    fn mode(&self) -> &'static str {
        "warm"
    }

    fn ready(&self) -> bool {
        self.lanes.iter().any(|lane| lane.daemon.up())
    }

    fn restarts(&self) -> Restarts {
        let mut sum = Restarts::default();
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

struct WarmSeat {
    daemon: Arc<Daemon>,
    width: usize,
    program: BbProgram,
    supervisor: Supervisor,
    /// The circuit that was proved last.
    proved: Mutex<Option<Arc<MemoryPeaks>>>,
    hold: CapacityPermit,
}

impl WarmSeat {
    async fn ask(&self, message: wire::Message, deadline: Instant) -> Result<Response, ProverError> {
        self.daemon.call(message, deadline, Arc::clone(&self.hold)).await
    }

    /// Asks another child, whose memory nobody has used yet.
    async fn ask_once(
        &self,
        message: wire::Message,
        deadline: Instant,
    ) -> Result<(Response, Option<u64>), ProverError> {
        let hold = Arc::clone(&self.hold);
        daemon::ask_once(&self.program, self.width, &self.supervisor, message, deadline, hold).await
    }
}

impl Drop for WarmSeat {
    fn drop(&mut self) {
        let proved = self.proved.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // Said before the hold is let go, and so heard before whatever the next one asks.
        self.daemon.done(proved);
    }
}

#[async_trait]
impl ProverPermit for WarmSeat {
    async fn prove(
        &self,
        circuit: &CircuitKey,
        witness: &WitnessSource,
        deadline: Instant,
    ) -> Result<ProofParts, ProverError> {
        match self.ask(wire::prove(circuit, witness)?, deadline).await? {
            Response::CircuitProveResponse(answer) => {
                let proved = Some(Arc::clone(&circuit.memory));
                *self.proved.lock().unwrap_or_else(PoisonError::into_inner) = proved;
                Ok(ProofParts {
                    proof: wire::fields(answer.proof)?,
                    public_inputs: wire::fields(answer.public_inputs)?,
                })
            }
            _ => Err(wire::unexpected("proof")),
        }
    }

    async fn verify(
        &self,
        circuit: &CircuitKey,
        parts: &ProofParts,
        deadline: Instant,
    ) -> Result<bool, ProverError> {
        match self.ask(wire::verify(circuit, parts)?, deadline).await? {
            Response::CircuitVerifyResponse(answer) => Ok(answer.verified),
            _ => Err(wire::unexpected("verdict")),
        }
    }

    async fn measure(
        &self,
        bytecode: Bytes,
        target: Target,
        deadline: Instant,
    ) -> Result<CircuitSize, ProverError> {
        wire::circuit_size(self.ask_once(wire::stats(&bytecode, target)?, deadline).await?.0)
    }

    async fn make_key(
        &self,
        bytecode: Bytes,
        target: Target,
        deadline: Instant,
    ) -> Result<GeneratedKey, ProverError> {
        let (answer, peak_bytes) = self.ask_once(wire::compute_vk(&bytecode, target)?, deadline).await?;
        Ok(GeneratedKey { key: wire::verification_key(answer)?, peak_bytes })
    }

    async fn distrust(&self) {
        self.daemon.replace(Arc::clone(&self.hold)).await;
    }
}
