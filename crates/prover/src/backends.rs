//! One backend for each proof system, behind the traits of one.
//!
//! The scheduler gives a permit for cores and memory, whatever is proved with it. The proof system follows from the target
//! of the circuit, and its backend is asked for a prover when the permit is used.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use async_trait::async_trait;
use edgeprove_protocol::{ProofSystem, Target};

use crate::{
    Backend, BackendIdentity, CapacityPermit, CircuitKey, CircuitProgram, CircuitSize, GeneratedKey,
    IdleMemory, IdleProvers, LoadLimits, MemoryEstimate, ProofParts, ProverError, ProverPermit,
    RestartCounts, VerificationKey, WitnessSource, groth16::Groth16Backend,
};

/// A backend for each proof system.
#[derive(Clone)]
pub struct Backends {
    ultra_honk: Arc<dyn Backend>,
    groth16: Groth16Backend,
}

impl Backends {
    /// Creates the backends, of which `ultra_honk` runs processes. Its mode and its processes are reported.
    #[must_use]
    pub fn new(ultra_honk: Arc<dyn Backend>) -> Self {
        Self { ultra_honk, groth16: Groth16Backend }
    }

    fn of(&self, system: ProofSystem) -> &dyn Backend {
        match system {
            ProofSystem::UltraHonk => self.ultra_honk.as_ref(),
            ProofSystem::Groth16 => &self.groth16,
        }
    }
}

/// Only the processes of `UltraHonk` exist without work. Other proofs run beside them.
impl IdleProvers for Backends {
    fn idle_memory(&self, system: ProofSystem, width: usize) -> IdleMemory {
        let idle = self.ultra_honk.idle_memory(system, width);
        match system {
            ProofSystem::UltraHonk => idle,
            ProofSystem::Groth16 => idle.beside_the_proof(),
        }
    }

    fn reclaim_memory(&self, capacity: CapacityPermit) {
        self.ultra_honk.reclaim_memory(capacity);
    }
}

impl Backend for Backends {
    fn identity(&self, system: ProofSystem) -> BackendIdentity {
        self.of(system).identity(system)
    }

    fn permit(&self, width: usize, capacity: CapacityPermit) -> Box<dyn ProverPermit> {
        Box::new(AnyPermit { permits: Default::default(), backends: self.clone(), width, capacity })
    }

    fn mode(&self) -> &'static str {
        self.ultra_honk.mode()
    }

    fn is_ready(&self) -> bool {
        self.ultra_honk.is_ready()
    }

    fn restarts(&self) -> RestartCounts {
        self.ultra_honk.restarts()
    }

    fn processes(&self) -> Vec<u32> {
        self.ultra_honk.processes()
    }
}

/// A permit for the prover of any proof system. Its members are dropped in this order, so that a prover is free before the
/// capacity is.
struct AnyPermit {
    /// The permits that were used, in the order of [`ProofSystem::ALL`].
    permits: [OnceLock<Box<dyn ProverPermit>>; ProofSystem::ALL.len()],
    backends: Backends,
    width: usize,
    capacity: CapacityPermit,
}

impl AnyPermit {
    fn of(&self, target: Target) -> &dyn ProverPermit {
        let system = target.proof_system();
        let permit = || self.backends.of(system).permit(self.width, Arc::clone(&self.capacity));
        self.permits[system as usize].get_or_init(permit).as_ref()
    }
}

#[async_trait]
impl ProverPermit for AnyPermit {
    fn width(&self) -> usize {
        self.width
    }

    async fn prove(
        &self,
        circuit: &CircuitKey,
        witness: &WitnessSource,
        deadline: Instant,
    ) -> Result<ProofParts, ProverError> {
        self.of(circuit.target).prove(circuit, witness, deadline).await
    }

    async fn verify(
        &self,
        circuit: &CircuitKey,
        parts: &ProofParts,
        deadline: Instant,
    ) -> Result<bool, ProverError> {
        self.of(circuit.target).verify(circuit, parts, deadline).await
    }

    async fn measure(
        &self,
        program: CircuitProgram,
        target: Target,
        limits: LoadLimits,
    ) -> Result<CircuitSize, ProverError> {
        self.of(target).measure(program, target, limits).await
    }

    async fn make_key(
        &self,
        program: CircuitProgram,
        target: Target,
        limits: LoadLimits,
    ) -> Result<GeneratedKey, ProverError> {
        self.of(target).make_key(program, target, limits).await
    }

    fn dyadic_size(&self, key: &VerificationKey, target: Target) -> Option<u64> {
        self.of(target).dyadic_size(key, target)
    }

    fn estimate_memory(&self, size: CircuitSize, target: Target) -> MemoryEstimate {
        self.of(target).estimate_memory(size, target)
    }

    async fn report_invalid_proof(&self) {
        for permit in self.permits.iter().filter_map(OnceLock::get) {
            permit.report_invalid_proof().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backend with idle processes.
    struct Idle(IdleMemory);

    impl IdleProvers for Idle {
        fn idle_memory(&self, _system: ProofSystem, _width: usize) -> IdleMemory {
            self.0
        }

        fn reclaim_memory(&self, _capacity: CapacityPermit) {}
    }

    impl Backend for Idle {
        fn identity(&self, _system: ProofSystem) -> BackendIdentity {
            BackendIdentity { program: "idle", version: "1", variant: "test" }
        }

        fn permit(&self, width: usize, capacity: CapacityPermit) -> Box<dyn ProverPermit> {
            Groth16Backend.permit(width, capacity)
        }

        fn mode(&self) -> &'static str {
            "idle"
        }

        fn is_ready(&self) -> bool {
            true
        }

        fn restarts(&self) -> RestartCounts {
            RestartCounts::default()
        }

        fn processes(&self) -> Vec<u32> {
            Vec::new()
        }
    }

    #[test]
    fn idle_processes_are_beside_a_proof_in_this_process() {
        let idle = IdleMemory {
            next_bytes: 70,
            others_bytes: 5,
            next_reclaimable_bytes: 60,
            others_reclaimable_bytes: 1,
        };
        let backends = Backends::new(Arc::new(Idle(idle)));
        assert_eq!(backends.idle_memory(ProofSystem::UltraHonk, 2), idle);
        let beside = IdleMemory {
            next_bytes: 0,
            others_bytes: 75,
            next_reclaimable_bytes: 0,
            others_reclaimable_bytes: 61,
        };
        assert_eq!(backends.idle_memory(ProofSystem::Groth16, 2), beside);
    }

    #[test]
    fn each_proof_system_has_an_identity() {
        let backends = Backends::new(Arc::new(Idle(IdleMemory::default())));
        let [bb, groth16] = ProofSystem::ALL.map(|system| backends.identity(system).memory());
        assert_eq!(bb, "idle-1-test");
        assert!(groth16.starts_with("groth16-"), "{groth16}");
    }

    #[test]
    fn permits_have_the_order_of_all_proof_systems() {
        for (index, system) in ProofSystem::ALL.into_iter().enumerate() {
            assert_eq!(system as usize, index);
        }
    }
}
