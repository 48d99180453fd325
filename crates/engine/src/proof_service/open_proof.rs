//! The account of one proof, from before its witness arrives until its outcome is known.

use std::time::Duration;

use edgeprove_audit::AuditError;
use edgeprove_job_rules::audit::{Entry, Outcome as AuditOutcome};
use edgeprove_protocol::{CircuitId, HasProblemType as _, ProblemType, Target};
use edgeprove_telemetry::metrics::{self, Outcome, TimedStage};

use super::{
    Candidate, Candidates, CompletedProof, ProofFailure, ProofRequest, ProofService, WORK_KIND, WhenBusy,
};
use crate::{
    proof_cache::CacheQuery,
    proving::{ProofResult, ProofStage, ProvingError},
    scheduler::AdmissionError,
};

/// The pause before a proof that waits for a full prover queue is submitted again.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// The account of one proof. Dropped before it is closed, the proof counts as abandoned.
#[must_use = "a dropped account counts as an abandoned proof"]
pub struct OpenProof {
    service: ProofService,
    /// The circuit that was asked for.
    circuit: CircuitId,
    /// The target that was asked for.
    target: Target,
    entry: Option<Entry>,
    is_closed: bool,
}

impl OpenProof {
    pub(super) fn new(
        service: ProofService,
        circuit: CircuitId,
        target: Target,
        entry: Option<Entry>,
    ) -> Self {
        Self { service, circuit, target, entry, is_closed: false }
    }

    /// Names the circuit that was asked for, if it cannot be proved and has no candidate: the proof counts for it, and is
    /// a fallback from it.
    pub fn requested_as(mut self, circuit: &CircuitId) -> Self {
        self.circuit.clone_from(circuit);
        self
    }

    /// Proves the first candidate or, if the machine has too little for it, the next smaller one, and closes the
    /// account. `on_stage` is called when a stage of an attempt begins; a cached proof has none.
    ///
    /// Fails with the error of the last attempt, or with [`ProofError::Audit`](super::ProofError::Audit) if the audit entry
    /// of a proof cannot be written.
    pub async fn prove(
        self,
        candidates: Candidates,
        request: ProofRequest<'_>,
        on_stage: &(dyn Fn(ProofStage) + Send + Sync),
    ) -> Result<CompletedProof, ProofFailure> {
        let (mut proof, circuit) = match self.prove_any(candidates, request, on_stage).await {
            Ok(proof) => {
                let circuit = proof.circuit.id.clone();
                (proof, circuit)
            }
            Err(Attempt { circuit, error }) => {
                let fallback_circuit = self.service.fallback_circuit(&circuit, error.kind()).cloned();
                let is_released =
                    request.when_busy == WhenBusy::Wait && matches!(error, ProvingError::Stopping);
                if is_released {
                    self.release();
                } else {
                    self.fail(error.kind()).await;
                }
                return Err(ProofFailure { error: error.into(), circuit, fallback_circuit });
            }
        };
        proof.fallback_from = (circuit != self.circuit).then(|| self.circuit.clone());
        match self.close(Outcome::Success).await {
            Ok(()) => Ok(proof),
            Err(error) => Err(ProofFailure { error: error.into(), circuit, fallback_circuit: None }),
        }
    }

    /// Closes the account of a proof whose witness was refused or could not be fetched.
    pub async fn fail(self, problem: ProblemType) {
        // The problem itself is reported to the caller; the audit module logs that an entry could not be written.
        let _ = self.close(Outcome::Problem(problem)).await;
    }

    /// Closes the account of a proof that was not attempted after all, such as that of a job which goes back to the
    /// queue. Nothing is counted or written.
    pub fn release(mut self) {
        self.is_closed = true;
    }

    /// Writes the audit entry, then counts the proof.
    async fn close(mut self, outcome: Outcome) -> Result<(), AuditError> {
        let audit_outcome = match outcome {
            Outcome::Success => AuditOutcome::Ok,
            Outcome::Problem(problem) => AuditOutcome::Failed(problem),
            Outcome::Abandoned => AuditOutcome::Abandoned,
        };
        let written = match self.entry.take() {
            Some(entry) => self.service.0.audit.pending(entry).settle(audit_outcome).await,
            None => Ok(()),
        };
        let outcome = match (&written, outcome) {
            (Err(_), Outcome::Success) => Outcome::Problem(ProblemType::AuditUnavailable),
            (Ok(()) | Err(_), outcome) => outcome,
        };
        self.count(outcome);
        written
    }

    fn count(&mut self, outcome: Outcome) {
        self.is_closed = true;
        metrics::proof_ended(&self.circuit, self.target, outcome);
    }

    async fn prove_any(
        &self,
        candidates: Candidates,
        request: ProofRequest<'_>,
        on_stage: &(dyn Fn(ProofStage) + Send + Sync),
    ) -> Result<CompletedProof, Attempt> {
        let Candidates { first, smaller } = candidates;
        let (mut candidate, mut smaller) = (first, smaller.into_iter());
        loop {
            let error = match self.prove_one(&candidate, request, on_stage).await {
                Ok(result) => {
                    let Candidate { circuit, target, .. } = candidate;
                    return Ok(CompletedProof { circuit, target, fallback_from: None, result });
                }
                Err(error) => error,
            };
            let circuit = candidate.circuit.id.clone();
            candidate = match smaller.next().filter(|_| error.kind().fallback()) {
                Some(next) => next,
                None => return Err(Attempt { circuit, error }),
            };
            let (code, instead) = (error.kind().code(), &candidate.circuit.id);
            tracing::warn!(%circuit, code, %instead, "a smaller circuit is proved");
        }
    }

    /// Returns the proof of one candidate, from the cache if possible.
    async fn prove_one(
        &self,
        candidate: &Candidate,
        request: ProofRequest<'_>,
        on_stage: &(dyn Fn(ProofStage) + Send + Sync),
    ) -> Result<ProofResult, ProvingError> {
        let Candidate { circuit, target, witness, digest } = candidate;
        let parts = &self.service.0;
        let query =
            request.tenant.map(|tenant| CacheQuery { tenant, circuit, target: *target, witness: digest });
        if let Some(cached) = query.and_then(|query| parts.cache.get(query, request.cache)) {
            return Ok(cached);
        }
        let result = loop {
            match parts
                .proving
                .prove(circuit, *target, witness, request.urgency, request.timeout, on_stage)
                .await
            {
                Err(ProvingError::Admission(
                    AdmissionError::QueueFull { .. } | AdmissionError::WaitedTooLong { .. },
                )) if request.when_busy == WhenBusy::Wait => tokio::time::sleep(BUSY_PAUSE).await,
                outcome => break outcome?,
            }
        };
        self.record_durations(&circuit.id, &result);
        if let Some(query) = query {
            parts.cache.put(query, request.cache, &result);
        }
        Ok(result)
    }

    /// Records how long a new proof took, on the circuit that was proved.
    fn record_durations(&self, circuit: &CircuitId, result: &ProofResult) {
        let duration = |ms: f64| Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default();
        let (prove, verify) = (duration(result.timings.prove_ms), duration(result.timings.verify_ms));
        metrics::record_stage(circuit, TimedStage::Queue, duration(result.timings.queue_ms));
        metrics::record_stage(circuit, TimedStage::Prove, prove);
        if result.verified {
            metrics::record_stage(circuit, TimedStage::Verify, verify);
        }
        self.service.0.estimator.record(WORK_KIND, circuit.as_str(), prove + verify);
    }
}

impl Drop for OpenProof {
    fn drop(&mut self) {
        if self.is_closed {
            return;
        }
        if let Some(entry) = self.entry.take() {
            // A pending entry that is dropped is written as abandoned.
            drop(self.service.0.audit.pending(entry));
        }
        self.count(Outcome::Abandoned);
    }
}

/// An attempt at one candidate that failed.
struct Attempt {
    circuit: CircuitId,
    error: ProvingError,
}
