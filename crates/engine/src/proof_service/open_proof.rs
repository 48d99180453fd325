//! The account of one proof, from before its witness arrives until its outcome is known.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use edgeprove_audit::AuditError;
use edgeprove_job_rules::audit::{Entry, Outcome as AuditOutcome};
use edgeprove_protocol::{CircuitId, HasProblemType as _, Priority, ProblemType, Target};
use edgeprove_telemetry::metrics::{self, Outcome, TimedStage};
use parking_lot::Mutex;

use super::{
    Candidate, Candidates, CompletedProof, ProofFailure, ProofRequest, ProofService, WORK_KIND, WhenBusy,
    statistics::OpenCount,
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
    /// `None` once the account is closed.
    count: Mutex<Option<OpenCount>>,
    /// Whether a new proof was made, and none came from the cache.
    is_new: AtomicBool,
}

impl OpenProof {
    pub(super) fn new(
        service: ProofService,
        circuit: CircuitId,
        target: Target,
        priority: Priority,
        entry: Option<Entry>,
    ) -> Self {
        let count = Mutex::new(Some(service.statistics().open(&circuit, priority)));
        Self { service, circuit, target, entry, count, is_new: AtomicBool::new(false) }
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
    pub fn release(self) {
        if let Some(count) = self.count.lock().take() {
            self.service.statistics().end(count, None, false);
        }
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

    fn count(&self, outcome: Outcome) {
        let Some(count) = self.count.lock().take() else { return };
        let is_new = self.is_new.load(Ordering::Relaxed);
        self.service.statistics().end(count, Some(outcome), is_new);
        metrics::proof_ended(&self.circuit, self.target, outcome);
    }

    /// Counts the proof as active, then calls the callback.
    fn report_stage(&self, stage: ProofStage, on_stage: &(dyn Fn(ProofStage) + Send + Sync)) {
        if let Some(count) = self.count.lock().as_mut() {
            self.service.statistics().activate(count);
        }
        on_stage(stage);
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
        let on_stage = &|stage: ProofStage| self.report_stage(stage, on_stage);
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
        self.is_new.store(true, Ordering::Relaxed);
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
        if self.count.get_mut().is_none() {
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
