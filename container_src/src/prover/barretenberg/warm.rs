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
use edgeprove_protocol::VerifierTarget;

use super::{
    daemon::{Daemon, RecyclePolicy},
    wire,
};
use crate::{
    prover::{
        Backend, CircuitKey, CircuitSize, ProofParts, ProverError, Seat, VerificationKey, WitnessSource,
        backend::Hold, child::BbProgram,
    },
    supervisor::Supervisor,
};

/// Warm daemons. For each width there are as many as fit side by side.
pub struct WarmBackend {
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
    _hold: Hold,
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
        Self { lanes, taking: Mutex::default() }
    }
}

impl Backend for WarmBackend {
    fn seat(&self, width: usize, hold: Hold) -> Box<dyn Seat> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |lane: &&Lane| !lane.busy.load(Ordering::Acquire);
        let fitting = |lane: &&Lane| lane.width == width;
        // There is a free lane of the width for as long as slots and lanes agree. Were it not so, sharing a busy lane
        // costs time and nothing else: its owner answers one call after the other.
        let lane = self.lanes.iter().filter(fitting).find(free).or_else(|| self.lanes.iter().find(free));
        let lane = lane.unwrap_or(&self.lanes[0]);
        lane.busy.store(true, Ordering::Release);
        let hold = Arc::new(Occupied { busy: Arc::clone(&lane.busy), _hold: hold });
        Box::new(WarmSeat { daemon: Arc::clone(&lane.daemon), hold })
    }

    fn mode(&self) -> &'static str {
        "warm"
    }

    fn ready(&self) -> bool {
        self.lanes.iter().any(|lane| lane.daemon.up())
    }

    fn restarts(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.daemon.restarts()).sum()
    }
}

struct WarmSeat {
    daemon: Arc<Daemon>,
    hold: Hold,
}

impl WarmSeat {
    async fn ask(
        &self,
        message: wire::Message,
        deadline: Instant,
        closing: bool,
    ) -> Result<Response, ProverError> {
        self.daemon.call(message, deadline, closing, Arc::clone(&self.hold)).await
    }
}

#[async_trait]
impl Seat for WarmSeat {
    async fn prove(
        &self,
        circuit: &CircuitKey,
        witness: &WitnessSource,
        deadline: Instant,
    ) -> Result<ProofParts, ProverError> {
        match self.ask(wire::prove(circuit, witness)?, deadline, false).await? {
            Response::CircuitProveResponse(answer) => Ok(ProofParts {
                proof: wire::fields(answer.proof)?,
                public_inputs: wire::fields(answer.public_inputs)?,
            }),
            _ => Err(wire::unexpected("proof")),
        }
    }

    async fn verify(
        &self,
        circuit: &CircuitKey,
        parts: &ProofParts,
        deadline: Instant,
    ) -> Result<bool, ProverError> {
        match self.ask(wire::verify(circuit, parts)?, deadline, true).await? {
            Response::CircuitVerifyResponse(answer) => Ok(answer.verified),
            _ => Err(wire::unexpected("verdict")),
        }
    }

    async fn measure(
        &self,
        bytecode: Bytes,
        target: VerifierTarget,
        deadline: Instant,
    ) -> Result<CircuitSize, ProverError> {
        wire::circuit_size(self.ask(wire::stats(&bytecode, target)?, deadline, false).await?)
    }

    async fn make_key(
        &self,
        bytecode: Bytes,
        target: VerifierTarget,
        deadline: Instant,
    ) -> Result<VerificationKey, ProverError> {
        wire::verification_key(self.ask(wire::compute_vk(&bytecode, target)?, deadline, true).await?)
    }

    async fn distrust(&self) {
        self.daemon.replace(Arc::clone(&self.hold)).await;
    }
}
