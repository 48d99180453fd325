//! The account of one proof, from before its witness arrives until its outcome is known.

use std::sync::atomic::{AtomicBool, Ordering};

use edgeprove_audit::AuditError;
use edgeprove_job_rules::audit::{Entry, Outcome as AuditOutcome};
use edgeprove_protocol::{CircuitId, Priority, ProblemType, Target};
use edgeprove_telemetry::metrics::{self, Outcome};
use parking_lot::Mutex;

use super::{ProofService, statistics::OpenCount};
use crate::proving::ProofStage;

/// The account of one proof. Dropped before it is closed, the proof counts as abandoned.
#[must_use = "a dropped account counts as an abandoned proof"]
pub struct ProofAccount {
    pub(super) service: ProofService,
    /// The circuit that was asked for.
    pub(super) circuit: CircuitId,
    /// The target that was asked for.
    target: Target,
    entry: Option<Entry>,
    /// `None` once the account is closed.
    count: Mutex<Option<OpenCount>>,
    /// Whether a new proof was made, and none came from the cache.
    pub(super) is_new: AtomicBool,
}

impl ProofAccount {
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
    pub(super) async fn close(mut self, outcome: Outcome) -> Result<(), AuditError> {
        let audit_outcome = match outcome {
            Outcome::Success => AuditOutcome::Ok,
            Outcome::Problem(problem) | Outcome::CallersLimit(problem) => AuditOutcome::Failed(problem),
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

    /// Counts the proof as active once it does not wait any more, then calls the callback.
    pub(super) fn report_stage(&self, stage: ProofStage, on_stage: &(dyn Fn(ProofStage) + Send + Sync)) {
        if !matches!(stage, ProofStage::Waiting { .. })
            && let Some(count) = self.count.lock().as_mut()
        {
            self.service.statistics().activate(count);
        }
        on_stage(stage);
    }
}

impl Drop for ProofAccount {
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
