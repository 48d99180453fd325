//! Proves the first candidate that the machine can prove: the requested circuit or, if the machine has too little for it, a
//! smaller one of its family.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use edgeprove_job_rules::time::UnixMillis;
use edgeprove_protocol::{CircuitId, HasProblemType as _, ProblemType};
use edgeprove_telemetry::metrics::{self, Outcome, TimedStage};

use super::{
    Candidate, Candidates, CompletedProof, ProofAccount, ProofFailure, ProofRequest, WORK_KIND, WhenBusy,
};
use crate::{
    proof_cache::CacheQuery,
    proving::{ProofResult, ProofStage, ProvingError},
    scheduler::AdmissionError,
};

/// The pause before a proof that waits for a full prover queue is submitted again.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

impl ProofAccount {
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
                let fallback_circuit = self.service.fallback_circuit(&circuit, error.kind());
                let is_released =
                    request.when_busy == WhenBusy::Wait && matches!(error, ProvingError::Stopping);
                let has_own_limit =
                    request.timeout.is_some_and(|limit| limit < self.service.proving().options().timeout);
                if is_released {
                    self.release();
                } else if has_own_limit && error.kind() == ProblemType::ProofTimeout {
                    // As in `Self::fail`.
                    let _ = self.close(Outcome::CallersLimit(error.kind())).await;
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

    async fn prove_any(
        &self,
        candidates: Candidates,
        request: ProofRequest<'_>,
        on_stage: &(dyn Fn(ProofStage) + Send + Sync),
    ) -> Result<CompletedProof, Attempt> {
        let Candidates { first, smaller } = candidates;
        let witnesses = std::iter::once(&first).chain(&smaller);
        let wipes = witnesses.map(|candidate| candidate.witness.file.wipe_observer()).collect();
        let (mut candidate, mut smaller) = (first, smaller.into_iter());
        loop {
            let error = match self.prove_one(&candidate, request, on_stage).await {
                Ok(result) => {
                    let Candidate { circuit, target, .. } = candidate;
                    let finished_at = UnixMillis(jiff::Timestamp::now().as_millisecond());
                    let took = duration(result.timings.prove_ms) + duration(result.timings.verify_ms);
                    let started_at = finished_at.before(took);
                    return Ok(CompletedProof {
                        circuit,
                        target,
                        fallback_from: None,
                        result,
                        started_at,
                        finished_at,
                        wipes,
                    });
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
        let (prove, verify) = (duration(result.timings.prove_ms), duration(result.timings.verify_ms));
        metrics::record_stage(circuit, TimedStage::Queue, duration(result.timings.queue_ms));
        metrics::record_stage(circuit, TimedStage::Prove, prove);
        if result.verified {
            metrics::record_stage(circuit, TimedStage::Verify, verify);
        }
        self.service.0.estimator.record(WORK_KIND, circuit.as_str(), prove + verify, Instant::now());
    }
}

fn duration(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}

/// An attempt at one candidate that failed.
struct Attempt {
    circuit: CircuitId,
    error: ProvingError,
}
