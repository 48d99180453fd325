//! The one way to prove: cache, fallback, estimates, metrics and the audit entry of a proof.
//!
//! A request, a job and the command line all prove through [`ProofService`]:
//!
//! 1. [`ProofService::open`] opens the account of a proof before its witness arrives.
//! 2. [`ProofAccount::prove`] looks into the cache, proves the first candidate and, if the machine has too little for it,
//!    the next smaller one. [`ProofAccount::fail`] closes the account of a witness that was refused.
//! 3. Either way the proof is counted once in `edgeprove_proofs_total` and written to the audit log once. A proof whose
//!    account is dropped counts as abandoned.
//!
//! A proof that comes from the cache records no durations. The durations of a fallback belong to the circuit that was
//! proved.

mod error;
mod fallback;
mod proof_account;
pub mod statistics;

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use edgeprove_audit::Audit;
use edgeprove_job_rules::{
    audit::Entry,
    estimator::DurationEstimator,
    prediction::{self, Estimate, Underway, Waiting},
    time::UnixMillis,
};
use edgeprove_protocol::{CircuitId, Priority, ProblemType, Target};
use edgeprove_spool::WipeObserver;

use crate::{
    circuits::{Circuit, Registry},
    proof_cache::{CachePolicy, CacheUse, ProofCache},
    proving::{ProofResult, Proving, Urgency},
    witness::{WitnessDigest, intake::SpooledWitness},
};

pub use error::{ProofError, ProofFailure};
pub use proof_account::ProofAccount;
use statistics::ProofStatistics;

/// The kind of work under which the estimator knows proofs; the subject is the circuit's id.
pub const WORK_KIND: &str = "prove";

/// The one way to prove. Clones share everything.
///
/// ```
/// use std::sync::Arc;
///
/// use edgeprove_engine::{
///     circuits::Circuit,
///     proof_cache::CachePolicy,
///     proof_service::{Candidate, Candidates, CompletedProof, ProofFailure, ProofRequest, ProofService, WhenBusy},
///     proving::Urgency,
///     witness::{WitnessDigest, intake::SpooledWitness},
/// };
/// use edgeprove_protocol::Priority;
///
/// async fn prove(
///     service: &ProofService,
///     circuit: Arc<Circuit>,
///     witness: SpooledWitness,
///     digest: WitnessDigest,
/// ) -> Result<CompletedProof, ProofFailure> {
///     let target = circuit.target;
///     let account = service.open(&circuit, target, Priority::Normal, None);
///     let first = Candidate { circuit, target, witness, digest };
///     let request = ProofRequest {
///         tenant: None,
///         cache: CachePolicy::OFF,
///         urgency: Urgency::default(),
///         timeout: None,
///         when_busy: WhenBusy::Refuse,
///     };
///     account.prove(Candidates { first, smaller: Vec::new() }, request, &|stage| println!("{stage:?}")).await
/// }
/// ```
#[derive(Clone)]
pub struct ProofService(Arc<Parts>, Arc<ProofStatistics>);

/// What a proof service is made of.
pub struct Parts {
    /// The proving core.
    pub proving: Arc<Proving>,
    /// The circuits and their families.
    pub circuits: Arc<Registry>,
    /// The proof cache.
    pub cache: ProofCache,
    /// Learns how long proofs take.
    pub estimator: Arc<DurationEstimator>,
    /// The audit log.
    pub audit: Audit,
}

/// One witness for one circuit, checked against the circuit's shape.
#[derive(Debug)]
pub struct Candidate {
    /// The circuit.
    pub circuit: Arc<Circuit>,
    /// The target of the proof.
    pub target: Target,
    /// The witness, in the spool.
    pub witness: SpooledWitness,
    /// The digest of the decompressed witness.
    pub digest: WitnessDigest,
}

/// What to prove: the circuit that was asked for, then ever smaller circuits of its family.
#[derive(Debug)]
pub struct Candidates {
    /// The candidate that was asked for.
    pub first: Candidate,
    /// The candidates to prove instead if the machine has too little time or memory, the largest first.
    pub smaller: Vec<Candidate>,
}

/// How a proof is wanted.
#[derive(Debug, Clone, Copy)]
pub struct ProofRequest<'a> {
    /// Whose cached proofs may be read and written. `None` uses no cache: callers without a name share nothing.
    pub tenant: Option<&'a str>,
    /// How the caller lets the cache be used.
    pub cache: CachePolicy,
    /// How urgent the proof is.
    pub urgency: Urgency<'a>,
    /// The longest time for the proof, where it is shorter than the server's.
    pub timeout: Option<Duration>,
    /// What happens when the prover queue is full.
    pub when_busy: WhenBusy,
}

/// What happens to a proof when the prover queue is full or the wait in it takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenBusy {
    /// The proof fails with [`ProblemType::ProverBusy`]: its caller waits on a connection.
    Refuse,
    /// The proof waits until it is admitted: a job has time. A server that stops releases the proof, see
    /// [`ProofAccount::release`].
    Wait,
}

/// A proof, and what was proved.
#[derive(Debug)]
pub struct CompletedProof {
    /// The circuit that was proved.
    pub circuit: Arc<Circuit>,
    /// The target of the proof.
    pub target: Target,
    /// The circuit that was asked for, if a smaller one was proved instead.
    pub fallback_from: Option<CircuitId>,
    /// The proof with the durations of its stages.
    pub result: ProofResult,
    /// When its prover started. A proof from the cache has the time at which it was found.
    pub started_at: UnixMillis,
    /// When it was verified, or found in the cache.
    pub finished_at: UnixMillis,
    /// One observer for each witness of the request. The witnesses are dropped already.
    pub wipes: Vec<WipeObserver>,
}

impl ProofService {
    /// Makes a proof service of its parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts), Arc::default())
    }

    /// Opens the account of a proof of this circuit, before its witness arrives.
    ///
    /// The account is closed once, by whichever happens first: [`ProofAccount::prove`], [`ProofAccount::fail`],
    /// [`ProofAccount::release`] or being dropped, which counts as abandoned. Closing writes `entry`, with its outcome, to
    /// the audit log.
    pub fn open(
        &self,
        circuit: &Arc<Circuit>,
        target: Target,
        priority: Priority,
        entry: Option<Entry>,
    ) -> ProofAccount {
        ProofAccount::new(self.clone(), circuit.id.clone(), target, priority, entry)
    }

    /// Statistics of recent proofs.
    #[must_use]
    pub fn statistics(&self) -> &ProofStatistics {
        &self.1
    }

    /// How the proof cache is used.
    #[must_use]
    pub fn cache_usage(&self) -> CacheUse {
        self.0.cache.usage()
    }

    /// The number of durations behind [`Self::estimate`].
    #[must_use]
    pub fn samples(&self, circuit: &CircuitId) -> usize {
        self.0.estimator.samples(WORK_KIND, circuit.as_str())
    }

    /// How long a new proof would wait for a prover behind all that wait; `None` if nothing is known of the proofs before it.
    /// Circuits of which nothing is known are assumed to take as long as `circuit`.
    #[must_use]
    pub fn expected_wait(&self, circuit: &CircuitId) -> Option<Estimate> {
        let now = self.0.proving.scheduler().status();
        if now.waiting == 0 && now.cores_free > 0 {
            return Some(Estimate::NOTHING);
        }
        self.expected_wait_behind(circuit, now.waiting)
    }

    /// As [`Self::expected_wait`], for a proof that waits behind this many others.
    #[must_use]
    pub fn expected_wait_behind(&self, circuit: &CircuitId, ahead: usize) -> Option<Estimate> {
        let of = |other: &CircuitId| self.estimate(other).or_else(|| self.estimate(circuit));
        let running = self.1.running().into_iter().map(|(circuit, elapsed)| {
            let estimate = of(&circuit)?;
            Some(Underway { estimate, elapsed })
        });
        let running: Vec<_> = running.collect::<Option<_>>()?;
        // The scheduler does not know the circuits of those that wait. The counts by circuit are too high, because they have
        // uploads as well.
        let (mut left, mut waiting) = (ahead as u64, Vec::new());
        for (circuit, summary) in self.1.snapshot().circuits {
            let jobs = summary.waiting.min(left);
            if jobs > 0 {
                waiting.push(Waiting { estimate: of(&circuit)?, jobs });
                left -= jobs;
            }
        }
        let provers =
            NonZeroUsize::new(self.0.proving.scheduler().status().running).unwrap_or(NonZeroUsize::MIN);
        Some(prediction::wait(provers, &running, &waiting))
    }

    /// How long a proof of this circuit takes, proving and verifying; `None` before the first one. Cached proofs do not
    /// count.
    #[must_use]
    pub fn estimate(&self, circuit: &CircuitId) -> Option<Estimate> {
        self.0.estimator.expected(WORK_KIND, circuit.as_str())
    }

    /// As [`Self::estimate`], if proofs of this circuit were measured lately. Only such an estimate is a reason to refuse a
    /// proof: the machine may have been busy before, and a proof that is refused measures nothing.
    #[must_use]
    pub fn recent_estimate(&self, circuit: &CircuitId) -> Option<Estimate> {
        self.0.estimator.expected_lately(WORK_KIND, circuit.as_str(), Instant::now())
    }

    /// The next smaller circuit of the family, if `problem` means that the machine had too little for this one.
    #[must_use]
    pub fn fallback_circuit(&self, circuit: &CircuitId, problem: ProblemType) -> Option<CircuitId> {
        self.0.circuits.fallback(circuit, problem)
    }

    /// The proving core.
    #[must_use]
    pub fn proving(&self) -> &Arc<Proving> {
        &self.0.proving
    }

    /// The circuits.
    #[must_use]
    pub fn circuits(&self) -> &Arc<Registry> {
        &self.0.circuits
    }
}

#[cfg(test)]
mod tests;
